/* A reader: what arrives, the limit, and who waits. */
#include "streams.h"

/* ---- the transport ------------------------------------------------------------------------ */

int
ml_reader_resume(ml_reader *self)
{
    PyObject *transport = Py_NewRef(ml_or_none(self->transport));

    self->paused = false;
    PyObject *result = PyObject_CallMethodNoArgs(transport, self->state->str.resume_reading);
    Py_DECREF(transport);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int
ml_reader_maybe_resume(ml_reader *self)
{
    if (!self->paused || ml_buffer_size(&self->buffer) > self->limit) {
        return 0;
    }
    return ml_reader_resume(self);
}

static int
maybe_pause(ml_reader *self)
{
    size_t size = ml_buffer_size(&self->buffer);

    if (self->transport == NULL || self->paused || size / 2 < self->limit ||
        size - self->limit <= self->limit) {
        return 0;
    }
    PyObject *transport = Py_NewRef(self->transport);
    PyObject *result = PyObject_CallMethodNoArgs(transport, self->state->str.pause_reading);
    Py_DECREF(transport);
    if (result != NULL) {
        Py_DECREF(result);
        self->paused = true;
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_NotImplementedError)) {
        return -1;
    }
    PyErr_Clear(); /* it cannot be paused: not to be tried again */
    Py_CLEAR(self->transport);
    return 0;
}

PyObject *
ml_reader_take(ml_reader *self, size_t size)
{
    PyObject *bytes = ml_buffer_take(&self->buffer, size);

    if (bytes != NULL && self->paused && ml_reader_maybe_resume(self) < 0) {
        Py_CLEAR(bytes);
    }
    return bytes;
}

/* ---- who waits ---------------------------------------------------------------------------- */

/* A task that waits may be known to nobody but the future it waits for, and that to nobody but
 * the reader, which its protocol, as asyncio's, refers to weakly. */
void
ml_reader_set_waiter(ml_reader *self, PyObject *waiter)
{
    ml_streamprotocol *protocol = self->protocol;

    Py_XSETREF(self->waiter, ml_is_there(waiter) ? Py_NewRef(waiter) : NULL);
    if (self->waiter == NULL) {
        self->wanted = 0;
    }
    if (protocol != NULL) {
        PyObject *kept = self->waiter ? Py_NewRef((PyObject *)self) : NULL;
        Py_XSETREF(protocol->kept, kept);
    }
}

/* Calls waiter.<name>(arg), unless it was cancelled. */
int
ml_reader_wake(ml_reader *self, PyObject *name, PyObject *arg)
{
    PyObject *waiter = self->waiter;

    if (waiter == NULL) {
        return 0;
    }
    Py_INCREF(waiter);
    Py_INCREF(self); /* which the protocol may have been the last to keep */
    ml_reader_set_waiter(self, NULL);
    PyObject *answer = PyObject_CallMethodNoArgs(waiter, self->state->str.cancelled);
    int cancelled = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    if (cancelled == 0) {
        PyObject *result = PyObject_CallMethodOneArg(waiter, name, arg);
        cancelled = result ? 0 : -1;
        Py_XDECREF(result);
    }
    Py_DECREF(waiter);
    Py_DECREF(self);
    return cancelled < 0 ? -1 : 0;
}

void
ml_reader_raise(PyObject *exc)
{
    if (PyExceptionInstance_Check(exc)) {
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    }
    else if (PyExceptionClass_Check(exc)) {
        PyErr_SetNone(exc);
    }
    else {
        PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
    }
}

/* ---- what arrives ------------------------------------------------------------------------- */

int
ml_reader_feed(ml_reader *self, const char *data, size_t size, PyObject *object)
{
    if (self->eof) {
        PyErr_SetString(PyExc_AssertionError, "feed_data after feed_eof");
        return -1;
    }
    if (size == 0) {
        return 0;
    }
    if (ml_buffer_add(&self->buffer, data, size, object, self->wanted) < 0) {
        return -1;
    }
    Py_INCREF(self);
    int rc = ml_reader_wake(self, self->state->str.set_result, Py_None);
    if (rc == 0) {
        rc = maybe_pause(self);
    }
    Py_DECREF(self);
    return rc;
}

int
ml_reader_feed_eof(ml_reader *self)
{
    self->eof = true;
    return ml_reader_wake(self, self->state->str.set_result, Py_None);
}

/* What bytearray.extend() takes and is no buffer, such as a list of numbers. */
static int
feed_items(ml_reader *self, PyObject *items)
{
    PyObject *array = ml_buffer_expose(&self->buffer);
    PyObject *result = array ? PyObject_CallMethod(array, "extend", "O", items) : NULL;

    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    int rc = ml_reader_wake(self, self->state->str.set_result, Py_None);
    return rc < 0 ? -1 : maybe_pause(self);
}

static int
feed_buffer(ml_reader *self, PyObject *data)
{
    Py_buffer view;

    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    int rc = ml_reader_feed(self, view.buf, (size_t)view.len, NULL);
    PyBuffer_Release(&view);
    return rc;
}

int
ml_reader_feed_object(ml_reader *self, PyObject *data)
{
    if (PyBytes_CheckExact(data)) {
        return ml_reader_feed(self, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data), data);
    }
    if (self->eof) {
        return ml_reader_feed(self, NULL, 0, NULL); /* raises */
    }
    int there = PyObject_IsTrue(data);
    if (there <= 0) {
        return there;
    }
    return PyObject_CheckBuffer(data) ? feed_buffer(self, data) : feed_items(self, data);
}
