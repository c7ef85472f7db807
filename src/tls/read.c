/* What arrives: decrypted into what the program gets, all of a readiness at once. */
#include "tls.h"

static const char failed_message[] = "Fatal error on SSL protocol";

/* What may come after close() before the connection is ended for it: the peer could not know, but a
 * peer that sends for ever shall not have us wait for the timeout. */
#define DROPPED_AT_MOST ((size_t)64 << 20)

/* How often a BufferedProtocol is asked for a buffer in one turn, if they are small. */
#define BUFFERS_AT_ONCE 16

/* ---- handing over ------------------------------------------------------------------------ */

int
ml_tls_set_protocol(ml_tls *self, PyObject *protocol)
{
    int buffered = ml_transport_is_buffered(self->loop->state, protocol);

    if (buffered < 0) {
        return -1;
    }
    self->buffered = buffered;
    self->receiver = ml_transport_native_of(self->loop->state, protocol);
    if (self->receiver != NULL && self->receiver->received == NULL) {
        self->receiver = NULL; /* TLS in TLS */
    }
    Py_XSETREF(self->protocol, Py_NewRef(protocol));
    return 0;
}

/* protocol.name(arg): steals arg, which may be NULL with an exception. */
static int
hand_over(ml_tls *self, PyObject *name, PyObject *arg)
{
    PyObject *protocol = Py_XNewRef(self->protocol), *result = NULL;

    if (arg != NULL && protocol != NULL) {
        result = PyObject_CallMethodOneArg(protocol, name, arg);
    }
    Py_XDECREF(arg);
    Py_XDECREF(protocol);
    if (protocol == NULL && !PyErr_Occurred()) {
        return 0;
    }
    Py_XDECREF(result);
    return result ? 0 : ml_tls_fatal(self, failed_message);
}

/* What was decrypted: steals data, which may be NULL with an exception. */
static int
hand_data_over(ml_tls *self, PyObject *data)
{
    if (self->receiver == NULL || self->protocol == NULL || data == NULL) {
        return hand_over(self, self->loop->state->str.data_received, data);
    }
    PyObject *protocol = Py_NewRef(self->protocol);
    int rc = self->receiver->received(protocol, data);
    Py_DECREF(data);
    Py_DECREF(protocol);
    return rc < 0 ? ml_tls_fatal(self, failed_message) : 0;
}

/* What SSL_read_ex() made OpenSSL write: answers to key updates and the like. */
static int
put_answers(ml_tls *self)
{
    ml_tls_out *out = &((ml_tls_room *)self->loop->tls_room)->out;

    if (out->len == 0) {
        return 0;
    }
    self->answers += out->len;
    int rc = ml_tls_put(self, out);
    ml_tls_count_below(self);
    return rc;
}

/* ... and when the program has its data: 1 if TLS was ended by the peer, 0 if not, -1: must leave.
 * The connection may have failed. */
static int
after_decrypting(ml_tls *self, int error)
{
    if (self->failed || self->stage == TLS_OVER || error == ML_SSL_OK ||
        error == ML_SSL_WANT_READ || error == ML_SSL_WANT_WRITE) {
        return 0;
    }
    if (error == ML_SSL_ZERO_RETURN) {
        return 1;
    }
    PyObject *size = PyLong_FromLong(ML_TLS_RECORD), *data = NULL;
    int rc = size ? ml_tls_ask_object(self, "read", size, &data) : -1;
    Py_XDECREF(size);
    if (rc < 0) {
        return ml_tls_fatal(self, failed_message);
    }
    bool end = PyBytes_Check(data) && PyBytes_GET_SIZE(data) == 0;
    Py_DECREF(data);
    if (!end) { /* it reads again after all: what came before has a hole */
        PyErr_SetString(PyExc_ConnectionError, "OpenSSL failed to read, and did not say why");
        return ml_tls_fatal(self, failed_message);
    }
    return ml_tls_put_own(self) < 0 ? -1 : 1;
}

/* ---- Protocol ---------------------------------------------------------------------------- */

