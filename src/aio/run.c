/* The turn: poll, collect, run the batch. */
#include "aio.h"

/* These run inside ev_run, from libev callbacks: they append only. If memory is out nothing is
 * lost: a descriptor stays ready. */
void
ml_aioloop_got_handle(ml_aioloop *self, ml_handle *handle)
{
    if (ml_batch_append(&self->io, (uintptr_t)handle)) {
        Py_INCREF(handle);
    }
}

void
ml_aioloop_got_ready(ml_aioloop *self, ml_ready *ready)
{
    if (!ready->queued && ml_batch_append(&self->io, ml_ready_entry(ready))) {
        ready->queued = true;
        Py_INCREF(ready->owner);
    }
}

int
ml_aioloop_push_handle(ml_aioloop *self, ml_handle *handle)
{
    if (ml_ring_push(&self->ready, (uintptr_t)handle) < 0) {
        return -1;
    }
    Py_INCREF(handle);
    return 0;
}

int
ml_aioloop_push_ready(ml_aioloop *self, ml_ready *ready)
{
    if (ready->queued) {
        return 0;
    }
    if (ml_ring_push(&self->ready, ml_ready_entry(ready)) < 0) {
        return -1;
    }
    ready->queued = true;
    Py_INCREF(ready->owner);
    return 0;
}

/* ---- the poll ---------------------------------------------------------------------------- */

/* Moves what the poll brought onto the ring: I/O first, then timers. libev runs the events of one
 * poll last to first, so I/O goes in backwards to come out in the kernel's order. */
static int
collect(ml_aioloop *self)
{
    size_t count = self->io.len;
    double now;

    self->meter->io_events += count;
    if (ml_ring_reserve(&self->ready, count) < 0) {
        return -1; /* all of it is still there for the next turn */
    }
    while (self->io.len > 0) {
        ml_ring_push(&self->ready, self->io.items[--self->io.len]);
    }
    ml_batch_shrink(&self->io, count);
    if (self->timers.len == 0) {
        return 0;
    }
    return ml_clock_of_turn(self, &now) < 0 ? -1 : ml_timers_take_due(self, now);
}

static bool
found_work(ml_aioloop *self)
{
    return ml_aioloop_has_work(self) || self->stopping;
}

bool
ml_aioloop_before_poll(void *host)
{
    ml_aioloop *self = host;
    double now = 0.;

    if (found_work(self)) {
        return true;
    }
    if (self->custom_time) {
        if (ml_clock_of_turn(self, &now) < 0) {
            ml_loop_set_aside(self->ev, (PyObject *)self);
        }
        /* a guest can have been closed in there */
        if (!self->running || found_work(self) || ml_timers_next(&self->timers) <= now) {
            return true;
        }
    }
    ml_timers_set_alarm(self, now);
    return ml_precise_arm(self) != 0.;
}

/* For some microseconds only, see precise.c. */
static int
look_until(ml_aioloop *self, double when)
{
    int rc;

    do {
        rc = ml_loop_run(self->ev, EVRUN_NOWAIT, false);
    } while (rc >= 0 && !found_work(self) && ml_monotonic() <= when);
    return rc;
}

/* Runs libev with nothing to do until it brings something. */
static int
wait_for_events(ml_aioloop *self)
{
    double soon = 0.;
    int rc;

    self->sleeping = true;
    ml_pacer_linger(self);
    self->precise.fired = false; /* in a poll that did not wait, for a timer before the next */
    if (!found_work(self)) {
        soon = ml_precise_arm(self);
    }
    if (found_work(self)) {
        rc = ml_loop_run(self->ev, EVRUN_NOWAIT, false);
    }
    else if (soon != 0.) {
        rc = look_until(self, soon);
    }
    else {
        rc = ml_loop_run(self->ev, EVRUN_ONCE, true);
        ml_precise_learn(&self->precise, ml_timers_polled_at(self));
        ml_pacer_slept(self);
    }
    self->sleeping = false;
    return rc;
}

void
ml_aioloop_look(ml_aioloop *self, double now)
{
    self->meter->timers = self->timers.len;
    self->asked = now < self->meter->ask_until;
    self->watched = self->debug || self->asked || self->delays != NULL;
}

/* True if something is to be run at once: by its clock a timer, too. */
static bool
is_busy(ml_aioloop *self, double now)
{
    return found_work(self) || ml_timers_next(&self->timers) <= now;
}

