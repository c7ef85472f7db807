/* Whether a socket object's methods are the socket module's own. */
#ifndef ML_PLAIN_H
#define ML_PLAIN_H

#include "../aio/aio.h"

/* The class `socket.socket` as the socket module made it, whatever that name stands for now; kept
 * in the state as aio->socket_class. -1 with an exception. */
int ml_plain_init(ml_aio *aio);

/* True if the kernel may be called by the descriptor of `sock`, as its methods would. No Python
 * code runs. */
bool ml_is_plain(ml_state *state, PyObject *sock);
/* True if that does not block either: else stock asyncio's function is for it. */
bool ml_can_try(ml_aioloop *self, PyObject *sock);
/* True if so may a socket that is made by the name `socket.socket`, as accept() does. */
bool ml_makes_plain(ml_state *state);
/* A socket object of that class around a descriptor, which it then owns. NULL with an exception,
 * and the descriptor stays the caller's. */
PyObject *ml_plain_socket(ml_state *state, int family, int type, int proto, int fd);

#endif
