/* StreamTransport: an asyncio.Transport over a stream socket. */
#ifndef ML_TRANSPORT_H
#define ML_TRANSPORT_H

#include "stream.h"

#include <netinet/in.h>

typedef struct ml_transport ml_transport;

/* IPv4 and IPv6 addresses fit; others are asked of the socket when the transport is made. */
typedef union ml_small_addr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} ml_small_addr;

enum { ADDR_LOCAL, ADDR_PEER };

struct ml_transport {
    PyObject_HEAD
    PyObject *extra; /* BaseTransport's slot `_extra`: a dict, NULL until somebody asks */
    PyObject *dict, *weaklist;
    PyObject *protocol; /* NULL after connection_lost() */
    PyObject *sock;     /* socket object that owns the descriptor, NULL: we own it */
    PyObject *server;
    PyObject *waiter;       /* future to complete after connection_made() */
    PyObject *context;      /* see aio/context.h */
    PyObject *empty_waiter; /* a sendfile waits for the queue to be empty, or is under way */
    PyObject *lost_exc;     /* for connection_lost() */
    ml_base *loop;
    ml_stream stream;
    ml_ready lost; /* the call of connection_lost() */
    ml_small_addr addr[2];
    socklen_t addr_len[2];
    int conn_lost; /* stock's _conn_lost: 0 while writes are accepted */
    bool made;     /* connection_made() was called */
    bool closing, eof_sent, eof_received, reading_paused, buffered;
};

/* sock: a socket object or NULL with fd; waiter, extra, server, context may be NULL. On failure
 * the descriptor stays the caller's. */
PyObject *ml_transport_new(ml_base *loop, int fd, PyObject *sock, PyObject *protocol,
                           PyObject *waiter, PyObject *extra, PyObject *server, PyObject *context,
                           const struct sockaddr *peer, socklen_t peer_len);

/* The user may have closed the socket object that was handed in, and its number may be another
 * connection's by now: 1 if so, and the transport is ended with OSError(EBADF); -1: must leave. */
int ml_transport_check_owned(ml_transport *self);
/* Stops the transport because of the exception that is set: stock's _fatal_error(). */
int ml_transport_fatal(ml_transport *self, const char *message);
int ml_transport_force_close(ml_transport *self, PyObject *exc);
int ml_transport_close(ml_transport *self);
/* Has connection_lost(exc) called. */
int ml_transport_schedule_lost(ml_transport *self, PyObject *exc);

/* transport_api.c: what Python sees. */
extern PyMethodDef ml_transport_methods[];
extern PyGetSetDef ml_transport_getset[];
extern PyMemberDef ml_transport_members[];
PyObject *ml_transport_repr(ml_transport *self);
/* Debug mode: what it does, to asyncio's logger. -1 with an exception. */
int ml_transport_log(ml_transport *self, const char *what);

/* Completes empty_waiter if it is time to: None, or ConnectionError once the connection is lost. */
void ml_transport_settle_waiter(ml_transport *self);

/* sink.c: how a Protocol or BufferedProtocol is called. */
extern const ml_sink ml_transport_sink;
int ml_transport_set_protocol(ml_transport *self, PyObject *protocol);

/* extra.c: get_extra_info() and what it needs. */
PyObject *ml_transport_get_extra_info(ml_transport *self, PyObject *args, PyObject *kwargs);
int ml_transport_fill_extra(ml_transport *self);
void ml_transport_remember_addr(ml_transport *self, int which);

#endif
