/* The turn: poll, collect, run the batch. */
#include "aio.h"

#include <sched.h>
#include <time.h>

/* With callbacks ready, polling may wait a little: a zero-timeout ev_run costs 180 ns and a system
 * call, a ready callback 60. Bounded twice, so that I/O, timers, signals and other threads are
 * never starved. Where something arrived, became due or was begun of late, only one turn goes
 * without: often the one in which tasks answer what was just received. The clock is 25 ns a turn:
 * it is read at each poll only, as long as the turns between two of them stay far below the limit.
 */
#define MAX_SKIPPED_TURNS 16
#define ACTIVE_SKIPPED_TURNS 1
#define MAX_SKIPPED_SECONDS 50e-6
#define QUIET_SECONDS 1e-3

/* A thread that waits for the GIL beside a busy loop gets it this often, in seconds; one that then
 * keeps it for longer, as seldom as it keeps it. */
#define GIL_INTERVAL 0.5e-3
#define GIL_INTERVAL_MAX 10e-3
#define GIL_HANDOVER 100e-6

/* Rings and batches that a burst left larger than this (entries) are given back when idle. */
#define KEEP_ENTRIES 16384

int
ml_ring_grow(ml_ring *ring)
{
    size_t size = ring->cap ? ring->cap * 2 : 64;
    size_t count = ml_ring_len(ring);
    uintptr_t *slots = PyMem_RawMalloc(size * sizeof(*slots));

    if (slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        slots[i] = ring->slots[(ring->head + i) & ring->mask];
    }
    PyMem_RawFree(ring->slots);
    *ring = (ml_ring){.slots = slots, .cap = size, .mask = size - 1, .tail = count};
    return 0;
}

static bool
batch_append(ml_batch *batch, uintptr_t entry)
{
    if (batch->len == batch->cap) {
        size_t cap = batch->cap ? batch->cap * 2 : 64;
        uintptr_t *items = PyMem_RawRealloc(batch->items, cap * sizeof(*items));
        if (items == NULL) {
            return false;
        }
        batch->items = items;
        batch->cap = cap;
    }
    batch->items[batch->len++] = entry;
    return true;
}

/* These run inside ev_run, from libev callbacks: they append only. If memory is out nothing is
 * lost: a descriptor stays ready, and a timer stays in the list and is armed again. */
void
ml_base_got_handle(ml_base *self, ml_handle *handle)
{
    if (batch_append(&self->io, (uintptr_t)handle)) {
        Py_INCREF(handle);
    }
}

void
ml_base_got_ready(ml_base *self, ml_ready *ready)
{
    if (!ready->queued && batch_append(&self->io, (uintptr_t)ready | 1)) {
        ready->queued = true;
        Py_INCREF(ready->owner);
    }
}

void
ml_base_got_timer(ml_base *self, ml_timer *timer)
{
    if (batch_append(&self->due, (uintptr_t)timer)) {
        Py_INCREF(timer);
    }
    else {
        ev_timer_set(&timer->ev, 0.01, 0.);
        ev_timer_start(self->ev->ev, &timer->ev);
    }
}

int
ml_base_push_handle(ml_base *self, ml_handle *handle)
{
    if (ml_ring_push(&self->ready, (uintptr_t)handle) < 0) {
        return -1;
    }
    Py_INCREF(handle);
    return 0;
}

int
ml_base_push_ready(ml_base *self, ml_ready *ready)
{
    if (ready->queued) {
        return 0;
    }
    if (ml_ring_push(&self->ready, (uintptr_t)ready | 1) < 0) {
        return -1;
    }
    ready->queued = true;
    Py_INCREF(ready->owner);
    return 0;
}

/* Moves what the poll brought onto the ring: I/O first, then timers. libev runs the events of one
 * poll last to first, so I/O goes in backwards to come out in the kernel's order. */
