/* Guest mode: the program calls start() of the event.Loop, and the asyncio loop lives in that run.
 *
 * The turn is the one of run.c, with the poll taken out of it: after each round of libev's events
 * what they brought is collected and the batch is run. */
#include "aio.h"

#include <pythread.h>

/* The run of the program goes on for what is ready, and for timers that come due. */
static void
count(ml_aioloop *self)
{
    bool on = self->guest && (ml_aioloop_has_work(self) || self->stopping ||
                              ml_timers_next(&self->timers) < Py_HUGE_VAL);

    if (on != self->counted) {
        self->counted = on;
        (on ? ev_ref : ev_unref)(self->ev->ev);
    }
}

static bool
before_poll(void *host)
{
    ml_aioloop *self = host;

    Py_INCREF(self);
    bool busy = ml_aioloop_before_poll(self);
    if (self->guest) { /* still: a time() of the program's can do anything */
        self->woken = false;
        self->sleeping = true;
        double now = ml_monotonic();
        ml_aioloop_look(self, now);
        ml_meter_waits(self->meter, now);
    }
    Py_DECREF(self);
    return busy;
}

static void
guest_turn(void *host, bool polled)
{
    ml_aioloop *self = host;
    int rc = 0;

    if (self->in_batch) { /* a watcher's start() inside of a callback of ours would be refused */
        return;
    }
    Py_INCREF(self);
    if (polled) {
        bool stop = self->stopping; /* as run_forever(): the batch is still run */
        self->sleeping = false;
        ml_meter_polled(self->meter, ml_timers_polled_at(self));
        rc = ml_aioloop_turn(self);
        if (stop || self->stopping) {
            self->stopping = false;
            ml_loop_break(self->ev, EVBREAK_ONE);
        }
    }
    if (rc < 0) {
        ml_loop_set_aside(self->ev, (PyObject *)self);
    }
    count(self);
    Py_DECREF(self);
}

static int
check_start(void *host)
{
    ml_aioloop *self = host;

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
    .before_fork = ml_aioloop_before_fork,
    .failed = ml_aioloop_watcher_failed,
    .check_start = check_start,
    .turn = guest_turn,
    .before_poll = before_poll,
    .waits = waits,
};

/* _attach(): the caller has set the running loop and the hooks. */
PyObject *
ml_aioloop_attach(ml_aioloop *self, PyObject *Py_UNUSED(unused))
{
    if (ml_aioloop_check_closed(self) < 0) {
        return NULL;
    }
    if (self->running) {
        PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
        return NULL;
    }
    if (ml_loop_check_thread(self->ev) < 0) { /* our callbacks would run there, as if in no loop */
        return NULL;
    }
    if (ml_loop_serve(self->ev, &guest_ops) < 0) {
        return NULL;
    }
    self->running = self->guest = true;
    ml_meter_begin(self->meter, ml_monotonic());
    self->sleeping = true; /* from here on another thread's calls wake the loop */
    self->woken = false;
    Py_RETURN_NONE;
}

void
ml_aioloop_end_guest(ml_aioloop *self)
{
    if (!self->guest) {
        return;
    }
    self->running = self->guest = self->sleeping = false;
    ml_aioloop_rests(self);
    count(self);
    ml_loop_serve(self->ev, NULL);
    ml_aioloop_track_waiting(self);
}

/* _detach() */
PyObject *
ml_aioloop_detach(ml_aioloop *self, PyObject *Py_UNUSED(unused))
{
    ml_aioloop_end_guest(self);
    Py_RETURN_NONE;
}
