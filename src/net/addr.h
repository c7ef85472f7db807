/* Socket addresses as Python objects, in the form of the socket module. */
#ifndef ML_ADDR_H
#define ML_ADDR_H

#include "../util.h"

#include <sys/socket.h>

/* IPv4, IPv6 and Unix addresses; NULL without an exception for other families. */
PyObject *ml_addr_object(const struct sockaddr *address, socklen_t size);

#endif
