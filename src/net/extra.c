/* get_extra_info(): made when first asked for, as most connections never are. */
#include "transport.h"
#include "addr.h"
#include "plain.h"

/* Keeps an address in its raw form; asked later, a dead connection would not tell. */
void
ml_transport_remember_addr(ml_transport *self, int which)
{
    struct sockaddr_storage storage;
    socklen_t len = sizeof(storage);
    struct sockaddr *addr = (struct sockaddr *)&storage;
    int fd = self->stream.fd;
    int rc = which == ADDR_PEER ? getpeername(fd, addr, &len) : getsockname(fd, addr, &len);

    if (rc == 0 && len <= sizeof(self->addr[which]) && self->addr_len[which] == 0) {
        memcpy(&self->addr[which], addr, len);
        self->addr_len[which] = (unsigned char)len;
    }
}

/* The socket object: the one we were given, or one made around our descriptor, which it then
 * owns. */
static PyObject *
socket_object(ml_transport *self)
{
    if (self->sock == NULL && self->stream.fd < 0) {
        PyObject *sock = PyObject_CallNoArgs(self->loop->state->aio->socket_class); /* no number */
        PyObject *closed = sock ? PyObject_CallMethod(sock, "close", NULL) : NULL;
        if (closed == NULL) {
            Py_CLEAR(sock);
        }
        Py_XDECREF(closed);
        return sock;
    }
    if (self->sock == NULL) {
        PyObject *sock = ml_plain_socket(self->loop->state, -1, -1, -1, self->stream.fd);
        if (sock == NULL) {
            return NULL;
        }
        self->sock = sock;
        PyObject *done = PyObject_CallMethod(sock, "setblocking", "i", 0);
        if (done == NULL) {
            return NULL;
        }
        Py_DECREF(done);
    }
    return Py_NewRef(self->sock);
}

static PyObject *
address(ml_transport *self, PyObject *sock, int which)
{
    PyObject *result = NULL;

    if (self->addr_len[which] > 0) {
        result = ml_addr_object(&self->addr[which].any, self->addr_len[which]);
    }
    if (result == NULL && !PyErr_Occurred()) {
        result =
            PyObject_CallMethod(sock, which == ADDR_PEER ? "getpeername" : "getsockname", NULL);
    }
    if (result == NULL && PyErr_ExceptionMatches(PyExc_OSError)) {
        PyErr_Clear(); /* as stock: an address that cannot be had is None */
        result = Py_NewRef(Py_None);
    }
    return result;
}

/* Adds key unless `extra` has it. Steals value. */
static int
add_default(PyObject *extra, const char *key, PyObject *value)
{
    int rc = -1;
    PyObject *name = value ? PyUnicode_FromString(key) : NULL;

    if (name != NULL) {
        rc = PyDict_SetDefault(extra, name, value) ? 0 : -1;
    }
    Py_XDECREF(name);
    Py_XDECREF(value);
    return rc;
}

int
ml_transport_fill_extra(ml_transport *self)
{
    if (self->extra == NULL && (self->extra = PyDict_New()) == NULL) {
        return -1;
    }
    if (!self->kind->is_socket) {
        return PyDict_GetItemString(self->extra, "pipe")
                   ? 0
                   : PyDict_SetItemString(self->extra, "pipe", self->sock);
    }
    if (PyDict_GetItemString(self->extra, "socket") != NULL) {
        return 0;
    }
    if (self->addr_len[ADDR_LOCAL] == 0 && self->stream.fd >= 0) {
        ml_transport_remember_addr(self, ADDR_LOCAL);
    }
    PyObject *sock = socket_object(self);
    if (sock == NULL) {
        return -1;
    }
    PyObject *wrapped = PyObject_CallOneArg(self->loop->state->aio->TransportSocket, sock);
    int rc = wrapped ? add_default(self->extra, "sockname", address(self, sock, ADDR_LOCAL)) : -1;
    if (rc == 0) {
        rc = add_default(self->extra, "peername", address(self, sock, ADDR_PEER));
    }
    if (rc == 0) {
        rc = add_default(self->extra, "socket", Py_NewRef(wrapped));
    }
    Py_XDECREF(wrapped);
    Py_DECREF(sock);
    return rc;
}

PyObject *
ml_transport_get_extra_info(ml_transport *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"name", "default", NULL};
    PyObject *name, *fallback = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O:get_extra_info", keywords, &name,
                                     &fallback)) {
        return NULL;
    }
    if (ml_transport_fill_extra(self) < 0) {
        return NULL;
    }
    PyObject *value = PyDict_GetItemWithError(self->extra, name);
    if (value == NULL && PyErr_Occurred()) {
        return NULL;
    }
    return Py_NewRef(value ? value : fallback);
}