/* Room for all that can come of what there is. */
static size_t
most(const ml_tls *self)
{
    size_t size = self->io.in_len + self->io.held;

    return size > self->overhead + 16 ? size - self->overhead : 16;
}

/* A bytes object with so much more room. Steals `bytes`. */
static PyObject *
enlarge(PyObject *bytes, size_t used, size_t more)
{
    PyObject *larger = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(used + more));

    if (larger != NULL) {
        memcpy(PyBytes_AS_STRING(larger), PyBytes_AS_STRING(bytes), used);
    }
    Py_DECREF(bytes);
    return larger;
}

/* Cuts it, which nobody else has seen: in its place, unless that would keep much that is not used.
 */
static PyObject *
cut(PyObject *bytes, size_t size)
{
    size_t room = (size_t)PyBytes_GET_SIZE(bytes);

    if (room - size > 64 + room / 8) {
        PyObject *part = PyBytes_FromStringAndSize(PyBytes_AS_STRING(bytes), (Py_ssize_t)size);
        Py_DECREF(bytes);
        return part;
    }
    if (room != size) {
        Py_SET_SIZE((PyVarObject *)bytes, (Py_ssize_t)size);
        PyBytes_AS_STRING(bytes)[size] = 0;
    }
    return bytes;
}

/* All that there is, as one bytes object; NULL with an exception. */
static PyObject *
decrypt_all(ml_tls *self, size_t *got, int *error)
{
    size_t first = self->io.in_len + self->io.held, count;
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)most(self));

    *got = 0;
    while (bytes != NULL) {
        size_t room = (size_t)PyBytes_GET_SIZE(bytes) - *got;
        *error = ml_tls_decrypt(self, PyBytes_AS_STRING(bytes) + *got, room, &count);
        *got += count;
        if (*error != ML_SSL_OK || count < room || !ml_tls_has_input(self)) {
            break;
        }
        bytes = enlarge(bytes, *got, most(self) + (size_t)ml_ssl.SSL_pending(self->ssl));
    }
    if (bytes != NULL && *got > 0 && first - *got < self->overhead && first > *got) {
        self->overhead = (unsigned)(first - *got);
    }
    return bytes;
}

static int
read_protocol(ml_tls *self)
{
    int error = ML_SSL_OK;
    size_t got;
    PyObject *data = decrypt_all(self, &got, &error);

    if (data == NULL) {
        put_answers(self);
        return ml_tls_fatal(self, failed_message);
    }
    int rc = put_answers(self);
    if (rc == 0 && got > 0) {
        rc = hand_data_over(self, cut(data, got));
    }
    else {
        Py_DECREF(data);
    }
    return rc < 0 ? -1 : after_decrypting(self, error);
}

/* ---- BufferedProtocol -------------------------------------------------------------------- */

static int
get_buffer(ml_tls *self, Py_buffer *view)
{
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *hint = PyLong_FromSize_t(self->io.in_len);
    PyObject *buffer =
        hint ? PyObject_CallMethodOneArg(protocol, self->loop->state->str.get_buffer, hint) : NULL;

    Py_XDECREF(hint);
    Py_DECREF(protocol);
    return ml_transport_take_buffer(buffer, view);
}

/* One buffer: 1 if it was full, and there is more. */
static int
fill_buffer(ml_tls *self, int *error)
{
    Py_buffer view;
    size_t got;

    *error = ML_SSL_OK;
    if (get_buffer(self, &view) < 0) {
        return ml_tls_fatal(self, failed_message);
    }
    if (self->stage == TLS_OVER || self->closed || self->failed) { /* get_buffer() ended it */
        PyBuffer_Release(&view);
        return 0;
    }
    *error = ml_tls_decrypt(self, view.buf, (size_t)view.len, &got);
    bool full = got == (size_t)view.len && *error == ML_SSL_OK;
    PyBuffer_Release(&view);
    int rc = put_answers(self);
    if (rc == 0 && got > 0) {
        rc = hand_over(self, self->loop->state->str.buffer_updated, PyLong_FromSize_t(got));
    }
    bool goes_on = self->stage == TLS_OPEN && !self->paused && !self->failed && self->buffered;
    return rc < 0 ? -1 : full && goes_on && ml_tls_has_input(self);
}

