/* Signals end a blocking poll: the process's signal wakeup fd is ours while a loop runs in the main
 * thread. */
#include "watcher.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* CPython's C handler has written signal numbers: take them out, so that the poll does not end for
 * them again, and pass them on to whoever had the wakeup fd before. The handlers themselves run in
 * invoke_pending(). */
static void
take_numbers(ml_loop *loop)
{
    char numbers[64];
    ssize_t got;

    for (;;) {
        got = recv(loop->wakeup_fds[0], numbers, sizeof(numbers), MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            break;
        }
        for (ssize_t i = 0; i < got; i++) {
            ml_signal_arrived(loop, (unsigned char)numbers[i]);
        }
        if (loop->wakeup_old >= 0 && write(loop->wakeup_old, numbers, (size_t)got) < 0) {
            continue; /* full or closed: CPython's handler would only warn, too */
        }
    }
    if (got < 0 && errno != EAGAIN && errno != EBADF) { /* EBADF: see wakeup_event() */
        ml_os_error(errno);
        ml_unraisable((PyObject *)loop);
    }
}

static void
wakeup_event(struct ev_loop *Py_UNUSED(ev), ev_io *io, int revents)
{
    ml_loop *loop = ML_CONTAINER_OF(io, ml_loop, wakeup_io.ev);

    if (!(revents & EV_ERROR)) {
        take_numbers(loop);
        return;
    }
    ev_ref(loop->ev); /* it was unref'd while active */
    if (ml_fdw_error(loop, &loop->wakeup_io) == EBADF) {
        /* The numbers may be anybody's by now: they are not closed. */
        loop->wakeup_fds[0] = loop->wakeup_fds[1] = -1;
    }
}

static int
make_sockets(ml_loop *loop)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, loop->wakeup_fds) < 0) {
        loop->wakeup_fds[0] = loop->wakeup_fds[1] = -1;
        ml_os_error(errno);
        return -1;
    }
    return 0;
}

/* signal.set_wakeup_fd(fd): the fd before, or -2 with an exception. */
static int
set_wakeup_fd(int fd)
{
    PyObject *signal = PyImport_ImportModule("signal");
    PyObject *function = signal ? PyObject_GetAttrString(signal, "set_wakeup_fd") : NULL;
    PyObject *args = function ? Py_BuildValue("(i)", fd) : NULL;
    PyObject *kwargs = args ? Py_BuildValue("{s:O}", "warn_on_full_buffer", Py_False) : NULL;
    PyObject *old = kwargs ? PyObject_Call(function, args, kwargs) : NULL;
    long value = old ? PyLong_AsLong(old) : -2;

    Py_XDECREF(old);
    Py_XDECREF(kwargs);
    Py_XDECREF(args);
    Py_XDECREF(function);
    Py_XDECREF(signal);
    return (int)value;
}

/* 1 in the thread that may set the wakeup fd, 0 in others, -1 with an exception. Asked with what is
 * no descriptor, so that nothing is set: OSError in the one, ValueError in the others. */
static int
may_set_wakeup_fd(void)
{
    if (set_wakeup_fd(-2) != -2) {
        return 1;
    }
    bool here = PyErr_ExceptionMatches(PyExc_OSError);
    if (!here && !PyErr_ExceptionMatches(PyExc_ValueError)) {
        return -1;
    }
    PyErr_Clear();
    return here;
}

int
ml_interrupt_begin(ml_loop *loop)
{
    if (ml_loop_check_open(loop) < 0) {
        return -1;
    }
    if (loop->wakeup_depth > 0) {
        loop->wakeup_depth++;
        return 0;
    }
    if (loop->wakeup_fds[0] < 0) {
        int here = may_set_wakeup_fd();
        if (here <= 0) {
            return here;
        }
        if (ml_loop_check_open(loop) < 0) { /* that was Python code: others ran meanwhile */
            return -1;
        }
        ml_fdw_check_changed(loop); /* a closed one's number could be that of a socket */
        if (ml_loop_check_open(loop) < 0 || make_sockets(loop) < 0) {
            return -1;
        }
    }
    assert(!ev_is_active(&loop->wakeup_io.ev));
    int old = set_wakeup_fd(loop->wakeup_fds[1]);
    if (old == -2) {
        if (!PyErr_ExceptionMatches(PyExc_ValueError)) {
            return -1;
        }
        PyErr_Clear(); /* not the main thread: signals go there */
        return 0;
    }
    loop->wakeup_old = old;
    loop->wakeup_depth = 1;
    if (ml_loop_check_open(loop) < 0) {
        ml_interrupt_end(loop);
        return -1;
    }
    ml_fdw_init(&loop->wakeup_io, wakeup_event, loop->wakeup_fds[0], EV_READ);
    if (ml_fdw_start(loop, &loop->wakeup_io) < 0) {
        ml_interrupt_end(loop);
        return -1;
    }
    ev_unref(loop->ev);
    return 0;
}

/* The same for what may be closed by now: 0 and nothing is set then. -1 with another exception. */
static int
put_back(int fd, int *was)
{
    *was = set_wakeup_fd(fd);
    if (*was != -2) {
        return 0;
    }
    if (!PyErr_ExceptionMatches(PyExc_OSError) && !PyErr_ExceptionMatches(PyExc_ValueError)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

static int
set_old(ml_loop *loop)
{
    int was, failed = put_back(loop->wakeup_old, &was);
    PyObject *exc = failed ? ml_take_exception() : NULL;

    if (was == -2) {
        was = set_wakeup_fd(-1);
        failed = was == -2;
    }
    if (was != -2 && loop->wakeup_fds[1] >= 0 && was != loop->wakeup_fds[1]) {
        failed = put_back(was, &was); /* somebody set another one meanwhile: theirs it is */
    }
    return ml_raise_again(exc, failed ? -1 : 0, (PyObject *)loop);
}

int
ml_interrupt_end(ml_loop *loop)
{
    if (loop->wakeup_depth == 0 || --loop->wakeup_depth > 0) {
        return 0;
    }
    PyObject *exc = ml_take_exception();
    bool active = loop->ev != NULL && ev_is_active(&loop->wakeup_io.ev);
    if (active) {
        ev_ref(loop->ev);
        ml_fdw_stop(loop, &loop->wakeup_io);
    }
    int rc = set_old(loop);
    if (active && loop->ev != NULL) { /* those of now, not of who handles signals in a later run */
        PyObject *failed = rc < 0 ? ml_take_exception() : NULL;
        take_numbers(loop);
        rc = ml_raise_again(failed, 0, (PyObject *)loop);
    }
    return ml_raise_again(exc, rc, (PyObject *)loop);
}

/* The pair is shared with the parent, whose poll would end for the child's signals. */
void
ml_interrupt_after_fork(ml_loop *loop)
{
    int fresh[2];

    if (loop->wakeup_fds[0] < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fresh) < 0) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        dup3(fresh[i], loop->wakeup_fds[i], O_CLOEXEC);
        close(fresh[i]);
    }
}
