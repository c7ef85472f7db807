/* Socket addresses as Python objects, in the form of the socket module. */
#ifndef ML_ADDR_H
#define ML_ADDR_H

#include "../util.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* IPv4 and IPv6 addresses fit; others, long Unix paths above all, do not. */
typedef union ml_small_addr {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} ml_small_addr;

/* IPv4, IPv6 and Unix addresses; NULL without an exception for other families. */
PyObject *ml_addr_object(const struct sockaddr *address, socklen_t size);

/* True for the families that ml_addr_object() knows. */
static inline bool
ml_addr_is_known(int family)
{
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX;
}

/* The reverse, for the plain case: an exact tuple with a numeric IPv4 or IPv6 host. False, without
 * an exception, for all else, which the socket module is to judge. */
bool ml_addr_parse(int family, PyObject *object, ml_small_addr *address, socklen_t *size);

/* 127.0.0.0/8 or ::1. */
bool ml_addr_is_loopback(const struct sockaddr *address);

/* The objects of the addresses that were seen last: to make one costs a tenth of an echoed
 * datagram. They are immutable, so that handing out the same one again is not to be noticed. */
typedef struct ml_addr_cache ml_addr_cache;

/* NULL with MemoryError. */
ml_addr_cache *ml_addr_cache_new(void);
void ml_addr_cache_free(ml_addr_cache *cache); /* may be NULL */
/* As ml_addr_object(). */
PyObject *ml_addr_cached(ml_addr_cache *cache, const struct sockaddr *address, socklen_t size);
/* The address of the very object that ml_addr_cached() gave last: who answers need not have it
 * parsed, which is a tenth of what an echoed datagram takes above the kernel. */
bool ml_addr_last(const ml_addr_cache *cache, PyObject *object, ml_small_addr *address,
                  socklen_t *size);

#endif
