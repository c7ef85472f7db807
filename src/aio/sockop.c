/* sock_recv and its like. Each tries the system call at once; only if it would block is a SockOp
 * made, which the Python coroutine around it awaits. */
#include "aio.h"
#include "../net/addr.h"

#include <errno.h>
#include <unistd.h>

/* What is asked for. Lives on the C stack until it must wait. */
typedef struct request request;
struct request {
    PyObject *(*attempt)(ml_base *loop, request *self, bool *again);
    PyObject *sock, *address; /* owned once in a SockOp */
    Py_buffer buffer;         /* .obj NULL if there is none */
    size_t size, done;
    int fd, events;
};

typedef struct ml_sockop {
    PyObject_HEAD
    ml_base *loop;
    PyObject *future;
    PyObject *waiting; /* the future's iterator, once awaited */
    request request;
    ml_fdw fdw;
    ml_ready ready;
    int refused; /* errno with which the kernel refused to watch the socket, 0 */
} ml_sockop;

static void
request_clear(request *self)
{
    if (self->buffer.obj != NULL) {
        PyBuffer_Release(&self->buffer);
    }
    Py_CLEAR(self->sock);
    Py_CLEAR(self->address);
}

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
    if (PyErr_ExceptionMatches(PyExc_BlockingIOError) ||
        PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        PyErr_Clear();
        *again = true;
    }
    return NULL;
}

static PyObject *
attempt_recv(ml_base *loop, request *self, bool *again)
{
    int error = 0;
    if (self->size == 0) { /* as the socket module: nothing to wait for */
        return PyBytes_FromStringAndSize(NULL, 0);
    }
    PyObject *bytes = ml_recv_bytes(loop, &ml_sock_calls, self->fd, self->size, self->size, &error);

    if (bytes == NULL && error != 0) {
        return count_or_error(-error, again);
    }
    return bytes;
}

static PyObject *
attempt_recv_into(ml_base *Py_UNUSED(loop), request *self, bool *again)
{
    return self->size == 0
               ? PyLong_FromLong(0)
               : count_or_error(ml_sock_recv(self->fd, self->buffer.buf, self->size), again);
}

/* For address families that only the socket module can print. */
static PyObject *
attempt_recvfrom_python(ml_base *Py_UNUSED(loop), request *self, bool *again)
{
    PyObject *result;

    if (self->buffer.obj != NULL) {
        PyObject *view = PyMemoryView_FromBuffer(&self->buffer);
        result = view ? PyObject_CallMethod(self->sock, "recvfrom_into", "On", view,
                                            (Py_ssize_t)self->size)
                      : NULL;
        Py_XDECREF(view);
    }
    else {
        result = PyObject_CallMethod(self->sock, "recvfrom", "n", (Py_ssize_t)self->size);
    }
    return result ? result : blocked_error(again);
}

static bool
printable_family(int fd)
{
    int family = ml_sock_family(fd);
    return family == AF_INET || family == AF_INET6 || family == AF_UNIX || family < 0;
}

static PyObject *
attempt_recvfrom(ml_base *loop, request *self, bool *again)
{
    if (!printable_family(self->fd)) {
        return attempt_recvfrom_python(loop, self, again);
    }
    struct sockaddr_storage from;
    socklen_t from_len = sizeof(from);
    bool small = self->size <= ML_SCRATCH_SIZE;
    PyObject *bytes = NULL;
    char *target = small ? ml_base_scratch(loop) : NULL;

    if (!small) {
        bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)self->size);
        target = bytes ? PyBytes_AS_STRING(bytes) : NULL;
    }
    if (target == NULL) {
        return NULL;
    }
    ssize_t got =
        ml_sock_recvfrom(self->fd, target, self->size, (struct sockaddr *)&from, &from_len);
    PyObject *data = got >= 0 ? PyBytes_FromStringAndSize(target, got) : NULL;
    Py_XDECREF(bytes);
    if (got < 0) {
        return count_or_error(got, again);
    }
    PyObject *address = data ? ml_addr_object((struct sockaddr *)&from, from_len) : NULL;
    if (address == NULL) {
        Py_XDECREF(data);
        return NULL;
    }
    return Py_BuildValue("(NN)", data, address);
}

static PyObject *
attempt_recvfrom_into(ml_base *loop, request *self, bool *again)
{
    if (!printable_family(self->fd)) {
        return attempt_recvfrom_python(loop, self, again);
    }
    struct sockaddr_storage from;
    socklen_t from_len = sizeof(from);
    ssize_t got = ml_sock_recvfrom(self->fd, self->buffer.buf, self->size, (struct sockaddr *)&from,
                                   &from_len);

    if (got < 0) {
        return count_or_error(got, again);
    }
    PyObject *address = ml_addr_object((struct sockaddr *)&from, from_len);
    return address ? Py_BuildValue("(nN)", (Py_ssize_t)got, address) : NULL;
}

