/* The methods and attributes of transports; see transport_api.h for which kind has which. */
#include "transport_api.h"
#include "transport.h"

#include <errno.h>

/* Writes to a lost connection are counted; from this one on they are logged (stock asyncio's
 * LOG_THRESHOLD_FOR_CONNLOST_WRITES). */
#define LOG_LOST_WRITES_FROM 5

/* ---- writing ----------------------------------------------------------------------------- */

PyObject *
ml_transport_plain_data(PyObject *data)
{
    return PyBytes_CheckExact(data) || PyByteArray_CheckExact(data) || PyMemoryView_Check(data)
               ? Py_NewRef(data)
               : PyBytes_FromObject(data);
}

/* Queues plain data. Bytes are kept by reference, what may change is copied. */
static int
queue_data(ml_transport *self, PyObject *data)
{
    PyObject *bytes = PyBytes_CheckExact(data) ? Py_NewRef(data) : PyBytes_FromObject(data);

    if (bytes == NULL) {
        return -1;
    }
    int rc = ml_stream_queue(&self->stream, bytes, PyBytes_AS_STRING(bytes),
                             (size_t)PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    return rc;
}

/* Sends data of `size` bytes, which only has to be kept if the socket does not take all of it. */
static int
send_data(ml_transport *self, PyObject *data, const char *start, size_t size)
{
    ml_stream *stream = &self->stream;
    ssize_t sent = ml_stream_send(stream, start, size);

    if (sent == (ssize_t)size) {
        return 0;
    }
    if (sent < 0 && sent != -EAGAIN) {
        return stream->sink->write_failed(stream, (int)-sent);
    }
    size_t done = sent < 0 ? 0 : (size_t)sent;
    PyObject *rest = PyBytes_CheckExact(data)
                         ? Py_NewRef(data)
                         : PyBytes_FromStringAndSize(start + done, (Py_ssize_t)(size - done));
    if (rest == NULL) { /* part of it is on its way, and must be neither the end nor sent again */
        return done > 0 ? ml_transport_fatal(self, self->kind->write_failed) : -1;
    }
    const char *where = rest == data ? start + done : PyBytes_AS_STRING(rest);
    int rc = ml_stream_queue(stream, rest, where, size - done);
    assert(rc == 0); /* an empty queue has room for one */
    Py_DECREF(rest);
    return rc < 0 ? rc : ml_stream_block(stream);
}

static int
send_or_queue(ml_transport *self, PyObject *data)
{
    ml_stream *stream = &self->stream;
    Py_buffer view;

    if (!ml_stream_sends(stream, (size_t)ml_transport_data_size(data))) {
        return queue_data(self, data) < 0 ? -1 : ml_stream_queued(stream);
    }
    if (PyBytes_CheckExact(data)) {
        return send_data(self, data, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_FULL_RO) < 0) {
        return -1;
    }
    int rc;
    if (PyBuffer_IsContiguous(&view, 'C')) {
        rc = send_data(self, data, view.buf, (size_t)view.len);
    }
    else {
        rc = queue_data(self, data) < 0 ? -1 : ml_stream_queued(stream);
    }
    PyBuffer_Release(&view);
    return rc;
}

static int
check_writable(ml_transport *self, const char *method)
{
    if (self->eof_sent) {
        PyErr_Format(PyExc_RuntimeError, "Cannot call %s() after write_eof()", method);
        return -1;
    }
    if (self->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "unable to write; sendfile is in progress");
        return -1;
    }
    return 0;
}

