/* What is under OpenSSL in place of a socket: memory. It gives what was received, in its place, and
 * takes whatever is written, so that OpenSSL never waits with a half-written record. Its functions
 * run without the GIL while a method of the SSLObject does. */
#include "tls.h"

#define SOURCE_SINK 0x0400 /* BIO_TYPE_SOURCE_SINK */
#define FLAGS 0x0f         /* BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY */
#define RETRY_READ 0x09    /* BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY */
#define CTRL_EOF 2         /* BIO_CTRL_EOF */
#define CTRL_FLUSH 11      /* BIO_CTRL_FLUSH */

/* Two reads for each record. Those that bring nothing to the program, such as empty ones and key
 * updates, cost as much as others, and OpenSSL goes through any number of them in one call. */
#define READS_FOR_NOTHING 128

static BIO_METHOD *method;

bool
ml_tls_out_append(ml_tls_out *out, const char *data, size_t size)
{
    if (size > out->cap - out->len) {
        size_t cap = out->len + size + out->cap / 2;
        char *grown = PyMem_RawRealloc(out->data, cap);
        if (grown == NULL) {
            return false;
        }
        out->data = grown;
        out->cap = cap;
    }
    if (size > 0) {
        memcpy(out->data + out->len, data, size);
        out->len += size;
    }
    return true;
}

void
ml_tls_out_free(ml_tls_out *out)
{
    PyMem_RawFree(out->data);
    *out = (ml_tls_out){0};
}

static int
bio_read(BIO *bio, char *data, size_t size, size_t *got)
{
    ml_tls_io *io = ml_ssl.BIO_get_data(bio);

    ml_ssl.BIO_clear_flags(bio, FLAGS);
    *got = 0;
    if (io == NULL) {
        return 0;
    }
    if (io->in_len == 0 || io->reads >= READS_FOR_NOTHING) {
        ml_ssl.BIO_set_flags(bio, RETRY_READ);
        return 0;
    }
    if (size > io->in_len) {
        size = io->in_len;
    }
    memcpy(data, io->in, size);
    io->in += size;
    io->in_len -= size;
    io->held += size;
    io->reads++;
    *got = size;
    return 1;
}

static int
bio_write(BIO *bio, const char *data, size_t size, size_t *written)
{
    ml_tls_io *io = ml_ssl.BIO_get_data(bio);

    ml_ssl.BIO_clear_flags(bio, FLAGS);
    *written = 0;
    if (io == NULL || !ml_tls_out_append(io->out ? io->out : &io->own, data, size)) {
        return 0;
    }
    *written = size;
    return 1;
}

static long
bio_ctrl(BIO *bio, int command, long Py_UNUSED(number), void *Py_UNUSED(pointer))
{
    switch (command) {
    case CTRL_FLUSH:
        return 1;
    case CTRL_EOF:
        return ml_ssl.BIO_get_data(bio) == NULL;
    default: /* among them the questions for TLS in the kernel */
        return 0;
    }
}

static bool
make_method(void)
{
    if (method == NULL) {
        BIO_METHOD *made =
            ml_ssl.BIO_meth_new(ml_ssl.BIO_get_new_index() | SOURCE_SINK, "moodloop");
        if (made == NULL || !ml_ssl.BIO_meth_set_read_ex(made, bio_read) ||
            !ml_ssl.BIO_meth_set_write_ex(made, bio_write) ||
            !ml_ssl.BIO_meth_set_ctrl(made, bio_ctrl)) {
            return false;
        }
        method = made;
    }
    return true;
}

int
ml_tls_bio_attach(ml_tls *self)
{
    BIO *bio = make_method() ? ml_ssl.BIO_new(method) : NULL;

    if (bio == NULL) {
        ml_ssl.ERR_clear_error();
        PyErr_NoMemory();
        return -1;
    }
    ml_ssl.BIO_set_data(bio, &self->io);
    ml_ssl.BIO_set_init(bio, 1);
    ml_ssl.BIO_up_ref(bio);
    self->bio = bio;
    ml_ssl.SSL_set_bio(self->ssl, bio, bio); /* it takes one reference for both */
    return 0;
}

void
ml_tls_bio_detach(ml_tls *self)
{
    BIO *bio = self->bio;

    self->bio = NULL;
    if (self->ssl != NULL) {
        ml_tls_release_buffers(self);
    }
    if (bio != NULL) {
        ml_ssl.BIO_set_data(bio, NULL);
        ml_ssl.BIO_free(bio);
    }
}
