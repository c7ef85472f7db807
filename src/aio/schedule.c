/* call_soon, call_soon_threadsafe, call_later, call_at, and the timers behind the last two. */
#include "aio.h"

#include <math.h>

/* ---- arguments --------------------------------------------------------------------------- */

int
ml_base_keywords(ml_base *self, const char *name, PyObject *const *values, PyObject *kwnames,
                 const char *first_name, PyObject **first, PyObject **callback, PyObject **context)
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
debug_checks(ml_base *self, const char *name, PyObject *callback, bool thread)
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

static ml_handle *
soon(ml_base *self, const char *name, bool threadsafe, PyObject *const *args, Py_ssize_t nargs,
     PyObject *kwnames)
{
    PyObject *callback = nargs > 0 ? args[0] : NULL, *context = NULL;

    if (kwnames != NULL &&
        ml_base_keywords(self, name, args + nargs, kwnames, NULL, NULL, &callback, &context) < 0) {
        return NULL;
    }
    if (callback == NULL) {
        missing(name, "callback");
        return NULL;
    }
    if (ml_base_check_closed(self) < 0 ||
        (self->debug && debug_checks(self, name, callback, !threadsafe) < 0)) {
        return NULL;
    }
    ml_handle *handle = ml_handle_new(self, callback, args + 1, nargs > 0 ? nargs - 1 : 0, context);
    if (handle != NULL) {
        handle->threadsafe = ML_THREADSAFE_HANDLES && threadsafe;
    }
    if (handle != NULL && ml_base_push_handle(self, handle) < 0) {
        Py_CLEAR(handle);
    }
    return handle;
}

PyObject *
ml_base_call_soon_method(ml_base *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return (PyObject *)soon(self, "call_soon", false, args, nargs, kwnames);
}

/* The GIL guards the ring, so this is call_soon and, at most once per poll, a wake-up. It is safe
 * in a Python signal handler on the loop's own thread too. */
PyObject *
ml_base_call_soon_threadsafe(ml_base *self, PyObject *const *args, Py_ssize_t nargs,
                             PyObject *kwnames)
{
    ml_handle *handle = soon(self, "call_soon_threadsafe", true, args, nargs, kwnames);

    if (handle != NULL) {
        ml_base_wake(self);
    }
    return (PyObject *)handle;
}

/* ---- timers ------------------------------------------------------------------------------ */

/* libev adds its own cached time to a timer's `after`, so that is what `after` must be relative
 * to; the always active `clock` reveals it (ev_now() is wall-clock time). */
double
ml_base_libev_now(ml_base *self)
{
    return self->clock.at - ev_timer_remaining(self->ev->ev, &self->clock);
}

static void
timer_due(struct ev_loop *Py_UNUSED(loop), ev_timer *ev, int Py_UNUSED(revents))
{
    ml_timer *timer = ML_CONTAINER_OF(ev, ml_timer, ev);

    ml_base_got_timer(timer->loop, timer);
}

static void
arm(ml_timer *timer, double now)
{
    ml_base *self = timer->loop;

    if (timer->when > now) {
        double start = self->custom_time ? now : ml_base_libev_now(self);
        ev_timer_init(&timer->ev, timer_due, timer->when - start, 0.);
        ev_timer_start(self->ev->ev, &timer->ev);
        if (timer->when - now < ML_PRECISE_SECONDS && !self->custom_time) {
            ml_precise_add(&self->precise, timer->when);
        }
    }
    else { /* NaN too: stock asyncio runs such a callback at once. No need to ask libev. */
        ev_timer_init(&timer->ev, timer_due, 0., 0.);
        ml_base_got_timer(self, timer);
    }
}

/* Most timers are timeouts, and many are cancelled in the turn that made them. So libev is told at
 * the next poll of those that are left: call_later and cancel() beside 100,000 others, a sift
 * through its heap each, took 200 ns and now takes 100. But no later: not in guest mode, nor for
 * what a watcher's callback makes just before the poll. And only so many, whose memory is sure. */
#define UNARMED_MAX 1024

static bool
arm_later(ml_timer *timer)
{
    ml_base *self = timer->loop;

    if (!self->running || self->guest || self->custom_time || self->ev->depth > 0) {
        return false;
    }
    if (self->unarmed == UNARMED_MAX) {
        ml_base_arm_timers(self);
    }
    ev_timer_init(&timer->ev, timer_due, 0., 0.);
    timer->unarmed = true;
    self->unarmed++;
    return true;
}

void
ml_base_arm_timers(ml_base *self)
{
    double now = ml_base_libev_now(self);

    for (ml_timer *timer = self->timers; self->unarmed > 0; timer = timer->next) {
        if (timer->unarmed) {
            timer->unarmed = false;
            self->unarmed--;
            arm(timer, now);
        }
    }
}

void
ml_timer_start(ml_timer *timer, double now)
{
    ml_base *self = timer->loop;

    timer->seq = self->timer_seq++;
    timer->prev = NULL;
    timer->next = self->timers;
    if (self->timers != NULL) {
        self->timers->prev = timer;
    }
    self->timers = timer;
    timer->scheduled = true;
    Py_INCREF(timer);
    if (timer->when == Py_HUGE_VAL) {
        ev_timer_init(&timer->ev, timer_due, 0., 0.); /* never: it only waits to be cancelled */
        return;
    }
    if (!(timer->when > now) || !arm_later(timer)) {
        arm(timer, now);
    }
}

