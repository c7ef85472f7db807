/* add_reader, add_writer, and who owns a descriptor. */
#include "aio.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

/* One direction of a descriptor: an ev_io whose event puts `handle` on the ring. Kept after
 * removal, as descriptors that get a reader once mostly get another. */
typedef struct ml_rw {
    ml_fdw fdw;
    ml_aioloop *loop;
    ml_handle *handle; /* owned; NULL if nothing is registered */
    PyObject *fileobj; /* owned; what was added, if no number; NULL if nothing is registered */
    ml_ready refused;  /* reports `error`, with which the kernel refused to watch the descriptor */
    int error;
} ml_rw;

enum { READER, WRITER };

struct ml_slot {
    ml_rw *rw[2];
    PyObject *transport; /* of a socket; borrowed */
    bool shared;         /* who likes may use the descriptor, too */
};

/* ---- slots ------------------------------------------------------------------------------- */

static ml_slot *
find_slot(ml_aioloop *self, int fd)
{
    return fd >= 0 && fd < self->fds.cap ? &self->fds.slots[fd] : NULL;
}

static ml_slot *
need_slot(ml_aioloop *self, int fd)
{
    if (fd >= self->fds.cap &&
        ml_grow(&self->fds.slots, &self->fds.cap, (size_t)fd + 1, sizeof(*self->fds.slots)) < 0) {
        return NULL;
    }
    return &self->fds.slots[fd];
}

PyObject *
ml_aioloop_transport_of(ml_aioloop *self, int fd)
{
    ml_slot *slot = find_slot(self, fd);

    return slot ? slot->transport : NULL;
}

/* The gauge that a direction has: one is registered, or one is not any more. */
static inline void
count(ml_aioloop *self, int events, int change)
{
    *(events & EV_READ ? &self->meter->readers : &self->meter->writers) += (uint64_t)change;
}

/* Cancels what is registered, if anything. */
static int
unregister(ml_aioloop *self, ml_rw *rw)
{
    if (rw == NULL || rw->handle == NULL) {
        return 0;
    }
    ml_handle *handle = rw->handle;
    PyObject *fileobj = rw->fileobj;
    rw->handle = NULL;
    rw->fileobj = NULL;
    rw->error = 0;
    count(self, rw->fdw.ev.events, -1);
    ml_fdw_stop(self->ev, &rw->fdw);
    int rc = ml_handle_cancel(handle);
    Py_DECREF(handle);
    Py_XDECREF(fileobj);
    return rc;
}

int
ml_aioloop_set_transport(ml_aioloop *self, int fd, PyObject *transport)
{
    /* A reader or writer that was left on a number when its file was closed must not hear of the
     * connection that has the number now. What is dropped may run code, and close the loop. */
    if (ml_aioloop_drop_reader(self, fd) < 0 || ml_aioloop_drop_writer(self, fd) < 0 ||
        ml_aioloop_check_closed(self) < 0) {
        return -1;
    }
    ml_slot *slot = need_slot(self, fd);
    if (slot != NULL) {
        slot->transport = transport;
        slot->shared = false;
    }
    return slot ? 0 : -1;
}

void
ml_aioloop_unset_transport(ml_aioloop *self, int fd, PyObject *transport)
{
    ml_slot *slot = find_slot(self, fd);

    if (slot != NULL && slot->transport == transport) {
        slot->transport = NULL;
        slot->shared = false;
    }
}

int
ml_aioloop_drop_reader(ml_aioloop *self, int fd)
{
    ml_slot *slot = find_slot(self, fd);

    return slot ? unregister(self, slot->rw[READER]) : 0;
}

int
ml_aioloop_drop_writer(ml_aioloop *self, int fd)
{
    ml_slot *slot = find_slot(self, fd);

    return slot ? unregister(self, slot->rw[WRITER]) : 0;
}

/* The standard library's transport that has the descriptor and is not closing, a new reference;
 * NULL for none, or with an exception. */
static PyObject *
stock_user_of(ml_aioloop *self, int fd)
{
    PyObject *found = PyObject_CallMethod(self->fds.stock, "get", "i", fd);

    if (found == NULL || found == Py_None) {
        Py_XDECREF(found);
        return NULL;
    }
    PyObject *closing = PyObject_CallMethod(found, "is_closing", NULL);
    int is_closing = closing ? PyObject_IsTrue(closing) : -1;
    Py_XDECREF(closing);
    if (is_closing != 0) {
        Py_CLEAR(found);
    }
    return found;
}

int
ml_aioloop_check_fd(ml_aioloop *self, PyObject *fileobj, int fd)
{
    ml_slot *slot = find_slot(self, fd);
    PyObject *user = NULL;

    if (slot != NULL && slot->transport != NULL) {
        user = slot->shared ? NULL : Py_NewRef(slot->transport);
    }
    else if (self->fds.stock != NULL) {
        user = stock_user_of(self, fd);
    }
    if (user != NULL) {
        PyErr_Format(PyExc_RuntimeError, "File descriptor %R is used by transport %R", fileobj,
                     user);
        Py_DECREF(user);
    }
    return PyErr_Occurred() ? -1 : 0;
}

