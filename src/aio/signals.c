/* add_signal_handler on libev signal watchers: who gets a signal, and what the process does with it
 * else, is known to the watcher side's table. */
#include "aio.h"

struct ml_sig {
    ml_sigclaim claim;
    ml_aioloop *loop;
    ml_handle *handle; /* owned */
    ml_sig *next;
};

static void
signal_event(struct ev_loop *Py_UNUSED(loop), ev_signal *ev, int Py_UNUSED(revents))
{
    ml_sig *sig = ML_CONTAINER_OF(ev, ml_sig, claim.ev);

    ml_aioloop_got_handle(sig->loop, sig->handle);
}

/* Where the list has the handler of the signal, or its end. */
static ml_sig **
find(ml_sig **place, int signum)
{
    while (*place != NULL && (*place)->claim.ev.signum != signum) {
        place = &(*place)->next;
    }
    return place;
}

/* Takes it out of the list: its handle. */
static ml_handle *
drop(ml_sig **place)
{
    ml_sig *sig = *place;
    assert(sig != NULL);
    ml_handle *handle = sig->handle;

    *place = sig->next;
    ml_signal_unclaim(&sig->claim);
    PyMem_RawFree(sig);
    return handle;
}

static ml_sig *
add(ml_aioloop *self, int signum, ml_handle *handle)
{
    ml_sig *sig = PyMem_RawCalloc(1, sizeof(*sig));

    if (sig == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    ev_signal_init(&sig->claim.ev, signal_event, signum);
    sig->claim.loop = self->ev;
    sig->loop = self;
    sig->handle = (ml_handle *)Py_NewRef((PyObject *)handle);
    sig->next = self->signals;
    self->signals = sig;
    return sig;
}

/* _signal_start(signum, callback, args): replaces what was there, which stays until all has
 * succeeded. */
PyObject *
ml_aioloop_signal_start(ml_aioloop *self, PyObject *args)
{
    int signum;
    PyObject *callback, *arguments;

    if (!PyArg_ParseTuple(args, "iOO!", &signum, &callback, &PyTuple_Type, &arguments)) {
        return NULL;
    }
    if (ml_aioloop_check_closed(self) < 0 || ml_signal_check(signum) < 0 ||
        ml_reserve_check() < 0) {
        return NULL;
    }
    PyObject **items = PySequence_Fast_ITEMS(arguments);
    ml_handle *handle = ml_handle_new(self, callback, items, PyTuple_GET_SIZE(arguments), NULL);
    if (handle == NULL || ml_aioloop_check_closed(self) < 0) { /* a finalizer closed it meanwhile */
        Py_XDECREF(handle);
        return NULL;
    }
    if (!PyObject_GC_IsTracked((PyObject *)handle)) {
        PyObject_GC_Track(handle);
    }
    ml_sig *sig = add(self, signum, handle);
    Py_DECREF(handle);
    if (sig == NULL) {
        return NULL;
    }
    int rc = ml_signal_claim(&sig->claim);
    PyObject *exc = rc < 0 ? ml_take_exception() : NULL;
    ml_sig **place = &self->signals;
    while (*place != NULL && *place != sig) { /* one of signal.signal() may have removed it */
        place = &(*place)->next;
    }
    if (rc == 0 && *place != NULL) {
        place = find(&sig->next, signum);
    }
    ml_handle *out = *place != NULL ? drop(place) : NULL;
    if (out != NULL && rc == 0) {
        rc = ml_handle_cancel(out);
    }
    Py_XDECREF(out);
    if (exc != NULL) {
        ml_raise(exc);
    }
    return ml_none_or_error(rc);
}

/* _signal_stop(signum) -> bool: whether there was a handler. */
PyObject *
ml_aioloop_signal_stop(ml_aioloop *self, PyObject *arg)
{
    long signum = PyLong_AsLong(arg);

    if (signum == -1 && PyErr_Occurred()) {
        return NULL;
    }
    ml_sig **place = find(&self->signals, (int)signum);
    if (*place == NULL) {
        Py_RETURN_FALSE;
    }
    if (ml_signal_release(&(*place)->claim) < 0) {
        return NULL;
    }
    place = find(&self->signals, (int)signum);
    if (*place != NULL) { /* else one of signal.signal() has removed it */
        ml_handle *handle = drop(place);
        int rc = ml_handle_cancel(handle);
        Py_DECREF(handle);
        if (rc < 0) {
            return NULL;
        }
    }
    Py_RETURN_TRUE;
}

/* _signal_map(): {signum: handle}, a snapshot. */
PyObject *
ml_aioloop_signal_map(ml_aioloop *self, PyObject *Py_UNUSED(unused))
{
    PyObject *result = PyDict_New();

    for (ml_sig *sig = self->signals; result != NULL && sig != NULL; sig = sig->next) {
        PyObject *key = PyLong_FromLong(sig->claim.ev.signum);
        if (key == NULL || PyDict_SetItem(result, key, (PyObject *)sig->handle) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(key);
    }
    return result;
}

int
ml_aioloop_signals_traverse(ml_aioloop *self, visitproc visit, void *arg)
{
    for (ml_sig *sig = self->signals; sig != NULL; sig = sig->next) {
        Py_VISIT(sig->handle);
    }
    return 0;
}

void
ml_aioloop_signals_clear(ml_aioloop *self)
{
    while (self->signals != NULL) {
        Py_DECREF(drop(&self->signals));
    }
}