int
ml_transport_count_lost_write(ml_transport *self)
{
    if (ml_transport_is_lost(self) + self->lost_writes++ < LOG_LOST_WRITES_FROM) {
        return 0;
    }
    PyObject *result =
        ml_diagnose(self->loop->state, "write_after_lost", "(s)", self->kind->lost_write);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static bool
drops_writes(ml_transport *self)
{
    return ml_transport_is_lost(self) || self->stream.fd < 0 ||
           (self->kind->write_only && ml_transport_is_closing(self));
}

/* 1 if a write is dropped, as nothing can be sent any more; -1: must leave. */
static int
drop_write(ml_transport *self)
{
    if (!drops_writes(self)) {
        int gone = ml_transport_check_owned(self);
        if (gone || !drops_writes(self)) { /* the file object's fileno() may have ended it */
            return gone;
        }
    }
    return ml_transport_count_lost_write(self) < 0 ? -1 : 1;
}

bool
ml_transport_is_data(PyObject *data)
{
    return PyBytes_Check(data) || PyByteArray_Check(data) || PyMemoryView_Check(data);
}

Py_ssize_t
ml_transport_data_size(PyObject *data)
{
    if (PyBytes_Check(data)) {
        return PyBytes_GET_SIZE(data);
    }
    if (PyByteArray_Check(data)) {
        return PyByteArray_GET_SIZE(data);
    }
    return PyObject_Size(data) < 0 ? -1 : PyMemoryView_GET_BUFFER(data)->len;
}

int
ml_transport_type_error(PyObject *data)
{
    PyErr_Format(PyExc_TypeError, "data argument must be a bytes-like object, not '%s'",
                 Py_TYPE(data)->tp_name);
    return -1;
}

PyObject *
ml_transport_py_write(ml_transport *self, PyObject *const *args, Py_ssize_t nargs,
                      PyObject *kwnames)
{
    static const ml_params params = {"write", {"data"}, .places = 1, .needed = 1};
    PyObject *data = ml_take_arg(&params, args, nargs, kwnames);

    if (data == NULL) {
        return NULL;
    }
    if (!ml_transport_is_data(data)) {
        ml_transport_type_error(data);
        return NULL;
    }
    data = ml_transport_plain_data(data);
    int rc = data ? check_writable(self, "write") : -1;
    Py_ssize_t size = rc == 0 ? ml_transport_data_size(data) : 0;
    rc = size < 0 ? -1 : rc;
    if (size > 0 && (rc = drop_write(self)) == 0) {
        rc = send_or_queue(self, data);
    }
    Py_XDECREF(data);
    return ml_none_or_error(rc < 0 ? -1 : 0);
}

static int
check_data(PyObject *data)
{
    return ml_transport_is_data(data) ? 0 : ml_transport_type_error(data);
}

PyObject *
ml_transport_plain_lines(PyObject *lines, int (*check)(PyObject *))
{
    PyObject *list = PySequence_List(lines);
    Py_ssize_t count = list ? PyList_GET_SIZE(list) : 0;

    for (Py_ssize_t i = 0; i < count; i++) {
        if (check(PyList_GET_ITEM(list, i)) < 0) {
            Py_CLEAR(list);
            break;
        }
    }
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        PyObject *data = ml_transport_plain_data(PyList_GET_ITEM(list, i));
        if (data == NULL || PyList_SetItem(list, i, data) < 0 || ml_transport_data_size(data) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* In place of them, where each is a message: all in one, as asyncio's pipes send them. */
static PyObject *
joined(PyObject *lines)
{
    PyObject *nothing = PyBytes_FromStringAndSize(NULL, 0);
    PyObject *data = nothing ? PyObject_CallMethod(nothing, "join", "O", lines) : NULL;
    PyObject *list = data ? PyList_New(1) : NULL;

    if (list != NULL) {
        PyList_SET_ITEM(list, 0, Py_NewRef(data));
    }
    Py_XDECREF(data);
    Py_XDECREF(nothing);
    return list;
}

/* All of them, or none. */
static int
queue_lines(ml_transport *self, PyObject *lines)
{
    uint32_t before = self->stream.len;
    int rc = 0;

    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(lines); i++) {
        PyObject *data = PyList_GET_ITEM(lines, i);
        rc = ml_transport_data_size(data) > 0 ? queue_data(self, data) : 0;
    }
    if (rc < 0) {
        ml_stream_unqueue(&self->stream, before);
        return -1;
    }
    return self->stream.len > before ? ml_stream_queued(&self->stream) : 0;
}

PyObject *
ml_transport_py_writelines(ml_transport *self, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *kwnames)
{
    static const ml_params params = {"writelines", {"list_of_data"}, .places = 1, .needed = 1};
    PyObject *lines = ml_take_arg(&params, args, nargs, kwnames);

    if (lines == NULL || check_writable(self, "writelines") < 0) {
        return NULL;
    }
    lines = ml_transport_plain_lines(lines, check_data);
    if (lines != NULL && self->stream.calls->messages) {
        Py_SETREF(lines, joined(lines));
    }
    int rc = lines ? check_writable(self, "writelines") : -1; /* again: who makes them may end it */
    if (rc == 0 && PyList_GET_SIZE(lines) > 0 && (rc = drop_write(self)) == 0) {
        rc = queue_lines(self, lines);
    }
    Py_XDECREF(lines);
    return ml_none_or_error(rc < 0 ? -1 : 0);
}

int
ml_transport_try_now(ml_transport *self)
{
    return ml_stream_untried(&self->stream) ? ml_stream_flush(&self->stream) : 0;
}

static PyObject *
transport_write_eof(ml_transport *self, PyObject *Py_UNUSED(unused))
{
    if (ml_transport_is_closing(self) || self->eof_sent) {
        Py_RETURN_NONE;
    }
    if (ml_transport_try_now(self) < 0) {
        return NULL;
    }
    if (ml_transport_is_closing(self)) { /* that found the peer gone */
        Py_RETURN_NONE;
    }
    self->eof_sent = true;
    if (self->stream.queued == 0 && self->stream.fd >= 0) {
        int gone = ml_transport_check_owned(self);
        int rc = gone ? -EBADF : ml_sock_shutdown_write(self->stream.fd);
        if (gone >= 0 && rc < 0) {
            ml_os_error(-rc);
        }
        return ml_none_or_error(rc < 0 ? -1 : 0);
    }
    Py_RETURN_NONE;
}

PyObject *
ml_transport_py_can_write_eof(ml_transport *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_TRUE;
}

/* ---- flow control ------------------------------------------------------------------------ */

PyObject *
ml_transport_py_get_write_buffer_size(ml_transport *self, PyObject *Py_UNUSED(unused))
{
    if (ml_transport_try_now(self) < 0) {
        return NULL;
    }
    return PyLong_FromSize_t(self->stream.queued);
}

PyObject *
ml_transport_py_get_write_buffer_limits(ml_transport *self, PyObject *Py_UNUSED(unused))
{
    return Py_BuildValue("(nn)", (Py_ssize_t)self->stream.low, (Py_ssize_t)self->stream.high);
}

/* A mark, or -1 with an exception (or a mark of -1): a float does, too, such as 1e6 or infinity. */
static Py_ssize_t
get_mark(PyObject *number)
{
    if (!PyFloat_Check(number)) {
        return PyNumber_AsSsize_t(number, NULL);
    }
    double bytes = PyFloat_AS_DOUBLE(number);
    if (bytes >= (double)PY_SSIZE_T_MAX) {
        return PY_SSIZE_T_MAX;
    }
    return bytes >= 0. ? (Py_ssize_t)bytes : -1; /* NaN is as wrong as less than nothing */
}

int
ml_transport_parse_limits(PyObject *args, PyObject *kwargs, const char *format, size_t usual,
                          size_t *high_mark, size_t *low_mark)
{
    static char *keywords[] = {"high", "low", NULL};
    PyObject *high_arg = Py_None, *low_arg = Py_None;
    Py_ssize_t high, low;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, keywords, &high_arg, &low_arg)) {
        return -1;
    }
    low = low_arg == Py_None ? -1 : get_mark(low_arg);
    high = high_arg == Py_None ? -1 : get_mark(high_arg);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (high_arg == Py_None) {
        high = low_arg == Py_None         ? (Py_ssize_t)usual
               : low > PY_SSIZE_T_MAX / 4 ? PY_SSIZE_T_MAX
                                          : 4 * low;
    }
    if (low_arg == Py_None) {
        low = high >= 0 ? high / 4 : -1;
    }
    if (high < low || low < 0) {
        PyErr_Format(PyExc_ValueError, "high (%zd) must be >= low (%zd) must be >= 0", high, low);
        return -1;
    }
    *high_mark = (size_t)high;
    *low_mark = (size_t)low;
    return 0;
}

