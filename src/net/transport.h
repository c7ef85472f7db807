/* What all transports are: a stream, a protocol and a life. StreamTransport is one over a stream
 * socket; datagram.c and pipe.c have the others. */
#ifndef ML_TRANSPORT_H
#define ML_TRANSPORT_H

#include "addr.h"
#include "methods.h"
#include "stream.h"

typedef struct ml_transport ml_transport;

enum { ADDR_LOCAL, ADDR_PEER };

/* From one to a later one only, in life.c. */
typedef enum ml_life {
    ML_OPENING, /* connection_made() is still to be called */
    ML_OPEN,
    ML_CLOSING,        /* what is queued is still sent */
    ML_LOST_SCHEDULED, /* connection_lost() comes next, unless the loop is closed */
    ML_GONE,           /* it was, and nothing is left; or nobody can call it any more */
} ml_life;

/* What each kind of transport does in its own way. */
typedef struct ml_transport_kind {
    ml_sink sink;
    const ml_calls *calls;
    bool is_socket;  /* has addresses; its descriptor is known to be a transport's */
    bool write_only; /* reads to notice that the peer goes; takes no writes from close() on */
    const char *read_failed, *write_failed; /* messages */
    const char *lost_write; /* logged when the program goes on writing to what is gone */
    int (*eof)(ml_transport *self);
    int (*read_error)(ml_transport *self, int error); /* errno value */
    /* A method of the protocol raised while data was handed to it. */
    int (*receiver_failed)(ml_transport *self, const char *message);
} ml_transport_kind;

/* A protocol that is written in C, and gets what arrives without calls of Python's: as a bytes
 * object, or if it has get_buffer() in place of received() in its own memory; and, unless NULL,
 * that all was sent. get_buffer() gives NULL with an exception, the others -1. */
typedef struct ml_native {
    int (*received)(PyObject *protocol, PyObject *data);
    char *(*get_buffer)(PyObject *protocol, size_t *size);
    int (*buffer_updated)(PyObject *protocol, size_t size);
    int (*drained)(PyObject *protocol);
} ml_native;

struct ml_transport {
    PyObject_HEAD
    PyObject *extra; /* BaseTransport's slot `_extra`: a dict, NULL until somebody asks */
    PyObject *dict, *weaklist;
    PyObject *protocol; /* NULL after connection_lost() */
    PyObject *sock;     /* socket or file object that owns the descriptor, NULL: we own it */
    PyObject *fileno;   /* its method, bound, once it was asked */
    PyObject *server;
    PyObject *waiter;       /* future to complete after connection_made() */
    PyObject *context;      /* see aio/context.h */
    PyObject *empty_waiter; /* a sendfile waits for the queue to be empty, or is under way */
    PyObject *lost_exc;     /* for connection_lost() */
    ml_aioloop *loop;
    const ml_transport_kind *kind;
    const ml_native *native; /* the protocol's, NULL: it is Python's */
    ml_stream stream;
    ml_ready lost;         /* the call of connection_lost() */
    ml_small_addr addr[2]; /* what does not fit is asked of the socket */
    ml_life life;
    int lost_writes; /* that came too late */
    size_t max_size; /* bytes handed over at once */
    unsigned char addr_len[2];
    bool eof_sent, eof_received, reading_paused, buffered;
    bool counted; /* among the transports of the loop's meter */
};

static inline bool
ml_transport_is_closing(const ml_transport *self)
{
    return self->life >= ML_CLOSING;
}

/* Nothing is sent any more. */
static inline bool
ml_transport_is_lost(const ml_transport *self)
{
    return self->life >= ML_LOST_SCHEDULED;
}

/* What a transport is made from: borrowed references; all but protocol may be NULL or None. */
typedef struct ml_transport_args {
    PyObject *sock, *protocol, *waiter, *extra, *server, *context;
} ml_transport_args;

/* A transport of any kind, not begun yet. NULL with an exception. */
ml_transport *ml_transport_alloc(ml_aioloop *loop, PyTypeObject *type,
                                 const ml_transport_kind *kind, int fd,
                                 const ml_transport_args *args);
/* From here on it owns the descriptor, and connection_made() will be called. NULL with an
 * exception, and then `self` is gone. */
