/* OpenSSL's calls for what is done for each packet. */
#include "tls.h"

/* Records of one turn: what the loop does for a connection at a time. */
#define RECORDS_AT_ONCE 1024

static void
free_room(void *memory)
{
    ml_tls_room *room = memory;

    ml_tls_out_free(&room->out);
    PyMem_RawFree(room);
}

ml_tls_room *
ml_tls_room_of(ml_aioloop *loop)
{
    if (loop->tls_room == NULL) {
        ml_tls_room *room = PyMem_RawMalloc(sizeof(*room));
        if (room == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        room->out = (ml_tls_out){0};
        memset(room->keepers, 0, sizeof(room->keepers));
        room->next_keeper = 0;
        room->queue = NULL;
        room->queue_end = &room->queue;
        room->called = NULL;
        room->turn = 0;
        room->shaking = 0;
        room->busy = false;
        loop->tls_room = room;
        loop->free_tls_room = free_room;
    }
    return loop->tls_room;
}

void
ml_tls_release_buffers(ml_tls *self)
{
    if (self->keeper != 0) {
        ((ml_tls_room *)self->loop->tls_room)->keepers[self->keeper - 1] = NULL;
        self->keeper = 0;
        ml_ssl.SSL_ctrl(self->ssl, ML_SSL_SET_MODE, ML_SSL_RELEASE_BUFFERS, NULL);
        ml_ssl.SSL_free_buffers(self->ssl); /* unless there is something in them */
    }
}

void
ml_tls_keep_buffers(ml_tls *self)
{
    ml_tls_room *room = self->loop->tls_room;

    if (self->keeper != 0) {
        return;
    }
    unsigned place = room->next_keeper++ % ML_TLS_KEEPERS;
    if (room->keepers[place] != NULL) {
        if (room->keepers[place]->in_ssl) { /* in a callback of the program's */
            return;
        }
        ml_tls_release_buffers(room->keepers[place]);
    }
    room->keepers[place] = self;
    self->keeper = place + 1;
    ml_ssl.SSL_ctrl(self->ssl, ML_SSL_CLEAR_MODE, ML_SSL_RELEASE_BUFFERS, NULL);
}

/* What a callback or another part of the program has left in OpenSSL's queue of errors would be
 * taken for what this call has done. */
static void
forget_errors(void)
{
    if (ml_ssl.ERR_peek_error()) {
        ml_ssl.ERR_clear_error();
    }
}

static void
begin(ml_tls *self)
{
    ml_tls_room *room = self->loop->tls_room;

    assert(!self->in_ssl && !room->busy && self->ssl != NULL);
    forget_errors();
    self->in_ssl = room->busy = true;
    self->io.reads = 0;
    self->io.out = &room->out;
}

static void
end(ml_tls *self)
{
    self->in_ssl = ((ml_tls_room *)self->loop->tls_room)->busy = false;
    self->io.out = NULL;
}

bool
ml_tls_is_inside(const ml_tls *self)
{
    const ml_tls_room *room = self->loop->tls_room;

    return self->in_ssl || (room != NULL && room->busy);
}

bool
ml_tls_has_input(const ml_tls *self)
{
    return self->io.in_len > 0 || (self->ssl != NULL && ml_ssl.SSL_pending(self->ssl) > 0);
}

int
ml_tls_decrypt(ml_tls *self, char *data, size_t size, size_t *got)
{
    int error = ML_SSL_OK, records = 0;
    size_t count = 0;

    *got = 0;
    begin(self);
    /* No call only to be told that all is read. What is not whole OpenSSL takes, too. */
    while (*got < size && records++ < RECORDS_AT_ONCE) {
        int rc = ml_ssl.SSL_read_ex(self->ssl, data + *got, size - *got, &count);
        if (rc != 1) {
            error = ml_ssl.SSL_get_error(self->ssl, rc);
            break;
        }
        *got += count;
        self->io.reads = 0;
        if (ml_ssl.SSL_pending(self->ssl) == 0) {
            self->io.held = 0;
            if (self->io.in_len == 0) {
                break;
            }
        }
    }
    end(self);
    return PyErr_Occurred() ? ML_SSL_FAILED : error;
}

/* Small chunks go into one record: a place for them, with *size bytes, or that of a large one. */
static const char *
gather(ml_tls *self, size_t *size)
{
    ml_stream *stream = &self->stream;
    const ml_chunk *chunk = &stream->queue[stream->head];

    if (stream->len == 1 || chunk->size >= ML_TLS_RECORD) {
        *size = chunk->size < ML_TLS_BATCH ? chunk->size : ML_TLS_BATCH;
        if (stream->len > 1 && *size < ML_TLS_BATCH) {
            *size -= *size % ML_TLS_RECORD;
        }
        return chunk->data;
    }
    char *join = ((ml_tls_room *)self->loop->tls_room)->join;
    *size = 0;
    for (uint32_t i = 0; i < stream->len && *size < ML_TLS_RECORD; i++, chunk++) {
        size_t part = chunk->size;
        if (part > ML_TLS_RECORD - *size) {
            part = ML_TLS_RECORD - *size;
        }
        memcpy(join + *size, chunk->data, part);
        *size += part;
    }
    return join;
}

int
ml_tls_encrypt(ml_tls *self)
{
    ml_tls_out *out = &((ml_tls_room *)self->loop->tls_room)->out;
    int error = ML_SSL_OK;

    begin(self);
    while (error == ML_SSL_OK && self->stream.len > 0 && out->len < ML_TLS_BATCH) {
        size_t size, written;
        const char *data = gather(self, &size);
        int rc = ml_ssl.SSL_write_ex(self->ssl, data, size, &written);
        if (rc == 1) {
            ml_stream_consume(&self->stream, written);
        }
        else {
            error = ml_ssl.SSL_get_error(self->ssl, rc);
        }
    }
    end(self);
    return PyErr_Occurred() ? ML_SSL_FAILED : error;
}

int
ml_tls_call_object(ml_tls *self, const char *method)
{
    forget_errors();
    return ml_tls_ask_object(self, method, NULL, NULL);
}

int
ml_tls_ask_object(ml_tls *self, const char *method, PyObject *arg, PyObject **result)
{
    if (PyErr_Occurred()) { /* raised by a callback in OpenSSL */
        return -1;
    }
    PyObject *object = Py_NewRef(self->object);
    self->in_ssl = true;
    self->io.reads = 0;
    PyObject *given = arg ? PyObject_CallMethod(object, method, "O", arg)
                          : PyObject_CallMethod(object, method, NULL);
    self->in_ssl = false;
    Py_DECREF(object);
    if (result != NULL) {
        *result = given;
    }
    else {
        Py_XDECREF(given);
    }
    return given ? 0 : -1;
}
