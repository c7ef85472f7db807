/* call_soon, call_soon_threadsafe, call_later, call_at. */
#include "aio.h"

#include <pythread.h>

/* ---- arguments --------------------------------------------------------------------------- */

int
ml_aioloop_keywords(ml_aioloop *self, const char *name, PyObject *const *values, PyObject *kwnames,
                    const char *first_name, PyObject **first, PyObject **callback,
                    PyObject **context)
{
    ml_aio *aio = self->state->aio;

    /* Tasks and futures come with the same tuple each time, whose string is not an interned one. */
    if (kwnames == aio->only_context && context != NULL) {
        *context = values[0];
        return 0;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *key = PyTuple_GET_ITEM(kwnames, i);
        if (context != NULL && (key == self->state->str.context ||
                                PyUnicode_Compare(key, self->state->str.context) == 0)) {
            *context = values[i];
        }
        else if (*callback == NULL && PyUnicode_Compare(key, self->state->str.callback) == 0) {
            *callback = values[i];
        }
        else if (first != NULL && *first == NULL &&
                 PyUnicode_CompareWithASCIIString(key, first_name) == 0) {
            *first = values[i];
        }
        else {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", name,
                         key);
            return -1;
        }
    }
    if (context != NULL && PyTuple_GET_SIZE(kwnames) == 1 && *context == values[0]) {
        Py_INCREF(kwnames);
        Py_XSETREF(aio->only_context, kwnames);
    }
    return 0;
}

static int
missing(const char *name, const char *what)
{
    PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional argument: '%s'", name, what);
    return -1;
}

/* `self._check_thread()` and `self._check_callback()`: BaseEventLoop's own, in debug mode only. */
static int
debug_checks(ml_aioloop *self, const char *name, PyObject *callback, bool thread)
{
    PyObject *result;

    if (thread) {
        result = PyObject_CallMethod((PyObject *)self, "_check_thread", NULL);
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    result = PyObject_CallMethod((PyObject *)self, "_check_callback", "Os", callback, name);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* ---- call_soon --------------------------------------------------------------------------- */

/* True if the loop runs, in another thread. */
static bool
is_elsewhere(ml_aioloop *self)
{
    return self->thread != 0 && self->thread != PyThread_get_thread_ident();
}

static int
post(ml_aioloop *self, ml_handle *handle)
{
    if (ml_mail_push(&self->mail, (uintptr_t)handle, self->ready.tail) < 0) {
        return -1;
    }
    Py_INCREF(handle);
    return 0;
}

static ml_handle *
soon(ml_aioloop *self, const char *name, bool threadsafe, PyObject *const *args, Py_ssize_t nargs,
     PyObject *kwnames)
{
    PyObject *callback = nargs > 0 ? args[0] : NULL, *context = NULL;

    if (kwnames != NULL && ml_aioloop_keywords(self, name, args + nargs, kwnames, NULL, NULL,
                                               &callback, &context) < 0) {
        return NULL;
    }
    if (callback == NULL) {
        missing(name, "callback");
        return NULL;
    }
    if (ml_aioloop_check_closed(self) < 0 ||
        (self->debug && debug_checks(self, name, callback, !threadsafe) < 0)) {
        return NULL;
    }
    ml_handle *handle = ml_handle_new(self, callback, args + 1, nargs > 0 ? nargs - 1 : 0, context);
    if (handle != NULL) {
        handle->threadsafe = ML_THREADSAFE_HANDLES && threadsafe;
    }
    if (handle != NULL &&
        (threadsafe && is_elsewhere(self) ? post(self, handle)
                                          : ml_aioloop_push_handle(self, handle)) < 0) {
        Py_CLEAR(handle);
    }
    return handle;
}

PyObject *
ml_aioloop_call_soon_method(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs,
                            PyObject *kwnames)
{
    return (PyObject *)soon(self, "call_soon", false, args, nargs, kwnames);
}

/* The GIL guards the rings, so this is call_soon and, at most once per poll, a wake-up. It is safe
 * in a Python signal handler on the loop's own thread too. */
PyObject *
ml_aioloop_call_soon_threadsafe(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    ml_handle *handle = soon(self, "call_soon_threadsafe", true, args, nargs, kwnames);

    if (handle != NULL) {
        ml_aioloop_wake(self);
        if (is_elsewhere(self)) { /* the loop's own thread would wait for itself */
            ml_pacer_hold_back(self);
        }
    }
    return (PyObject *)handle;
}

/* ---- timers ------------------------------------------------------------------------------ */

static PyObject *
schedule(ml_aioloop *self, const char *name, double when, double now, PyObject *callback,
         PyObject *const *args, Py_ssize_t nargs, PyObject *context)
{
    if (ml_aioloop_check_closed(self) < 0 ||
        (self->debug && debug_checks(self, name, callback, true) < 0)) {
        return NULL;
    }
    ml_timer *timer = ml_timer_new(self, when, callback, args, nargs, context);
    if (timer != NULL && (ml_aioloop_check_closed(self) < 0 || /* a finalizer closed it meanwhile */
                          ml_timers_add(timer, now) < 0)) {
        Py_CLEAR(timer);
    }
    return (PyObject *)timer;
}

/* As stock asyncio's `self.time() + delay`: a number that a float cannot be added to is refused. */
static int
get_when(PyObject *number, bool relative, double now, double *when)
{
    if (!relative || PyFloat_Check(number) || PyLong_Check(number)) {
        *when = PyFloat_AsDouble(number) + (relative ? now : 0.);
        return PyErr_Occurred() ? -1 : 0;
    }
    PyObject *start = PyFloat_FromDouble(now);
    PyObject *sum = start ? PyNumber_Add(start, number) : NULL;
    Py_XDECREF(start);
    *when = sum ? PyFloat_AsDouble(sum) : -1.;
    Py_XDECREF(sum);
    return PyErr_Occurred() ? -1 : 0;
}

/* call_later and call_at share everything but what the number means. */
static PyObject *
at_or_later(ml_aioloop *self, bool relative, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    const char *name = relative ? "call_later" : "call_at", *first = relative ? "delay" : "when";
    PyObject *number = nargs > 0 ? args[0] : NULL, *callback = nargs > 1 ? args[1] : NULL;
    PyObject *context = NULL;

    if (kwnames != NULL && ml_aioloop_keywords(self, name, args + nargs, kwnames, first, &number,
                                               &callback, &context) < 0) {
        return NULL;
    }
    if (number == NULL || callback == NULL) {
        missing(name, number == NULL ? first : "callback");
        return NULL;
    }
    if (number == Py_None) {
        PyErr_SetString(PyExc_TypeError,
                        relative ? "delay must not be None" : "when cannot be None");
        return NULL;
    }
    double when, now = ml_clock_now(self);
    if ((now == -1. && PyErr_Occurred()) || get_when(number, relative, now, &when) < 0) {
        return NULL;
    }
    return schedule(self, name, when, now, callback, args + 2, nargs > 2 ? nargs - 2 : 0, context);
}

PyObject *
ml_aioloop_call_later(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return at_or_later(self, true, args, nargs, kwnames);
}

PyObject *
ml_aioloop_call_at(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return at_or_later(self, false, args, nargs, kwnames);
}
