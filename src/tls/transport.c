/* TLSTransport: its methods and attributes, for the program above and for the transport below. */
#include "tls.h"
#include "../net/transport_api.h"

/* Writes to a lost connection are counted; from this one on they are logged. */
#define LOG_LOST_WRITES_FROM 5

/* ---- for the transport below -------------------------------------------------------------- */

/* What the transport below does where one of its calls fails: no connection is left waiting. */
static int
or_end(ml_tls *self, int rc)
{
    return rc < 0 ? ml_tls_fatal(self, "Fatal error on SSL protocol") : 0;
}

static PyObject *
protocol_connection_made(ml_tls *self, PyObject *transport)
{
    if (self->stage != TLS_NEW || self->closed) { /* it was closed before */
        return PyObject_CallMethod(transport, "abort", NULL);
    }
    ml_tls_attach(self, transport);
    return ml_none_or_error(or_end(self, ml_tls_start_handshake(self)));
}

static PyObject *
protocol_connection_lost(ml_tls *self, PyObject *exc)
{
    PyObject *protocol = self->protocol, *result = Py_NewRef(Py_None);
    bool tell = self->stage != TLS_HANDSHAKE && (self->told == TOLD_MADE || self->told == TOLD_EOF);

    PyObject *error = self->error;

    self->protocol = self->error = NULL;
    exc = error && exc == Py_None ? error : exc;
    ml_tls_lost(self);
    if (tell && protocol != NULL) {
        self->told = TOLD_LOST;
        PyObject *method = PyObject_GetAttr(protocol, self->loop->state->str.connection_lost);
        Py_SETREF(result, method ? PyObject_CallMethod((PyObject *)self->loop, "call_soon", "OO",
                                                       method, exc)
                                 : NULL);
        Py_XDECREF(method);
    }
    Py_XDECREF(protocol);
    PyObject *left = result ? NULL : ml_take_exception();
    Py_XDECREF(result);
    int rc = ml_tls_settle(self, exc == Py_None ? NULL : exc);
    rc = ml_tls_cancel_timer(self) < 0 ? -1 : rc;
    Py_XDECREF(error);
    if (self->unneeded) {
        ml_tls_let_go(self);
    }
    return ml_none_or_error(ml_raise_again(left, rc, (PyObject *)self));
}

/* What other transports receive into: all of it is taken, by buffer_updated(), before the next. */
static PyObject *
protocol_get_buffer(ml_tls *self, PyObject *Py_UNUSED(sizehint))
{
    PyObject *pair = PyObject_GetAttrString((PyObject *)self->loop, "_tls_buffer");
    PyObject *view = pair ? PySequence_GetItem(pair, 1) : NULL;

    Py_XDECREF(pair);
    return view;
}

