/* Guest mode: the program calls start() of the event.Loop, and the asyncio loop lives in that run.
 *
 * The turn is the one of run.c, with the poll taken out of it: after each round of libev's events
 * what they brought is collected and the batch is run. While something is ready an idle watcher
 * keeps libev's poll from waiting. */
#include "aio.h"

#include <pythread.h>

static void
idle_event(struct ev_loop *Py_UNUSED(loop), ev_idle *Py_UNUSED(ev), int Py_UNUSED(revents))
{
}

static void
keep_busy(ml_base *self, bool busy)
{
    if (busy && !ev_is_active(&self->guest_idle)) {
        ev_idle_start(self->ev->ev, &self->guest_idle);
    }
    else if (!busy && ev_is_active(&self->guest_idle)) {
        ev_idle_stop(self->ev->ev, &self->guest_idle);
    }
}

static void
guest_turn(void *host, bool polled)
{
    ml_base *self = host;
    int rc = 0;

    if (self->in_batch) { /* a watcher's start() inside of a callback of ours would be refused */
        return;
    }
    Py_INCREF(self);
    if (polled) {
        bool stop = self->stopping; /* as run_forever(): the batch is still run */
        self->sleeping = false;
        rc = ml_base_turn(self);
        if (stop || self->stopping) {
            self->stopping = false;
            ml_loop_break(self->ev, EVBREAK_ONE);
        }
    }
    if (rc == 0 && self->guest && self->custom_time && self->timers != NULL) {
        rc = ml_base_custom_due(self);
    }
    if (rc < 0) {
        ml_loop_set_aside(self->ev, (PyObject *)self);
    }
    if (self->guest) { /* else the batch ended it */
        bool busy = ml_base_has_work(self) || self->stopping;
        if (!busy && self->precise.len > 0) {
            busy = ml_precise_arm(self, &self->precise) > 0.;
        }
        keep_busy(self, busy);
        self->woken = false;
        self->sleeping = true;
    }
    Py_DECREF(self);
}

static int
check_start(void *host)
{
    ml_base *self = host;

    if (self->in_batch) {
        PyErr_SetString(self->state->Error,
                        "a callback of the asyncio loop cannot run the loop it runs in");
        return -1;
    }
    if (self->thread != PyThread_get_thread_ident()) {
        PyErr_SetString(self->state->Error, "an asyncio loop is attached in another thread");
        return -1;
    }
    return 0;
}

/* A task that is not done may wait for a thread or for another program. */
static int
waits(void *host)
{
    PyObject *unfinished = PyObject_CallMethod((PyObject *)host, "_has_tasks", NULL);
    int result = unfinished ? PyObject_IsTrue(unfinished) : -1;

    Py_XDECREF(unfinished);
    return result;
}

static const ml_host_ops guest_ops = {
    .before_fork = ml_base_before_fork,
    .failed = ml_base_watcher_failed,
    .check_start = check_start,
    .turn = guest_turn,
    .waits = waits,
};

/* _attach(): the caller has set the running loop and the hooks. */
PyObject *
ml_base_attach(ml_base *self, PyObject *Py_UNUSED(unused))
{
    if (ml_base_check_closed(self) < 0) {
        return NULL;
    }
    if (self->running) {
        PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
        return NULL;
    }
    if (ml_loop_check_thread(self->ev) < 0) { /* our callbacks would run there, as if in no loop */
        return NULL;
    }
    ev_idle_init(&self->guest_idle, idle_event);
    ev_set_priority(&self->guest_idle, EV_MAXPRI); /* a busy descriptor must not hold us up */
    self->running = self->guest = true;
    self->sleeping = true; /* from here on another thread's calls wake the loop */
    self->woken = false;
    self->ev->host_ops = &guest_ops;
    keep_busy(self, ml_base_has_work(self));
    Py_RETURN_NONE;
}

void
ml_base_end_guest(ml_base *self)
{
    if (!self->guest) {
        return;
    }
    keep_busy(self, false);
    self->ev->host_ops = NULL;
    self->running = self->guest = self->sleeping = false;
    ml_base_track_waiting(self);
}

/* _detach() */
PyObject *
ml_base_detach(ml_base *self, PyObject *Py_UNUSED(unused))
{
    ml_base_end_guest(self);
    Py_RETURN_NONE;
}