static int
collect(ml_base *self)
{
    while (ml_ring_len(&self->ready) + self->io.len + self->due.len > self->ready.cap) {
        if (ml_ring_grow(&self->ready) < 0) {
            return -1; /* all of it is still there for the next turn */
        }
    }
    while (self->io.len > 0) {
        ml_ring_push(&self->ready, self->io.items[--self->io.len]);
    }
    ml_base_push_due(self);
    return 0;
}

static void
shrink(ml_base *self)
{
    if (self->ready.cap > KEEP_ENTRIES) {
        PyMem_RawFree(self->ready.slots);
        self->ready = (ml_ring){0};
    }
    if (self->due.cap > KEEP_ENTRIES) {
        PyMem_RawFree(self->due.items);
        self->due = (ml_batch){0};
    }
}

/* Whether other threads of the process used the CPU since the last call: about 1 us, once in a
 * GIL_INTERVAL. */
static bool
others_active(ml_base *self)
{
    double others = ml_clock(CLOCK_PROCESS_CPUTIME_ID) - ml_clock(CLOCK_THREAD_CPUTIME_ID);
    bool active = others - self->others_cpu > 1e-6;

    self->others_cpu = others;
    return active;
}

/* A thread that waits for the GIL needs some 50 us to wake up. If it was just given back and taken
 * again, the thread would find it gone, and get it after 5 ms by force: 400 steps a second for one
 * that does sleep(0), where this gives it 1,600. */
static void
give_gil(ml_base *self)
{
    double now = self->polled_at;

    if (now - self->released_at <= self->gil_interval) {
        return;
    }
    bool wait = others_active(self);
    double took = 0.;

    Py_BEGIN_ALLOW_THREADS;
    while (wait && took < GIL_HANDOVER) {
        sched_yield();
        took = ml_monotonic() - now;
    }
    Py_END_ALLOW_THREADS;
    if (wait) {
        now = ml_monotonic();
        took = now - self->polled_at;
    }
    self->gil_interval = took < GIL_INTERVAL       ? GIL_INTERVAL
                         : took > GIL_INTERVAL_MAX ? GIL_INTERVAL_MAX
                                                   : took;
    self->released_at = now;
}

/* Waiting costs more than looking: the GIL is given away, and for the timeout libev and the kernel
 * read clocks, together a fifth of the turn of a reader that is always ready. So where looking
 * found something of late, look first; where it did not, only now and then. */
#define LOOK_AGAIN 16 /* waits until the next look */
#define LOOKS_MAX 8

static bool
found_work(ml_base *self)
{
    return ml_base_has_work(self) || self->stopping;
}

/* True if this poll is to look before it waits. */
static bool
may_look(ml_base *self)
{
    if (self->looks == 0 && ++self->waits >= LOOK_AGAIN) {
        self->waits = 0;
        self->looks = 1;
    }
    return self->looks > 0;
}

/* For some microseconds only, see precise.c. */
static int
look_until(ml_base *self, double when)
{
    int rc;

    do {
        rc = ml_loop_run(self->ev, EVRUN_NOWAIT, false);
    } while (rc >= 0 && !found_work(self) && ml_monotonic() <= when);
    return rc;
}

/* After a wait without the GIL. */
static void
slept(ml_base *self)
{
    if (self->precise.fired) {
        ml_precise_learn(&self->precise, self->polled_at);
    }
    ml_base_learn_waker(self);
    self->released_at = self->polled_at;
    self->gil_interval = GIL_INTERVAL;
}

