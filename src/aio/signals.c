/* add_signal_handler on libev signal watchers. The Python half, EventLoop.add_signal_handler,
 * checks arguments and keeps signal.getsignal() truthful. */
#include "aio.h"

struct ml_sig {
    ev_signal ev;
    ml_base *loop;
    ml_handle *handle; /* owned */
    ml_sig *next;
};

static void
signal_event(struct ev_loop *Py_UNUSED(loop), ev_signal *ev, int Py_UNUSED(revents))
{
    ml_sig *sig = (ml_sig *)ev;

    ml_base_got_handle(sig->loop, sig->handle);
}

static ml_sig **
find(ml_base *self, int signum)
{
    ml_sig **place = &self->signals;

    while (*place != NULL && (*place)->ev.signum != signum) {
        place = &(*place)->next;
    }
    return place;
}

/* asyncio's loops take a signal from the wakeup fd, whichever handler Python has for it by then:
 * one that signal.signal() sets beside the loop's does not switch the loop's off. */
void
ml_base_got_signal(void *host, int signum)
{
    ml_base *self = host;
    ml_sig *sig = *find(self, signum);

    if (sig != NULL && ev_is_active(&sig->ev)) {
        ev_feed_signal_event(self->ev->ev, signum);
    }
}

/* _signal_displaced(signum): Python's handler for the signals of a loop was called. That is so if
 * signal.signal() has put it where libev's was, as one does who puts back what was there before.
 * A loop that runs has it from the wakeup fd. */
PyObject *
ml_base_signal_displaced(PyObject *Py_UNUSED(unused), PyObject *arg)
{
    long signum = PyLong_AsLong(arg);

    if (signum == -1 && PyErr_Occurred()) {
        return NULL;
    }
    ml_loop *owner = ml_signal_owner((int)signum);
    if (owner != NULL && (owner->wakeup_depth == 0 || owner->host_ops == NULL)) {
        ev_feed_signal((int)signum);
    }
    Py_RETURN_NONE;
}

static void
free_sig(ml_base *self, ml_sig **place)
{
    ml_sig *sig = *place;

    *place = sig->next;
    ml_signal_stop(self->ev, &sig->ev);
    Py_CLEAR(sig->handle);
    PyMem_RawFree(sig);
}

/* libev has a signal on one loop at a time. With stock asyncio the loop that asked last gets it,
 * so take it from another asyncio loop; one of its own watchers keeps it. */
static void
take_over(ml_base *self, int signum)
{
    ml_loop *owner = ml_signal_owner(signum);

    if (owner != NULL && owner != self->ev && owner->host != NULL) {
        ml_base *other = owner->host;
        ml_sig **place = find(other, signum);
        if (*place != NULL) {
            ml_signal_stop(other->ev, &(*place)->ev);
        }
    }
}

/* _signal_start(signum, callback, args): replaces what was there. */
PyObject *
ml_base_signal_start(ml_base *self, PyObject *args)
{
    int signum;
    PyObject *callback, *arguments;

    if (!PyArg_ParseTuple(args, "iOO!", &signum, &callback, &PyTuple_Type, &arguments)) {
        return NULL;
    }
    if (ml_base_check_closed(self) < 0 || ml_signal_check(signum) < 0) {
        return NULL;
    }
    PyObject **items = PySequence_Fast_ITEMS(arguments);
    ml_handle *handle = ml_handle_new(self, callback, items, PyTuple_GET_SIZE(arguments), NULL);
    if (handle == NULL || ml_base_check_closed(self) < 0) { /* a finalizer closed it meanwhile */
        Py_XDECREF(handle);
        return NULL;
    }
    if (!PyObject_GC_IsTracked((PyObject *)handle)) {
        PyObject_GC_Track(handle);
    }
    ml_sig **place = find(self, signum);
    if (*place == NULL) {
        ml_sig *sig = PyMem_RawCalloc(1, sizeof(*sig));
        if (sig == NULL) {
            Py_DECREF(handle);
            return PyErr_NoMemory();
        }
        ev_signal_init(&sig->ev, signal_event, signum);
        sig->loop = self;
        *place = sig;
    }
    ml_sig *sig = *place;
    ml_handle *old = sig->handle;
    sig->handle = handle;
    take_over(self, signum);
    if (ml_signal_start(self->ev, &sig->ev) < 0) {
        free_sig(self, find(self, signum));
        Py_XDECREF(old);
        return NULL;
    }
    if (old != NULL) {
        int rc = ml_handle_cancel(old);
        Py_DECREF(old);
        if (rc < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

/* _signal_stop(signum) -> bool: whether there was a handler. */
PyObject *
ml_base_signal_stop(ml_base *self, PyObject *arg)
{
    long signum = PyLong_AsLong(arg);

    if (signum == -1 && PyErr_Occurred()) {
        return NULL;
    }
    ml_sig **place = find(self, (int)signum);
    if (*place == NULL) {
        Py_RETURN_FALSE;
    }
    ml_handle *handle = (ml_handle *)Py_NewRef((PyObject *)(*place)->handle);
    free_sig(self, place);
    int rc = ml_handle_cancel(handle);
    Py_DECREF(handle);
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

/* _signal_map(): {signum: handle}, a snapshot. */
PyObject *
ml_base_signal_map(ml_base *self, PyObject *Py_UNUSED(unused))
{
    PyObject *result = PyDict_New();

    for (ml_sig *sig = self->signals; result != NULL && sig != NULL; sig = sig->next) {
        PyObject *key = PyLong_FromLong(sig->ev.signum);
        if (key == NULL || PyDict_SetItem(result, key, (PyObject *)sig->handle) < 0) {
            Py_CLEAR(result);
        }
        Py_XDECREF(key);
    }
    return result;
}

int
ml_base_signals_traverse(ml_base *self, visitproc visit, void *arg)
{
    for (ml_sig *sig = self->signals; sig != NULL; sig = sig->next) {
        Py_VISIT(sig->handle);
    }
    return 0;
}

void
ml_base_signals_clear(ml_base *self)
{
    while (self->signals != NULL) {
        free_sig(self, &self->signals);
    }
}