static int
read_buffered(ml_tls *self)
{
    int error, rc = 1;

    for (int i = 0; rc > 0 && i < BUFFERS_AT_ONCE; i++) {
        rc = fill_buffer(self, &error);
    }
    return rc < 0 ? -1 : after_decrypting(self, error);
}

/* ---- after close() ----------------------------------------------------------------------- */

static int
read_and_drop(ml_tls *self)
{
    char *room = ((ml_tls_room *)self->loop->tls_room)->join;
    int error = ML_SSL_OK;

    while (error == ML_SSL_OK && ml_tls_has_input(self)) {
        size_t got;
        error = ml_tls_decrypt(self, room, ML_TLS_RECORD, &got);
        self->dropped += got;
    }
    int end = put_answers(self) < 0 ? -1 : after_decrypting(self, error);
    if (end == 0 && self->dropped > DROPPED_AT_MOST && !self->failed) {
        return ml_tls_lower_close(self);
    }
    return end;
}

/* ------------------------------------------------------------------------------------------ */

int
ml_tls_read(ml_tls *self)
{
    int end = 0;

    if (self->failed || ml_tls_is_inside(self) || self->stage < TLS_OPEN ||
        self->stage == TLS_OVER || ml_tls_room_of(self->loop) == NULL) {
        return PyErr_Occurred() ? ml_tls_fatal(self, failed_message) : 0;
    }
    if (self->closed) {
        end = read_and_drop(self);
    }
    else if (!self->paused && ml_tls_has_input(self)) {
        ml_tls_keep_buffers(self);
        end = self->buffered ? read_buffered(self) : read_protocol(self);
    }
    if (end < 0 || self->failed || self->stage == TLS_OVER) {
        return end < 0 ? -1 : 0;
    }
    if (end > 0) {
        self->ended = true;
    }
    if (self->wants_input || self->wrote_inside) {
        self->wants_input = self->wrote_inside = false;
        if (ml_tls_flush(self) < 0) {
            return -1;
        }
    }
    if (self->stream.paused && ml_tls_check_marks(self) < 0) {
        return -1;
    }
    if (self->ended && self->stage == TLS_OPEN) {
        return ml_tls_call_eof(self) < 0 ? -1 : ml_tls_start_shutdown(self);
    }
    return 0;
}

static int
step(ml_tls *self)
{
    switch (self->stage) {
    case TLS_HANDSHAKE:
        return ml_tls_handshake(self);
    case TLS_OPEN:
        return ml_tls_read(self);
    case TLS_FLUSHING:
        return ml_tls_flushing(self);
    case TLS_SHUTDOWN:
        return ml_tls_shutdown(self);
    default:
        return 0;
    }
}

/* Keeps what OpenSSL has not taken, in front of what came meanwhile. */
static int
keep_rest(ml_tls *self, ml_tls_out *taken)
{
    ml_tls_io *io = &self->io;
    ml_tls_out *rest = &self->rest, kept = {0};
    bool wanted = self->stage == TLS_NEW || (self->stage != TLS_OVER && !self->failed);
    int rc = 0;

    if (!wanted) {
        ml_tls_out_free(rest);
    }
    else if (io->in_len > 0 && rest->len == 0 && taken->data != NULL) {
        memmove(taken->data, io->in, io->in_len); /* of one buffer of many, it is all there still */
        taken->len = io->in_len;
        ml_tls_out_free(rest);
        *rest = *taken;
        *taken = (ml_tls_out){0};
    }
    else if (io->in_len > 0) {
        if (!ml_tls_out_append(&kept, io->in, io->in_len) ||
            !ml_tls_out_append(&kept, rest->data, rest->len)) {
            PyErr_NoMemory();
            rc = -1;
        }
        ml_tls_out_free(rest);
        *rest = kept;
    }
    ml_tls_out_free(taken);
    io->in = NULL;
    io->in_len = 0;
    return rc;
}