/* Runs libev with nothing to do until it brings something. */
static int
wait_for_events(ml_base *self)
{
    self->sleeping = true;
    ml_base_linger(self);
    if (self->woken || may_look(self)) {
        give_gil(self);
        int rc = ml_loop_run(self->ev, EVRUN_NOWAIT, false);
        if (rc < 0 || found_work(self)) {
            self->looks += self->looks < LOOKS_MAX;
            self->sleeping = false;
            self->polled_at = ml_base_libev_now(self);
            return rc;
        }
        self->looks /= 2;
    }
    self->precise.fired = false; /* in a poll that did not wait, for a timer before the next */
    double soon = self->precise.len > 0 ? ml_precise_arm(self, &self->precise) : 0.;
    int rc = soon > 0. ? look_until(self, soon) : ml_loop_run(self->ev, EVRUN_ONCE, true);
    self->polled_at = ml_base_libev_now(self);
    if (soon == 0.) {
        slept(self);
    }
    self->sleeping = self->swift = false;
    return rc;
}

/* A turn with callbacks ready: false if it may go without a poll. */
static bool
poll_is_due(ml_base *self)
{
    bool may_skip = !self->poll_due && !self->stopping && self->skipped < MAX_SKIPPED_TURNS;

    if (may_skip && self->swift) {
        self->skipped++;
        return false;
    }
    double now = ml_monotonic();
    bool quiet = now - self->active_at > QUIET_SECONDS;
    if (may_skip && (quiet || self->skipped < ACTIVE_SKIPPED_TURNS) &&
        now - self->polled_at < MAX_SKIPPED_SECONDS) {
        self->skipped++;
        return false;
    }
    self->swift = quiet && self->skipped > 0 && now - self->polled_at < MAX_SKIPPED_SECONDS / 5;
    self->polled_at = now;
    give_gil(self);
    return true;
}

static int
poll_events(ml_base *self)
{
    bool block = !found_work(self);

    if (block) {
        shrink(self);
    }
    else if (!poll_is_due(self)) {
        return self->due.len > 0 ? collect(self) : 0;
    }
    if (self->custom_time && self->timers != NULL && ml_base_custom_due(self) < 0) {
        return -1;
    }
    if (self->unarmed > 0) {
        ml_base_arm_timers(self);
    }
    block = !found_work(self); /* a timer may be due: by its own clock, or libev's read anew */
    self->skipped = 0;
    self->poll_due = false;
    self->woken = false;
    size_t due = self->due.len; /* those without a delay, which are no sign of activity */
    int rc = block ? wait_for_events(self) : ml_loop_run(self->ev, EVRUN_NOWAIT, false);
    if (self->touched || self->io.len > 0 || self->due.len > due) {
        self->active_at = self->polled_at;
        self->touched = self->swift = false;
    }
    PyObject *exc = rc < 0 ? ml_take_exception() : NULL;
    return ml_raise_again(exc, collect(self), (PyObject *)self);
}

/* ---- the batch --------------------------------------------------------------------------- */

