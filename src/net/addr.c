#include "addr.h"

#include <arpa/inet.h>
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

/* inet_ntop() goes through printf() and so takes 110 ns, which this does not. */
static PyObject *
ipv4_text(const struct in_addr *address)
{
    const unsigned char *bytes = (const unsigned char *)&address->s_addr;
    char text[INET_ADDRSTRLEN], *end = text;

    for (int i = 0; i < 4; i++) {
        if (bytes[i] >= 100) {
            *end++ = (char)('0' + bytes[i] / 100);
        }
        if (bytes[i] >= 10) {
            *end++ = (char)('0' + bytes[i] / 10 % 10);
        }
        *end++ = (char)('0' + bytes[i] % 10);
        *end++ = '.';
    }
    return PyUnicode_FromStringAndSize(text, end - text - 1);
}

/* (host, port); steals both. */
static PyObject *
ipv4_object(PyObject *host, PyObject *port)
{
    PyObject *pair = host && port ? PyTuple_New(2) : NULL;

    if (pair == NULL) {
        Py_XDECREF(host);
        Py_XDECREF(port);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, host);
    PyTuple_SET_ITEM(pair, 1, port);
    return pair;
}

PyObject *
ml_addr_object(const struct sockaddr *address, socklen_t size)
{
    char text[INET6_ADDRSTRLEN];

    if (size == 0) { /* a peer without a name, as a datagram's on an unnamed Unix socket */
        return Py_NewRef(Py_None);
    }
    switch (address->sa_family) {
    case AF_INET: {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        return ipv4_object(ipv4_text(&v4->sin_addr), PyLong_FromLong(ntohs(v4->sin_port)));
    }
    case AF_INET6: {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        /* without "%eth0": the interface is the last item, as the socket module has it */
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
        return Py_BuildValue("(siII)", text, (int)ntohs(v6->sin6_port),
                             (unsigned int)ntohl(v6->sin6_flowinfo), v6->sin6_scope_id);
    }
    case AF_UNIX:
        return unix_object((const struct sockaddr_un *)address, size);
    default:
        return NULL;
    }
}