static int
go_on(PyObject *exc, ml_tls *self, ml_tls_out *taken)
{
    bool waits = ml_tls_has_input(self) && self->stage > TLS_NEW && self->stage < TLS_OVER &&
                 !self->failed && !(self->paused && !self->closed && self->stage != TLS_HANDSHAKE);
    bool again = self->arrived_again && !self->failed;
    int rc = keep_rest(self, taken);

    self->arriving = self->arrived_again = false;
    if (rc == 0 && (waits || again) && self->place == NULL) {
        rc = ml_tls_go_on_later(self);
    }
    if (rc == 0) {
        rc = ml_tls_steer(self);
    }
    return ml_raise_again(exc, rc, (PyObject *)self);
}

/* What waits is taken out of self->rest meanwhile, to which the program may add: by a transport of
 * its own below that delivers in its calls. */
int
ml_tls_arrived(ml_tls *self, const char *data, size_t size)
{
    ml_tls_io *io = &self->io;
    ml_tls_out taken = {0};

    if (self->rest.len > 0 || self->arriving) {
        if (size > 0 && !ml_tls_out_append(&self->rest, data, size)) {
            PyErr_NoMemory();
            return -1;
        }
        if (self->arriving) { /* one of the program's calls, in the midst of another */
            self->arrived_again = true;
            return 0;
        }
        taken = self->rest;
        self->rest = (ml_tls_out){0};
        data = taken.data;
        size = taken.len;
    }
    Py_INCREF(self);
    self->arriving = true;
    io->in = data;
    io->in_len = size;
    int rc = ml_tls_put_own(self); /* the program has called a method of the SSLObject */
    if (rc == 0) {
        rc = step(self);
    }
    rc = go_on(rc < 0 ? ml_take_exception() : NULL, self, &taken);
    Py_DECREF(self);
    return rc;
}

int
ml_tls_go_on_later(ml_tls *self)
{
    if (self->continuing) {
        return 0;
    }
    PyObject *method = PyObject_GetAttrString((PyObject *)self, "_go_on");
    PyObject *handle =
        method ? PyObject_CallMethod((PyObject *)self->loop, "call_soon", "O", method) : NULL;
    Py_XDECREF(method);
    Py_XDECREF(handle);
    self->continuing = handle != NULL;
    return handle ? 0 : -1;
}

int
ml_tls_arrived_or_end(ml_tls *self)
{
    int rc = ml_tls_arrived(self, NULL, 0);

    return rc < 0 ? ml_tls_fatal(self, failed_message) : 0;
}

int
ml_tls_go_on(ml_tls *self)
{
    self->continuing = false;
    if (self->place != NULL) {
        return ml_tls_shake_hands(self->loop);
    }
    int rc = ml_tls_arrived_or_end(self);
    PyObject *exc = rc < 0 ? ml_take_exception() : NULL;
    return ml_raise_again(exc, ml_tls_shake_hands(self->loop), (PyObject *)self);
}

/* ---- how the transport below calls it ---------------------------------------------------- */

static char *
native_buffer(PyObject *protocol, size_t *size)
{
    ml_tls *self = (ml_tls *)protocol;
    ml_tls_room *room = ml_tls_room_of(self->loop);

    *size = self->read_high < ML_SCRATCH_SIZE ? self->read_high : ML_SCRATCH_SIZE;
    if (*size == 0) {
        *size = 1;
    }
    return room ? room->in : NULL;
}

static int
native_updated(PyObject *protocol, size_t size)
{
    ml_tls *self = (ml_tls *)protocol;
    ml_tls_room *room = self->loop->tls_room;

    return ml_tls_arrived(self, room->in, size);
}

static int
native_drained(PyObject *protocol)
{
    ml_tls *self = (ml_tls *)protocol;

    if (self->lower == NULL) {
        return 0;
    }
    if (ml_tls_flush(self) < 0) {
        return -1;
    }
    if (self->stage == TLS_FLUSHING && ml_tls_flushing(self) < 0) {
        return -1;
    }
    if (self->lower == NULL) {
        return 0;
    }
    return ml_tls_check_marks(self) < 0 ? -1 : ml_tls_steer(self);
}

const ml_native ml_tls_native = {
    .get_buffer = native_buffer, .buffer_updated = native_updated, .drained = native_drained};
