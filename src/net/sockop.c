/* SockOp: a sock_* call that waits for its socket, which the Python coroutine around it awaits.
 * Made only if the call would block: sockcalls.c has the calls. */
#include "sockop.h"

#include <errno.h>
#include <unistd.h>

typedef struct ml_sockop {
    PyObject_HEAD
    ml_aioloop *loop;
    PyObject *future;
    PyObject *waiting; /* the future's iterator, once awaited */
    ml_request request;
    ml_held held;
    ml_ready ready;
    int refused;   /* errno with which the kernel refused to watch the socket, 0 */
    int connected; /* the descriptor of a connection that waits for its transport, -1 */
} ml_sockop;

void
ml_request_clear(ml_request *self)
{
    PyBuffer_Release(&self->buffer);
    Py_CLEAR(self->data);
    Py_CLEAR(self->sock);
    Py_CLEAR(self->address);
    if (self->owned) {
        assert(self->fd >= 0 && self->sock == NULL);
        self->owned = false;
        close(self->fd);
    }
}

/* The caller has a reference. */
static void
stop(ml_sockop *self)
{
    if (ml_held_is_kept(&self->held)) {
        ml_held_watch(&self->held, self->loop, 0);
    }
}

/* If the socket was closed while somebody waits for it, that waits on until cancelled, as stock. */
static void
op_event(struct ev_loop *Py_UNUSED(loop), ev_io *ev, int revents)
{
    ml_sockop *self = ML_CONTAINER_OF(ev, ml_sockop, held.fdw.ev);

    if (revents & EV_ERROR) {
        self->refused = ml_fdw_error(self->loop->ev, &self->held.fdw);
    }
    if (self->refused == EBADF) {
        self->refused = 0;
        self->request.owned = false; /* the number will be somebody else's */
        return;
    }
    ml_aioloop_got_ready(self->loop, &self->ready);
}

static int
settle(ml_sockop *self, PyObject *future, PyObject *result)
{
    PyObject *outcome;

    if (result != NULL) {
        outcome = PyObject_CallMethodOneArg(future, self->loop->state->str.set_result, result);
        Py_DECREF(result);
    }
    else {
        PyObject *exc = ml_take_exception();
        if (ml_is_fatal_exc(exc)) {
            ml_raise(exc);
            return -1;
        }
        outcome = PyObject_CallMethodOneArg(future, self->loop->state->str.set_exception, exc);
        Py_DECREF(exc);
    }
    if (outcome == NULL) {
        return ml_aioloop_handle_error(self->loop, "a socket operation could not be completed",
                                       NULL, NULL);
    }
    Py_DECREF(outcome);
    return 0;
}

static bool
is_waiting(const ml_sockop *self)
{
    return ml_held_is_kept(&self->held) || self->request.settled;
}

/* The socket is ready: tries again. fileno(), done() and what the socket module is asked may be
 * somebody's own, who may give the operation up meanwhile. */
static int
try_again(ml_sockop *self, PyObject *sock, PyObject *future)
{
    bool again = false;

    if (sock != NULL && ml_fd_from_object(sock) != self->request.fd) {
        if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_ValueError)) {
            stop(self);
            return settle(self, future, NULL);
        }
        PyErr_Clear(); /* closed meanwhile: the number may be another connection's by now */
        ml_fdw_stop(self->loop->ev, &self->held.fdw);
        return 0;
    }
    PyObject *done = PyObject_CallMethodNoArgs(future, self->loop->state->str.done);
    int is_done = done ? PyObject_IsTrue(done) : -1;
    Py_XDECREF(done);
    if (is_done) {
        stop(self);
        return is_done < 0 ? ml_aioloop_handle_error(self->loop, "Future.done() failed", NULL, NULL)
                           : 0;
    }
    if (!is_waiting(self)) {
        return 0;
    }
    PyObject *result = self->refused ? ml_os_error(self->refused)
                                     : self->request.attempt(self->loop, &self->request, &again);
    if (again) {
        return 0;
    }
    stop(self);
    self->request.settled = false;
    return settle(self, future, result);
}

static int
op_run(ml_ready *ready)
{
    ml_sockop *self = ML_CONTAINER_OF(ready, ml_sockop, ready);

    if (!is_waiting(self)) {
        return 0; /* cancelled in this very turn */
    }
    PyObject *sock = Py_XNewRef(self->request.sock), *future = Py_NewRef(self->future);
    int rc = try_again(self, sock, future);
    Py_DECREF(future);
    Py_XDECREF(sock);
    return rc;
}

PyObject *
ml_sockop_new(ml_aioloop *loop, ml_request *asked)
{
    PyTypeObject *type = loop->state->SockOp;
    ml_sockop *self = (ml_sockop *)type->tp_alloc(type, 0);

    if (self == NULL) {
        ml_request_clear(asked);
        return NULL;
    }
    self->loop = (ml_aioloop *)Py_NewRef((PyObject *)loop);
    self->request = *asked;
    self->connected = -1;
    self->ready = (ml_ready){.run = op_run, .owner = (PyObject *)self};
    ml_held_init(&self->held, (PyObject *)self, op_event, asked->fd);
    self->future = ml_aioloop_create_future(loop, NULL);
    if (self->future == NULL || ml_aioloop_check_closed(loop) < 0 || ml_reserve_check() < 0 ||
        (asked->settled ? ml_aioloop_push_ready(loop, &self->ready)
                        : ml_held_watch(&self->held, loop, asked->events)) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    ml_aioloop_touch(loop);
    return (PyObject *)self;
}

PyObject *
ml_sockop_try(ml_aioloop *loop, ml_request *asked)
{
    bool again = false;
    PyObject *result = NULL;

    if (ml_aioloop_check_closed(loop) == 0) {
        result = asked->attempt(loop, asked, &again);
    }
    if (again && ml_aioloop_check_fd(loop, asked->sock, asked->fd) == 0) {
        return ml_sockop_new(loop, asked);
    }
    ml_request_clear(asked);
    return result;
}

static void
finish(ml_sockop *self)
{
    stop(self);
    self->refused = 0;
    self->request.settled = false;
    ml_request_clear(&self->request);
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
        if (self->request.owned &&
            (exc == NULL || PyErr_GivenExceptionMatches(exc, PyExc_StopIteration))) {
            assert(self->connected < 0);
            self->connected = self->request.fd;
            self->request.owned = false;
        }
        finish(self);
        if (exc != NULL) {
            ml_raise(exc);
        }
    }
    return result;
}

int
ml_sockop_take(PyObject *object)
{
    ml_sockop *self = (ml_sockop *)object;
    int fd = self->connected;

    self->connected = -1;
    return fd;
}

static void
close_connected(ml_sockop *self)
{
    int fd = ml_sockop_take((PyObject *)self);

    if (fd >= 0) {
        close(fd);
    }
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
    close_connected(self);
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
    PyObject *result = ml_throw(waiting, args);
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
    Py_VISIT(self->request.data);
    Py_VISIT(self->request.buffer.obj);
    return 0;
}

static int
op_clear(ml_sockop *self)
{
    if (self->loop != NULL) {
        stop(self);
    }
    ml_request_clear(&self->request);
    close_connected(self);
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
