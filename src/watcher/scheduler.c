/* Scheduler: at times of the wall clock that a callable computes.
 *
 * libev calls its reschedule callback in the midst of its own work: nothing may touch the loop
 * then, and a time in the past aborts the process. Python code cannot promise the first, as other
 * threads, signal handlers and destructors run beside it. So none runs there: libev is told a time
 * far away, and the callable is asked once libev is done, before any callback. */
#include "watcher.h"

#include <math.h>
#include <pythread.h>

#define FAR_AWAY 1e30

struct ml_scheduler {
    ml_watcher base;
    ev_periodic ev;
    PyObject *reschedule;
    double at; /* what it returned; ev.at is far away until it has */
    /* DUE: in the list loop->due. SETTLED if not active. */
    enum { SETTLED, DUE, ASKING } state;
    ml_scheduler *next, **by;
    bool telling; /* libev asks because it is to be told `at` */
};

/* ---- what libev is told ------------------------------------------------------------------ */

static void
set_due(ml_scheduler *self)
{
    ml_loop *loop = self->base.loop;

    self->state = DUE;
    if (loop->due == NULL) {
        loop->due_end = &loop->due;
    }
    ML_LIST_ADD(loop->due_end, self);
    loop->due_end = &self->next;
}

static void
set_settled(ml_scheduler *self)
{
    ml_loop *loop = self->base.loop;

    if (self->state == DUE) {
        if (self->next == NULL) {
            loop->due_end = self->by;
        }
        ML_LIST_REMOVE(self);
    }
    self->state = SETTLED;
}

/* The reschedule callback: the time has come, the clock was set, or settle() is at work. */
static ev_tstamp
libev_asks(ev_periodic *ev, ev_tstamp now)
{
    ml_scheduler *self = ML_CONTAINER_OF(ev, ml_scheduler, ev);
    ml_loop *loop = self->base.loop;

    if (self->telling) {
        return self->at;
    }
    if (self->state != DUE) {
        set_due(self);
    }
    /* Events are invoked next, as a rule. But the clock can be found set just before a poll, too.
     */
    if (loop->polling || (loop->depth > 0 && ev_iteration(loop->ev) == loop->invoked)) {
        ml_loop_wake(loop);
    }
    return now + FAR_AWAY;
}

/* (Re)starts it for the time that was found. If there is none, stops it; the event of this time, if
 * it has come, is told all the same. */
static void
settle(ml_scheduler *self, bool found, double at)
{
    int pending = self->ev.pending;

    set_settled(self);
    assert(!self->telling);
    self->ev.pending = 0; /* hides the event from libev, which would take it back */
    if (found) {
        self->at = at;
        self->telling = true;
        ev_periodic_again(self->base.loop->ev, &self->ev);
        self->telling = false;
    }
    else {
        ev_periodic_stop(self->base.loop->ev, &self->ev);
    }
    self->ev.pending = pending;
    ml_watcher_sync(&self->base);
}

/* ---- asking ------------------------------------------------------------------------------ */

/* A new reference; None when the garbage collector takes the watcher apart. */
static PyObject *
callable(ml_scheduler *self)
{
    return Py_NewRef(self->reschedule ? self->reschedule : Py_None);
}

static bool
is_time(ml_loop *loop, PyObject *result, double now, double *at)
{
    *at = PyFloat_AsDouble(result);
    if (*at == -1. && PyErr_Occurred()) {
        return false;
    }
    if (!isfinite(*at) || *at < now) {
        PyErr_Format(loop->state->Error, "reschedule returned %R: not a time from now on", result);
        return false;
    }
    return true;
}

/* Calls reschedule(watcher, now): NULL with the time it gave, else the exception. The loop cannot
 * be closed meanwhile, nor changed by this thread; other threads are free to use the watcher. */
