/* The transport below: one of our own, whose stream is used without a call of Python's, or any
 * other, by the methods that asyncio's transports have. */
#include "tls.h"
#include "../net/transport_api.h"

void
ml_tls_attach(ml_tls *self, PyObject *transport)
{
    Py_XSETREF(self->lower, Py_NewRef(transport));
    self->native = Py_IS_TYPE(transport, self->loop->state->StreamTransport)
                       ? (ml_transport *)transport
                       : NULL;
    if (self->native != NULL && self->native->stream.paused) {
        self->held_back = true; /* it was told to the protocol before us, and will be taken back */
        self->stream.paused = self->upgraded;
    }
}

static int
call(ml_tls *self, const char *method, PyObject *arg)
{
    PyObject *lower = Py_NewRef(self->lower);
    PyObject *result = arg ? PyObject_CallMethod(lower, method, "O", arg)
                           : PyObject_CallMethod(lower, method, NULL);

    Py_DECREF(lower);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* ---- sending ----------------------------------------------------------------------------- */

bool
ml_tls_can_put(const ml_tls *self)
{
    if (self->held_back || self->lower == NULL) {
        return false;
    }
    return self->native == NULL || self->native->stream.len == 0;
}

static int
put_native(ml_tls *self, const char *data, size_t size)
{
    ml_transport *lower = self->native;
    ml_stream *stream = &lower->stream;
    size_t done = 0;
    bool first = stream->len == 0;

    if (ml_transport_is_lost(lower) || stream->fd < 0) {
        return 0;
    }
    int gone = ml_transport_check_owned(lower);
    if (gone) {
        return gone < 0 ? -1 : 0;
    }
    if (first) {
        ssize_t sent = ml_stream_send(stream, data, size);
        if (sent < 0 && sent != -EAGAIN) {
            return stream->sink->write_failed(stream, (int)-sent);
        }
        done = sent < 0 ? 0 : (size_t)sent;
        if (done == size) {
            return 0;
        }
    }
    PyObject *rest = PyBytes_FromStringAndSize(data + done, (Py_ssize_t)(size - done));
    int rc = rest ? ml_stream_queue(stream, rest, PyBytes_AS_STRING(rest), size - done) : -1;
    Py_XDECREF(rest);
    if (rc < 0) { /* a stream with a hole is none */
        return ml_transport_fatal(lower, lower->kind->write_failed);
    }
    return first ? ml_stream_block(stream) : ml_stream_queued(stream);
}

static int
put_bytes(ml_tls *self, const char *data, size_t size)
{
    PyObject *bytes = PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
    int rc = bytes ? call(self, "write", bytes) : -1;

    Py_XDECREF(bytes);
    return rc < 0 ? ml_tls_fatal(self, "Fatal error on SSL protocol") : 0;
}

int
ml_tls_put(ml_tls *self, ml_tls_out *out)
{
    size_t size = out->len;

    out->len = 0; /* what follows is the program's, and may come here again */
    if (size == 0 || self->lower == NULL) {
        return 0;
    }
    return self->native ? put_native(self, out->data, size) : put_bytes(self, out->data, size);
}

int
ml_tls_put_own(ml_tls *self)
{
    ml_tls_out out = self->io.own;

    if (out.len == 0) {
        return 0;
    }
    self->io.own = (ml_tls_out){0};
    int rc = ml_tls_put(self, &out);
    ml_tls_out_free(&out);
    return rc;
}

/* ---- reading ----------------------------------------------------------------------------- */

/* Nothing more is received while what there is waits, be it for the program, for the next turn, or
 * for a peer that makes us answer and does not read. */
static bool
wants_more(const ml_tls *self)
{
    if (self->continuing || self->place != NULL || self->answers > self->stream.high) {
        return false;
    }
    return self->stage != TLS_OPEN || !self->paused;
}

int
ml_tls_steer(ml_tls *self)
{
    bool stop = !wants_more(self);

    if (stop == self->stopped || self->lower == NULL || self->stage == TLS_NEW) {
        return 0;
    }
    self->stopped = stop;
    if (self->native == NULL) {
        return call(self, stop ? "pause_reading" : "resume_reading", NULL);
    }
    PyObject *result = stop ? ml_transport_py_pause_reading(self->native, NULL)
                            : ml_transport_py_resume_reading(self->native, NULL);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* ---- ending ------------------------------------------------------------------------------ */

int
ml_tls_lower_close(ml_tls *self)
{
    if (self->lower == NULL) {
        return 0;
    }
    return self->native ? ml_transport_close(self->native) : call(self, "close", NULL);
}

int
ml_tls_lower_force_close(ml_tls *self, PyObject *exc)
{
    if (self->lower == NULL) {
        return 0;
    }
    if (self->native != NULL) {
        return ml_transport_force_close(self->native, exc);
    }
    int has = PyObject_HasAttrString(self->lower, "_force_close");
    return has ? call(self, "_force_close", exc ? exc : Py_None) : call(self, "abort", NULL);
}

bool
ml_tls_lower_is_closing(ml_tls *self)
{
    if (self->lower == NULL) {
        return self->told == TOLD_LOST || self->stage == TLS_OVER;
    }
    if (self->native != NULL) {
        return ml_transport_is_closing(self->native);
    }
    PyObject *closing = PyObject_CallMethod(self->lower, "is_closing", NULL);
    int is = closing ? PyObject_IsTrue(closing) : -1;
    Py_XDECREF(closing);
    if (is < 0) {
        PyErr_WriteUnraisable(self->lower);
    }
    return is == 1;
}
