/* The asyncio loop as a whole: its errors, and its life from __init__() to the end. */
#include "aio.h"

/* ---- errors ------------------------------------------------------------------------------ */

int
ml_aioloop_check_closed(ml_aioloop *self)
{
    if (self->ev == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the event loop's __init__() was not called");
        return -1;
    }
    if (self->closed || self->ev->ev == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Event loop is closed");
        return -1;
    }
    return 0;
}

PyObject *
ml_diagnose(ml_state *state, const char *name, const char *format, ...)
{
    ml_aio *aio = state->aio;
    PyObject *function = NULL, *args = NULL, *result = NULL;
    va_list values;

    if (aio->diagnostics == NULL) {
        aio->diagnostics = PyImport_ImportModule("moodloop._diagnostics");
    }
    if (aio->diagnostics != NULL) {
        function = PyObject_GetAttrString(aio->diagnostics, name);
    }
    if (function != NULL) {
        va_start(values, format);
        args = Py_VaBuildValue(format, values);
        va_end(values);
    }
    if (args != NULL) {
        result = PyObject_Call(function, args, NULL);
        Py_DECREF(args);
    }
    Py_XDECREF(function);
    return result;
}

static int
call_handler(ml_aioloop *self, const char *message, PyObject *exc, PyObject *transport,
             PyObject *protocol)
{
    PyObject *context = Py_BuildValue("{s:s,s:O}", "message", message, "exception", exc);

    if (context == NULL ||
        (transport != NULL && PyDict_SetItem(context, self->state->str.transport, transport) < 0) ||
        (protocol != NULL && PyDict_SetItem(context, self->state->str.protocol, protocol) < 0)) {
        Py_XDECREF(context);
        return -1;
    }
    PyObject *result = PyObject_CallMethodOneArg((PyObject *)self,
                                                 self->state->str.call_exception_handler, context);
    Py_DECREF(context);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int
ml_aioloop_handle_error(ml_aioloop *self, const char *message, PyObject *transport,
                        PyObject *protocol)
{
    PyObject *exc = ml_take_exception();

    assert(exc != NULL);
    if (ml_is_fatal_exc(exc)) {
        ml_raise(exc);
        return -1;
    }
    int rc = call_handler(self, message, exc, transport, protocol);
    Py_DECREF(exc);
    return rc;
}

/* A callback of a watcher on loop.ev raised: the hook while the asyncio loop runs. */
bool
ml_aioloop_watcher_failed(void *host, PyObject *callback)
{
    ml_aioloop *self = host;
    assert(PyErr_Occurred());
    PyObject *exc = ml_take_exception();
    PyObject *message = PyUnicode_FromFormat("Exception in watcher callback %R", callback);
    const char *text = message ? PyUnicode_AsUTF8(message) : NULL;
    int rc = text ? call_handler(self, text, exc, NULL, NULL) : -1;

    Py_XDECREF(message);
    Py_DECREF(exc);
    return rc == 0;
}

/* ---- the block that reads are made into ---------------------------------------------------- */

char *
ml_aioloop_scratch(ml_aioloop *self)
{
    if (self->scratch == NULL) {
        self->scratch = PyBytes_FromStringAndSize(NULL, ML_SCRATCH_SIZE);
    }
    return self->scratch ? PyBytes_AS_STRING(self->scratch) : NULL;
}

/* ---- life -------------------------------------------------------------------------------- */

void
ml_aioloop_open(ml_aioloop *self, ml_loop *loop, bool own, ml_meter *meter)
{
    self->meter = meter;
    self->ev = loop;
    self->own_ev = own;
    ml_precise_init(&self->precise);
    ml_hangups_init(&self->hangups);
    loop->host = self;
    ml_timers_init(self);
    self->mail.waited_for = SIZE_MAX;
    self->closed = false;
}

static void
drop_entry(uintptr_t entry)
{
    PyObject *object = ml_entry_object(entry);

    if (ml_entry_ready(entry) != NULL) {
        ml_entry_ready(entry)->queued = false;
    }
    Py_DECREF(object);
}

/* Everything that waits is dropped: what a closed loop held is free to go. */
static void
drop_waiting(ml_aioloop *self)
{
    while (ml_ring_len(&self->ready) > 0) {
        drop_entry(ml_ring_pop(&self->ready));
    }
    while (ml_mail_len(&self->mail) > 0) {
        drop_entry(ml_mail_pop(&self->mail));
    }
    while (self->io.len > 0) {
        drop_entry(self->io.items[--self->io.len]);
    }
}

/* Drops all that close() drops: what get_task_factory() and the like tell stays. */
void
ml_aioloop_shut(ml_aioloop *self)
{
    if (self->ev != NULL) {
        self->closed = true;
        ml_aioloop_end_guest(self);
        if (self->ev->host == self) {
            self->ev->host_ops = NULL;
        }
        drop_waiting(self);
        ml_aioloop_signals_clear(self);
        ml_aioloop_held_clear(self);
        ml_aioloop_slots_clear(self);
        ml_precise_close(self);
        ml_hangups_close(self);
        ml_timers_close(self);
        if (self->ev->host == self) { /* not before: what was dropped can run code, and close it */
            self->ev->host = NULL;
        }
        if (self->own_ev && ml_loop_close(self->ev) < 0) {
            ml_unraisable((PyObject *)self);
        }
        ml_meter *meter = self->meter;
        self->meter = &ml_no_meter;
        ml_meter_free(meter);
    }
    ml_histograms_clear(&self->delays);
    Py_CLEAR(self->contexts.empty);
    Py_CLEAR(self->current_handle);
    Py_CLEAR(self->loop_keywords);
    Py_CLEAR(self->fds.stock);
}

int
ml_aioloop_clear(ml_aioloop *self)
{
    ml_aioloop_shut(self);
    Py_CLEAR(self->task_factory);
    return 0;
}

int
ml_aioloop_traverse(ml_aioloop *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->ev);
    Py_VISIT(self->contexts.empty);
    Py_VISIT(self->current_handle);
    Py_VISIT(self->task_factory);
    Py_VISIT(self->loop_keywords);
    Py_VISIT(self->fds.stock);
    for (size_t i = self->ready.head; i != self->ready.tail; i++) {
        Py_VISIT(ml_entry_object(ml_ring_at(&self->ready, i)));
    }
    for (size_t i = self->mail.ring.head; i != self->mail.ring.tail; i += 2) {
        Py_VISIT(ml_entry_object(ml_ring_at(&self->mail.ring, i)));
    }
    for (size_t i = 0; i < self->io.len; i++) {
        Py_VISIT(ml_entry_object(self->io.items[i]));
    }
    for (size_t i = 0; i < self->timers.len; i++) {
        Py_VISIT(self->timers.items[i].timer);
    }
    int rc = ml_aioloop_signals_traverse(self, visit, arg);
    rc = rc ? rc : ml_aioloop_held_traverse(self, visit, arg);
    return rc ? rc : ml_aioloop_slots_traverse(self, visit, arg);
}

void
ml_aioloop_dealloc(ml_aioloop *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    PyObject *exc = ml_take_exception(); /* one may be on its way */
    ml_aioloop_clear(self);
    if (exc != NULL) {
        ml_raise(exc);
    }
    Py_CLEAR(self->ev);
    PyMem_RawFree(self->ready.slots);
    PyMem_RawFree(self->io.items);
    PyMem_RawFree(self->mail.ring.slots);
    PyMem_RawFree(self->timers.items);
    if (self->tls_room != NULL) {
        self->free_tls_room(self->tls_room);
    }
    Py_XDECREF(self->scratch);
    type->tp_free(self);
    Py_DECREF(type);
}
