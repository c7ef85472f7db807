/* A TLS server on OpenSSL and raw epoll: the least work that a server can do which has OpenSSL
 * encrypt.
 *
 *     echo_tls CERTIFICATE KEY [echo|sink|source]
 *
 * What is received at once is decrypted at once out of one buffer that all connections share, and
 * what it makes OpenSSL write goes out in one send. Options are those of Python's ssl module, so
 * that memory and work are comparable.
 */
#define _GNU_SOURCE
#include "echo_common.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <sys/epoll.h>

enum { EVENTS = 256, BLOCK = 256 * 1024 };

struct connection {
    SSL *ssl;
    struct echo out; /* the socket; `pending` is cipher text that it did not take yet */
    bool closing;
};

struct buffer {
    char *data;
    size_t start, end, size;
};

static enum { MODE_ECHO, MODE_SINK, MODE_SOURCE } mode;
static struct buffer incoming, outgoing; /* cipher text of the connection that is served */
static char plain[BLOCK];
static int epoll;
static SSL_CTX *context;
static BIO_METHOD *method;

/* BIO: both directions of a connection are the shared buffers. */

static int
on_read(BIO *bio, char *data, size_t size, size_t *got)
{
    size_t there = incoming.end - incoming.start;

    BIO_clear_retry_flags(bio);
    if (there == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    *got = size < there ? size : there;
    memcpy(data, incoming.data + incoming.start, *got);
    incoming.start += *got;
    return 1;
}

static int
on_write(BIO *bio, const char *data, size_t size, size_t *written)
{
    BIO_clear_retry_flags(bio);
    if (outgoing.end + size > outgoing.size) {
        outgoing.size = 2 * (outgoing.end + size);
        outgoing.data = realloc(outgoing.data, outgoing.size);
        if (outgoing.data == NULL)
            die("realloc");
    }
    memcpy(outgoing.data + outgoing.end, data, size);
    outgoing.end += size;
    *written = size;
    return 1;
}

static long
on_ctrl(BIO *bio, int command, long number, void *data)
{
    (void)bio, (void)number, (void)data;
    return command == BIO_CTRL_FLUSH;
}

/* Connections */

static void
watch(int op, int fd, uint32_t events, void *data)
{
    struct epoll_event ev = {.events = events, .data.ptr = data};

    if (epoll_ctl(epoll, op, fd, &ev) < 0)
        die("epoll_ctl");
}

static void
end(struct connection *c)
{
    SSL_free(c->ssl);
    echo_close(&c->out);
    free(c);
}

static void
accept_all(int listener)
{
    int fd;

    while ((fd = echo_accept(listener)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        BIO *bio = BIO_new(method);
        if (c == NULL || bio == NULL || (c->ssl = SSL_new(context)) == NULL)
            die("no memory");
        BIO_set_init(bio, 1);
        SSL_set_bio(c->ssl, bio, bio);
        SSL_set_accept_state(c->ssl);
        c->out.fd = fd;
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}

/* Sends what OpenSSL has written; what the socket does not take is kept. False: it is gone. */
static bool
send_all(struct connection *c)
{
    ssize_t sent;

    if (outgoing.end == 0)
        return true;
    sent = send(c->out.fd, outgoing.data, outgoing.end, 0);
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return false;
        sent = 0;
    }
    if ((size_t)sent < outgoing.end) {
        c->out.start = 0;
        c->out.end = outgoing.end - (size_t)sent;
        c->out.pending = malloc(c->out.end);
        if (c->out.pending == NULL)
            die("malloc");
        memcpy(c->out.pending, outgoing.data + sent, c->out.end);
    }
    outgoing.end = 0;
    return true;
}

/* Decrypts all that there is; the bytes, or -1 where TLS has ended. */
static ssize_t
decrypt(struct connection *c)
{
    size_t have = 0, got;

    while ((incoming.start < incoming.end || SSL_pending(c->ssl)) && have < sizeof plain) {
        if (SSL_read_ex(c->ssl, plain + have, sizeof plain - have, &got) == 1) {
            have += mode == MODE_ECHO ? got : 0;
            continue;
        }
        if (SSL_get_error(c->ssl, 0) == SSL_ERROR_WANT_READ)
            break;
        ERR_clear_error();
        return -1;
    }
    return (ssize_t)have;
}

/* Has OpenSSL encrypt; nothing is ever refused. */
static void
encrypt(struct connection *c, size_t size)
{
    size_t written;

    if (size > 0 && SSL_write_ex(c->ssl, plain, size, &written) != 1)
        ERR_clear_error();
}

static enum echo_state
serve(struct connection *c)
{
    ssize_t got = recv(c->out.fd, incoming.data, incoming.size, 0);

    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? ECHO_READING : ECHO_CLOSED;
    if (got == 0)
        return ECHO_CLOSED;
    incoming.start = 0;
    incoming.end = (size_t)got;
    if (!SSL_is_init_finished(c->ssl)) {
        int done = SSL_do_handshake(c->ssl);
        if (done != 1 && SSL_get_error(c->ssl, done) != SSL_ERROR_WANT_READ) {
            ERR_clear_error();
            (void)send_all(c);
            return ECHO_CLOSED;
        }
    }
    if (SSL_is_init_finished(c->ssl)) {
        got = decrypt(c);
        if (got < 0) {
            c->closing = true;
            SSL_shutdown(c->ssl);
        }
        else {
            encrypt(c, mode == MODE_SOURCE ? sizeof plain : (size_t)got);
        }
    }
    if (!send_all(c) || (c->closing && c->out.pending == NULL))
        return ECHO_CLOSED;
    return c->out.pending ? ECHO_WRITING : ECHO_READING;
}

/* Writable: first what waits, then, from a source, more. */
static enum echo_state
go_on(struct connection *c)
{
    enum echo_state state = c->out.pending ? echo_flush(&c->out) : ECHO_READING;

    if (state != ECHO_READING)
        return state;
    if (c->closing)
        return ECHO_CLOSED;
    if (mode == MODE_SOURCE) {
        encrypt(c, sizeof plain);
        return send_all(c) ? ECHO_WRITING : ECHO_CLOSED;
    }
    return ECHO_READING;
}

static void
on_event(struct connection *c, uint32_t events)
{
    bool was_writing = (events & EPOLLOUT) != 0;
    enum echo_state state = was_writing ? go_on(c) : serve(c);

    if (state == ECHO_CLOSED) {
        end(c);
        return;
    }
    if (mode == MODE_SOURCE && SSL_is_init_finished(c->ssl))
        state = ECHO_WRITING;
    if (was_writing != (state == ECHO_WRITING))
        watch(EPOLL_CTL_MOD, c->out.fd, was_writing ? EPOLLIN : EPOLLOUT, c);
}

static void
set_up(const char *certificate, const char *key)
{
    context = SSL_CTX_new(TLS_server_method());
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "shared");
    incoming.data = malloc(incoming.size = READ_BUFFER);
    if (context == NULL || method == NULL || incoming.data == NULL)
        die("no memory");
    BIO_meth_set_read_ex(method, on_read);
    BIO_meth_set_write_ex(method, on_write);
    BIO_meth_set_ctrl(method, on_ctrl);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_options(context, SSL_OP_ALL | SSL_OP_CIPHER_SERVER_PREFERENCE);
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
}

int
main(int argc, char **argv)
{
    static const char *const modes[] = {"echo", "sink", "source"};
    struct epoll_event events[EVENTS];

    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: %s CERTIFICATE KEY [echo|sink|source]\n", argv[0]);
        return 2;
    }
    for (int i = 0; argc == 4 && i < 3; i++) {
        if (strcmp(argv[3], modes[i]) == 0)
            mode = i;
    }
    set_up(argv[1], argv[2]);
    int listener = echo_listen(1, argv);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll_create1");
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                accept_all(listener);
            else
                on_event(events[i].data.ptr, events[i].events);
        }
    }
}
