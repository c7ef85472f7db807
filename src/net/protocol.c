/* How a transport reads, and calls its protocol: Protocol.data_received, or BufferedProtocol's
 * get_buffer and buffer_updated. Methods are looked up at each call, as programs replace them. */
#include "recv.h"
#include "transport.h"

#include <assert.h>
#include <errno.h>

static ml_transport *
transport_of(ml_stream *stream)
{
    return ML_CONTAINER_OF(stream, ml_transport, stream);
}

PyObject *
ml_transport_call(ml_transport *self, PyObject *name, PyObject *arg)
{
    assert(self->protocol != NULL && !PyErr_Occurred());
    PyObject *protocol = Py_NewRef(self->protocol); /* which may give the transport another one */
    PyObject *result = arg ? PyObject_CallMethodOneArg(protocol, name, arg)
                           : PyObject_CallMethodNoArgs(protocol, name);

    Py_DECREF(protocol);
    return result;
}

static int
has(PyObject *protocol, PyObject *name)
{
    PyObject *method = PyObject_GetAttr(protocol, name);

    if (method == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
            return -1;
        }
        PyErr_Clear();
        return 0;
    }
    Py_DECREF(method);
    return 1;
}

/* As asyncio, by its class. One of neither class is asked what it has: those that are written in C
 * can have no such base, and uvloop takes them. */
int
ml_transport_is_buffered(const ml_state *state, PyObject *protocol)
{
    int is = PyObject_IsInstance(protocol, state->aio->BufferedProtocol);

    if (is) {
        return is;
    }
    is = PyObject_IsInstance(protocol, state->aio->Protocol);
    if (is == 0) {
        is = has(protocol, state->str.data_received);
    }
    return is ? (is < 0 ? -1 : 0) : has(protocol, state->str.get_buffer);
}

const ml_native *
ml_transport_native_of(const ml_state *state, PyObject *protocol)
{
    if (Py_IS_TYPE(protocol, state->TLSTransport)) {
        return state->aio->native;
    }
    return (PyObject *)Py_TYPE(protocol) == state->aio->stream_protocol ? state->aio->stream_native
                                                                        : NULL;
}

