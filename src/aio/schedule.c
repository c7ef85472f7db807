/* call_soon, call_soon_threadsafe, call_later, call_at. */
#include "aio.h"

#include <pythread.h>

/* ---- arguments --------------------------------------------------------------------------- */

/* Tasks and futures come with the same tuple each time, whose string is not an interned one. */
static inline int
take_args(ml_aioloop *self, const ml_params *params, PyObject *const *args, Py_ssize_t nargs,
          PyObject *kwnames, PyObject **values)
{
    ml_aio *aio = self->state->aio;
    int context = params->places;

    if (kwnames != NULL && kwnames == aio->only_context) {
        values[context] = args[nargs];
        return ml_take_args(params, args, nargs, NULL, values);
    }
    int rc = ml_take_args(params, args, nargs, kwnames, values);
    if (rc == 0 && kwnames != NULL && PyTuple_GET_SIZE(kwnames) == 1 && values[context] != NULL) {
        Py_XSETREF(aio->only_context, Py_NewRef(kwnames));
    }
    return rc;
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
soon(ml_aioloop *self, bool threadsafe, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const ml_params params[] = {
        {"call_soon", {"callback", "context"}, .places = 1, .needed = 1, .rest = true},
        {"call_soon_threadsafe", {"callback", "context"}, .places = 1, .needed = 1, .rest = true},
    };
    PyObject *values[2] = {NULL};

    if (take_args(self, &params[threadsafe], args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    PyObject *callback = values[0], *context = values[1];
    if (ml_aioloop_check_closed(self) < 0 ||
        (self->debug &&
         debug_checks(self, params[threadsafe].function, callback, !threadsafe) < 0)) {
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
    return (PyObject *)soon(self, false, args, nargs, kwnames);
}

/* The GIL guards the rings, so this is call_soon and, at most once per poll, a wake-up. It is safe
 * in a Python signal handler on the loop's own thread too. */
PyObject *
ml_aioloop_call_soon_threadsafe(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    ml_handle *handle = soon(self, true, args, nargs, kwnames);

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
    static const ml_params params[] = {
        {"call_at", {"when", "callback", "context"}, .places = 2, .needed = 2, .rest = true},
        {"call_later", {"delay", "callback", "context"}, .places = 2, .needed = 2, .rest = true},
    };
    PyObject *values[3] = {NULL};

    if (take_args(self, &params[relative], args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    PyObject *number = values[0];
    if (number == Py_None) {
        PyErr_SetString(PyExc_TypeError,
                        relative ? "delay must not be None" : "when cannot be None");
        return NULL;
    }
    double when, now = ml_clock_now(self);
    if ((now == -1. && PyErr_Occurred()) || get_when(number, relative, now, &when) < 0) {
        return NULL;
    }
    return schedule(self, params[relative].function, when, now, values[1], args + 2,
                    nargs > 2 ? nargs - 2 : 0, values[2]);
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
