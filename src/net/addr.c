#define _GNU_SOURCE
#include "addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/un.h>

static PyObject *
unix_object(const struct sockaddr_un *address, socklen_t size)
{
    size_t length = size > offsetof(struct sockaddr_un, sun_path)
                        ? size - offsetof(struct sockaddr_un, sun_path)
                        : 0;

    if (length > 0 && address->sun_path[0] == 0) { /* abstract: bytes, zeros and all */
        return PyBytes_FromStringAndSize(address->sun_path, (Py_ssize_t)length);
    }
    return PyUnicode_DecodeFSDefaultAndSize(address->sun_path,
                                            (Py_ssize_t)strnlen(address->sun_path, length));
}

PyObject *
ml_addr_object(const struct sockaddr *address, socklen_t size)
{
    char text[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];

    if (size == 0) { /* a peer without a name, as a datagram's on an unnamed Unix socket */
        return Py_NewRef(Py_None);
    }
    switch (address->sa_family) {
    case AF_INET: {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
        return Py_BuildValue("(si)", text, (int)ntohs(v4->sin_port));
    }
    case AF_INET6: {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        /* not inet_ntop(): a link-local address carries its interface, fe80::1%eth0 */
        int failed = getnameinfo(address, size, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
        if (failed) {
            PyErr_SetString(PyExc_OSError, gai_strerror(failed));
            return NULL;
        }
        return Py_BuildValue("(siII)", text, (int)ntohs(v6->sin6_port),
                             (unsigned int)ntohl(v6->sin6_flowinfo), v6->sin6_scope_id);
    }
    case AF_UNIX:
        return unix_object((const struct sockaddr_un *)address, size);
    default:
        return NULL;
    }
}