static PyObject *
feed(ml_tls *self, PyObject *data)
{
    Py_buffer view;

    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    bool kept = ml_tls_out_append(&self->rest, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (!kept) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

static PyObject *
protocol_buffer_updated(ml_tls *self, PyObject *count)
{
    Py_ssize_t size = PyNumber_AsSsize_t(count, PyExc_OverflowError);
    PyObject *buffer = size < 0 ? NULL : protocol_get_buffer(self, NULL);
    PyObject *part = buffer ? PySequence_GetSlice(buffer, 0, size) : NULL;
    PyObject *fed = part ? feed(self, part) : NULL;

    Py_XDECREF(buffer);
    Py_XDECREF(part);
    Py_XDECREF(fed);
    return ml_none_or_error(fed ? ml_tls_arrived(self, NULL, 0) : -1);
}

static int
lower_eof(ml_tls *self)
{
    PyObject *exc;
    int rc;

    self->eof = true;
    switch (self->stage) {
    case TLS_HANDSHAKE:
        exc = PyObject_CallNoArgs(PyExc_ConnectionResetError);
        rc = exc ? ml_tls_handshake_done(self, exc) : -1;
        Py_XDECREF(exc);
        return rc;
    case TLS_OPEN:
        self->stage = TLS_FLUSHING;
        return ml_tls_arrived(self, NULL, 0);
    case TLS_FLUSHING:
    case TLS_SHUTDOWN:
        return ml_tls_arrived(self, NULL, 0);
    default:
        return 0;
    }
}

static PyObject *
protocol_eof_received(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    if (lower_eof(self) < 0) {
        PyObject *exc = ml_take_exception();
        return ml_none_or_error(ml_raise_again(exc, ml_tls_lower_close(self), (PyObject *)self));
    }
    return PyBool_FromLong(self->stage == TLS_FLUSHING && !self->failed);
}

static PyObject *
protocol_pause_writing(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    self->held_back = true;
    Py_RETURN_NONE;
}

static PyObject *
protocol_resume_writing(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    self->held_back = false;
    return ml_none_or_error(ml_tls_native.drained((PyObject *)self));
}

/* ---- writing ----------------------------------------------------------------------------- */

static int
queue_data(ml_tls *self, PyObject *data)
{
    PyObject *bytes = PyBytes_CheckExact(data) ? Py_NewRef(data) : PyBytes_FromObject(data);
    int rc = -1;

    if (bytes != NULL) {
        rc = PyBytes_GET_SIZE(bytes) == 0
                 ? 0
                 : ml_stream_queue(&self->stream, bytes, PyBytes_AS_STRING(bytes),
                                   (size_t)PyBytes_GET_SIZE(bytes));
        Py_DECREF(bytes);
    }
    return rc;
}

static int
check_data(PyObject *data)
{
    if (ml_transport_is_data(data)) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "data: expecting a bytes-like instance, got %s",
                 Py_TYPE(data)->tp_name);
    return -1;
}

/* 1 if a write is dropped, as nothing can be sent any more. */
static int
drop_write(ml_tls *self)
{
    if (self->stage == TLS_HANDSHAKE || (self->stage == TLS_OPEN && !self->failed)) {
        return 0;
    }
    if (self->lost_writes++ >= LOG_LOST_WRITES_FROM) {
        PyObject *done =
            ml_diagnose(self->loop->state, "write_after_lost", "(s)", "SSL connection is closed");
        Py_XDECREF(done);
        return done ? 1 : -1;
    }
    return 1;
}

static PyObject *
tls_write(ml_tls *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const ml_params params = {"write", {"data"}, .places = 1, .needed = 1};
    PyObject *data = ml_take_arg(&params, args, nargs, kwnames);

    if (data == NULL || check_data(data) < 0) {
        return NULL;
    }
    data = ml_transport_plain_data(data);
    Py_ssize_t size = data ? ml_transport_data_size(data) : -1;
    int rc = size < 0 ? -1 : size == 0 ? 1 : drop_write(self);
    if (rc == 0) {
        rc = queue_data(self, data) < 0 ? -1 : ml_stream_queued(&self->stream);
    }
    Py_XDECREF(data);
    return ml_none_or_error(rc < 0 ? -1 : 0);
}

static PyObject *
tls_writelines(ml_tls *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const ml_params params = {"writelines", {"list_of_data"}, .places = 1, .needed = 1};
    PyObject *lines = ml_take_arg(&params, args, nargs, kwnames);

    lines = lines ? ml_transport_plain_lines(lines, check_data) : NULL;
    if (lines == NULL) {
        return NULL;
    }
    uint32_t before = self->stream.len;
    int rc = PyList_GET_SIZE(lines) ? drop_write(self) : 1;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(lines); i++) {
        rc = queue_data(self, PyList_GET_ITEM(lines, i));
    }
    Py_DECREF(lines);
    if (rc < 0) {
        ml_stream_unqueue(&self->stream, before);
    }
    else if (rc == 0 && self->stream.len > before) {
        rc = ml_stream_queued(&self->stream);
    }
    return ml_none_or_error(rc < 0 ? -1 : 0);
}

/* Puts data into the queue, and leaves it there: for asyncio's tests. */
static PyObject *
tls_append(ml_tls *self, PyObject *data)
{
    return ml_none_or_error(check_data(data) < 0 ? -1 : queue_data(self, data));
}

static PyObject *
tls_write_eof(ml_tls *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
    PyErr_SetNone(PyExc_NotImplementedError);
    return NULL;
}

static PyObject *
tls_can_write_eof(ml_tls *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_FALSE;
}

/* ---- flow control ------------------------------------------------------------------------ */

static int
try_now(ml_tls *self)
{
    return ml_stream_untried(&self->stream) ? ml_tls_flush(self) : 0;
}