PyObject *
ml_transport_py_set_write_buffer_limits(ml_transport *self, PyObject *args, PyObject *kwargs)
{
    ml_stream *stream = &self->stream;

    if (ml_transport_parse_limits(args, kwargs, "|OO:set_write_buffer_limits", 65536, &stream->high,
                                  &stream->low) < 0) {
        return NULL;
    }
    if (!stream->paused && stream->queued > stream->high) {
        if (ml_transport_try_now(self) < 0 || ml_stream_check_marks(stream) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

PyObject *
ml_transport_py_pause_reading(ml_transport *self, PyObject *Py_UNUSED(unused))
{
    if (ml_transport_is_closing(self) || self->reading_paused) {
        Py_RETURN_NONE;
    }
    self->reading_paused = true;
    ml_stream_stop_reading(&self->stream);
    return ml_none_or_error(ml_transport_log(self, "pauses_reading"));
}

PyObject *
ml_transport_py_resume_reading(ml_transport *self, PyObject *Py_UNUSED(unused))
{
    if (ml_transport_is_closing(self) || !self->reading_paused) {
        Py_RETURN_NONE;
    }
    /* Before connection_made() it is start() that begins to read; after EOF nothing comes. */
    if (self->life == ML_OPEN && !self->eof_received && ml_stream_read(&self->stream) < 0) {
        return NULL;
    }
    self->reading_paused = false;
    return ml_none_or_error(ml_transport_log(self, "resumes_reading"));
}

PyObject *
ml_transport_py_is_reading(ml_transport *self, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(!ml_transport_is_closing(self) && !self->reading_paused);
}

/* ---- ending ------------------------------------------------------------------------------ */

PyObject *
ml_transport_py_close(ml_transport *self, PyObject *Py_UNUSED(unused))
{
    return ml_none_or_error(ml_transport_close(self));
}

PyObject *
ml_transport_py_is_closing(ml_transport *self, PyObject *Py_UNUSED(unused))
{
    /* StreamWriter.drain() asks, which promises that what was written is on its way; and a peer
     * that is gone shows. */
    if (ml_transport_try_now(self) < 0) {
        return NULL;
    }
    return PyBool_FromLong(ml_transport_is_closing(self));
}

/* Drops what the socket does not take now. */
static PyObject *
transport_force_close(ml_transport *self, PyObject *exc)
{
    return ml_none_or_error(ml_transport_force_close(self, exc));
}

PyObject *
ml_transport_py_abort(ml_transport *self, PyObject *Py_UNUSED(unused))
{
    return ml_none_or_error(ml_transport_force_close(self, NULL));
}

static PyObject *
transport_fatal_error(ml_transport *self, PyObject *args)
{
    PyObject *exc;
    const char *message = "Fatal error on transport";

    if (!PyArg_ParseTuple(args, "O|s:_fatal_error", &exc, &message)) {
        return NULL;
    }
    if (!PyExceptionInstance_Check(exc)) {
        return PyErr_Format(PyExc_TypeError, "an exception is needed, not %R", exc);
    }
    ml_raise(Py_NewRef(exc));
    return ml_none_or_error(ml_transport_fatal(self, message));
}

/* ---- protocol and attributes ------------------------------------------------------------- */

PyObject *
ml_transport_py_get_protocol(ml_transport *self, PyObject *Py_UNUSED(unused))
{
    return Py_NewRef(self->protocol ? self->protocol : Py_None);
}

PyObject *
ml_transport_py_set_protocol(ml_transport *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames)
{
    static const ml_params params = {"set_protocol", {"protocol"}, .places = 1, .needed = 1};
    PyObject *protocol = ml_take_arg(&params, args, nargs, kwnames);

    return protocol ? ml_none_or_error(ml_transport_set_protocol(self, protocol)) : NULL;
}

PyObject *
ml_transport_repr(ml_transport *self)
{
    const char *state = ml_transport_is_closing(self) ? " closing"
                        : self->kind->is_socket       ? ""
                                                      : " open";

    if (self->stream.fd < 0) {
        return PyUnicode_FromFormat("<%s closed>", Py_TYPE(self)->tp_name);
    }
    return PyUnicode_FromFormat("<%s%s fd=%d read=%s write=<%s, bufsize=%zu>>",
                                Py_TYPE(self)->tp_name, state, self->stream.fd,
                                self->stream.reading ? "polling" : "idle",
                                self->stream.blocked ? "polling" : "idle", self->stream.queued);
}

static PyObject *
transport_get_sock(ml_transport *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->stream.fd >= 0 && self->sock ? self->sock : Py_None);
}

static PyObject *
transport_get_extra(ml_transport *self, void *Py_UNUSED(closure))
{
    return ml_transport_fill_extra(self) < 0 ? NULL : Py_NewRef(self->extra);
}

static PyObject *
transport_get_closing(ml_transport *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(ml_transport_is_closing(self));
}

static PyObject *
transport_get_conn_lost(ml_transport *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(ml_transport_is_lost(self));
}

static PyObject *
transport_get_max_size(ml_transport *self, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(self->max_size);
}

static int
transport_set_max_size(ml_transport *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (value == NULL) { /* asyncio's is the class's then */
        self->max_size = ML_SCRATCH_SIZE;
        return 0;
    }
    Py_ssize_t size = PyNumber_AsSsize_t(value, NULL); /* cut to what there is */
    if (size == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (size < 1) {
        PyErr_Format(PyExc_ValueError, "max_size must be positive, not %zd", size);
        return -1;
    }
    self->max_size = (size_t)size;
    return 0;
}

PyGetSetDef ml_transport_getset[] = {
    {"max_size", (getter)transport_get_max_size, (setter)transport_set_max_size,
     PyDoc_STR("How many bytes are received at once at most."), NULL},
    {"_closing", (getter)transport_get_closing, NULL, NULL, NULL},
    {"_conn_lost", (getter)transport_get_conn_lost, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_extra", (getter)transport_get_extra, NULL, NULL, NULL},
    {"_sock", (getter)transport_get_sock, NULL, NULL, NULL},
    {NULL},
};

PyMemberDef ml_transport_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(ml_transport, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ml_transport, weaklist), READONLY, NULL},
    {"_loop", T_OBJECT, offsetof(ml_transport, loop), READONLY, NULL},
    {"_protocol", T_OBJECT, offsetof(ml_transport, protocol), READONLY, NULL},
    {"_server", T_OBJECT, offsetof(ml_transport, server), READONLY, NULL},
    {"_sock_fd", T_INT, offsetof(ml_transport, stream.fd), READONLY, NULL},
    {"_paused", T_BOOL, offsetof(ml_transport, reading_paused), READONLY, NULL},
    {"_eof", T_BOOL, offsetof(ml_transport, eof_sent), READONLY, NULL},
    {"_protocol_paused", T_BOOL, offsetof(ml_transport, stream.paused), READONLY, NULL},
    {NULL},
};

PyMethodDef ml_stream_methods[] = {
    ML_TRANSPORT_METHODS,
    ML_NOARGS("close", ml_transport_py_close,
              "Sends what is queued, then calls connection_lost(None)."),
    ML_NOARGS("abort", ml_transport_py_abort,
              "Drops what is queued and calls connection_lost(None)."),
    ML_READ_METHODS,
    ML_WRITE_METHODS,
    ML_FLOW_METHODS,
    ML_NOARGS("can_write_eof", ml_transport_py_can_write_eof, "True."),
    ML_NOARGS("write_eof", transport_write_eof,
              "Half-closes: the peer sees EOF after all is sent."),
    {"_make_empty_waiter", (PyCFunction)ml_transport_py_make_empty_waiter, METH_NOARGS, NULL},
    {"_make_lost_waiter", (PyCFunction)ml_transport_py_make_lost_waiter, METH_NOARGS, NULL},
    {"_reset_empty_waiter", (PyCFunction)ml_transport_py_reset_empty_waiter, METH_NOARGS, NULL},
    {"_is_ours", (PyCFunction)ml_transport_py_is_ours, METH_NOARGS, NULL},
    {"_force_close", (PyCFunction)transport_force_close, METH_O, NULL},
    {"_fatal_error", (PyCFunction)transport_fatal_error, METH_VARARGS, NULL},
    {NULL},
};
