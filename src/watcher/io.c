/* Io: a descriptor can be read or written. */
#include "watcher.h"

#include <errno.h>
#include <fcntl.h>

typedef struct ml_io {
    ml_watcher base;
    ml_fdw fdw;
} ml_io;

static void
io_event(struct ev_loop *loop, ev_io *ev, int revents)
{
    ml_io *self = ev->data;

    if (revents & EV_ERROR) {
        int error = ml_fdw_error(self->base.loop, &self->fdw);
        self->base.error = error ? error : self->base.error; /* it may have been set aside before */
    }
    else if (ml_fdw_is_closed(self->base.loop, &self->fdw)) {
        return;
    }
    ml_watcher_event(loop, (ev_watcher *)ev, revents);
}

static int
events_arg(ml_watcher *self, PyObject *object, int *events)
{
    long value = PyLong_AsLong(object);

    if (value == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (value & ~(long)(EV_READ | EV_WRITE)) {
        PyErr_Format(self->loop->state->Error, "illegal event mask %ld: EV_READ and EV_WRITE only",
                     value);
        return -1;
    }
    *events = (int)value;
    return 0;
}

static int
io_set(ml_watcher *base, PyObject *const *args)
{
    ml_io *self = (ml_io *)base;
    int events = 0, fd = ml_fd_from_object(args[0]);

    if (fd < 0 || events_arg(base, args[1], &events) < 0 ||
        ml_watcher_check_inactive(base, "set the arguments") < 0) {
        return -1;
    }
    ml_fdw_unlink(base->loop, &self->fdw);
    ev_watcher *ev = ml_watcher_ev(base);
    int pending = ev_is_pending(ev) ? ev_clear_pending(base->loop->ev, ev) : 0;
    int priority = ev_priority(ev);
    ml_fdw_init(&self->fdw, io_event, fd, events);
    ev_set_priority(ev, priority);
    if (pending) {
        ev_feed_event(base->loop->ev, ev, pending);
    }
    return 0;
}

static int
io_start(ml_watcher *base)
{
    ml_io *self = (ml_io *)base;
    int fd = self->fdw.ev.fd;

    if (fcntl(fd, F_GETFD) < 0) {
        ml_os_error(errno);
        return -1;
    }
    if (fd == base->loop->backend_fd) {
        PyErr_SetString(base->loop->state->Error, "a loop cannot watch its own descriptor");
        return -1;
    }
    return ml_fdw_start(base->loop, &self->fdw);
}

static void
io_stop(ml_watcher *base)
{
    ml_fdw_stop(base->loop, &((ml_io *)base)->fdw);
}

static int
io_events(ml_io *self)
{
    return self->fdw.ev.events & (EV_READ | EV_WRITE);
}

static PyObject *
io_describe(ml_watcher *base)
{
    ml_io *self = (ml_io *)base;
    return PyUnicode_FromFormat("fd=%d events=%d", self->fdw.ev.fd, io_events(self));
}

static const ml_kind ml_io_kind = {
    .name = "Io",
    .args = {"set", {"fd", "events"}, .places = 2, .needed = 2},
    .ev_offset = offsetof(ml_io, fdw.ev),
    .set = io_set,
    .start = io_start,
    .stop = io_stop,
    .describe = io_describe,
};

/* ---- Python's view ----------------------------------------------------------------------- */

static PyObject *
io_modify(ml_io *self, PyObject *arg)
{
    int events = 0;

    if (ml_watcher_check_change(&self->base) < 0 || events_arg(&self->base, arg, &events) < 0 ||
        ml_watcher_check_change(&self->base) < 0 || ml_reserve_check() < 0) {
        return NULL;
    }
    if (!ev_is_active(&self->fdw.ev)) {
        ev_io_modify(&self->fdw.ev, events);
    }
    else if (events == 0) {
        /* nothing left to hear, so it need not be active */
        ml_watcher_stop(&self->base);
        ev_io_modify(&self->fdw.ev, 0);
    }
    else if (ml_fdw_modify(self->base.loop, &self->fdw, events) < 0) {
        return NULL;
    }
    ml_watcher_sync(&self->base);
    ml_loop_changed(self->base.loop);
    Py_RETURN_NONE;
}

static PyObject *
io_get_events(ml_io *self, void *Py_UNUSED(closure))
{
    return ml_watcher_check(&self->base) < 0 ? NULL : PyLong_FromLong(io_events(self));
}

static int
io_set_events(ml_io *self, PyObject *value, void *Py_UNUSED(closure))
{
    int events = 0;

    if (ml_no_delete(value, "events") < 0 || ml_watcher_check_change(&self->base) < 0 ||
        events_arg(&self->base, value, &events) < 0 ||
        ml_watcher_check_inactive(&self->base, "set the events") < 0) {
        return -1;
    }
    ev_io_modify(&self->fdw.ev, events);
    return 0;
}

static PyMethodDef io_methods[] = {
    ML_SET_METHOD,
    {"modify", (PyCFunction)io_modify, METH_O,
     PyDoc_STR("modify($self, events, /)\n--\n\nChanges the events, also while active.")},
    {NULL},
};

static PyGetSetDef io_getset[] = {
    ML_MEMBER(ml_watcher_get, NULL, "fd", T_INT, ml_io, fdw.ev.fd, "The descriptor."),
    {"events", (getter)io_get_events, (setter)io_set_events,
     PyDoc_STR("EV_READ, EV_WRITE or both; settable while inactive."), NULL},
    {NULL},
};

ML_NEW(io)

static PyType_Slot io_slots[] = {
    ML_WATCHER_SLOTS(io),
    {Py_tp_doc, PyDoc_STR("Io(loop, fd, events, callback, data=None, priority=0)\n--\n\n"
                          "Calls back when the descriptor can be read or written.")},
    {Py_tp_methods, io_methods},
    {Py_tp_getset, io_getset},
    {0, NULL},
};

ML_WATCHER_SPEC(Io, io);
