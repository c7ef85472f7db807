/* getaddrinfo() of what needs no look-up: numeric addresses and ports. The C library parses them,
 * told by its flags to do no more than that, so the answers are those of socket.getaddrinfo(). */
#include "addr.h"
#include "methods.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>

#define MAX_HOST 60 /* longer ones may be refused by the codec for host names */

/* ---- arguments ----------------------------------------------------------------------------- */

/* A str or bytes of ASCII without NUL, as a C string; NULL, without an exception, for all else. */
static const char *
plain_text(PyObject *object)
{
    if (PyUnicode_Check(object) && PyUnicode_IS_ASCII(object)) {
        Py_ssize_t size = PyUnicode_GET_LENGTH(object);
        const char *text = (const char *)PyUnicode_1BYTE_DATA(object);
        return size > 0 && size <= MAX_HOST && strlen(text) == (size_t)size ? text : NULL;
    }
    if (PyBytes_Check(object)) {
        Py_ssize_t size = PyBytes_GET_SIZE(object);
        const char *text = PyBytes_AS_STRING(object);
        return size > 0 && size <= MAX_HOST && strlen(text) == (size_t)size ? text : NULL;
    }
    return NULL;
}

/* The port as a decimal number in `text` (8 bytes), "" for None. False for names and all else. */
static bool
numeric_port(PyObject *port, char *text)
{
    if (port == Py_None) {
        *text = 0;
        return true;
    }
    if (PyLong_CheckExact(port)) {
        int overflow;
        long number = PyLong_AsLongAndOverflow(port, &overflow);
        if (overflow || number < 0 || number > 65535) {
            return false;
        }
        PyOS_snprintf(text, 8, "%ld", number);
        return true;
    }
    const char *digits = plain_text(port);
    if (digits == NULL || strlen(digits) > 5 || strspn(digits, "0123456789") != strlen(digits)) {
        return false;
    }
    strcpy(text, digits);
    return true;
}

static bool
small_int(PyObject *object, int *value)
{
    int overflow;

    if (!PyLong_Check(object)) {
        return false;
    }
    long number = PyLong_AsLongAndOverflow(object, &overflow);
    *value = (int)number;
    return !overflow && number == *value;
}

/* What nearly all ask for, answered as the C library does (120 ns, and 35 to write the port for
 * it): one IPv4 address, four decimal numbers, and a port for one kind of socket. False for all
 * else. */
static bool
answer_ipv4(const char *host, PyObject *port, const struct addrinfo *hints, struct addrinfo *found,
            struct sockaddr_in *address)
{
    int kind = hints->ai_socktype, protocol = kind == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
    int overflow;
    long number = PyLong_CheckExact(port) ? PyLong_AsLongAndOverflow(port, &overflow) : -1;

    if (host == NULL || number < 0 || number > 65535 ||
        (kind != SOCK_STREAM && kind != SOCK_DGRAM) || hints->ai_flags != 0 ||
        (hints->ai_family != AF_UNSPEC && hints->ai_family != AF_INET) ||
        (hints->ai_protocol != 0 && hints->ai_protocol != protocol)) {
        return false;
    }
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)number)};
    *found = (struct addrinfo){
        .ai_family = AF_INET,
        .ai_socktype = kind,
        .ai_protocol = protocol,
        .ai_addr = (struct sockaddr *)address,
        .ai_addrlen = sizeof(*address),
    };
    return inet_pton(AF_INET, host, &address->sin_addr) == 1;
}

/* ---- results ------------------------------------------------------------------------------- */

/* The member of socket.AddressFamily or SocketKind, borrowed; NULL, without an exception, if the
 * socket module might have none. */
static PyObject *
family_member(const ml_aio *aio, int family)
{
    return family == AF_INET ? aio->af_inet : family == AF_INET6 ? aio->af_inet6 : NULL;
}

static PyObject *
kind_member(const ml_aio *aio, int kind)
{
    return kind == SOCK_STREAM  ? aio->sock_stream
           : kind == SOCK_DGRAM ? aio->sock_dgram
           : kind == SOCK_RAW   ? aio->sock_raw
                                : NULL;
}

