/* How a transport calls its protocol: Protocol.data_received, or BufferedProtocol's get_buffer and
 * buffer_updated. Methods are looked up at each call, as programs replace them. */
#include "transport.h"
#include "sock.h"

#include <errno.h>

static ml_transport *
transport_of(ml_stream *stream)
{
    return ML_CONTAINER_OF(stream, ml_transport, stream);
}

static PyObject *
call0(ml_transport *self, PyObject *name)
{
    return PyObject_CallMethodNoArgs(self->protocol, name);
}

int
ml_transport_set_protocol(ml_transport *self, PyObject *protocol)
{
    int buffered = PyObject_IsInstance(protocol, self->loop->state->aio->BufferedProtocol);

    if (buffered < 0) {
        return -1;
    }
    self->buffered = buffered;
    Py_XSETREF(self->protocol, Py_NewRef(protocol));
    return 0;
}

/* ---- reading ----------------------------------------------------------------------------- */

static int
read_failed(ml_transport *self, int error)
{
    if (error == EAGAIN || error == EWOULDBLOCK) {
        return 0;
    }
    ml_os_error(error);
    return ml_transport_fatal(self, "Fatal read error on socket transport");
}

static int
got_eof(ml_transport *self)
{
    ml_base *loop = self->loop;

    if (ml_transport_log(self, "received EOF") < 0) {
        return ml_base_handle_error(loop, "logging failed", (PyObject *)self, NULL);
    }
    self->eof_received = true;
    PyObject *keep = call0(self, loop->state->str.eof_received);
    int keep_open = keep ? PyObject_IsTrue(keep) : -1;
    Py_XDECREF(keep);
    if (keep_open < 0) {
        return ml_transport_fatal(self, "Fatal error: protocol.eof_received() call failed.");
    }
    if (keep_open) {
        return ml_stream_read(&self->stream, false);
    }
    return ml_transport_close(self);
}

static int
read_protocol(ml_transport *self)
{
    ml_stream *stream = &self->stream;
    int error = 0;
    PyObject *data = ml_recv_bytes(self->loop, stream->fd, SIZE_MAX, stream->expected, &error);

    if (data == NULL) {
        if (error) {
            return read_failed(self, error);
        }
        return ml_transport_fatal(self, "Fatal read error on socket transport");
    }
    stream->expected = (size_t)PyBytes_GET_SIZE(data);
    if (stream->expected == 0) {
        Py_DECREF(data);
        return got_eof(self);
    }
    PyObject *result =
        PyObject_CallMethodOneArg(self->protocol, self->loop->state->str.data_received, data);
    Py_DECREF(data);
    if (result == NULL) {
        return ml_transport_fatal(self, "Fatal error: protocol.data_received() call failed.");
    }
    Py_DECREF(result);
    return 0;
}

static int
get_buffer(ml_transport *self, Py_buffer *view)
{
    PyObject *hint = PyLong_FromLong(-1);
    PyObject *buffer =
        hint ? PyObject_CallMethodOneArg(self->protocol, self->loop->state->str.get_buffer, hint)
             : NULL;
    Py_XDECREF(hint);
    if (buffer == NULL) {
        return -1;
    }
    int rc = PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE);
    Py_DECREF(buffer);
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

    if (get_buffer(self, &view) < 0) {
        return ml_transport_fatal(self, "Fatal error: protocol.get_buffer() call failed.");
    }
    if (self->stream.fd < 0 || !self->stream.reading) { /* get_buffer() closed us */
        PyBuffer_Release(&view);
        return 0;
    }
    ssize_t got = ml_sock_recv(self->stream.fd, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    if (got < 0) {
        return read_failed(self, (int)-got);
    }
    if (got == 0) {
        return got_eof(self);
    }
    PyObject *count = PyLong_FromSsize_t(got);
    PyObject *result = count ? PyObject_CallMethodOneArg(
                                   self->protocol, self->loop->state->str.buffer_updated, count)
                             : NULL;
    Py_XDECREF(count);
    if (result == NULL) {
        return ml_transport_fatal(self, "Fatal error: protocol.buffer_updated() call failed.");
    }
    Py_DECREF(result);
    return 0;
}

static int
sink_readable(ml_stream *stream)
{
    ml_transport *self = transport_of(stream);

    return self->buffered ? read_buffered(self) : read_protocol(self);
}

/* ---- writing ----------------------------------------------------------------------------- */

static int
sink_pause(ml_stream *stream)
{
    ml_transport *self = transport_of(stream);
    PyObject *result = call0(self, self->loop->state->str.pause_writing);

    if (result == NULL) {
        return ml_base_handle_error(self->loop, "protocol.pause_writing() failed", (PyObject *)self,
                                    self->protocol);
    }
    Py_DECREF(result);
    return 0;
}

static int
sink_resume(ml_stream *stream)
{
    ml_transport *self = transport_of(stream);
    PyObject *result = call0(self, self->loop->state->str.resume_writing);

    if (result == NULL) {
        return ml_base_handle_error(self->loop, "protocol.resume_writing() failed",
                                    (PyObject *)self, self->protocol);
    }
    Py_DECREF(result);
    return 0;
}

static int
sink_drained(ml_stream *stream)
{
    ml_transport *self = transport_of(stream);

    if (self->closing) {
        return self->conn_lost ? 0 : ml_transport_schedule_lost(self, NULL);
    }
    if (self->eof_sent) {
        ml_sock_shutdown_write(stream->fd);
    }
    if (self->empty_waiter != NULL) {
        ml_transport_settle_waiter(self);
    }
    return 0;
}

static int
sink_write_failed(ml_stream *stream, int error)
{
    ml_os_error(error);
    return ml_transport_fatal(transport_of(stream), "Fatal write error on socket transport");
}

const ml_sink ml_transport_sink = {
    .readable = sink_readable,
    .pause = sink_pause,
    .resume = sink_resume,
    .drained = sink_drained,
    .write_failed = sink_write_failed,
};
