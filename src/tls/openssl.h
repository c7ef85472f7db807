/* OpenSSL, as the interpreter's own `_ssl` has it: found at run time, without its headers, and the
 * SSL* of an ssl.SSLObject. */
#ifndef ML_OPENSSL_H
#define ML_OPENSSL_H

#include "../aio/aio.h"

typedef struct ssl_st SSL;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;
typedef void ml_ex_hook(void *parent, void *ptr, void *data, int index, long argl, void *argp);

/* What OpenSSL 3 and its successors promise of these: X(result, name, arguments). */
#define ML_OPENSSL(X)                                                                             \
    X(int, CRYPTO_get_ex_new_index,                                                               \
      (int class_index, long argl, void *argp, ml_ex_hook *made, void *dup, ml_ex_hook *freed))   \
    X(void *, SSL_get_ex_data, (const SSL *ssl, int index))                                       \
    X(void, SSL_set_bio, (SSL * ssl, BIO * read, BIO * write))                                    \
    X(int, SSL_read_ex, (SSL * ssl, void *data, size_t size, size_t *got))                        \
    X(int, SSL_write_ex, (SSL * ssl, const void *data, size_t size, size_t *written))             \
    X(int, SSL_pending, (const SSL *ssl))                                                         \
    X(int, SSL_get_error, (const SSL *ssl, int rc))                                               \
    X(long, SSL_ctrl, (SSL * ssl, int command, long number, void *pointer))                       \
    X(int, SSL_free_buffers, (SSL * ssl))                                                         \
    X(unsigned long, ERR_peek_error, (void))                                                      \
    X(void, ERR_clear_error, (void))                                                              \
    X(int, BIO_get_new_index, (void))                                                             \
    X(BIO_METHOD *, BIO_meth_new, (int type, const char *name))                                   \
    X(int, BIO_meth_set_read_ex, (BIO_METHOD *, int (*)(BIO *, char *, size_t, size_t *)))        \
    X(int, BIO_meth_set_write_ex, (BIO_METHOD *, int (*)(BIO *, const char *, size_t, size_t *))) \
    X(int, BIO_meth_set_ctrl, (BIO_METHOD *, long (*)(BIO *, int, long, void *)))                 \
    X(BIO *, BIO_new, (const BIO_METHOD *method))                                                 \
    X(int, BIO_up_ref, (BIO * bio))                                                               \
    X(int, BIO_free, (BIO * bio))                                                                 \
    X(void, BIO_set_init, (BIO * bio, int init))                                                  \
    X(void, BIO_set_data, (BIO * bio, void *data))                                                \
    X(void *, BIO_get_data, (BIO * bio))                                                          \
    X(void, BIO_set_flags, (BIO * bio, int flags))                                                \
    X(void, BIO_clear_flags, (BIO * bio, int flags))

typedef struct ml_openssl {
#define X(result, name, arguments) result(*name) arguments;
    ML_OPENSSL(X)
#undef X
} ml_openssl;

/* Process-wide, as OpenSSL and the hook are. */
extern ml_openssl ml_ssl;

/* SSL_get_error(). */
enum { ML_SSL_OK, ML_SSL_FAILED, ML_SSL_WANT_READ, ML_SSL_WANT_WRITE, ML_SSL_ZERO_RETURN = 6 };

/* SSL_ctrl(). */
#define ML_SSL_SET_MODE 33        /* SSL_CTRL_MODE */
#define ML_SSL_CLEAR_MODE 78      /* SSL_CTRL_CLEAR_MODE */
#define ML_SSL_RELEASE_BUFFERS 16 /* SSL_MODE_RELEASE_BUFFERS */

/* What Python's ssl module has for this. */
typedef struct ml_ssl_names {
    PyObject *SSLObject, *Error, *CertificateError;
    PyObject *again;               /* a tuple: what is raised where the peer has to say something */
    PyObject *incoming, *outgoing; /* for wrap_bio(), which wants two; nothing goes through them */
} ml_ssl_names;

/* Once, before all else here: `path` is where `_ssl` was loaded from, `module` is ssl. NULL, or the
 * reason why OpenSSL cannot be had that way; or NULL with an exception. */
const char *ml_openssl_open(ml_state *state, const char *path, PyObject *module);
/* context.wrap_bio(): the object that makes, and in *ssl what it is made around; NULL there if that
 * is not known for certain, or the object's own methods must be called. NULL with what it raises.
 */
PyObject *ml_openssl_wrap(ml_state *state, PyObject *context, int server_side, PyObject *hostname,
                          SSL **ssl);
void ml_openssl_clear(ml_state *state);
int ml_openssl_traverse(ml_state *state, visitproc visit, void *arg);

#endif
