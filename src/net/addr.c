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

/* ---- from Python --------------------------------------------------------------------------- */

/* An exact int from 0 to `most`. */
static bool
number(PyObject *object, unsigned long most, unsigned long *value)
{
    if (!PyLong_CheckExact(object)) {
        return false;
    }
    *value = PyLong_AsUnsignedLong(object);
    if (*value == (unsigned long)-1 && PyErr_Occurred()) {
        PyErr_Clear();
        return false;
    }
    return *value <= most;
}

static bool
numeric_host(int family, PyObject *object, void *address)
{
    Py_ssize_t len;

    if (!PyUnicode_CheckExact(object) || !PyUnicode_IS_ASCII(object)) {
        return false;
    }
    const char *text = PyUnicode_AsUTF8AndSize(object, &len);
    return text != NULL && strlen(text) == (size_t)len && inet_pton(family, text, address) == 1;
}

bool
ml_addr_parse(int family, PyObject *object, ml_small_addr *address, socklen_t *size)
{
    unsigned long port, flow = 0, scope = 0;
    Py_ssize_t count = PyTuple_CheckExact(object) ? PyTuple_GET_SIZE(object) : 0;

    if (count < 2 || !number(PyTuple_GET_ITEM(object, 1), 65535, &port)) {
        return false;
    }
    PyObject *host = PyTuple_GET_ITEM(object, 0);
    if (family == AF_INET && count == 2) {
        address->v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
        *size = sizeof(address->v4);
        return numeric_host(family, host, &address->v4.sin_addr);
    }
    if (family != AF_INET6 || count > 4 ||
        (count > 2 && !number(PyTuple_GET_ITEM(object, 2), 0xfffff, &flow)) ||
        (count > 3 && !number(PyTuple_GET_ITEM(object, 3), UINT32_MAX, &scope))) {
        return false;
    }
    address->v6 = (struct sockaddr_in6){.sin6_family = AF_INET6,
                                        .sin6_port = htons(port),
                                        .sin6_flowinfo = htonl((uint32_t)flow),
                                        .sin6_scope_id = (uint32_t)scope};
    *size = sizeof(address->v6);
    return numeric_host(family, host, &address->v6.sin6_addr);
}

bool
ml_addr_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* ---- addresses seen before ----------------------------------------------------------------- */

/* Peers that talk at the same time; with more of them some addresses are made again. */
#define CACHED 64

struct ml_addr_cache {
    struct {
        ml_small_addr address;
        socklen_t size;
        PyObject *object; /* NULL: unused */
    } entries[CACHED];    /* each address has one place */
    size_t last;          /* the place of the one asked for last */
};

ml_addr_cache *
ml_addr_cache_new(void)
{
    ml_addr_cache *cache = PyMem_RawCalloc(1, sizeof(*cache));

    if (cache == NULL) {
        PyErr_NoMemory();
    }
    return cache;
}

void
ml_addr_cache_free(ml_addr_cache *cache)
{
    for (int i = 0; cache != NULL && i < CACHED; i++) {
        Py_XDECREF(cache->entries[i].object);
    }
    PyMem_RawFree(cache);
}

/* Neighbours differ in the port or in the last part of the address. */
static size_t
place_of(const struct sockaddr *address)
{
    uint32_t hash;

    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        hash = v4->sin_addr.s_addr ^ (uint32_t)v4->sin_port * 0x9e3779b1u;
    }
    else {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        const uint32_t *words = (const uint32_t *)&v6->sin6_addr;
        hash = words[1] ^ words[3] ^ (uint32_t)v6->sin6_port * 0x9e3779b1u;
    }
    hash *= 0x9e3779b1u;
    return hash >> 26; /* six bits: CACHED */
}

PyObject *
ml_addr_cached(ml_addr_cache *cache, const struct sockaddr *address, socklen_t size)
{
    if (size == 0 || (address->sa_family != AF_INET && address->sa_family != AF_INET6)) {
        return ml_addr_object(address, size);
    }
    size_t i = cache->last = place_of(address);
    if (cache->entries[i].size == size && memcmp(&cache->entries[i].address, address, size) == 0) {
        return Py_NewRef(cache->entries[i].object);
    }
    PyObject *object = ml_addr_object(address, size);
    if (object != NULL && size <= sizeof(cache->entries[i].address)) {
        memcpy(&cache->entries[i].address, address, size);
        cache->entries[i].size = size;
        Py_XSETREF(cache->entries[i].object, Py_NewRef(object));
    }
    return object;
}

bool
ml_addr_last(const ml_addr_cache *cache, PyObject *object, ml_small_addr *address, socklen_t *size)
{
    if (cache->entries[cache->last].object != object) {
        return false;
    }
    *address = cache->entries[cache->last].address;
    *size = cache->entries[cache->last].size;
    return true;
}