static int
poll_events(ml_aioloop *self)
{
    double clock = ml_monotonic(), now = clock;
    int rc;

    ml_clock_recheck(self);
    if (self->custom_time && ml_clock_of_turn(self, &now) < 0) {
        return -1;
    }
    bool busy = is_busy(self, now);
    if (busy && !self->custom_time && !self->stopping && ml_pacer_may_skip(&self->pacer, clock)) {
        return ml_timers_take_due(self, now); /* which need no poll */
    }
    self->woken = false;
    ml_aioloop_look(self, clock);
    ml_ring_shrink(&self->ready);
    ml_ring_shrink(&self->mail.ring);
    if (busy) {
        ml_pacer_yield(&self->pacer, clock);
        rc = ml_loop_run(self->ev, EVRUN_NOWAIT, false);
    }
    else {
        ml_meter_waits(self->meter, clock);
        rc = wait_for_events(self);
    }
    double polled_at = ml_timers_polled_at(self);
    ml_pacer_polled(&self->pacer, polled_at, !busy || self->io.len > 0);
    ml_meter_polled(self->meter, polled_at);
    PyObject *exc = rc < 0 ? ml_take_exception() : NULL;
    return ml_raise_again(exc, collect(self), (PyObject *)self);
}

/* ---- the batch --------------------------------------------------------------------------- */

static int
run_handle(ml_aioloop *self, ml_handle *handle)
{
    int rc = ml_handle_run(handle);

    if (Py_REFCNT(handle) > 1 && !PyObject_GC_IsTracked((PyObject *)handle)) {
        PyObject_GC_Track(handle); /* somebody kept it: from now on it can be garbage */
    }
    return rc;
}

/* Steals the entry's reference. */
static int
run_entry(uintptr_t entry)
{
    ml_ready *ready = ml_entry_ready(entry);
    PyObject *object = ml_entry_object(entry);
    int rc;

    if (ready != NULL) {
        ready->queued = false;
        rc = ready->run(ready);
    }
    else {
        rc = run_handle(((ml_handle *)object)->loop, (ml_handle *)object);
    }
    Py_DECREF(object);
    return rc;
}

