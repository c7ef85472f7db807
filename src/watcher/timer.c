/* Timer: after some time, once or repeatedly, on the monotonic clock. */
#include "watcher.h"

#include <math.h>

typedef struct ml_evtimer { /* struct ml_timer is aio's: a TimerHandle */
    ml_watcher base;
    ev_timer ev;
    double after; /* as given: libev turns its own into a point in time */
} ml_timer;

static int
timer_set(ml_watcher *base, PyObject *const *args)
{
    ml_timer *self = (ml_timer *)base;
    double after, repeat;

    if (ml_float_arg(args[0], "after", -Py_HUGE_VAL, &after) < 0 ||
        ml_float_arg(args[1], "repeat", 0., &repeat) < 0 ||
        ml_watcher_check_inactive(base, "set the arguments") < 0) {
        return -1;
    }
    self->after = after;
    if (after == -Py_HUGE_VAL) {
        after = -1e300; /* with an infinite `repeat` libev's sum would be NaN */
    }
    ev_timer_set(&self->ev, after, repeat);
    return 0;
}

ML_START_AND_STOP(timer)

static PyObject *
timer_describe(ml_watcher *base)
{
    ml_timer *self = (ml_timer *)base;
    PyObject *after = PyFloat_FromDouble(self->after);
    PyObject *repeat = PyFloat_FromDouble(self->ev.repeat);
    PyObject *text =
        after && repeat ? PyUnicode_FromFormat("after=%S repeat=%S", after, repeat) : NULL;

    Py_XDECREF(after);
    Py_XDECREF(repeat);
    return text;
}

static const ml_kind ml_timer_kind = {
    .name = "Timer",
    .args = {"set", {"after", "repeat"}, .places = 2, .needed = 2},
    .ev_offset = offsetof(ml_timer, ev),
    .set = timer_set,
    .start = timer_start,
    .stop = timer_stop,
    .describe = timer_describe,
};

/* ---- Python's view ----------------------------------------------------------------------- */

/* ev_timer_again: restarts with `repeat`, or stops a timer that has none. */
static PyObject *
timer_reset(ml_timer *self, PyObject *Py_UNUSED(unused))
{
    if (ml_watcher_check_change(&self->base) < 0) {
        return NULL;
    }
    if (self->ev.repeat == 0.) {
        ml_watcher_stop(&self->base);
    }
    else {
        if (ml_reserve_check() < 0) {
            return NULL;
        }
        ml_aside_take(self->base.loop, &self->base);
        ev_timer_again(self->base.loop->ev, &self->ev);
        ml_watcher_sync(&self->base);
        ml_loop_changed(self->base.loop);
    }
    Py_RETURN_NONE;
}

static int
timer_set_repeat(ml_timer *self, PyObject *value, void *Py_UNUSED(closure))
{
    double repeat;

    if (ml_no_delete(value, "repeat") < 0 || ml_watcher_check_change(&self->base) < 0 ||
        ml_float_arg(value, "repeat", 0., &repeat) < 0 ||
        ml_watcher_check_change(&self->base) < 0) {
        return -1;
    }
    self->ev.repeat = repeat;
    return 0;
}

static PyObject *
timer_get_remaining(ml_timer *self, void *Py_UNUSED(closure))
{
    if (ml_watcher_check(&self->base) < 0) {
        return NULL;
    }
    return PyFloat_FromDouble(ev_timer_remaining(self->base.loop->ev, &self->ev));
}

static PyMethodDef timer_methods[] = {
    ML_SET_METHOD,
    {"reset", (PyCFunction)timer_reset, METH_NOARGS,
     PyDoc_STR("reset($self, /)\n--\n\n"
               "Starts anew with `repeat`; stops a timer without (ev_timer_again).")},
    {NULL},
};

static PyGetSetDef timer_getset[] = {
    ML_MEMBER(ml_watcher_get, timer_set_repeat, "repeat", T_DOUBLE, ml_timer, ev.repeat,
              "Seconds between events; 0.0: once."),
    {"remaining", (getter)timer_get_remaining, NULL, PyDoc_STR("Seconds until the event."), NULL},
    ML_MEMBER(ml_watcher_get, NULL, "at", T_DOUBLE, ml_timer, ev.at,
              "When, on libev's monotonic clock."),
    {NULL},
};

ML_NEW(timer)

static PyType_Slot timer_slots[] = {
    ML_WATCHER_SLOTS(timer),
    {Py_tp_doc, PyDoc_STR("Timer(loop, after, repeat, callback, data=None, priority=0)\n--\n\n"
                          "Calls back after `after` seconds, then every `repeat` seconds if that "
                          "is not 0.")},
    {Py_tp_methods, timer_methods},
    {Py_tp_getset, timer_getset},
    {0, NULL},
};

ML_WATCHER_SPEC(Timer, timer);
