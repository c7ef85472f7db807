/* What a sock_* call asks for, and how it is tried or waited for. */
#ifndef ML_SOCKOP_H
#define ML_SOCKOP_H

#include "../aio/aio.h"

/* What is asked for. Lives on the C stack until it must wait. */
typedef struct ml_request ml_request;
struct ml_request {
    /* The system call: a result, NULL with an exception, or NULL with *again if it would block. */
    PyObject *(*attempt)(ml_aioloop *loop, ml_request *self, bool *again);
    PyObject *sock, *address; /* owned once in a SockOp */
    PyObject *data;           /* to send or receive into; NULL if there is none */
    Py_buffer buffer;         /* of data that is sent in several calls */
    size_t size, done;
    int fd, events;
    int error;    /* of a connection whose outcome is known before it is waited for: errno, or 0 */
    bool owned;   /* the descriptor is the request's, who closes it: `sock` is NULL */
    bool settled; /* there is nothing to wait for but the next turn */
};

void ml_request_clear(ml_request *self);
/* Tries at once: the result, or if it would block a SockOp to await. Takes over the request's
 * references. NULL with an exception. */
PyObject *ml_sockop_try(ml_aioloop *loop, ml_request *asked);
/* An operation that is to wait, though not if it is settled. Takes over the references. */
PyObject *ml_sockop_new(ml_aioloop *loop, ml_request *asked);

/* Connects a non-blocking TCP socket, which it takes over: a SockOp to await, or NULL with an
 * exception. `address` is for messages. */
PyObject *ml_sockop_connect_to(ml_aioloop *self, int fd, const struct sockaddr *to,
                               socklen_t to_len, PyObject *address);
/* The connected socket, which is the caller's from now on; -1 if there is none. */
int ml_sockop_take(PyObject *sockop);

#endif