static PyObject *
ask(ml_scheduler *self, PyObject *reschedule, double *at)
{
    ml_loop *loop = self->base.loop;
    double now = ev_now(loop->ev);
    PyObject *time = NULL, *result = NULL, *exc = NULL;
    bool outermost = loop->rescheduling == 0;

    if (ml_invoking_begin(loop) < 0) {
        return ml_take_exception();
    }
    if (outermost) {
        loop->rescheduling = PyThread_get_thread_ident();
    }
    if ((time = PyFloat_FromDouble(now)) != NULL) {
        PyObject *args[] = {(PyObject *)self, time};
        result = PyObject_Vectorcall(reschedule, args, 2, NULL);
    }
    if (result == NULL || !is_time(loop, result, now, at)) {
        exc = ml_take_exception();
    }
    if (outermost) {
        loop->rescheduling = 0;
    }
    Py_XDECREF(time);
    Py_XDECREF(result);
    ml_invoking_end(loop);
    return exc;
}

/* Steals the exception: it goes where those of callbacks go, with a warning before it. */
static void
report(ml_loop *loop, PyObject *reschedule, PyObject *exc)
{
    PyObject *warning = NULL;

    if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1,
                         "Scheduler stopped: reschedule failed with %.200s",
                         Py_TYPE(exc)->tp_name) < 0) {
        warning = ml_take_exception();
    }
    ml_raise(exc);
    ml_loop_report(loop, reschedule);
    if (warning != NULL) {
        ml_raise(warning);
        ml_loop_report(loop, reschedule);
    }
}

/* Just before callbacks are called. */
void
ml_scheduler_ask_due(ml_loop *loop)
{
    while (loop->due != NULL && loop->exc == NULL) {
        ml_scheduler *self = (ml_scheduler *)Py_NewRef((PyObject *)loop->due);
        PyObject *reschedule = callable(self);
        double at = 0.;
        set_settled(self);
        self->state = ASKING;
        PyObject *exc = ask(self, reschedule, &at);
        if (self->state == ASKING) { /* else another thread has stopped or restarted it */
            settle(self, exc == NULL, at);
        }
        if (exc != NULL) {
            report(loop, reschedule, exc);
        }
        Py_DECREF(reschedule);
        Py_DECREF(self);
    }
}

/* Asks for a time and (re)starts. Where there is none, the exception is reported; one that must end
 * a run is raised here, too. */
static int
restart(ml_scheduler *self)
{
    ml_loop *loop = (ml_loop *)Py_NewRef((PyObject *)self->base.loop);
    PyObject *reschedule = callable(self);
    bool nothing_before = loop->exc == NULL;
    double at = 0.;
    PyObject *exc = ask(self, reschedule, &at);
    bool taken = self->base.loop != loop; /* by another thread, with __init__() */
    int rc = 0;

    if (!taken) {
        settle(self, exc == NULL, at);
    }
    if (exc != NULL) {
        report(loop, reschedule, exc);
        rc = nothing_before ? ml_loop_raise_aside(loop) : 0;
    }
    else if (taken) {
        PyErr_SetString(loop->state->Error, "another thread gave the watcher another loop");
        rc = -1;
    }
    Py_DECREF(reschedule);
    Py_DECREF(loop);
    return rc;
}

/* ---- the kind ---------------------------------------------------------------------------- */

static int
check_callable(PyObject *reschedule)
{
    if (!PyCallable_Check(reschedule)) {
        PyErr_Format(PyExc_TypeError, "a callable is required as reschedule, got %.200s",
                     Py_TYPE(reschedule)->tp_name);
        return -1;
    }
    return 0;
}

static int
scheduler_set(ml_watcher *base, PyObject *const *args)
{
    ml_scheduler *self = (ml_scheduler *)base;

    if (check_callable(args[0]) < 0 || ml_watcher_check_inactive(base, "set the arguments") < 0) {
        return -1;
    }
    ev_periodic_set(&self->ev, 0., 0., libev_asks);
    Py_XSETREF(self->reschedule, Py_NewRef(args[0]));
    return 0;
}

static int
scheduler_start(ml_watcher *base)
{
    return restart((ml_scheduler *)base);
}

static void
scheduler_stop(ml_watcher *base)
{
    set_settled((ml_scheduler *)base);
    ev_periodic_stop(base->loop->ev, &((ml_scheduler *)base)->ev);
}