static void
unlink_timer(ml_timer *timer)
{
    ml_base *self = timer->loop;

    ev_timer_stop(self->ev->ev, &timer->ev);
    self->unarmed -= timer->unarmed;
    timer->unarmed = false;
    if (timer->prev != NULL) {
        timer->prev->next = timer->next;
    }
    else {
        self->timers = timer->next;
    }
    if (timer->next != NULL) {
        timer->next->prev = timer->prev;
    }
    timer->scheduled = false;
}

void
ml_timer_unschedule(ml_timer *timer)
{
    unlink_timer(timer);
    Py_DECREF(timer);
}

/* With a patched or overridden time(), that clock decides: before each poll every timer is
 * compared with it, and armed anew with what is left by it. Costs a walk over all timers, and only
 * loops whose clock is not ours pay. */
int
ml_base_custom_due(ml_base *self)
{
    PyObject *result = PyObject_CallMethodNoArgs((PyObject *)self, self->state->str.time);
    double now = result ? PyFloat_AsDouble(result) : -1.;

    Py_XDECREF(result);
    if (PyErr_Occurred()) {
        return ml_base_handle_error(self, "the loop's time() failed", NULL, NULL);
    }
    ml_base_arm_timers(self);
    for (ml_timer *timer = self->timers; timer != NULL; timer = timer->next) {
        if (timer->when != Py_HUGE_VAL) {
            ev_timer_stop(self->ev->ev, &timer->ev);
            arm(timer, now);
        }
    }
    return 0;
}

static int
by_time(const void *left, const void *right)
{
    const ml_timer *a = *(ml_timer *const *)left, *b = *(ml_timer *const *)right;

    if (a->when != b->when) {
        if (isnan(a->when) || isnan(b->when)) { /* before all others, or they have no order */
            int first = (isnan(b->when) != 0) - (isnan(a->when) != 0);
            return first ? first : a->seq < b->seq ? -1 : 1;
        }
        return a->when < b->when ? -1 : 1;
    }
    return a->seq < b->seq ? -1 : 1;
}

/* Moves the timers that the poll found due onto the ring, in the order of their times; those of
 * one instant in the order they were made. libev delivers a batch in either direction, so mostly
 * one pass over it is enough. */
void
ml_base_push_due(ml_base *self)
{
    ml_batch *due = &self->due;
    bool sorted = true;

    for (size_t i = 1; sorted && i < due->len; i++) {
        sorted = by_time(&due->items[i - 1], &due->items[i]) < 0;
    }
    if (!sorted) {
        qsort(due->items, due->len, sizeof(due->items[0]), by_time);
    }
    for (size_t i = 0; i < due->len; i++) {
        ml_timer *timer = (ml_timer *)due->items[i];
        if (timer->scheduled) {
            ml_ring_push(&self->ready, (uintptr_t)timer); /* with the batch's reference */
            ml_timer_unschedule(timer);
        }
        else {
            Py_DECREF(timer); /* cancelled by a watcher of the same poll */
        }
    }
    due->len = 0;
}

static PyObject *
schedule(ml_base *self, const char *name, double when, double now, PyObject *callback,
         PyObject *const *args, Py_ssize_t nargs, PyObject *context)
{
    if (ml_base_check_closed(self) < 0 ||
        (self->debug && debug_checks(self, name, callback, true) < 0)) {
        return NULL;
    }
    ml_timer *timer =
        ml_reserve_check() < 0 ? NULL : ml_timer_new(self, when, callback, args, nargs, context);
    if (timer != NULL && ml_base_check_closed(self) < 0) { /* a finalizer closed it meanwhile */
        Py_CLEAR(timer);
    }
    if (timer != NULL) {
        ml_timer_start(timer, now);
    }
    return (PyObject *)timer;
}

static double
current_time(ml_base *self)
{
    if (!self->custom_time) {
        return ml_monotonic();
    }
    PyObject *result = PyObject_CallMethodNoArgs((PyObject *)self, self->state->str.time);
    double now = result ? PyFloat_AsDouble(result) : -1.;
    Py_XDECREF(result);
    return now;
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
at_or_later(ml_base *self, bool relative, PyObject *const *args, Py_ssize_t nargs,
            PyObject *kwnames)
{
    const char *name = relative ? "call_later" : "call_at", *first = relative ? "delay" : "when";
    PyObject *number = nargs > 0 ? args[0] : NULL, *callback = nargs > 1 ? args[1] : NULL;
    PyObject *context = NULL;

    if (kwnames != NULL && ml_base_keywords(self, name, args + nargs, kwnames, first, &number,
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
    double when, now = current_time(self);
    if ((now == -1. && PyErr_Occurred()) || get_when(number, relative, now, &when) < 0) {
        return NULL;
    }
    return schedule(self, name, when, now, callback, args + 2, nargs > 2 ? nargs - 2 : 0, context);
}

PyObject *
ml_base_call_later(ml_base *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return at_or_later(self, true, args, nargs, kwnames);
}

PyObject *
ml_base_call_at(ml_base *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    return at_or_later(self, false, args, nargs, kwnames);
}
