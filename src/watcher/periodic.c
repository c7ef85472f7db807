/* Periodic: at a point in time, once or repeatedly, on the wall clock. */
#include "watcher.h"

#include <math.h>

#define LEAST_INTERVAL (1. / 8192.) /* libev's: it rounds what is shorter up to this */

typedef struct ml_periodic {
    ml_watcher base;
    ev_periodic ev;
} ml_periodic;

/* -1 with ValueError for what libev aborts at, or computes NaN from. */
static int
check_times(double offset, double interval)
{
    if (!isfinite(offset)) {
        PyErr_SetString(PyExc_ValueError, "offset must be finite");
    }
    else if (!isfinite(interval) || interval < 0.) {
        PyErr_SetString(PyExc_ValueError, "interval must be finite and not negative");
    }
    else if (interval > 0. && interval < LEAST_INTERVAL) {
        PyErr_SetString(PyExc_ValueError, "interval must be 0 or at least 1/8192");
    }
    else if (interval > 0. && (offset < 0. || offset > interval)) {
        PyErr_SetString(PyExc_ValueError, "offset must be between 0 and interval");
    }
    else {
        return 0;
    }
    return -1;
}

static int
periodic_set(ml_watcher *base, PyObject *const *args)
{
    ml_periodic *self = (ml_periodic *)base;
    double offset = PyFloat_AsDouble(args[0]);

    if (offset == -1. && PyErr_Occurred()) {
        return -1;
    }
    double interval = PyFloat_AsDouble(args[1]);
    if ((interval == -1. && PyErr_Occurred()) || check_times(offset, interval) < 0 ||
        ml_watcher_check_inactive(base, "set the arguments") < 0) {
        return -1;
    }
    ev_periodic_set(&self->ev, offset, interval, NULL);
    return 0;
}

ML_START_AND_STOP(periodic)

static PyObject *
periodic_describe(ml_watcher *base)
{
    ml_periodic *self = (ml_periodic *)base;
    PyObject *offset = PyFloat_FromDouble(self->ev.offset);
    PyObject *interval = PyFloat_FromDouble(self->ev.interval);
    PyObject *text =
        offset && interval ? PyUnicode_FromFormat("offset=%S interval=%S", offset, interval) : NULL;

    Py_XDECREF(offset);
    Py_XDECREF(interval);
    return text;
}

static const ml_kind ml_periodic_kind = {
    .name = "Periodic",
    .args = {"set", {"offset", "interval"}, .places = 2, .needed = 2},
    .ev_offset = offsetof(ml_periodic, ev),
    .set = periodic_set,
    .start = periodic_start,
    .stop = periodic_stop,
    .describe = periodic_describe,
};

/* ---- Python's view ----------------------------------------------------------------------- */

/* ev_periodic_again: makes a new offset or interval count. */
static PyObject *
periodic_reset(ml_periodic *self, PyObject *Py_UNUSED(unused))
{
    if (ml_watcher_check_change(&self->base) < 0 || ml_reserve_check() < 0) {
        return NULL;
    }
    ml_aside_take(self->base.loop, &self->base);
    ev_periodic_again(self->base.loop->ev, &self->ev);
    ml_watcher_sync(&self->base);
    ml_loop_changed(self->base.loop);
    Py_RETURN_NONE;
}

/* Takes effect at the next event. */
static int
periodic_set_time(ml_periodic *self, PyObject *value, void *member)
{
    const PyMemberDef *which = member;
    bool is_interval = which->offset == offsetof(ml_periodic, ev.interval);

    if (ml_no_delete(value, which->name) < 0 || ml_watcher_check_change(&self->base) < 0) {
        return -1;
    }
    double seconds = PyFloat_AsDouble(value);
    if ((seconds == -1. && PyErr_Occurred()) || ml_watcher_check_change(&self->base) < 0 ||
        check_times(is_interval ? self->ev.offset : seconds,
                    is_interval ? seconds : self->ev.interval) < 0) {
        return -1;
    }
    *(is_interval ? &self->ev.interval : &self->ev.offset) = seconds;
    return 0;
}

static PyMethodDef periodic_methods[] = {
    ML_SET_METHOD,
    {"reset", (PyCFunction)periodic_reset, METH_NOARGS,
     PyDoc_STR("reset($self, /)\n--\n\n"
               "Starts anew, with the offset and interval of now (ev_periodic_again).")},
    {NULL},
};

static PyGetSetDef periodic_getset[] = {
    ML_MEMBER(ml_watcher_get, periodic_set_time, "offset", T_DOUBLE, ml_periodic, ev.offset,
              "Seconds since the epoch, or into each interval if there is one."),
    ML_MEMBER(ml_watcher_get, periodic_set_time, "interval", T_DOUBLE, ml_periodic, ev.interval,
              "Seconds between events; 0.0: once, at `offset`."),
    ML_MEMBER(ml_watcher_get, NULL, "at", T_DOUBLE, ml_periodic, ev.at,
              "When, in seconds since the epoch; 0.0 before the first start()."),
    {NULL},
};

ML_NEW(periodic)

static PyType_Slot periodic_slots[] = {
    ML_WATCHER_SLOTS(periodic),
    {Py_tp_doc,
     PyDoc_STR("Periodic(loop, offset, interval, callback, data=None, priority=0)\n--\n\n"
               "Calls back at `offset`, in seconds since the epoch; with an interval, whenever the "
               "time is `offset` modulo `interval`.")},
    {Py_tp_methods, periodic_methods},
    {Py_tp_getset, periodic_getset},
    {0, NULL},
};

ML_WATCHER_SPEC(Periodic, periodic);