/* Debug mode: a callback that took long is logged, and errors can name the current handle. */
static int
run_watched(ml_base *self, ml_handle *handle)
{
    double start = ml_monotonic();
    PyObject *before = self->current_handle;

    self->current_handle = Py_NewRef((PyObject *)handle);
    int rc = ml_handle_run(handle);
    double took = ml_monotonic() - start;
    Py_DECREF(self->current_handle);
    self->current_handle = before;
    if (rc < 0) {
        return -1;
    }
    PyObject *limit = PyObject_GetAttrString((PyObject *)self, "slow_callback_duration");
    double slow = limit ? PyFloat_AsDouble(limit) : -1.;
    Py_XDECREF(limit);
    if (PyErr_Occurred()) {
        return -1;
    }
    if (took < slow) {
        return 0;
    }
    PyObject *result = ml_diagnose(self->state, "slow_callback", "(Od)", handle, took);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int
run_handle(ml_base *self, ml_handle *handle)
{
    int rc = self->debug && !handle->cancelled ? run_watched(self, handle) : ml_handle_run(handle);

    if (Py_REFCNT(handle) > 1 && !PyObject_GC_IsTracked((PyObject *)handle)) {
        PyObject_GC_Track(handle); /* somebody kept it: from now on it can be garbage */
    }
    Py_DECREF(handle);
    return rc;
}

static int
run_entry(ml_base *self, uintptr_t entry)
{
    if (!(entry & 1)) {
        return run_handle(self, (ml_handle *)entry);
    }
    ml_ready *ready = (ml_ready *)(entry & ~(uintptr_t)1);
    PyObject *owner = ready->owner;
    ready->queued = false;
    int rc = ready->run(ready);
    Py_DECREF(owner);
    return rc;
}

/* What a callback or a task's step wrote, after what was its first, goes out when it returns, in
 * one call for each stream: to wait for the end of the batch, so that peers get their answers all
 * at once, cost a tenth of the requests per second of a server with 10 clients. */
static int
flush_writes(ml_base *self, int rc)
{
    PyObject *exc = rc < 0 ? ml_take_exception() : NULL;

    return ml_raise_again(exc, ml_base_flush(self), (PyObject *)self);
}

static int
run_batch(ml_base *self)
{
    size_t count = ml_ring_len(&self->ready);
    int rc = 0;

    self->in_batch = true;
    while (rc == 0 && count-- > 0 && ml_ring_len(&self->ready) > 0) {
        self->step++;
        rc = run_entry(self, self->ready.slots[self->ready.head++ & self->ready.mask]);
        if (self->unflushed != NULL) {
            rc = flush_writes(self, rc);
        }
    }
    self->in_batch = false;
    return rc;
}

int
ml_base_turn(ml_base *self)
{
    return collect(self) < 0 ? -1 : run_batch(self);
}

/* Leaving run_forever(): from now on the loop itself can be garbage, and with it what waits. New
 * timers stand at the head of the list, so only those not tracked yet are walked. */
void
ml_base_track_waiting(ml_base *self)
{
    for (size_t i = self->ready.head; i != self->ready.tail; i++) {
        uintptr_t entry = self->ready.slots[i & self->ready.mask];
        if (!(entry & 1) && !PyObject_GC_IsTracked((PyObject *)entry)) {
            PyObject_GC_Track((PyObject *)entry);
        }
    }
    for (ml_timer *timer = self->timers; timer != NULL && !PyObject_GC_IsTracked((PyObject *)timer);
         timer = timer->next) {
        PyObject_GC_Track(timer);
    }
}

static int
check_start(void *host)
{
    ml_base *self = host;

    PyErr_SetString(self->state->Error, "an asyncio loop is running on this loop");
    return -1; /* its callbacks would not run, nor its stop() */
}

static const ml_host_ops runner_ops = {
    .before_fork = ml_base_before_fork,
    .failed = ml_base_watcher_failed,
    .check_start = check_start,
};

/* LoopBase._run(): turns until stop(). The caller has set the running loop and the hooks. */
PyObject *
ml_base_run(ml_base *self, PyObject *Py_UNUSED(unused))
{
    if (ml_base_check_closed(self) < 0) {
        return NULL;
    }
    if (self->running) {
        PyErr_SetString(PyExc_RuntimeError, "This event loop is already running");
        return NULL;
    }
    if (ml_interrupt_begin(self->ev) < 0) {
        return NULL;
    }
    Py_INCREF(self);
    ev_ref(self->ev->ev); /* the poll waits even if nothing is registered */
    self->running = true;
    self->ev->host_ops = &runner_ops;
    self->poll_due = true;
    self->released_at = self->active_at = ml_monotonic();
    self->gil_interval = GIL_INTERVAL;
    int rc = 0;
    do {
        rc = poll_events(self);
        if (rc == 0) {
            rc = run_batch(self);
        }
    } while (rc == 0 && !self->stopping);
    if (self->unarmed > 0) {
        ml_base_arm_timers(self); /* libev can be run without us now */
    }
    ml_interrupt_end(self->ev); /* before: it hands over signals */
    self->running = false;
    self->ev->host_ops = NULL;
    ev_unref(self->ev->ev);
    ml_base_track_waiting(self);
    Py_DECREF(self);
    return ml_none_or_error(rc);
}
