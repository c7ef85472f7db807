/* What the program writes: a queue of plain text, kept and sent by the rule of all streams, which
 * is encrypted when it can be sent. So what waits is plain, but for what the socket did not take.
 */
#include "tls.h"

static ml_tls *
tls_of(ml_stream *stream)
{
    return ML_CONTAINER_OF(stream, ml_tls, stream);
}

void
ml_tls_count_below(ml_tls *self)
{
    bool is_open = self->native != NULL && self->native->stream.fd >= 0;

    self->stream.below = is_open ? self->native->stream.queued : 0;
    if (self->stream.below == 0 && !self->held_back) {
        self->answers = 0;
    }
}

int
ml_tls_check_marks(ml_tls *self)
{
    ml_tls_count_below(self);
    return ml_stream_check_marks(&self->stream);
}

static bool
can_send(const ml_tls *self)
{
    return (self->stage == TLS_OPEN || self->stage == TLS_FLUSHING) && !ml_tls_is_inside(self) &&
           !self->wants_input && !self->failed && self->stream.len > 0 && ml_tls_can_put(self);
}

static int
encrypt_failed(ml_tls *self, int error)
{
    if (error == ML_SSL_WANT_READ || error == ML_SSL_WANT_WRITE) {
        self->wants_input = true; /* the peer has asked for new keys; read.c goes on with it */
        return 0;
    }
    ml_chunk *chunk = &self->stream.queue[self->stream.head];
    PyObject *data = PyBytes_FromStringAndSize(chunk->data, (Py_ssize_t)chunk->size);
    int rc = data ? ml_tls_ask_object(self, "write", data, NULL) : -1;
    Py_XDECREF(data);
    if (rc < 0) {
        return ml_tls_fatal(self, "Fatal error on SSL protocol");
    }
    ml_stream_pop(&self->stream);
    return ml_tls_put_own(self);
}

static int
send_queue(ml_stream *stream)
{
    ml_tls *self = tls_of(stream);
    int rc =
        self->in_ssl ? 0 : ml_tls_put_own(self); /* what was written by the SSLObject's method */

    while (rc == 0 && can_send(self)) {
        ml_tls_room *room = ml_tls_room_of(self->loop);
        if (room == NULL) {
            rc = ml_tls_fatal(self, "Fatal error on SSL protocol");
            break;
        }
        assert(room->out.len == 0);
        int error = ml_tls_encrypt(self);
        rc = ml_tls_put(self, &room->out);
        if (rc == 0 && error != ML_SSL_OK) {
            rc = encrypt_failed(self, error);
        }
    }
    if (rc == 0 && self->stage >= TLS_OPEN && ml_tls_is_inside(self)) {
        self->wrote_inside = true;
        rc = ml_tls_go_on_later(self);
    }
    ml_tls_count_below(self);
    return rc;
}

int
ml_tls_flush(ml_tls *self)
{
    ml_tls_count_below(self);
    return ml_stream_flush(&self->stream);
}

void
ml_tls_discard(ml_tls *self)
{
    ml_after_remove(&self->stream.after);
    ml_stream_discard(&self->stream);
    self->stream.below = 0;
    self->stream.blocked = false;
}

/* ---- what the queue tells ---------------------------------------------------------------- */

static int
gone(ml_stream *Py_UNUSED(stream))
{
    return 0; /* the transport below looks for itself */
}

static int
tell(ml_stream *stream, PyObject *method, const char *failed)
{
    ml_tls *self = tls_of(stream);

    if (self->protocol == NULL || self->told == TOLD_LOST) {
        return 0;
    }
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *result = PyObject_CallMethodNoArgs(protocol, method);
    int rc = result ? 0 : ml_aioloop_handle_error(self->loop, failed, (PyObject *)self, protocol);
    Py_DECREF(protocol);
    Py_XDECREF(result);
    return rc;
}

static int
drained(ml_stream *Py_UNUSED(stream))
{
    return 0;
}

static int
write_failed(ml_stream *stream, int error)
{
    ml_os_error(error);
    return ml_tls_fatal(tls_of(stream), "Fatal error on SSL protocol");
}

const ml_sink ml_tls_sink = {
    .gone = gone,
    .send = send_queue,
    .tell = tell,
    .drained = drained,
    .write_failed = write_failed,
    .pauses_at_mark = true, /* as asyncio's TLS, unlike its other transports */
};