void
ml_aioloop_share_transport(ml_aioloop *self, int fd, PyObject *transport, bool shared)
{
    ml_slot *slot = find_slot(self, fd);

    if (slot != NULL && slot->transport == transport) {
        slot->shared = shared;
    }
}

/* ---- what the kernel can poll ------------------------------------------------------------ */

/* libev applies a registration at the next poll, and takes what epoll refuses (regular files) as
 * always ready. asyncio raises at once, so ask the kernel in the same way for anything that is
 * not plainly pollable: for a socket or a pipe one fstat (150 ns) is all. */
static int
check_pollable(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0) {
        ml_os_error(errno);
        return -1;
    }
    if (S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode)) {
        return 0;
    }
    int probe = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN};
    int failed = 0;
    if (probe < 0 || epoll_ctl(probe, EPOLL_CTL_ADD, fd, &event) < 0) {
        failed = errno;
    }
    if (probe >= 0) {
        close(probe);
    }
    if (failed) {
        ml_os_error(failed);
        return -1;
    }
    return 0;
}

/* A descriptor as selectors accept it: an int or an object with fileno(), not negative. Raises
 * ValueError otherwise, with -1 in *fd for what has a negative one, as a closed socket has. */
static int
fd_argument(PyObject *fileobj, int *fd)
{
    PyObject *method, *number;
    long value;
    int overflow = 0;

    *fd = 0;
    if (PyLong_Check(fileobj)) {
        number = Py_NewRef(fileobj);
    }
    else {
        method = PyObject_GetAttrString(fileobj, "fileno");
        number = method ? PyObject_CallNoArgs(method) : NULL;
        Py_XDECREF(method);
        if (number == NULL || !PyLong_Check(number)) {
            if (number != NULL || PyErr_ExceptionMatches(PyExc_AttributeError) ||
                PyErr_ExceptionMatches(PyExc_TypeError) ||
                PyErr_ExceptionMatches(PyExc_ValueError)) {
                Py_XDECREF(number);
                PyErr_Format(PyExc_ValueError, "Invalid file object: %R", fileobj);
            }
            return -1;
        }
    }
    value = PyLong_AsLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    if (value == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (value < 0 && !overflow) {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %ld", value);
        *fd = -1;
        return -1;
    }
    if (overflow || value > INT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "signed integer is greater than maximum");
        return -1;
    }
    *fd = (int)value;
    return 0;
}

/* _ensure_fd_no_transport(fileobj), for the standard library's functions. */
PyObject *
ml_aioloop_ensure_fd_no_transport(ml_aioloop *self, PyObject *fileobj)
{
    int fd;

    return ml_none_or_error(fd_argument(fileobj, &fd) < 0 ? -1
                                                          : ml_aioloop_check_fd(self, fileobj, fd));
}

/* The number that a file object was added with, or -1. */
static int
find_fileobj(ml_aioloop *self, PyObject *fileobj)
{
    for (int fd = 0; fd < self->fds.cap; fd++) {
        for (int direction = READER; direction <= WRITER; direction++) {
            ml_rw *rw = self->fds.slots[fd].rw[direction];
            if (rw != NULL && rw->fileobj == fileobj) {
                return fd;
            }
        }
    }
    return -1;
}

/* fd_argument() for removing: what was closed since it was added is known by itself, as selectors
 * know it. *fd stays -1 on a closed loop, which knows nothing and need not complain. */
static int
known_fd(ml_aioloop *self, PyObject *fileobj, int *fd)
{
    if (fd_argument(fileobj, fd) == 0) {
        return 0;
    }
    if (*fd < 0) {
        *fd = find_fileobj(self, fileobj);
        if (*fd >= 0 || self->closed) {
            PyErr_Clear();
            return 0;
        }
    }
    return -1;
}

/* ---- registering ------------------------------------------------------------------------- */

/* If both directions of a descriptor are ready its reader runs first, as in stock asyncio. What a
 * poll brings is turned round in the end, so here the reader has to be the last. */
static void
put_reader_first(ml_aioloop *self, const ml_rw *rw)
{
    ml_slot *slot = find_slot(self, rw->fdw.ev.fd);

    if (self->io.len < 2 || slot == NULL || slot->rw[WRITER] != rw || slot->rw[READER] == NULL) {
        return;
    }
    uintptr_t *last = &self->io.items[self->io.len - 2], reader = last[0];
    if (reader == (uintptr_t)slot->rw[READER]->handle && last[1] == (uintptr_t)rw->handle) {
        last[0] = last[1];
        last[1] = reader;
    }
}

