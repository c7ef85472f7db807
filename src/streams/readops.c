/* The reads, each as asyncio's coroutine does it: what is there is taken when the task goes on, not
 * when it arrives, so that a read that is cancelled meanwhile leaves it. */
#include "streams.h"

static const char *const waits_for[] = {
    [ML_READ] = "read",       [ML_READ_ALL] = "read",  [ML_EXACTLY] = "readexactly",
    [ML_UNTIL] = "readuntil", [ML_LINE] = "readuntil", [ML_NEXT_LINE] = "readuntil",
};

static ml_reader *
reader_of(const ml_streamop *self)
{
    return (ml_reader *)self->stream;
}

/* _wait_for_data(). */
static ml_step
wait_for_data(ml_streamop *self, size_t wanted)
{
    ml_reader *reader = reader_of(self);

    if (reader->waiter != NULL) {
        PyErr_Format(PyExc_RuntimeError,
                     "%s() called while another coroutine is already waiting for incoming data",
                     waits_for[self->asked]);
        return ML_FAILED;
    }
    if (reader->paused && ml_reader_resume(reader) < 0) {
        return ML_FAILED;
    }
    PyObject *future =
        PyObject_CallMethodNoArgs(ml_or_none(reader->loop), reader->state->str.create_future);
    PyObject *waiting = future ? PyObject_GetIter(future) : NULL;
    if (waiting == NULL) {
        Py_XDECREF(future);
        return ML_FAILED;
    }
    self->future = future;
    self->waiting = waiting;
    reader->wanted = wanted;
    ml_reader_set_waiter(reader, future);
    return ML_WAITS;
}

static ml_step
take(ml_streamop *self, size_t size, PyObject **result)
{
    *result = ml_reader_take(reader_of(self), size);
    return *result ? ML_DONE : ML_FAILED;
}

static bool
must_wait(const ml_streamop *self)
{
    const ml_reader *reader = reader_of(self);

    return !self->woken && ml_buffer_size(&reader->buffer) == 0 && !reader->eof;
}

static ml_step
step_read(ml_streamop *self, PyObject **result)
{
    size_t there = ml_buffer_size(&reader_of(self)->buffer), size = (size_t)self->size;

    if (size == 0) {
        *result = PyBytes_FromStringAndSize(NULL, 0);
        return *result ? ML_DONE : ML_FAILED;
    }
    return must_wait(self) ? wait_for_data(self, 0)
                           : take(self, there < size ? there : size, result);
}

static ml_step
join(ml_streamop *self, PyObject **result)
{
    PyObject *blocks = self->blocks;
    Py_ssize_t count = blocks ? PyList_GET_SIZE(blocks) : 0;

    if (count == 1) {
        *result = Py_NewRef(PyList_GET_ITEM(blocks, 0));
        return ML_DONE;
    }
    PyObject *nothing = PyBytes_FromStringAndSize(NULL, 0);
    if (nothing == NULL || count == 0) {
        *result = nothing;
    }
    else {
        *result = PyObject_CallMethod(nothing, "join", "O", blocks);
        Py_DECREF(nothing);
    }
    return *result ? ML_DONE : ML_FAILED;
}

/* As long as read(limit) gives something. */
static ml_step
step_read_all(ml_streamop *self, PyObject **result)
{
    ml_reader *reader = reader_of(self);

    for (;;) {
        if (reader->exception != NULL && !self->woken) {
            ml_reader_raise(reader->exception);
            return ML_FAILED;
        }
        if (must_wait(self)) {
            return wait_for_data(self, 0);
        }
        self->woken = false;
        size_t size = ml_buffer_size(&reader->buffer);
        if (size == 0) {
            return join(self, result);
        }
        PyObject *block = ml_reader_take(reader, size < reader->limit ? size : reader->limit);
        if (block == NULL || (self->blocks == NULL && (self->blocks = PyList_New(0)) == NULL)) {
            Py_XDECREF(block);
            return ML_FAILED;
        }
        int rc = PyList_Append(self->blocks, block);
        Py_DECREF(block);
        if (rc < 0) {
            return ML_FAILED;
        }
    }
}

/* IncompleteReadError with what there is. `expected`: None if it is not known. */
static ml_step
incomplete(ml_reader *reader, PyObject *expected)
{
    PyObject *partial = NULL, *exc = NULL;

    if (expected != NULL) {
        partial = ml_buffer_take(&reader->buffer, ml_buffer_size(&reader->buffer));
    }
    if (partial != NULL) {
        PyObject *type = reader->state->aio->IncompleteReadError;
        exc = PyObject_CallFunctionObjArgs(type, partial, expected, NULL);
        if (exc != NULL) {
            PyErr_SetObject(type, exc);
        }
    }
    Py_XDECREF(exc);
    Py_XDECREF(partial);
    Py_XDECREF(expected);
    return ML_FAILED;
}

