/* The clock that timers follow. */
#include "aio.h"

PyObject *
ml_aioloop_time(ml_aioloop *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
    return PyFloat_FromDouble(ml_monotonic());
}

int
ml_clock_find(ml_aioloop *self)
{
    PyObject *mine = PyObject_GetAttr((PyObject *)self->state->LoopBase, self->state->str.time);
    PyObject *method =
        mine ? PyObject_GetAttr((PyObject *)Py_TYPE(self), self->state->str.time) : NULL;
    PyObject *bound = method ? PyObject_GetAttr((PyObject *)self, self->state->str.time) : NULL;

    if (bound != NULL) {
        self->custom_time = method != mine || !PyCFunction_Check(bound) ||
                            PyCFunction_GetFunction(bound) != (PyCFunction)ml_aioloop_time;
    }
    self->clock_version = bound ? Py_TYPE(self)->tp_version_tag : 0;
    Py_XDECREF(bound);
    Py_XDECREF(method);
    Py_XDECREF(mine);
    return bound ? 0 : -1;
}

/* See class_is_plain() in net/plain.c. Where there is no time(), the call of it says so. */
void
ml_clock_recheck(ml_aioloop *self)
{
    unsigned int version = Py_TYPE(self)->tp_version_tag;

    if ((version == 0 || version != self->clock_version) && ml_clock_find(self) < 0) {
        PyErr_Clear();
        self->custom_time = true;
    }
}

double
ml_clock_now(ml_aioloop *self)
{
    ml_clock_recheck(self);
    if (!self->custom_time) {
        return ml_monotonic();
    }
    PyObject *result = PyObject_CallMethodNoArgs((PyObject *)self, self->state->str.time);
    double now = result ? PyFloat_AsDouble(result) : -1.;
    Py_XDECREF(result);
    return now;
}

int
ml_clock_of_turn(ml_aioloop *self, double *now)
{
    *now = self->custom_time ? ml_clock_now(self) : ml_timers_polled_at(self);
    if (*now == -1. && PyErr_Occurred()) {
        *now = -Py_HUGE_VAL;
        return ml_aioloop_handle_error(self, "the loop's time() failed", NULL, NULL);
    }
    return 0;
}