/* One item of the list; NULL without an exception if it is out of the ordinary. */
static PyObject *
result_item(const ml_aio *aio, const struct addrinfo *found)
{
    PyObject *family = family_member(aio, found->ai_family);
    PyObject *kind = kind_member(aio, found->ai_socktype);
    PyObject *item = family && kind ? PyTuple_New(5) : NULL;

    if (item == NULL) {
        return NULL;
    }
    const char *name = found->ai_canonname ? found->ai_canonname : "";
    PyTuple_SET_ITEM(item, 0, Py_NewRef(family));
    PyTuple_SET_ITEM(item, 1, Py_NewRef(kind));
    PyTuple_SET_ITEM(item, 2, PyLong_FromLong(found->ai_protocol));
    PyTuple_SET_ITEM(item, 3, PyUnicode_FromString(name));
    PyTuple_SET_ITEM(item, 4, ml_addr_object(found->ai_addr, found->ai_addrlen));
    if (PyErr_Occurred()) {
        Py_CLEAR(item);
    }
    return item;
}

/* The list that socket.getaddrinfo() makes of them; None if one of them is out of the ordinary. */
static PyObject *
result_list(const ml_aio *aio, const struct addrinfo *found)
{
    Py_ssize_t count = 0, i = 0;

    for (const struct addrinfo *one = found; one != NULL; one = one->ai_next) {
        count++;
    }
    PyObject *list = PyList_New(count);
    for (; list != NULL && found != NULL; found = found->ai_next) {
        PyObject *item = result_item(aio, found);
        if (item == NULL) {
            Py_DECREF(list);
            return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
        }
        PyList_SET_ITEM(list, i++, item);
    }
    return list;
}

/* True if the host is a number, of another family than the one asked for. */
static bool
is_other_family(int error)
{
#ifdef EAI_ADDRFAMILY
    return error == EAI_ADDRFAMILY;
#else
    return false;
#endif
}

static PyObject *
raise_gaierror(const ml_aio *aio, int error)
{
    PyObject *args = Py_BuildValue("(is)", error, gai_strerror(error));

    if (args != NULL) {
        PyErr_SetObject(aio->gaierror, args);
        Py_DECREF(args);
    }
    return NULL;
}

/* _getaddrinfo_literal(host, port, family, type, proto, flags): as socket.getaddrinfo(), or None if
 * the host or the port may be a name, and in debug mode. */
PyObject *
ml_getaddrinfo_literal(ml_base *self, PyObject *const *args, Py_ssize_t nargs)
{
    const ml_aio *aio = self->state->aio;
    struct addrinfo hints = {0}, one, *found = &one;
    struct sockaddr_in address;
    const char *host = NULL;
    char port[8];

    if (ml_count_args("_getaddrinfo_literal", nargs, 6) < 0 || ml_base_check_closed(self) < 0) {
        return NULL;
    }
    if (self->debug) { /* where each look-up is logged */
        Py_RETURN_NONE;
    }
    if ((args[0] != Py_None && !(host = plain_text(args[0]))) ||
        !small_int(args[2], &hints.ai_family) || !small_int(args[3], &hints.ai_socktype) ||
        !small_int(args[4], &hints.ai_protocol) || !small_int(args[5], &hints.ai_flags)) {
        Py_RETURN_NONE;
    }
    int error = 0;
    bool ours = answer_ipv4(host, args[1], &hints, &one, &address);
    if (!ours) {
        if (!numeric_port(args[1], port)) {
            Py_RETURN_NONE;
        }
        hints.ai_flags |= AI_NUMERICHOST | AI_NUMERICSERV;
        error = getaddrinfo(host, *port ? port : NULL, &hints, &found);
    }
    if (error && !is_other_family(error)) {
        Py_RETURN_NONE; /* a name, or wrong arguments: the general way finds the first mistake */
    }
    if (PySys_Audit("socket.getaddrinfo", "OOiii", args[0], args[1], hints.ai_family,
                    hints.ai_socktype, hints.ai_protocol) < 0) {
        if (!error && !ours) {
            freeaddrinfo(found);
        }
        return NULL;
    }
    if (error) {
        return raise_gaierror(aio, error);
    }
    PyObject *list = result_list(aio, found);
    if (!ours) {
        freeaddrinfo(found);
    }
    return list;
}