static PyObject *
scheduler_describe(ml_watcher *base)
{
    int inside = Py_ReprEnter((PyObject *)base); /* the callable can be a method of the watcher */

    if (inside != 0) {
        return inside < 0 ? NULL : PyUnicode_FromString("reschedule=...");
    }
    PyObject *reschedule = callable((ml_scheduler *)base);
    PyObject *text = PyUnicode_FromFormat("reschedule=%R", reschedule);
    Py_DECREF(reschedule);
    Py_ReprLeave((PyObject *)base);
    return text;
}

static int
scheduler_traverse(ml_watcher *base, visitproc visit, void *arg)
{
    Py_VISIT(((ml_scheduler *)base)->reschedule);
    return 0;
}

static void
scheduler_clear(ml_watcher *base)
{
    Py_CLEAR(((ml_scheduler *)base)->reschedule);
}

static const ml_kind ml_scheduler_kind = {
    .name = "Scheduler",
    .args = {"set", {"reschedule"}, .places = 1, .needed = 1, .alias = "scheduler"},
    .ev_offset = offsetof(ml_scheduler, ev),
    .set = scheduler_set,
    .start = scheduler_start,
    .stop = scheduler_stop,
    .describe = scheduler_describe,
    .traverse = scheduler_traverse,
    .clear = scheduler_clear,
};

/* ---- Python's view ----------------------------------------------------------------------- */

/* ev_periodic_again */
static PyObject *
scheduler_reset(ml_scheduler *self, PyObject *Py_UNUSED(unused))
{
    ml_watcher *base = &self->base;

    if (ml_watcher_check_change(base) < 0 || ml_reserve_check() < 0) {
        return NULL;
    }
    ml_aside_take(base->loop, base);
    ev_clear_pending(base->loop->ev, &self->ev);
    ml_watcher_sync(base);
    if (restart(self) < 0) {
        return NULL;
    }
    ml_loop_changed(base->loop);
    Py_RETURN_NONE;
}

static PyObject *
scheduler_get_reschedule(ml_scheduler *self, void *Py_UNUSED(closure))
{
    return ml_watcher_check(&self->base) < 0 ? NULL : callable(self);
}

static int
scheduler_set_reschedule(ml_scheduler *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (ml_no_delete(value, "reschedule") < 0 || ml_watcher_check_change(&self->base) < 0 ||
        check_callable(value) < 0) {
        return -1;
    }
    Py_XSETREF(self->reschedule, Py_NewRef(value));
    return 0;
}

static PyMethodDef scheduler_methods[] = {
    ML_SET_METHOD,
    {"reset", (PyCFunction)scheduler_reset, METH_NOARGS,
     PyDoc_STR("reset($self, /)\n--\n\n"
               "Asks `reschedule` again, and starts anew (ev_periodic_again).")},
    {NULL},
};

static PyGetSetDef scheduler_getset[] = {
    {"reschedule", (getter)scheduler_get_reschedule, (setter)scheduler_set_reschedule,
     PyDoc_STR("Called as reschedule(watcher, now) for the next time, at or after `now`."), NULL},
    {"scheduler", (getter)scheduler_get_reschedule, (setter)scheduler_set_reschedule,
     PyDoc_STR("Another name of reschedule."), NULL},
    ML_MEMBER(ml_watcher_get, NULL, "at", T_DOUBLE, ml_scheduler, at,
              "When, in seconds since the epoch; 0.0 before the first start()."),
    {NULL},
};

ML_NEW(scheduler)

static PyType_Slot scheduler_slots[] = {
    ML_WATCHER_SLOTS(scheduler),
    {Py_tp_doc,
     PyDoc_STR("Scheduler(loop, reschedule, callback, data=None, priority=0)\n--\n\n"
               "Calls back at the times, in seconds since the epoch, that reschedule(watcher, now) "
               "returns: it is asked at start(), at each event and when the clock was set.")},
    {Py_tp_methods, scheduler_methods},
    {Py_tp_getset, scheduler_getset},
    {0, NULL},
};

ML_WATCHER_SPEC(Scheduler, scheduler);