static PyObject *
attempt_sendall(ml_base *Py_UNUSED(loop), request *self, bool *again)
{
    while (self->done < self->size) {
        ssize_t sent =
            ml_sock_send(self->fd, (char *)self->buffer.buf + self->done, self->size - self->done);
        if (sent < 0) {
            return count_or_error(sent, again);
        }
        self->done += (size_t)sent;
    }
    Py_RETURN_NONE;
}

/* The socket module parses the address; EAGAIN is rare enough to come as an exception. */
static PyObject *
attempt_sendto(ml_base *Py_UNUSED(loop), request *self, bool *again)
{
    PyObject *view = PyMemoryView_FromBuffer(&self->buffer);
    PyObject *sent =
        view ? PyObject_CallMethod(self->sock, "sendto", "OO", view, self->address) : NULL;

    Py_XDECREF(view);
    return sent ? sent : blocked_error(again);
}

static PyObject *
attempt_accept(ml_base *loop, request *self, bool *again)
{
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof(peer);
    int fd = ml_sock_accept(self->fd, (struct sockaddr *)&peer, &peer_len);

    if (fd < 0) {
        return count_or_error(fd, again);
    }
    PyObject *conn = PyObject_CallFunction(loop->state->aio->socket_class, "iiii", -1, -1, -1, fd);
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

static PyObject *
attempt_connected(ml_base *Py_UNUSED(loop), request *self, bool *again)
{
    int error = ml_sock_error(self->fd);

    if (error == 0) {
        Py_RETURN_NONE;
    }
    if (would_block(error)) {
        *again = true;
        return NULL;
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
attempt_connect(ml_base *Py_UNUSED(loop), request *self, bool *again)
{
    PyObject *result = PyObject_CallMethod(self->sock, "connect_ex", "(O)", self->address);
    long error = result ? PyLong_AsLong(result) : -1;

    Py_XDECREF(result);
    if (error == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (error == 0) {
        Py_RETURN_NONE;
    }
    if (error == EINPROGRESS || error == EINTR) {
        self->attempt = attempt_connected;
        *again = true;
        return NULL;
    }
    return ml_os_error((int)error); /* EAGAIN too: a Unix listener's queue is full */
}

/* ---- waiting ----------------------------------------------------------------------------- */

static void
stop(ml_sockop *self)
{
    if (ev_is_active(&self->fdw.ev)) {
        ml_fdw_stop(self->loop->ev, &self->fdw);
    }
}

static void
op_event(struct ev_loop *Py_UNUSED(loop), ev_io *ev, int Py_UNUSED(revents))
{
    ml_sockop *self = ML_CONTAINER_OF((ml_fdw *)ev, ml_sockop, fdw);

    ml_base_got_ready(self->loop, &self->ready);
}

/* If the socket was closed while somebody waits for it, that waits on until cancelled, as stock. */
static void
op_dead(ml_loop *loop, ml_fdw *fdw)
{
    ml_sockop *self = ML_CONTAINER_OF(fdw, ml_sockop, fdw);

    if (loop->dead_errno != EBADF) {
        self->refused = loop->dead_errno;
        ml_base_got_ready(self->loop, &self->ready);
    }
}

static int
settle(ml_sockop *self, PyObject *result)
{
    PyObject *outcome;

    if (result != NULL) {
        outcome =
            PyObject_CallMethodOneArg(self->future, self->loop->state->str.set_result, result);
        Py_DECREF(result);
    }
    else {
        PyObject *exc = ml_take_exception();
        if (ml_is_fatal_exc(exc)) {
            ml_raise(exc);
            return -1;
        }
        outcome =
            PyObject_CallMethodOneArg(self->future, self->loop->state->str.set_exception, exc);
        Py_DECREF(exc);
    }
    if (outcome == NULL) {
        return ml_base_handle_error(self->loop, "a socket operation could not be completed", NULL,
                                    NULL);
    }
    Py_DECREF(outcome);
    return 0;
}

static int
op_run(ml_ready *ready)
{
    ml_sockop *self = ML_CONTAINER_OF(ready, ml_sockop, ready);
    bool again = false;

    if (!ev_is_active(&self->fdw.ev) && !self->refused) {
        return 0; /* cancelled in this very turn */
    }
    if (ml_fd_from_object(self->request.sock) != self->request.fd) {
        PyErr_Clear(); /* closed meanwhile: the number may be another connection's by now */
        stop(self);
        return 0;
    }
    PyObject *done = PyObject_CallMethodNoArgs(self->future, self->loop->state->str.done);
    int is_done = done ? PyObject_IsTrue(done) : -1;
    Py_XDECREF(done);
    if (is_done) {
        stop(self);
        return is_done < 0 ? ml_base_handle_error(self->loop, "Future.done() failed", NULL, NULL)
                           : 0;
    }
    PyObject *result = self->refused ? ml_os_error(self->refused)
                                     : self->request.attempt(self->loop, &self->request, &again);
    if (again) {
        return 0;
    }
    stop(self);
    return settle(self, result);
}

static PyObject *
op_new(ml_base *loop, request *asked)
{
    PyTypeObject *type = loop->state->SockOp;
    ml_sockop *self = (ml_sockop *)type->tp_alloc(type, 0);

    if (self == NULL) {
        request_clear(asked);
        return NULL;
    }
    self->loop = (ml_base *)Py_NewRef((PyObject *)loop);
    self->request = *asked;
    self->ready = (ml_ready){.run = op_run, .owner = (PyObject *)self};
    ml_fdw_init(&self->fdw, op_event, op_dead, asked->fd, asked->events);
    self->future = ml_base_create_future(loop, NULL);
    if (self->future == NULL || ml_reserve_check() < 0 || ml_fdw_start(loop->ev, &self->fdw) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    ml_base_touch(loop);
    return (PyObject *)self;
}

/* Tries at once; takes over the request's references. */
static PyObject *
try_or_wait(ml_base *loop, request *asked)
{
    bool again = false;
    PyObject *result = NULL;

    if (ml_base_check_closed(loop) == 0) {
        result = asked->attempt(loop, asked, &again);
    }
    if (again && ml_base_check_fd(loop, asked->sock, asked->fd) == 0) {
        return op_new(loop, asked);
    }
    request_clear(asked);
    return result;
}

static void
finish(ml_sockop *self)
{
    stop(self);
    self->refused = 0;
    request_clear(&self->request);
    Py_CLEAR(self->waiting);
    Py_CLEAR(self->future); /* a failed one would be in a cycle with its traceback */
}

/* The operation is its own iterator, around that of its future: it learns when the wait is over,
 * or given up, without a coroutine in between. */
static PyObject *
op_next(ml_sockop *self)
{
    if (self->future == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the operation is closed");
        return NULL;
    }
    if (self->waiting == NULL && (self->waiting = PyObject_GetIter(self->future)) == NULL) {
        return NULL;
    }
    PyObject *result = Py_TYPE(self->waiting)->tp_iternext(self->waiting);
    if (result == NULL) {
        PyObject *exc = ml_take_exception(); /* StopIteration with the result, mostly */
        finish(self);
        ml_raise(exc);
    }
    return result;
}

static PyObject *
op_send(ml_sockop *self, PyObject *Py_UNUSED(value))
{
    return op_next(self);
}

static PyObject *
op_close(ml_sockop *self, PyObject *Py_UNUSED(unused))
{
    finish(self);
    Py_RETURN_NONE;
}

/* throw(type[, value[, traceback]]): what a generator would do that waits without a `try`. */
static PyObject *
op_throw(ml_sockop *self, PyObject *args)
{
    PyObject *waiting = self->waiting ? Py_NewRef(self->waiting) : NULL;

    if (waiting == NULL &&
        (self->future == NULL || (waiting = PyObject_GetIter(self->future)) == NULL)) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_RuntimeError, "the operation is closed");
        }
        return NULL;
    }
    finish(self);
    PyObject *throw = PyObject_GetAttrString(waiting, "throw");
    PyObject *result = throw ? PyObject_Call(throw, args, NULL) : NULL;
    Py_XDECREF(throw);
    Py_DECREF(waiting);
    return result;
}

static int
op_traverse(ml_sockop *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->future);
    Py_VISIT(self->waiting);
    Py_VISIT(self->request.sock);
    Py_VISIT(self->request.address);
    Py_VISIT(self->request.buffer.obj);
    return 0;
}

static int
op_clear(ml_sockop *self)
{
    if (self->loop != NULL) {
        stop(self);
    }
    request_clear(&self->request);
    Py_CLEAR(self->waiting);
    Py_CLEAR(self->future);
    return 0;
}

static void
op_dealloc(ml_sockop *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    op_clear(self);
    Py_CLEAR(self->loop);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef op_methods[] = {
    {"send", (PyCFunction)op_send, METH_O, NULL},
    {"throw", (PyCFunction)op_throw, METH_VARARGS,
     PyDoc_STR("throw($self, typ, val=None, tb=None, /)\n--\n\n")},
    {"close", (PyCFunction)op_close, METH_NOARGS, NULL},
    {NULL},
};

static PyType_Slot op_slots[] = {
    {Py_tp_doc, PyDoc_STR("A sock_* call that waits for its socket.")},
    {Py_tp_dealloc, op_dealloc},
    {Py_tp_traverse, op_traverse},
    {Py_tp_clear, op_clear},
    {Py_tp_methods, op_methods},
    {Py_am_await, PyObject_SelfIter},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, op_next},
    {0, NULL},
};

PyType_Spec ml_sockop_spec = {
    .name = "moodloop._core.SockOp",
    .basicsize = sizeof(ml_sockop),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = op_slots,
};

/* ---- what the Python coroutines call ----------------------------------------------------- */

static int
prepare(request *self, PyObject *sock, int events,
        PyObject *(*attempt)(ml_base *, request *, bool *))
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
ml_sockop_recv(ml_base *self, PyObject *const *args, Py_ssize_t Py_UNUSED(nargs))
{
    request asked = {0};

    if (size_argument(args[1], &asked.size) < 0 ||
        prepare(&asked, args[0], EV_READ, attempt_recv) < 0) {
        return NULL;
    }
    return try_or_wait(self, &asked);
}

/* (sock, n) */
PyObject *
ml_sockop_recvfrom(ml_base *self, PyObject *const *args, Py_ssize_t Py_UNUSED(nargs))
{
    request asked = {0};

    if (size_argument(args[1], &asked.size) < 0 ||
        prepare(&asked, args[0], EV_READ, attempt_recvfrom) < 0) {
        return NULL;
    }
    return try_or_wait(self, &asked);
}

static PyObject *
with_buffer(ml_base *self, request *asked, PyObject *sock, PyObject *data, int flags, int events,
            PyObject *(*attempt)(ml_base *, request *, bool *))
{
    if (PyObject_GetBuffer(data, &asked->buffer, flags) < 0) {
        if (flags == PyBUF_WRITABLE && PyErr_ExceptionMatches(PyExc_BufferError)) {
            PyErr_Format(PyExc_TypeError, "a read-write bytes-like object is required, not '%s'",
                         Py_TYPE(data)->tp_name);
        }
        return NULL;
    }
    size_t length = (size_t)asked->buffer.len;
    if (asked->size == 0) {
        asked->size = length;
    }
    if (asked->size > length) {
        PyErr_SetString(PyExc_ValueError, "nbytes is greater than the length of the buffer");
        request_clear(asked);
        return NULL;
    }
    if (prepare(asked, sock, events, attempt) < 0) {
        request_clear(asked);
        return NULL;
    }
    return try_or_wait(self, asked);
}

/* (sock, buffer) */
PyObject *
ml_sockop_recv_into(ml_base *self, PyObject *const *args, Py_ssize_t Py_UNUSED(nargs))
{
    request asked = {0};

    return with_buffer(self, &asked, args[0], args[1], PyBUF_WRITABLE, EV_READ, attempt_recv_into);
}

/* (sock, buffer, nbytes) */
PyObject *
ml_sockop_recvfrom_into(ml_base *self, PyObject *const *args, Py_ssize_t Py_UNUSED(nargs))
{
    request asked = {0};

    if (size_argument(args[2], &asked.size) < 0) {
        return NULL;
    }
    return with_buffer(self, &asked, args[0], args[1], PyBUF_WRITABLE, EV_READ,
                       attempt_recvfrom_into);
}

/* (sock, data) */
PyObject *
ml_sockop_sendall(ml_base *self, PyObject *const *args, Py_ssize_t Py_UNUSED(nargs))
{
    request asked = {0};

    return with_buffer(self, &asked, args[0], args[1], PyBUF_SIMPLE, EV_WRITE, attempt_sendall);
}

/* (sock, data, address) */
PyObject *
ml_sockop_sendto(ml_base *self, PyObject *const *args, Py_ssize_t Py_UNUSED(nargs))
{
    request asked = {.address = Py_NewRef(args[2])};
    PyObject *result =
        with_buffer(self, &asked, args[0], args[1], PyBUF_SIMPLE, EV_WRITE, attempt_sendto);

    if (result == NULL && asked.sock == NULL) {
        Py_CLEAR(asked.address);
    }
    return result;
}

/* (sock,) */
PyObject *
ml_sockop_accept(ml_base *self, PyObject *const *args, Py_ssize_t Py_UNUSED(nargs))
{
    request asked = {0};

    if (prepare(&asked, args[0], EV_READ, attempt_accept) < 0) {
        return NULL;
    }
    return try_or_wait(self, &asked);
}

/* (sock, address) */
PyObject *
ml_sockop_connect(ml_base *self, PyObject *const *args, Py_ssize_t Py_UNUSED(nargs))
{
    request asked = {0};

    if (prepare(&asked, args[0], EV_WRITE, attempt_connect) < 0) {
        return NULL;
    }
    asked.address = Py_NewRef(args[1]);
    return try_or_wait(self, &asked);
}
