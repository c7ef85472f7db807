/* The calls of sock_recv and its like. Each is tried at once; only if it would block is a SockOp
 * made (sockop.c). */
#include "sockop.h"
#include "addr.h"
#include "methods.h"
#include "plain.h"
#include "recv.h"

#include <errno.h>
#include <unistd.h>

/* ---- the attempts: a result, an error, or *again ----------------------------------------- */

static bool
would_block(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINPROGRESS;
}

static PyObject *
count_or_error(ssize_t got, bool *again)
{
    if (got >= 0) {
        return PyLong_FromSsize_t(got);
    }
    if (would_block((int)-got)) {
        *again = true;
        return NULL;
    }
    return ml_os_error((int)-got);
}

/* The socket module said no by an exception: NULL, with *again if it would block. */
static PyObject *
blocked_error(bool *again)
{
    *again = ml_clear_would_block();
    return NULL;
}

static PyObject *
attempt_recv(ml_aioloop *loop, ml_request *self, bool *again)
{
    int error = 0;
    if (self->size == 0) { /* as the socket module: nothing to wait for */
        return PyBytes_FromStringAndSize(NULL, 0);
    }
    PyObject *bytes = ml_recv_once(loop, self->fd, self->size, &error);

    if (bytes == NULL && error != 0) {
        return count_or_error(-error, again);
    }
    loop->meter->bytes_in += bytes ? (size_t)PyBytes_GET_SIZE(bytes) : 0;
    return bytes;
}

/* -1 with OSError(EBADF) if the socket does not have the number any more. */
static int
check_number(PyObject *sock, int fd)
{
    if (ml_fd_from_object(sock) == fd) {
        return 0;
    }
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_ValueError)) {
        return -1;
    }
    PyErr_Clear(); /* how fileno() says that it is closed */
    ml_os_error(EBADF);
    return -1;
}

/* The program's buffer, to write to: exported for a system call, and not while its outcome is
 * waited for, as the program may give it another size meanwhile. */
static int export(ml_request *self, Py_buffer *view)
{
    PyObject *data = Py_NewRef(self->data), *sock = Py_NewRef(self->sock);
    int rc = PyObject_GetBuffer(data, view, PyBUF_WRITABLE);

    if (rc < 0 && PyErr_ExceptionMatches(PyExc_BufferError)) {
        PyErr_Format(PyExc_TypeError, "a read-write bytes-like object is required, not '%s'",
                     Py_TYPE(data)->tp_name);
    }
    bool plain = PyByteArray_CheckExact(data) || PyMemoryView_Check(data);
    if (rc == 0 && !plain && (rc = check_number(sock, self->fd)) < 0) { /* __buffer__() closed it */
        PyBuffer_Release(view);
    }
    Py_DECREF(data);
    Py_DECREF(sock);
    if (rc < 0) {
        return -1;
    }
    if (self->size > (size_t)view->len) {
        PyBuffer_Release(view);
        PyErr_SetString(PyExc_ValueError, "nbytes is greater than the length of the buffer");
        return -1;
    }
    return 0;
}