int
ml_transport_set_protocol(ml_transport *self, PyObject *protocol)
{
    ml_state *state = self->loop->state;
    int buffered = ml_transport_is_buffered(state, protocol);

    if (buffered < 0) {
        return -1;
    }
    self->buffered = buffered;
    self->native = ml_transport_native_of(state, protocol);
    Py_XSETREF(self->protocol, Py_NewRef(protocol));
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------- */

static int
read_failed(ml_transport *self, int error)
{
    return error == EAGAIN || error == EWOULDBLOCK ? 0 : self->kind->read_error(self, error);
}

static int
stream_read_error(ml_transport *self, int error)
{
    ml_os_error(error);
    return ml_transport_fatal(self, self->kind->read_failed);
}

static int
stream_eof(ml_transport *self)
{
    if (ml_transport_log(self, "received_eof") < 0) {
        return -1;
    }
    self->eof_received = true;
    PyObject *keep = ml_transport_call(self, self->loop->state->str.eof_received, NULL);
    int keep_open = keep ? PyObject_IsTrue(keep) : -1;
    Py_XDECREF(keep);
    if (keep_open < 0) {
        return ml_transport_fatal(self, "Fatal error: protocol.eof_received() call failed.");
    }
    if (keep_open) {
        ml_stream_stop_reading(&self->stream);
        return 0;
    }
    return ml_transport_close(self);
}

/* Only a socket is read on: a terminal tells its end once. */
static int *
place_of_error(ml_transport *self)
{
    return self->kind->is_socket ? &self->stream.read_error : NULL;
}

static int
hand_over(ml_transport *self, PyObject *data)
{
    if (self->native != NULL) {
        PyObject *protocol = Py_NewRef(self->protocol);
        int rc = self->native->received(protocol, data);
        Py_DECREF(protocol);
        return rc;
    }
    PyObject *result = ml_transport_call(self, self->loop->state->str.data_received, data);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int
read_protocol(ml_transport *self)
{
    ml_stream *stream = &self->stream;
    int error = 0;
    PyObject *data = ml_recv_bytes(self->loop, stream->calls, stream->fd, self->max_size,
                                   stream->expected, place_of_error(self), &error);

    if (data == NULL) {
        if (error) {
            return read_failed(self, error);
        }
        return ml_transport_fatal(self, self->kind->read_failed);
    }
    self->loop->meter->bytes_in += (size_t)PyBytes_GET_SIZE(data);
    ml_recv_expect(&stream->expected, (size_t)PyBytes_GET_SIZE(data));
    if (PyBytes_GET_SIZE(data) == 0) {
        Py_DECREF(data);
        return self->kind->eof(self);
    }
    int rc = hand_over(self, data);
    Py_DECREF(data);
    return rc < 0 ? self->kind->receiver_failed(
                        self, "Fatal error: protocol.data_received() call failed.")
                  : 0;
}

int
ml_transport_take_buffer(PyObject *buffer, Py_buffer *view)
{
    int rc = buffer ? PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE) : -1;

    Py_XDECREF(buffer);
    if (rc == 0 && view->len == 0) {
        PyBuffer_Release(view);
        PyErr_SetString(PyExc_RuntimeError, "get_buffer() returned an empty buffer");
        rc = -1;
    }
    return rc;
}

static int
read_buffered(ml_transport *self)
{
    Py_buffer view;
    PyObject *hint = PyLong_FromLong(-1);
    PyObject *buffer =
        hint ? ml_transport_call(self, self->loop->state->str.get_buffer, hint) : NULL;

    Py_XDECREF(hint);
    if (ml_transport_take_buffer(buffer, &view) < 0) {
        return self->kind->receiver_failed(self, "Fatal error: protocol.get_buffer() call failed.");
    }
    int gone = ml_transport_check_owned(self); /* get_buffer() may have closed us, or the socket */
    if (gone || self->stream.fd < 0 || !self->stream.reading) {
        PyBuffer_Release(&view);
        return gone < 0 ? -1 : 0;
    }
    ml_stream *stream = &self->stream;
    ssize_t got = ml_recv_stream(stream->calls, stream->fd, view.buf, (size_t)view.len,
                                 stream->expected, place_of_error(self));
    PyBuffer_Release(&view);
    if (got < 0) {
        return read_failed(self, (int)-got);
    }
    if (got == 0) {
        return self->kind->eof(self);
    }
    self->loop->meter->bytes_in += (size_t)got;
    ml_recv_expect(&stream->expected, (size_t)got);
    PyObject *count = PyLong_FromSsize_t(got);
    PyObject *result =
        count ? ml_transport_call(self, self->loop->state->str.buffer_updated, count) : NULL;
    Py_XDECREF(count);
    if (result == NULL) {
        return self->kind->receiver_failed(self,
                                           "Fatal error: protocol.buffer_updated() call failed.");
    }
    Py_DECREF(result);
    return 0;
}

static int
read_native(ml_transport *self)
{
    ml_stream *stream = &self->stream;
    size_t size;
    char *buffer = self->native->get_buffer(self->protocol, &size);

    if (buffer == NULL) {
        return ml_transport_fatal(self, self->kind->read_failed);
    }
    ssize_t got = stream->calls->recv(stream->fd, buffer, size);
    if (got < 0) {
        return read_failed(self, (int)-got);
    }
    if (got == 0) {
        return self->kind->eof(self);
    }
    self->loop->meter->bytes_in += (size_t)got;
    PyObject *protocol = Py_NewRef(self->protocol);
    int rc = self->native->buffer_updated(protocol, (size_t)got);
    Py_DECREF(protocol);
    return rc < 0 ? self->kind->receiver_failed(
                        self, "Fatal error: protocol.buffer_updated() call failed.")
                  : 0;
}

int
ml_transport_readable(ml_stream *stream)
{
    ml_transport *self = transport_of(stream);
    int error = stream->read_error;

    if (error) {
        stream->read_error = 0;
        return read_failed(self, error);
    }
    if (self->native != NULL && self->native->get_buffer != NULL) {
        return read_native(self);
    }
    return self->buffered ? read_buffered(self) : read_protocol(self);
}

/* ---- a reset that no read finds ------------------------------------------------------------ */

static void
hangup_told(PyObject *transport)
{
    ml_stream *stream = &((ml_transport *)transport)->stream;

    stream->hung_up = true;
    ml_aioloop_got_ready(stream->loop, &stream->ready);
}

void
ml_transport_unwatched(ml_stream *stream)
{
    stream->in_hangups = true;
    ml_hangups_watch(stream->loop, stream->fd, hangup_told);
}

/* What is left to read came before it, and the reader finds the error behind that. */
static int
hung_up(ml_stream *stream)
{
    ml_transport *self = transport_of(stream);

    if (self->life != ML_OPEN || ml_sock_available(stream->fd) > 0) {
        return 0;
    }
    int error = ml_sock_error(stream->fd);
    if (error == EPIPE) { /* what Linux calls a reset after the peer's end: nobody wrote */
        error = ECONNRESET;
    }
    return error ? self->kind->read_error(self, error) : 0;
}

/* ---- writing ----------------------------------------------------------------------------- */

int
ml_transport_tell(ml_stream *stream, PyObject *method, const char *failed)
{
    ml_transport *self = transport_of(stream);

    if (ml_transport_is_lost(self)) {
        return 0;
    }
    PyObject *result = ml_transport_call(self, method, NULL);
    if (result == NULL) {
        return ml_aioloop_handle_error(self->loop, failed, (PyObject *)self, self->protocol);
    }
    Py_DECREF(result);
    return 0;
}

/* Between a write and its flush the program may have closed the socket it handed in. */
int
ml_transport_gone(ml_stream *stream)
{
    return ml_transport_check_owned(transport_of(stream));
}

static int
tell_drained(ml_transport *self)
{
    PyObject *protocol = Py_NewRef(self->protocol);
    int rc = self->native->drained(protocol);

    Py_DECREF(protocol);
    return rc < 0 ? ml_transport_fatal(self, self->kind->write_failed) : 0;
}

int
ml_transport_drained(ml_stream *stream)
{
    ml_transport *self = transport_of(stream);

    if (ml_transport_is_closing(self)) {
        return ml_transport_all_sent(self);
    }
    if (self->native != NULL && self->native->drained != NULL && tell_drained(self) < 0) {
        return -1;
    }
    if (ml_transport_is_closing(self)) {
        return ml_transport_all_sent(self);
    }
    int gone = self->eof_sent ? ml_transport_check_owned(self) : 0;
    if (gone) { /* resume_writing() closed the socket */
        return gone < 0 ? -1 : 0;
    }
    int failed = self->eof_sent ? ml_sock_shutdown_write(stream->fd) : 0;
    if (failed < 0) { /* write_eof() would have raised it */
        ml_os_error(-failed);
        if (ml_aioloop_handle_error(self->loop, "shutdown() after write_eof() failed",
                                    (PyObject *)self, self->protocol) < 0) {
            return -1;
        }
    }
    if (self->empty_waiter != NULL) {
        ml_transport_settle_waiter(self);
    }
    return 0;
}

int
ml_transport_write_failed(ml_stream *stream, int error)
{
    ml_transport *self = transport_of(stream);

    ml_os_error(error);
    return ml_transport_fatal(self, self->kind->write_failed);
}

const ml_transport_kind ml_stream_kind = {
    .sink =
        {
            .readable = ml_transport_readable,
            .hung_up = hung_up,
            .unwatched = ml_transport_unwatched,
            ML_PROTOCOL_SINK,
        },
    .calls = &ml_sock_calls,
    .is_socket = true,
    .read_failed = "Fatal read error on socket transport",
    .write_failed = "Fatal write error on socket transport",
    .lost_write = "socket.send() raised exception.",
    .eof = stream_eof,
    .read_error = stream_read_error,
    .receiver_failed = ml_transport_fatal,
};
