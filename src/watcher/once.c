/* Loop.once(): one callback for a descriptor or a timeout, whichever comes first. Not ev_once(),
 * whose descriptor would escape the checks of fdw.c. */
#include "watcher.h"

#include <errno.h>
#include <fcntl.h>

typedef struct ml_once {
    ml_fdw fdw;
    ev_timer timer;
    ml_loop *loop; /* borrowed: it owns us */
    PyObject *callback;
    int late; /* events that came while a run was ending with an exception, for the next */
    struct ml_once *next, **by; /* loop->onces */
} ml_once;

static void
unlink_once(ml_once *once)
{
    ml_loop *loop = once->loop;

    ML_LIST_REMOVE(once);
    ml_fdw_stop(loop, &once->fdw); /* also one that libev has stopped, or that was never started */
    ev_timer_stop(loop->ev, &once->timer);
}

/* As for a watcher: the callback is not told, and the run ends with an error. */
static void
fail(ml_once *once, int error)
{
    ml_loop *loop = once->loop;
    PyObject *callback = once->callback;

    unlink_once(once);
    if (error) {
        ml_os_error(error);
    }
    else {
        PyErr_Format(loop->state->Error, "libev stopped once() for descriptor %d with an error",
                     once->fdw.ev.fd);
    }
    PyMem_RawFree(once);
    ml_loop_set_aside(loop, callback);
    Py_DECREF(callback);
}

static void
fire(ml_once *once, int revents)
{
    ml_loop *loop = once->loop;

    if (loop->exc != NULL) { /* the run is ending: come again in the next one */
        once->late = revents;
        ev_timer_stop(loop->ev, &once->timer);
        ev_timer_set(&once->timer, 0., 0.);
        ev_timer_start(loop->ev, &once->timer);
        return;
    }
    if (revents & EV_ERROR) {
        fail(once, ml_fdw_error(loop, &once->fdw));
        return;
    }
    PyObject *callback = once->callback;
    unlink_once(once);
    PyMem_RawFree(once);
    Py_INCREF(loop);
    ml_loop_call(loop, callback, (PyObject *)loop, revents);
    Py_DECREF(callback);
    Py_DECREF(loop);
}

static void
once_io(struct ev_loop *Py_UNUSED(ev), ev_io *io, int revents)
{
    fire(ML_CONTAINER_OF(io, ml_once, fdw.ev), revents);
}

static void
once_timer(struct ev_loop *Py_UNUSED(ev), ev_timer *timer, int Py_UNUSED(revents))
{
    ml_once *once = ML_CONTAINER_OF(timer, ml_once, timer);
    fire(once, once->late ? once->late : EV_TIMER);
}

void
ml_once_stop_all(ml_loop *loop)
{
    while (loop->onces != NULL) {
        ml_once *once = loop->onces;
        PyObject *callback = once->callback;
        unlink_once(once);
        PyMem_RawFree(once);
        Py_DECREF(callback);
    }
}

int
ml_once_traverse(ml_loop *loop, visitproc visit, void *arg)
{
    for (ml_once *once = loop->onces; once != NULL; once = once->next) {
        Py_VISIT(once->callback);
    }
    return 0;
}

static int
fd_arg(ml_loop *loop, PyObject *object, int *fd)
{
    *fd = -1;
    if (object == Py_None) {
        return 0;
    }
    if (PyLong_Check(object) && PyLong_AsLong(object) == -1 && !PyErr_Occurred()) {
        return 0;
    }
    if (PyErr_Occurred() || (*fd = ml_fd_from_object(object)) < 0) {
        return -1;
    }
    if (fcntl(*fd, F_GETFD) < 0 || *fd == loop->backend_fd) {
        ml_os_error(EBADF);
        return -1;
    }
    return 0;
}

PyObject *
ml_loop_once(ml_loop *loop, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"fd", "events", "timeout", "callback", NULL};
    PyObject *fd_object, *timeout_object, *callback;
    int events, fd;
    double timeout = -1.;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OiOO:once", keywords, &fd_object, &events,
                                     &timeout_object, &callback) ||
        ml_loop_check_change(loop) < 0 || fd_arg(loop, fd_object, &fd) < 0) {
        return NULL;
    }
    if (!PyCallable_Check(callback)) {
        return PyErr_Format(PyExc_TypeError, "a callable is required, got %.200s",
                            Py_TYPE(callback)->tp_name);
    }
    if (events & ~(EV_READ | EV_WRITE)) {
        return PyErr_Format(loop->state->Error, "illegal event mask %d", events);
    }
    if (timeout_object != Py_None &&
        ml_float_arg(timeout_object, "timeout", -Py_HUGE_VAL, &timeout) < 0) {
        return NULL;
    }
    if (ml_loop_check_change(loop) < 0 || /* the conversions may have closed it */
        ml_reserve_check() < 0) {
        return NULL;
    }
    ml_once *once = PyMem_RawCalloc(1, sizeof(*once));
    if (once == NULL) {
        return PyErr_NoMemory();
    }
    once->loop = loop;
    once->callback = Py_NewRef(callback);
    ml_fdw_init(&once->fdw, once_io, fd < 0 ? 0 : fd, events);
    ev_timer_init(&once->timer, once_timer, timeout, 0.);
    ML_LIST_ADD(&loop->onces, once);
    if (fd >= 0 && events && ml_fdw_start(loop, &once->fdw) < 0) {
        unlink_once(once);
        Py_DECREF(callback);
        PyMem_RawFree(once);
        return NULL;
    }
    if (timeout >= 0.) {
        ev_timer_start(loop->ev, &once->timer);
    }
    ml_loop_changed(loop);
    Py_RETURN_NONE;
}