/* Says what took long: a handle; or what has an event, and the protocol that dealt with it. */
static int
tell_slow(ml_aioloop *self, PyObject *object, PyObject *protocol, double took)
{
    PyObject *limit = PyObject_GetAttrString((PyObject *)self, "slow_callback_duration");
    double slow = limit ? PyFloat_AsDouble(limit) : -1.;

    Py_XDECREF(limit);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (took < slow) {
        return 0;
    }
    PyObject *result = protocol
                           ? ml_diagnose(self->state, "slow_event", "(OOd)", object, protocol, took)
                           : ml_diagnose(self->state, "slow_callback", "(Od)", object, took);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* Debug mode: what took long is logged, and errors can name the current handle. */
static int
run_in_debug(ml_aioloop *self, uintptr_t entry)
{
    bool is_handle = ml_entry_ready(entry) == NULL;
    PyObject *object = Py_NewRef(ml_entry_object(entry)), *protocol = NULL;
    PyObject *before = self->current_handle;

    if (is_handle) {
        self->current_handle = Py_NewRef(object);
    }
    else if ((protocol = PyObject_GetAttrString(object, "_protocol")) == NULL) {
        PyErr_Clear();
        protocol = Py_NewRef(Py_None); /* of what is no transport, or one at its end */
    }
    bool told = !is_handle || !((ml_handle *)object)->cancelled;
    double start = ml_monotonic();
    int rc = run_entry(entry);
    double took = ml_monotonic() - start;
    if (is_handle) {
        Py_XDECREF(self->current_handle);
        self->current_handle = before;
    }
    if (rc == 0 && told) {
        rc = tell_slow(self, object, protocol, took);
    }
    Py_XDECREF(protocol);
    Py_DECREF(object);
    return rc;
}

/* How late a callback starts: since the poll that came before it. */
static void
record_delay(ml_aioloop *self)
{
    double delay = ml_monotonic() - self->meter->since;

    ml_histograms_add(self->delays, delay);
    ml_counts_add(&self->meter->delays, delay);
}

static int
run_watched(ml_aioloop *self, uintptr_t entry)
{
    if (self->delays != NULL || self->asked) {
        record_delay(self);
    }
    return self->debug ? run_in_debug(self, entry) : run_entry(entry);
}

/* Runs what is ready now; what that makes ready waits for the next turn. */
static int
run_batch(ml_aioloop *self)
{
    size_t end = self->ready.tail, mail = ml_mail_len(&self->mail);
    double until = mail > ML_MAIL_UNTIMED ? ml_monotonic() + ML_MAIL_SECONDS : 0.;
    int rc = 0;

    ml_meter_turn(self->meter, ++self->turns, end - self->ready.head + mail, self->step);
    self->in_batch = true;
    while (rc == 0) {
        uintptr_t entry;
        if (mail > 0 && ml_mail_len(&self->mail) > 0 &&
            ml_mail_is_next(&self->mail, self->ready.head)) {
            if (until > 0. && ml_monotonic() > until) {
                mail = 0; /* what is left waits, in its order */
                continue;
            }
            entry = ml_mail_pop(&self->mail);
            mail--;
        }
        else if ((ptrdiff_t)(end - self->ready.head) > 0 && ml_ring_len(&self->ready) > 0) {
            entry = ml_ring_pop(&self->ready);
        }
        else {
            break;
        }
        self->step++;
        rc = self->watched ? run_watched(self, entry) : run_entry(entry);
        if (self->after != NULL) {
            PyObject *exc = rc < 0 ? ml_take_exception() : NULL;
            rc = ml_raise_again(exc, ml_aioloop_run_after(self), (PyObject *)self);
        }
    }
    self->in_batch = false;
    return rc;
}

int
ml_aioloop_turn(ml_aioloop *self)
{
    return collect(self) < 0 ? -1 : run_batch(self);
}

static void
track_entry(uintptr_t entry)
{
    if (ml_entry_ready(entry) == NULL && !PyObject_GC_IsTracked((PyObject *)entry)) {
        PyObject_GC_Track((PyObject *)entry);
    }
}

/* Leaving run_forever(): from now on the loop itself can be garbage, and with it what waits. */
void
ml_aioloop_track_waiting(ml_aioloop *self)
{
    for (size_t i = self->ready.head; i != self->ready.tail; i++) {
        track_entry(ml_ring_at(&self->ready, i));
    }
    for (size_t i = self->mail.ring.head; i != self->mail.ring.tail; i += 2) {
        track_entry(ml_ring_at(&self->mail.ring, i));
    }
    ml_timers_track(&self->timers);
}

static int
check_start(void *host)
{
    ml_aioloop *self = host;

    PyErr_SetString(self->state->Error, "an asyncio loop is running on this loop");
    return -1; /* its callbacks would not run, nor its stop() */
}

static const ml_host_ops runner_ops = {
    .before_fork = ml_aioloop_before_fork,
    .failed = ml_aioloop_watcher_failed,
    .check_start = check_start,
    .before_poll = ml_aioloop_before_poll,
};

static int
begin(ml_aioloop *self)
{
    self->running = true; /* before Python code runs in which another thread may want to, too */
    if (ml_interrupt_begin(self->ev) < 0) {
        return -1;
    }
    if (ml_loop_serve(self->ev, &runner_ops) < 0) {
        ml_interrupt_end(self->ev);
        return -1;
    }
    ev_ref(self->ev->ev); /* the poll waits even if nothing is registered */
    return 0;
}

/* The run is over, and counted to its end. */
void
ml_aioloop_rests(ml_aioloop *self)
{
    self->meter->callbacks = self->step;
    ml_meter_end(self->meter, ml_monotonic());
}

/* LoopBase._run(): turns until stop(). The caller has set the running loop and the hooks. */
PyObject *
ml_aioloop_run(ml_aioloop *self, PyObject *Py_UNUSED(unused))
{
    if (ml_aioloop_check_closed(self) < 0) {
        return NULL;
    }
    if (self->running) {
        PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
        return NULL;
    }
    Py_INCREF(self);
    int rc = begin(self);
    if (rc == 0) {
        ml_pacer_begin(&self->pacer);
        ml_meter_begin(self->meter, self->pacer.released_at);
        do {
            rc = poll_events(self);
            if (rc == 0) {
                rc = run_batch(self);
            }
        } while (rc == 0 && !self->stopping);
        ml_aioloop_rests(self);
        if (ml_interrupt_end(self->ev) < 0) { /* before: it hands over signals */
            rc = -1;
        }
        ml_loop_serve(self->ev, NULL);
        ev_unref(self->ev->ev);
    }
    self->running = false;
    ml_aioloop_track_waiting(self);
    assert(ml_aioloop_wrong(self) == NULL);
    Py_DECREF(self);
    return ml_none_or_error(rc);
}