static PyObject *
tls_get_write_buffer_size(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    if (try_now(self) < 0) {
        return NULL;
    }
    ml_tls_count_below(self);
    return PyLong_FromSize_t(self->stream.queued + self->stream.below);
}

static PyObject *
tls_get_write_buffer_limits(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    return Py_BuildValue("(nn)", (Py_ssize_t)self->stream.low, (Py_ssize_t)self->stream.high);
}

static PyObject *
tls_set_write_buffer_limits(ml_tls *self, PyObject *args, PyObject *kwargs)
{
    if (ml_transport_parse_limits(args, kwargs, "|OO:set_write_buffer_limits", ML_TLS_WRITE_HIGH,
                                  &self->stream.high, &self->stream.low) < 0) {
        return NULL;
    }
    return ml_none_or_error(try_now(self) < 0 ? -1 : ml_tls_check_marks(self));
}

static PyObject *
tls_get_read_buffer_size(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    return PyLong_FromSize_t(self->io.in_len + self->rest.len);
}

static PyObject *
tls_get_read_buffer_limits(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    return Py_BuildValue("(nn)", (Py_ssize_t)self->read_low, (Py_ssize_t)self->read_high);
}

static PyObject *
tls_set_read_buffer_limits(ml_tls *self, PyObject *args, PyObject *kwargs)
{
    return ml_none_or_error(ml_transport_parse_limits(args, kwargs, "|OO:set_read_buffer_limits",
                                                      ML_TLS_READ_HIGH, &self->read_high,
                                                      &self->read_low));
}

static PyObject *
tls_is_reading(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(!self->paused);
}

static PyObject *
tls_pause_reading(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    self->paused = true;
    return ml_none_or_error(ml_tls_steer(self));
}

static PyObject *
tls_resume_reading(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    if (!self->paused) {
        Py_RETURN_NONE;
    }
    self->paused = false;
    bool waits = self->stage >= TLS_OPEN && self->stage < TLS_OVER &&
                 (self->rest.len > 0 || self->stage == TLS_FLUSHING || ml_tls_has_input(self));
    if (waits && ml_tls_go_on_later(self) < 0) {
        return NULL;
    }
    return ml_none_or_error(ml_tls_steer(self));
}

/* ---- ending ------------------------------------------------------------------------------ */

static PyObject *
tls_close(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    if (self->closed) { /* for the second time: the program needs nothing of it */
        self->unneeded = true;
        ml_tls_let_go(self);
        Py_RETURN_NONE;
    }
    self->closed = true;
    return ml_none_or_error(ml_tls_start_shutdown(self));
}

static PyObject *
tls_is_closing(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    if (try_now(self) < 0) { /* StreamWriter.drain() asks: what was written is on its way */
        return NULL;
    }
    return PyBool_FromLong(self->closed || self->failed || ml_tls_lower_is_closing(self));
}

static PyObject *
tls_force_close(ml_tls *self, PyObject *exc)
{
    if (self->stage == TLS_NEW && self->lower == NULL) {
        self->closed = true;
        Py_RETURN_NONE;
    }
    return ml_none_or_error(ml_tls_abort(self, exc == Py_None ? NULL : exc));
}

static PyObject *
tls_abort(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    return tls_force_close(self, Py_None);
}

/* ---- what is scheduled ------------------------------------------------------------------- */

static PyObject *
tls_go_on(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    return ml_none_or_error(ml_tls_go_on(self));
}

static PyObject *
tls_check_handshake_timeout(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    return ml_none_or_error(ml_tls_timed_out(self, true));
}

static PyObject *
tls_check_shutdown_timeout(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    return ml_none_or_error(ml_tls_timed_out(self, false));
}

/* ---- protocol and attributes ------------------------------------------------------------- */

static PyObject *
tls_get_protocol(ml_tls *self, PyObject *Py_UNUSED(unused))
{
    return Py_NewRef(self->protocol ? self->protocol : Py_None);
}

static PyObject *
tls_set_protocol(ml_tls *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const ml_params params = {"set_protocol", {"protocol"}, .places = 1, .needed = 1};
    PyObject *protocol = ml_take_arg(&params, args, nargs, kwnames);

    return protocol ? ml_none_or_error(ml_tls_set_protocol(self, protocol)) : NULL;
}