PyObject *ml_transport_begin(ml_transport *self);
/* Or this: drops one that was not begun; the descriptor stays the caller's. */
void ml_transport_forgo(ml_transport *self);
/* A StreamTransport; `peer` may be NULL. On failure the descriptor stays the caller's. */
PyObject *ml_transport_new(ml_aioloop *loop, int fd, const ml_transport_args *args,
                           const struct sockaddr *peer, socklen_t peer_len);

/* ---- life.c ------------------------------------------------------------------------------ */

/* connection_made() is called now. */
void ml_transport_opened(ml_transport *self);
/* `fd` is a new file: a transport that still has the number ends. -1: must leave. */
int ml_transport_claim(ml_aioloop *loop, int fd);
/* The user may have closed the socket object that was handed in, and its number may be another
 * connection's by now: 1 if so, and the transport is ended with OSError(EBADF); -1: must leave. */
int ml_transport_check_owned(ml_transport *self);
/* The descriptor is not ours any more: ends the transport with the exception that is set. */
int ml_transport_forsake(ml_transport *self);
/* Ends the transport because of the exception that is set: stock's _fatal_error(). An OSError is
 * the network's doing, and not reported. */
int ml_transport_fatal(ml_transport *self, const char *message);
/* The same, and `report` says whether the exception handler hears of it. */
int ml_transport_fail(ml_transport *self, const char *message, bool report);
/* Ends it without waiting for what the socket does not take now. */
int ml_transport_force_close(ml_transport *self, PyObject *exc);
int ml_transport_close(ml_transport *self);
/* The queue is empty: close() goes on, if that is what waited for it. */
int ml_transport_all_sent(ml_transport *self);
int ml_transport_run_lost(ml_ready *ready);
/* Tells the server, if there is one. -1 with what that raised. */
int ml_transport_attach_server(ml_transport *self);
int ml_transport_detach_server(ml_transport *self);
/* Calls moodloop._diagnostics.<name>(self) in debug mode. -1: must leave. */
int ml_transport_log(ml_transport *self, const char *name);
void ml_transport_finalize(ml_transport *self);

/* ------------------------------------------------------------------------------------------ */

int ml_transport_traverse(ml_transport *self, visitproc visit, void *arg);
int ml_transport_clear(ml_transport *self);
void ml_transport_dealloc(ml_transport *self);

/* sendfile.c. Whether the descriptor may be used beside the transport: sendfile does, and from
 * close() on who likes. */
void ml_transport_share(ml_transport *self);
/* Completes empty_waiter if it is time to: None, or ConnectionError once the connection is lost. */
void ml_transport_settle_waiter(ml_transport *self);

/* protocol.c: how a Protocol or BufferedProtocol is called, and how much is read for it. */
extern const ml_transport_kind ml_stream_kind;
int ml_transport_set_protocol(ml_transport *self, PyObject *protocol);
/* How a protocol that is written in C is called; NULL: it is Python's, or a class derived from it.
 */
const ml_native *ml_transport_native_of(const ml_state *state, PyObject *protocol);
/* Whether a protocol is a BufferedProtocol. -1 with an exception. */
int ml_transport_is_buffered(const ml_state *state, PyObject *protocol);
/* protocol.name(arg), or protocol.name() if arg is NULL. The protocol must not be NULL. */
PyObject *ml_transport_call(ml_transport *self, PyObject *name, PyObject *arg);
/* What get_buffer() of a protocol gave, to be written to: steals `buffer`, which may be NULL with
 * an exception. -1 with an exception: it is no buffer, or empty. */
int ml_transport_take_buffer(PyObject *buffer, Py_buffer *view);
int ml_transport_readable(ml_stream *stream);
int ml_transport_gone(ml_stream *stream);
int ml_transport_tell(ml_stream *stream, PyObject *method, const char *failed);
int ml_transport_drained(ml_stream *stream);
int ml_transport_write_failed(ml_stream *stream, int error);
void ml_transport_unwatched(ml_stream *stream);
/* What all kinds have in their sinks. */
#define ML_PROTOCOL_SINK                                                                   \
    .gone = ml_transport_gone, .tell = ml_transport_tell, .drained = ml_transport_drained, \
    .write_failed = ml_transport_write_failed

/* extra.c: get_extra_info() and what it needs. */
PyObject *ml_transport_get_extra_info(ml_transport *self, PyObject *args, PyObject *kwargs);
int ml_transport_fill_extra(ml_transport *self);
void ml_transport_remember_addr(ml_transport *self, int which);

#endif