static PyObject *
attempt_recv_into(ml_aioloop *loop, ml_request *self, bool *again)
{
    Py_buffer view;

    if (export(self, &view) < 0) {
        return NULL;
    }
    ssize_t got = view.len == 0 ? 0 : ml_sock_recv(self->fd, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    loop->meter->bytes_in += got > 0 ? (size_t)got : 0;
    return count_or_error(got, again);
}

/* For address families that only the socket module can print. */
static PyObject *
attempt_recvfrom_python(ml_aioloop *Py_UNUSED(loop), ml_request *self, bool *again)
{
    PyObject *result =
        self->data ? PyObject_CallMethod(self->sock, "recvfrom_into", "On", self->data,
                                         (Py_ssize_t)self->size)
                   : PyObject_CallMethod(self->sock, "recvfrom", "n", (Py_ssize_t)self->size);

    return result ? result : blocked_error(again);
}

static PyObject *
attempt_recvfrom(ml_aioloop *loop, ml_request *self, bool *again)
{
    int family = ml_sock_family(self->fd);

    if (family >= 0 && !ml_addr_is_known(family)) {
        return attempt_recvfrom_python(loop, self, again);
    }
    struct sockaddr_storage from;
    socklen_t from_len = sizeof(from);
    PyObject *block = NULL;
    char *target = ml_recv_room(loop, self->size, &block);

    if (target == NULL) {
        return NULL;
    }
    ssize_t got =
        ml_sock_recvfrom(self->fd, target, self->size, (struct sockaddr *)&from, &from_len);
    PyObject *data = got >= 0 ? PyBytes_FromStringAndSize(target, got) : NULL;
    Py_XDECREF(block);
    if (got < 0) {
        return count_or_error(got, again);
    }
    loop->meter->bytes_in += (size_t)got;
    PyObject *address = data ? ml_addr_object((struct sockaddr *)&from, from_len) : NULL;
    if (address == NULL) {
        Py_XDECREF(data);
        return NULL;
    }
    return Py_BuildValue("(NN)", data, address);
}

static PyObject *
attempt_recvfrom_into(ml_aioloop *loop, ml_request *self, bool *again)
{
    int family = ml_sock_family(self->fd);

    if (family >= 0 && !ml_addr_is_known(family)) {
        return attempt_recvfrom_python(loop, self, again);
    }
    struct sockaddr_storage from;
    socklen_t from_len = sizeof(from);
    Py_buffer view;
    if (export(self, &view) < 0) {
        return NULL;
    }
    if (self->size == 0) { /* all of it as it was when the call was made */
        self->size = (size_t)view.len;
    }
    ssize_t got =
        ml_sock_recvfrom(self->fd, view.buf, self->size, (struct sockaddr *)&from, &from_len);
    PyBuffer_Release(&view);
    if (got < 0) {
        return count_or_error(got, again);
    }
    loop->meter->bytes_in += (size_t)got;
    PyObject *address = ml_addr_object((struct sockaddr *)&from, from_len);
    return address ? Py_BuildValue("(nN)", (Py_ssize_t)got, address) : NULL;
}

/* One call for each readiness: a short write means full, and who reads as fast as this writes shall
 * not keep the loop. */
static PyObject *
attempt_sendall(ml_aioloop *loop, ml_request *self, bool *again)
{
    size_t left = (size_t)self->buffer.len - self->done;
    ssize_t sent = ml_sock_send(self->fd, (char *)self->buffer.buf + self->done, left);

    if (sent < 0) {
        return count_or_error(sent, again);
    }
    self->done += (size_t)sent;
    loop->meter->bytes_out += (size_t)sent;
    if ((size_t)sent < left) {
        *again = true;
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The socket module parses the address; EAGAIN is rare enough to come as an exception. */
static PyObject *
attempt_sendto(ml_aioloop *Py_UNUSED(loop), ml_request *self, bool *again)
{
    PyObject *sent = PyObject_CallMethod(self->sock, "sendto", "OO", self->data, self->address);

    return sent ? sent : blocked_error(again);
}

static PyObject *
attempt_accept(ml_aioloop *loop, ml_request *self, bool *again)
{
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof(peer);
    int fd = ml_sock_accept(self->fd, (struct sockaddr *)&peer, &peer_len);

    if (fd < 0) {
        return count_or_error(fd, again);
    }
    PyObject *conn = ml_plain_socket(loop->state, -1, -1, -1, fd);
    if (conn == NULL) {
        close(fd);
        return NULL;
    }
    PyObject *address = NULL, *done = PyObject_CallMethod(conn, "setblocking", "i", 0);
    if (done != NULL) {
        Py_DECREF(done);
        address = ml_addr_object((struct sockaddr *)&peer, peer_len);
        if (address == NULL && !PyErr_Occurred()) {
            address = PyObject_CallMethod(conn, "getpeername", NULL);
        }
    }
    if (address == NULL) {
        Py_DECREF(conn);
        return NULL;
    }
    return Py_BuildValue("(NN)", conn, address);
}

/* What became of a connection: None, or the error that stock asyncio raises. */
static PyObject *
attempt_outcome(ml_aioloop *Py_UNUSED(loop), ml_request *self, bool *Py_UNUSED(again))
{
    int error = self->error;

    if (error == 0) {
        Py_RETURN_NONE;
    }
    PyObject *text = PyUnicode_FromFormat("Connect call failed %S", self->address);
    PyObject *args = text ? Py_BuildValue("(iN)", error, text) : NULL;
    if (args != NULL) {
        PyErr_SetObject(PyExc_OSError, args);
        Py_DECREF(args);
    }
    return NULL;
}

static PyObject *
attempt_connected(ml_aioloop *loop, ml_request *self, bool *again)
{
    self->error = ml_sock_error(self->fd);
    if (would_block(self->error)) {
        *again = true;
        return NULL;
    }
    return attempt_outcome(loop, self, again);
}

/* The errno value of the exception that is set, if it says that connect() goes on: then no
 * exception is set any more. 0 otherwise. A Unix listener whose queue is full does not: EAGAIN. */
static bool
connect_goes_on(void)
{
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError) &&
        !PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        return false;
    }
    PyObject *exc = ml_take_exception();
    PyObject *number = PyObject_GetAttrString(exc, "errno");
    bool full = number != NULL && PyLong_Check(number) && PyLong_AsLong(number) == EAGAIN;
    Py_XDECREF(number);
    PyErr_Clear();
    if (full) {
        ml_raise(exc);
        return false;
    }
    Py_DECREF(exc);
    return true;
}

static PyObject *
attempt_connect(ml_aioloop *Py_UNUSED(loop), ml_request *self, bool *again)
{
    PyObject *result = PyObject_CallMethod(self->sock, "connect", "(O)", self->address);

    if (result == NULL && connect_goes_on()) {
        self->attempt = attempt_connected;
        *again = true;
    }
    return result;
}

/* ---- what the Python coroutines call ----------------------------------------------------- */

static int
prepare(ml_request *self, PyObject *sock, int events,
        PyObject *(*attempt)(ml_aioloop *, ml_request *, bool *))
{
    self->fd = ml_fd_from_object(sock);
    if (self->fd < 0) {
        if (PyErr_ExceptionMatches(PyExc_ValueError)) { /* fileno() of a closed socket is -1 */
            PyErr_Clear();
            ml_os_error(EBADF);
        }
        return -1;
    }
    self->attempt = attempt;
    self->events = events;
    self->sock = Py_NewRef(sock);
    return 0;
}

/* 1; 0 if the socket object has a say; -1 with TypeError for too many arguments, or too few. */
static int
may_try(ml_aioloop *self, const char *name, PyObject *const *args, Py_ssize_t nargs,
        Py_ssize_t count)
{
    return ml_count_args(name, nargs, count) < 0 ? -1 : ml_can_try(self, args[0]);
}

static int
size_argument(PyObject *object, size_t *size)
{
    Py_ssize_t value = PyNumber_AsSsize_t(object, PyExc_OverflowError);

    if (value == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (value < 0) {
        PyErr_SetString(PyExc_ValueError, "negative buffersize in recv");
        return -1;
    }
    *size = (size_t)value;
    return 0;
}

/* (sock, n) */
PyObject *
ml_sockop_recv(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs)
{
    ml_request asked = {0};
    int may = may_try(self, "_try_sock_recv", args, nargs, 2);

    if (may <= 0) {
        return may < 0 ? NULL : Py_NewRef(Py_NotImplemented);
    }
    if (size_argument(args[1], &asked.size) < 0 ||
        prepare(&asked, args[0], EV_READ, attempt_recv) < 0) {
        return NULL;
    }
    return ml_sockop_try(self, &asked);
}

/* (sock, n) */
PyObject *
ml_sockop_recvfrom(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs)
{
    ml_request asked = {0};
    int may = may_try(self, "_try_sock_recvfrom", args, nargs, 2);

    if (may <= 0) {
        return may < 0 ? NULL : Py_NewRef(Py_NotImplemented);
    }
    if (size_argument(args[1], &asked.size) < 0 ||
        prepare(&asked, args[0], EV_READ, attempt_recvfrom) < 0) {
        return NULL;
    }
    return ml_sockop_try(self, &asked);
}

/* For a call with the program's data or buffer. */
static PyObject *
with_data(ml_aioloop *self, ml_request *asked, PyObject *sock, PyObject *data, int events,
          PyObject *(*attempt)(ml_aioloop *, ml_request *, bool *))
{
    if (prepare(asked, sock, events, attempt) < 0) {
        ml_request_clear(asked);
        return NULL;
    }
    asked->data = Py_NewRef(data);
    return ml_sockop_try(self, asked);
}

/* (sock, buffer) */
PyObject *
ml_sockop_recv_into(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs)
{
    ml_request asked = {0};
    int may = may_try(self, "_try_sock_recv_into", args, nargs, 2);

    if (may <= 0) {
        return may < 0 ? NULL : Py_NewRef(Py_NotImplemented);
    }
    return with_data(self, &asked, args[0], args[1], EV_READ, attempt_recv_into);
}

/* (sock, buffer, nbytes) */
PyObject *
ml_sockop_recvfrom_into(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs)
{
    ml_request asked = {0};
    int may = may_try(self, "_try_sock_recvfrom_into", args, nargs, 3);

    if (may <= 0) {
        return may < 0 ? NULL : Py_NewRef(Py_NotImplemented);
    }
    if (size_argument(args[2], &asked.size) < 0) {
        return NULL;
    }
    return with_data(self, &asked, args[0], args[1], EV_READ, attempt_recvfrom_into);
}

/* (sock, data) */
PyObject *
ml_sockop_sendall(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs)
{
    ml_request asked = {0};
    int may = may_try(self, "_try_sock_sendall", args, nargs, 2);

    if (may <= 0) {
        return may < 0 ? NULL : Py_NewRef(Py_NotImplemented);
    }
    if (PyObject_GetBuffer(args[1], &asked.buffer, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    return with_data(self, &asked, args[0], args[1], EV_WRITE, attempt_sendall);
}

/* (sock, data, address) */
PyObject *
ml_sockop_sendto(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs)
{
    ml_request asked = {0};
    int may = may_try(self, "_try_sock_sendto", args, nargs, 3);

    if (may <= 0) {
        return may < 0 ? NULL : Py_NewRef(Py_NotImplemented);
    }
    asked.address = Py_NewRef(args[2]);
    return with_data(self, &asked, args[0], args[1], EV_WRITE, attempt_sendto);
}

/* (sock,) */
PyObject *
ml_sockop_accept(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs)
{
    ml_request asked = {0};
    int may = may_try(self, "_try_sock_accept", args, nargs, 1);

    if (may > 0 && !ml_makes_plain(self->state)) {
        may = 0;
    }
    if (may <= 0) {
        return may < 0 ? NULL : Py_NewRef(Py_NotImplemented);
    }
    if (prepare(&asked, args[0], EV_READ, attempt_accept) < 0) {
        return NULL;
    }
    return ml_sockop_try(self, &asked);
}

/* (sock, address) */
PyObject *
ml_sockop_connect(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs)
{
    ml_request asked = {0};

    if (ml_count_args("_try_sock_connect", nargs, 2) < 0 ||
        prepare(&asked, args[0], EV_WRITE, attempt_connect) < 0) {
        return NULL;
    }
    asked.address = Py_NewRef(args[1]);
    return ml_sockop_try(self, &asked);
}

/* A connection to this host is made, or refused, while connect() runs: a second connect() tells
 * which, and nothing has to be watched. (A full backlog makes it wait after all.) */
static void
look_again(ml_request *asked, const struct sockaddr *to, socklen_t to_len)
{
    int error = -ml_sock_connect(asked->fd, to, to_len);

    if (error != EALREADY && error != EINPROGRESS && error != EINTR) {
        asked->settled = true;
        asked->error = error == EISCONN ? 0 : error;
        asked->attempt = attempt_outcome;
    }
}

PyObject *
ml_sockop_connect_to(ml_aioloop *self, int fd, const struct sockaddr *to, socklen_t to_len,
                     PyObject *address)
{
    ml_request asked = {.attempt = attempt_connected,
                        .events = EV_WRITE,
                        .fd = fd,
                        .owned = true,
                        .address = Py_NewRef(address)};
    int error = -ml_sock_connect(fd, to, to_len);

    if (error == 0) {
        asked.settled = true;
        asked.attempt = attempt_outcome;
    }
    else if (error != EINPROGRESS && error != EINTR) {
        ml_request_clear(&asked);
        return ml_os_error(error);
    }
    else if (ml_addr_is_loopback(to)) {
        look_again(&asked, to, to_len);
    }
    return ml_sockop_new(self, &asked);
}