/* What the SSLObject tells once the handshake is done: a new reference, NULL without an exception
 * for what it is not asked. */
static PyObject *
ask_for_info(ml_tls *self, PyObject *name)
{
    if (PyUnicode_CompareWithASCIIString(name, "sslcontext") == 0) {
        return Py_XNewRef(self->context);
    }
    if (self->object == NULL || !self->shook_hands) {
        return NULL;
    }
    if (PyUnicode_CompareWithASCIIString(name, "ssl_object") == 0) {
        return Py_NewRef(self->object);
    }
    if (PyUnicode_CompareWithASCIIString(name, "peercert") == 0) {
        if (self->peercert == NULL) {
            self->peercert = PyObject_CallMethod(self->object, "getpeercert", NULL);
        }
        return Py_XNewRef(self->peercert);
    }
    if (PyUnicode_CompareWithASCIIString(name, "cipher") == 0 ||
        PyUnicode_CompareWithASCIIString(name, "compression") == 0) {
        return PyObject_CallMethodNoArgs(self->object, name);
    }
    return NULL;
}

static PyObject *
tls_get_extra_info(ml_tls *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"name", "default", NULL};
    PyObject *name, *fallback = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:get_extra_info", keywords, &name,
                                     &fallback)) {
        return NULL;
    }
    PyObject *value = PyUnicode_Check(name) ? ask_for_info(self, name) : NULL;
    if (value != NULL || PyErr_Occurred()) {
        return value;
    }
    if (self->lower == NULL) {
        return Py_NewRef(fallback);
    }
    return PyObject_CallMethod(self->lower, "get_extra_info", "OO", name, fallback);
}

PyObject *
ml_tls_repr(ml_tls *self)
{
    static const char *const stages[] = {"new",     "handshake", "open",
                                         "closing", "closing",   "closed"};

    return PyUnicode_FromFormat("<%s %s over %S>", Py_TYPE(self)->tp_name, stages[self->stage],
                                self->lower ? self->lower : Py_None);
}

static PyObject *
get_object(PyObject *object)
{
    return Py_NewRef(object ? object : Py_None);
}

#define GETTER(name, object)                                \
    static PyObject *get_##name(ml_tls *self, void *unused) \
    {                                                       \
        (void)unused;                                       \
        return get_object((PyObject *)(object));            \
    }

GETTER(itself, self)
GETTER(transport, self->lower == NULL && self->stage == TLS_OVER ? NULL : self)
GETTER(lower, self->lower)
GETTER(protocol, self->protocol)
GETTER(loop, self->loop)
GETTER(object_attr, self->object)
GETTER(context, self->context)

/* As programs ask: isinstance(transport, asyncio.sslproto._SSLProtocolTransport). */
static PyObject *
get_class(ml_tls *self, void *Py_UNUSED(unused))
{
    return Py_NewRef(self->loop->state->aio->SSLTransport);
}

PyGetSetDef ml_tls_getset[] = {
    {"__class__", (getter)get_class, NULL, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {"_ssl_protocol", (getter)get_itself, NULL, NULL, NULL},
    {"_app_transport", (getter)get_transport, NULL, NULL, NULL},
    {"_transport", (getter)get_lower, NULL, NULL, NULL},
    {"_app_protocol", (getter)get_protocol, NULL, NULL, NULL},
    {"_loop", (getter)get_loop, NULL, NULL, NULL},
    {"_sslobj", (getter)get_object_attr, NULL, NULL, NULL},
    {"_sslcontext", (getter)get_context, NULL, NULL, NULL},
    {NULL},
};

PyMemberDef ml_tls_members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(ml_tls, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ml_tls, weaklist), READONLY, NULL},
    {"_closed", T_BOOL, offsetof(ml_tls, closed), READONLY, NULL},
    {"_conn_lost", T_INT, offsetof(ml_tls, lost_writes), READONLY, NULL},
    {"_app_reading_paused", T_BOOL, offsetof(ml_tls, paused), READONLY, NULL},
    {"_app_writing_paused", T_BOOL, offsetof(ml_tls, stream.paused), READONLY, NULL},
    {"_protocol_paused", T_BOOL, offsetof(ml_tls, stream.paused), READONLY, NULL},
    {NULL},
};