/* If the descriptor was closed without remove_reader() stock asyncio hears no more of it either;
 * the registration stays until it is removed or replaced. */
static void
rw_event(struct ev_loop *Py_UNUSED(loop), ev_io *ev, int revents)
{
    ml_rw *rw = ML_CONTAINER_OF(ev, ml_rw, fdw.ev);

    if (revents & EV_ERROR) {
        int error = ml_fdw_error(rw->loop->ev, &rw->fdw);
        if (error != EBADF) {
            rw->error = error ? error : EIO;
            ml_aioloop_got_ready(rw->loop, &rw->refused);
        }
    }
    else if (rw->handle != NULL && !ml_fdw_is_closed(rw->loop->ev, &rw->fdw)) {
        ml_aioloop_got_handle(rw->loop, rw->handle);
        put_reader_first(rw->loop, rw);
    }
}

/* _rewatch(fd): tries again what the kernel refused. */
PyObject *
ml_aioloop_rewatch(ml_aioloop *self, PyObject *number)
{
    int fd = ml_fd_from_object(number);
    ml_slot *slot = find_slot(self, fd);

    if (fd < 0) {
        return NULL;
    }
    for (int direction = READER; slot != NULL && !self->closed && direction <= WRITER;
         direction++) {
        ml_rw *rw = slot->rw[direction];
        if (rw == NULL || rw->handle == NULL || !rw->error) {
            continue; /* removed or replaced meanwhile */
        }
        rw->error = 0;
        if (ml_fdw_start(self->ev, &rw->fdw) < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

/* add_reader() would have raised this, had it asked the kernel; but who added it, a server say, has
 * gone on: so tell, and try again later. */
static int
rw_refused(ml_ready *ready)
{
    ml_rw *rw = ML_CONTAINER_OF(ready, ml_rw, refused);

    if (rw->handle == NULL || !rw->error) {
        return 0; /* removed or replaced meanwhile */
    }
    ml_os_error(rw->error);
    PyObject *exc = ml_take_exception();
    PyObject *told =
        ml_diagnose(rw->loop->state, "watch_failed", "(OiO)", rw->loop, rw->fdw.ev.fd, exc);
    Py_DECREF(exc);
    Py_XDECREF(told);
    return told ? 0 : ml_aioloop_handle_error(rw->loop, "logging failed", NULL, NULL);
}

static int
register_handle(ml_aioloop *self, PyObject *fileobj, int fd, int direction, ml_handle *handle)
{
    ml_slot *slot = need_slot(self, fd);
    ml_rw *rw = slot ? slot->rw[direction] : NULL;

    if (slot == NULL || ml_reserve_check() < 0) {
        return -1;
    }
    if (rw == NULL) {
        rw = PyMem_RawCalloc(1, sizeof(*rw));
        if (rw == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        rw->loop = self;
        rw->fdw.hosts = true;
        rw->refused = (ml_ready){.run = rw_refused, .owner = (PyObject *)self};
        slot->rw[direction] = rw;
    }
    ml_handle *old = rw->handle;
    PyObject *old_fileobj = rw->fileobj;
    /* Started anew even if one was active: the number may be another open file by now. */
    ml_fdw_stop(self->ev, &rw->fdw);
    ml_fdw_init(&rw->fdw, rw_event, fd, direction == READER ? EV_READ : EV_WRITE);
    rw->handle = NULL;
    rw->fileobj = NULL;
    rw->error = 0;
    if (ml_fdw_start(self->ev, &rw->fdw) == 0) {
        rw->handle = (ml_handle *)Py_NewRef((PyObject *)handle);
        rw->fileobj = PyLong_Check(fileobj) ? NULL : Py_NewRef(fileobj);
        ml_aioloop_touch(self);
        count(self, direction == READER ? EV_READ : EV_WRITE, 1);
    }
    int rc = rw->handle ? 0 : -1;
    if (old != NULL) {
        count(self, direction == READER ? EV_READ : EV_WRITE, -1);
        if (ml_handle_cancel(old) < 0) {
            rc = -1;
        }
        Py_DECREF(old);
    }
    Py_XDECREF(old_fileobj);
    return rc;
}

/* add_reader() and add_writer(), and what the standard library's own transports call, which does
 * not ask whether a transport has the descriptor: _add_reader(fd, callback, *args, context=None).
 */
static PyObject *
add(ml_aioloop *self, int direction, bool checked, PyObject *const *args, Py_ssize_t nargs,
    PyObject *kwnames)
{
    static const ml_params params[] = {
        {"add_reader", {"fd", "callback"}, .places = 2, .needed = 2, .rest = true},
        {"add_writer", {"fd", "callback"}, .places = 2, .needed = 2, .rest = true},
        {"_add_reader", {"fd", "callback", "context"}, .places = 2, .needed = 2, .rest = true},
        {"_add_writer", {"fd", "callback", "context"}, .places = 2, .needed = 2, .rest = true},
    };
    PyObject *values[3] = {NULL};
    int fd;

    if (ml_take_args(&params[direction + (checked ? 0 : 2)], args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    PyObject *fileobj = values[0];
    if (fd_argument(fileobj, &fd) < 0 || (checked && ml_aioloop_check_fd(self, fileobj, fd) < 0) ||
        ml_aioloop_check_closed(self) < 0 || check_pollable(fd) < 0) {
        return NULL;
    }
    ml_handle *handle =
        ml_handle_new(self, values[1], args + 2, nargs > 2 ? nargs - 2 : 0, values[2]);
    if (handle == NULL) {
        return NULL;
    }
    if (!PyObject_GC_IsTracked((PyObject *)handle)) {
        PyObject_GC_Track(handle);
    }
    if (ml_aioloop_check_closed(self) < 0 || /* a finalizer closed it meanwhile */
        register_handle(self, fileobj, fd, direction, handle) < 0) {
        Py_CLEAR(handle);
    }
    return (PyObject *)handle;
}

static PyObject *
remove_rw(ml_aioloop *self, int direction, bool checked, PyObject *fileobj)
{
    int fd;

    if (known_fd(self, fileobj, &fd) < 0 ||
        (checked && ml_aioloop_check_fd(self, fileobj, fd) < 0)) {
        return NULL;
    }
    ml_slot *slot = find_slot(self, fd);
    ml_rw *rw = slot ? slot->rw[direction] : NULL;
    if (self->closed || rw == NULL || rw->handle == NULL) {
        Py_RETURN_FALSE;
    }
    if (unregister(self, rw) < 0) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

static PyObject *
add_checked(ml_aioloop *self, int direction, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    PyObject *handle = add(self, direction, true, args, nargs, kwnames);

    Py_XDECREF(handle);
    return handle ? Py_NewRef(Py_None) : NULL;
}

static PyObject *
remove_checked(ml_aioloop *self, int direction, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames)
{
    static const ml_params params[] = {{"remove_reader", {"fd"}, .places = 1, .needed = 1},
                                       {"remove_writer", {"fd"}, .places = 1, .needed = 1}};
    PyObject *fileobj = ml_take_arg(&params[direction], args, nargs, kwnames);

    return fileobj ? remove_rw(self, direction, true, fileobj) : NULL;
}

PyObject *
ml_aioloop_add_reader(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return add_checked(self, READER, args, nargs, kwnames);
}

PyObject *
ml_aioloop_add_writer(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return add_checked(self, WRITER, args, nargs, kwnames);
}

PyObject *
ml_aioloop_add_reader_unchecked(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    return add(self, READER, false, args, nargs, kwnames);
}

PyObject *
ml_aioloop_add_writer_unchecked(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    return add(self, WRITER, false, args, nargs, kwnames);
}

PyObject *
ml_aioloop_remove_reader(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    return remove_checked(self, READER, args, nargs, kwnames);
}

PyObject *
ml_aioloop_remove_writer(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *kwnames)
{
    return remove_checked(self, WRITER, args, nargs, kwnames);
}

PyObject *
ml_aioloop_remove_reader_unchecked(ml_aioloop *self, PyObject *fileobj)
{
    return remove_rw(self, READER, false, fileobj);
}

PyObject *
ml_aioloop_remove_writer_unchecked(ml_aioloop *self, PyObject *fileobj)
{
    return remove_rw(self, WRITER, false, fileobj);
}

/* ---- the collector, and close() ---------------------------------------------------------- */

int
ml_aioloop_slots_traverse(ml_aioloop *self, visitproc visit, void *arg)
{
    for (int fd = 0; fd < self->fds.cap; fd++) {
        for (int direction = READER; direction <= WRITER; direction++) {
            if (self->fds.slots[fd].rw[direction] != NULL) {
                Py_VISIT(self->fds.slots[fd].rw[direction]->handle);
                Py_VISIT(self->fds.slots[fd].rw[direction]->fileobj);
            }
        }
    }
    return 0;
}

void
ml_aioloop_slots_clear(ml_aioloop *self)
{
    ml_slot *slots = self->fds.slots;
    int cap = self->fds.cap;

    self->fds.slots = NULL;
    self->fds.cap = 0;
    for (int fd = 0; fd < cap; fd++) {
        for (int direction = READER; direction <= WRITER; direction++) {
            ml_rw *rw = slots[fd].rw[direction];
            if (rw != NULL) {
                ml_fdw_stop(self->ev, &rw->fdw);
                Py_CLEAR(rw->handle);
                Py_CLEAR(rw->fileobj);
                PyMem_RawFree(rw);
            }
        }
    }
    PyMem_RawFree(slots);
}