static ml_step
step_exactly(ml_streamop *self, PyObject **result)
{
    ml_reader *reader = reader_of(self);

    if (self->size == 0) {
        return step_read(self, result);
    }
    if (ml_buffer_size(&reader->buffer) >= (size_t)self->size) {
        return take(self, (size_t)self->size, result);
    }
    if (reader->eof) {
        return incomplete(reader, PyLong_FromSsize_t(self->size));
    }
    return wait_for_data(self, (size_t)self->size);
}

/* The LimitOverrunError of a search; NULL with another exception. */
static PyObject *
overrun(ml_streamop *self, ml_found found)
{
    const char *message = found == ML_FAR ? "Separator is found, but chunk is longer than limit"
                                          : "Separator is not found, and chunk exceed the limit";
    size_t consumed = found == ML_FAR ? self->search.start : self->search.offset;

    return PyObject_CallFunction(reader_of(self)->state->aio->LimitOverrunError, "sn", message,
                                 (Py_ssize_t)consumed);
}

static ml_step
step_until(ml_streamop *self, PyObject **result)
{
    ml_reader *reader = reader_of(self);
    ml_found found = ml_search_go_on(&self->search, reader);

    if (found == ML_FOUND) {
        return take(self, self->search.end, result);
    }
    if (found == ML_MISSING) {
        return reader->eof ? incomplete(reader, Py_NewRef(Py_None)) : wait_for_data(self, 0);
    }
    PyObject *exc = overrun(self, found);
    if (exc != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
        Py_DECREF(exc);
    }
    return ML_FAILED;
}

/* A line longer than the limit is dropped, as far as it is there. */
static ml_step
drop_line(ml_streamop *self, ml_found found)
{
    ml_reader *reader = reader_of(self);
    size_t consumed = found == ML_FAR ? self->search.end : ml_buffer_size(&reader->buffer);
    PyObject *cause = overrun(self, found);

    if (cause == NULL || ml_buffer_drop(&reader->buffer, consumed) < 0 ||
        ml_reader_maybe_resume(reader) < 0) {
        Py_XDECREF(cause);
        return ML_FAILED;
    }
    PyObject *args = PyObject_GetAttrString(cause, "args");
    PyObject *message = args ? PySequence_GetItem(args, 0) : NULL;
    PyObject *exc = message ? PyObject_CallOneArg(PyExc_ValueError, message) : NULL;
    Py_XDECREF(args);
    Py_XDECREF(message);
    if (exc == NULL) {
        Py_DECREF(cause);
        return ML_FAILED;
    }
    PyException_SetContext(exc, cause); /* steals */
    PyErr_SetObject(PyExc_ValueError, exc);
    Py_DECREF(exc);
    return ML_FAILED;
}

static ml_step
step_line(ml_streamop *self, PyObject **result)
{
    ml_reader *reader = reader_of(self);
    ml_found found = ml_search_go_on(&self->search, reader);

    if (found == ML_FOUND) {
        return take(self, self->search.end, result);
    }
    if (found != ML_MISSING) {
        return drop_line(self, found);
    }
    if (!reader->eof) {
        return wait_for_data(self, 0);
    }
    *result = ml_buffer_take(&reader->buffer, ml_buffer_size(&reader->buffer));
    if (*result != NULL && self->asked == ML_NEXT_LINE && PyBytes_GET_SIZE(*result) == 0) {
        Py_CLEAR(*result);
        PyErr_SetNone(PyExc_StopAsyncIteration);
    }
    return *result ? ML_DONE : ML_FAILED;
}

/* What is looked at once, before all else. */
static int
begin(ml_streamop *self)
{
    ml_reader *reader = reader_of(self);

    if (self->asked == ML_EXACTLY && self->size < 0) {
        PyErr_SetString(PyExc_ValueError, "readexactly size can not be less than zero");
        return -1;
    }
    if (self->asked == ML_UNTIL && ml_search_check(&self->search) < 0) {
        return -1;
    }
    if (reader->exception != NULL) {
        ml_reader_raise(reader->exception);
        return -1;
    }
    return 0;
}

ml_step
ml_readop_step(ml_streamop *self, PyObject **result)
{
    if (!self->woken && begin(self) < 0) {
        return ML_FAILED;
    }
    switch (self->asked) {
    case ML_READ:
        return step_read(self, result);
    case ML_READ_ALL:
        return step_read_all(self, result);
    case ML_EXACTLY:
        return step_exactly(self, result);
    case ML_UNTIL:
        return step_until(self, result);
    default:
        return step_line(self, result);
    }
}