PyMethodDef ml_tls_methods[] = {
    ML_NOARGS("is_closing", tls_is_closing, "True from close() or abort() on."),
    ML_NOARGS("get_protocol", tls_get_protocol, "The protocol; None once it is lost."),
    ML_ARGS("set_protocol", tls_set_protocol,
            "set_protocol($self, /, protocol)\n--\n\nReplaces the protocol."),
    ML_KEYWORDS("get_extra_info", tls_get_extra_info,
                "get_extra_info($self, /, name, default=None)\n--\n\n"
                "'ssl_object', 'sslcontext', 'peercert', 'cipher' and 'compression', and what the "
                "transport below has."),
    ML_NOARGS("close", tls_close,
              "Sends what is queued, ends TLS, then calls connection_lost(None)."),
    ML_NOARGS("abort", tls_abort, "Drops what is queued and calls connection_lost(None)."),
    ML_NOARGS("pause_reading", tls_pause_reading, "Stops handing over what arrives."),
    ML_NOARGS("resume_reading", tls_resume_reading, "Ends a pause_reading()."),
    ML_NOARGS("is_reading", tls_is_reading, "True unless paused."),
    ML_ARGS("write", tls_write,
            "write($self, /, data)\n--\n\nSends bytes-like data; never blocks."),
    ML_ARGS("writelines", tls_writelines,
            "writelines($self, /, list_of_data)\n--\n\nSends an iterable of data in one go."),
    ML_NOARGS("get_write_buffer_size", tls_get_write_buffer_size, "Bytes not sent yet."),
    ML_NOARGS("get_write_buffer_limits", tls_get_write_buffer_limits, "(low, high) in bytes."),
    ML_KEYWORDS("set_write_buffer_limits", tls_set_write_buffer_limits,
                "set_write_buffer_limits($self, /, high=None, low=None)\n--\n\n"
                "Sets the water marks for pause_writing() and resume_writing(), in bytes."),
    ML_NOARGS("get_read_buffer_size", tls_get_read_buffer_size,
              "Bytes received and not decrypted yet."),
    ML_NOARGS("get_read_buffer_limits", tls_get_read_buffer_limits, "(low, high) in bytes."),
    ML_KEYWORDS("set_read_buffer_limits", tls_set_read_buffer_limits,
                "set_read_buffer_limits($self, /, high=None, low=None)\n--\n\n"
                "Sets how many bytes are received before they are decrypted."),
    ML_NOARGS("can_write_eof", tls_can_write_eof, "False: TLS has no half-closed connections."),
    ML_NOARGS("write_eof", tls_write_eof, "Raises NotImplementedError."),
    {"connection_made", (PyCFunction)protocol_connection_made, METH_O, NULL},
    {"connection_lost", (PyCFunction)protocol_connection_lost, METH_O, NULL},
    {"get_buffer", (PyCFunction)protocol_get_buffer, METH_O, NULL},
    {"buffer_updated", (PyCFunction)protocol_buffer_updated, METH_O, NULL},
    {"eof_received", (PyCFunction)protocol_eof_received, METH_NOARGS, NULL},
    {"pause_writing", (PyCFunction)protocol_pause_writing, METH_NOARGS, NULL},
    {"resume_writing", (PyCFunction)protocol_resume_writing, METH_NOARGS, NULL},
    {"_feed", (PyCFunction)feed, METH_O, NULL},
    {"_force_close", (PyCFunction)tls_force_close, METH_O, NULL},
    {"_test__append_write_backlog", (PyCFunction)tls_append, METH_O, NULL},
    {"_go_on", (PyCFunction)tls_go_on, METH_NOARGS, NULL},
    {"_check_handshake_timeout", (PyCFunction)tls_check_handshake_timeout, METH_NOARGS, NULL},
    {"_check_shutdown_timeout", (PyCFunction)tls_check_shutdown_timeout, METH_NOARGS, NULL},
    {"_open", (PyCFunction)ml_tls_open, METH_VARARGS | METH_CLASS, NULL},
    {"_wrap", (PyCFunction)ml_tls_wrap, METH_VARARGS | METH_CLASS, NULL},
    {"__reduce__", ml_no_pickle, METH_NOARGS, NULL},
    {NULL},
};
