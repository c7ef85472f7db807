/* The sockets of EventLoop.create_connection(), for a host that is an address: made, connected and
 * handed to a transport without a socket object, which is made when somebody asks for it. */
#include "plain.h"
#include "sockop.h"
#include "transport.h"

#include <errno.h>
#include <unistd.h>

/* ---- auditing ---------------------------------------------------------------------------- */

typedef struct audited {
    ml_aioloop *loop;
    PyObject *sock; /* made if there is a hook, who then finds what stock asyncio shows it */
    int fd, family;
} audited;

/* For Py_BuildValue(), which PySys_Audit() calls only if there are hooks. */
static PyObject *
make_socket(void *data)
{
    audited *self = data;

    self->sock =
        ml_plain_socket(self->loop->state, self->family, SOCK_STREAM, IPPROTO_TCP, self->fd);
    return Py_XNewRef(self->sock);
}

/* Raises the events socket.__new__ and socket.connect. -1 with what a hook raises, or
 * OSError(EBADF) if it closed or detached the socket: then *fd, which is no longer ours, becomes
 * -1. */
static int
audit(ml_aioloop *loop, int *fd, int family, PyObject *address)
{
    audited self = {.loop = loop, .fd = *fd, .family = family};
    int rc = PySys_Audit("socket.connect", "O&O", make_socket, &self, address);

    if (self.sock == NULL) {
        return rc;
    }
    PyObject *exc = rc < 0 ? ml_take_exception() : NULL;
    PyObject *detached = PyObject_CallMethod(self.sock, "detach", NULL); /* it is not its own */
    long number = detached ? PyLong_AsLong(detached) : -1;
    if (number != *fd) {
        *fd = -1;
        if (detached != NULL && !PyErr_Occurred()) {
            ml_os_error(EBADF);
        }
    }
    rc = ml_raise_again(exc, PyErr_Occurred() ? -1 : 0, (PyObject *)loop);
    Py_XDECREF(detached);
    Py_DECREF(self.sock);
    return rc;
}

/* ---- connecting -------------------------------------------------------------------------- */

/* The address as stock asyncio makes it for sock_connect(): a tuple of the family's size, or NULL,
 * without an exception if the host is no address. */
static PyObject *
literal(PyObject *host, PyObject *port, ml_small_addr *to, socklen_t *to_len)
{
    PyObject *address = PyTuple_Pack(2, host, port);

    if (address == NULL || ml_addr_parse(AF_INET, address, to, to_len)) {
        return address;
    }
    Py_SETREF(address, Py_BuildValue("(OOii)", host, port, 0, 0));
    if (address != NULL && !ml_addr_parse(AF_INET6, address, to, to_len)) {
        Py_CLEAR(address);
    }
    return address;
}

/* _connect(host, port): a SockOp to await; None if the host may be a name, or if sockets are made
 * by a class whose methods have to be called. */
PyObject *
ml_connect_literal(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs)
{
    ml_small_addr to;
    socklen_t to_len = 0;

    if (ml_count_args("_connect", nargs, 2) < 0 || ml_aioloop_check_closed(self) < 0) {
        return NULL;
    }
    if (!ml_makes_plain(self->state)) {
        Py_RETURN_NONE;
    }
    PyObject *address = literal(args[0], args[1], &to, &to_len);
    if (address == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    PyObject *op = NULL;
    int fd = ml_sock_tcp(to.any.sa_family);
    if (fd < 0) {
        ml_os_error(-fd);
    }
    else if (audit(self, &fd, to.any.sa_family, address) < 0) {
        if (fd >= 0) {
            close(fd);
        }
    }
    else if (ml_transport_claim(self, fd) < 0) {
        close(fd);
    }
    else {
        op = ml_sockop_connect_to(self, fd, &to.any, to_len, address);
    }
    Py_DECREF(address);
    return op;
}

/* _connected(op, protocol, waiter, context): a StreamTransport over the socket that `op` connected.
 */
PyObject *
ml_connect_transport(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (ml_count_args("_connected", nargs, 4) < 0) {
        return NULL;
    }
    if (!Py_IS_TYPE(args[0], self->state->SockOp)) {
        PyErr_SetString(PyExc_TypeError, "_connected() takes a SockOp");
        return NULL;
    }
    ml_transport_args made = {.protocol = args[1], .waiter = args[2], .context = args[3]};
    int fd = ml_sockop_take(args[0]);
    if (fd < 0) {
        PyErr_SetString(PyExc_RuntimeError, "the operation has no connection");
        return NULL;
    }
    PyObject *transport = ml_transport_new(self, fd, &made, NULL, 0);
    if (transport == NULL) {
        close(fd);
    }
    else {
        self->meter->connected++;
    }
    return transport;
}
