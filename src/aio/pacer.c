/* The pacer. Every bound here is by the clock: what a turn costs is not known before it has run,
 * and the turns of the past say nothing of the next. docs/architecture.md has the promises, and
 * docs/performance.md what each rule earns. */
#include "aio.h"

#include <sched.h>
#include <time.h>

/* With callbacks ready a poll may wait for so long: it is a system call, and a callback is not. */
#define SKIP_SECONDS 50e-6
/* At first only one turn goes without: often the one in which tasks answer what was just received.
 * More do after so many polls in a row that brought nothing, and did not wait. */
#define POLLS_IN_VAIN 16

/* A thread that waits for the GIL beside a busy loop gets it this often; one that then keeps it for
 * longer, as seldom as it keeps it. It needs some 50 us to wake up: if the GIL was just given back
 * and taken again it would find it gone, and get it after 5 ms by force. */
#define GIL_INTERVAL 0.5e-3
#define GIL_INTERVAL_MAX 10e-3
#define GIL_HANDOVER 100e-6
/* If nobody went to sleep meanwhile, as who gets the GIL does when it is taken back, or to wait for
 * more, so many times: then other threads compute without it, and are left alone for longer. */
#define GIL_IN_VAIN 16

/* A loop with nothing to do that a thread wakes at once, as run_in_executor() with short work does,
 * saves the switches of threads by staying awake for so long before the poll. */
#define LINGER_SECONDS 50e-6
#define GRACE_SECONDS 5e-6 /* the thread has the GIL until it waits for more */
#define SWITCHED_SECONDS \
    1e-6 /* a sched_yield() that took longer than this had somebody to yield to */
#define LINGER_TRY_AGAIN 16
#define LINGERS_MAX 8

/* A thread that finds so much mail in front of its own waits until half of it is done, for no
 * longer than the interpreter would let it wait for the GIL. A loop that stands still meanwhile may
 * be waiting for this very thread, or for the GIL: so until it goes on there is but a nap in so
 * many calls. */
#define MAIL_FULL 4096
#define HOLD_SECONDS 5e-3
#define MAIL_NAP_NS 100000
#define MAIL_NAP_EVERY 128

/* ---- polls ------------------------------------------------------------------------------- */

void
ml_pacer_begin(ml_pacer *self)
{
    self->due = true;
    self->polls_in_vain = 0;
    self->released_at = ml_monotonic();
    self->gil_interval = GIL_INTERVAL;
}

bool
ml_pacer_may_skip(ml_pacer *self, double now)
{
    if (self->due || (self->off & ML_PACER_SKIP) || now - self->polled_at >= SKIP_SECONDS ||
        (self->skipped && self->polls_in_vain < POLLS_IN_VAIN)) {
        return false;
    }
    self->skipped = true;
    return true;
}

void
ml_pacer_polled(ml_pacer *self, double now, bool active)
{
    self->polled_at = now;
    if (self->due || active) {
        self->polls_in_vain = 0;
    }
    else if (self->polls_in_vain < POLLS_IN_VAIN) {
        self->polls_in_vain++;
    }
    self->due = self->skipped = false;
}

/* ---- the GIL ----------------------------------------------------------------------------- */

/* Whether threads that could want the GIL used the CPU since the last call: about 1 us. */
static bool
others_active(ml_pacer *self)
{
    PyThreadState *first = PyInterpreterState_ThreadHead(PyInterpreterState_Get());

    if (PyThreadState_Next(first) == NULL) {
        return false; /* whoever else computes knows nothing of Python */
    }
    double others = ml_clock(CLOCK_PROCESS_CPUTIME_ID) - ml_clock(CLOCK_THREAD_CPUTIME_ID);
    bool active = others - self->others_cpu > 1e-6;
    self->others_cpu = others;
    return active;
}

/* How long until the next time: it was given away for `took`. */
static void
learn_interval(ml_pacer *self, double took, bool in_vain)
{
    if (!in_vain) {
        self->yields_in_vain = 0;
        self->gil_interval = took < GIL_INTERVAL ? GIL_INTERVAL : took;
    }
    else if (++self->yields_in_vain >= GIL_IN_VAIN) {
        self->yields_in_vain = 0;
        self->gil_interval *= 2;
    }
    if (self->gil_interval > GIL_INTERVAL_MAX) {
        self->gil_interval = GIL_INTERVAL_MAX;
    }
}

void
ml_pacer_yield(ml_pacer *self, double now)
{
    if (now - self->released_at <= self->gil_interval || (self->off & ML_PACER_YIELD)) {
        return;
    }
    bool wait = others_active(self);
    long sleeps = wait ? ml_sleeps() : 0;
    double took = 0.;

    Py_BEGIN_ALLOW_THREADS;
    while (wait && took < GIL_HANDOVER) {
        sched_yield();
        took = ml_monotonic() - now;
    }
    Py_END_ALLOW_THREADS;
    self->released_at = wait ? ml_monotonic() : now;
    if (wait) {
        learn_interval(self, self->released_at - now, ml_sleeps() == sleeps);
    }
}

/* ---- staying awake ----------------------------------------------------------------------- */

/* Without the GIL. True if a thread on another core had something for us: on a core that both share
 * nothing is saved. */
static bool
linger(ml_aioloop *loop)
{
    double start = ml_monotonic(), now = start, before = 0.;

    while (!loop->woken && now - start < LINGER_SECONDS) {
        before = now;
        sched_yield();
        now = ml_monotonic();
    }
    if (!loop->woken || now - before > SWITCHED_SECONDS) {
        return false;
    }
    for (start = now; now - start < GRACE_SECONDS; now = ml_monotonic()) {
        sched_yield();
    }
    return true;
}

void
ml_pacer_linger(ml_aioloop *loop)
{
    ml_pacer *self = &loop->pacer;
    bool paid;

    /* a timer of a short delay would be late */
    if (self->lingers == 0 || loop->timers.brief > 0 || (self->off & ML_PACER_LINGER)) {
        return;
    }
    Py_BEGIN_ALLOW_THREADS;
    paid = linger(loop);
    Py_END_ALLOW_THREADS;
    if (!paid) {
        self->lingers /= 2;
    }
    else if (self->lingers < LINGERS_MAX) {
        self->lingers++;
    }
}

void
ml_pacer_slept(ml_aioloop *loop)
{
    ml_pacer *self = &loop->pacer;

    self->released_at = ml_timers_polled_at(loop);
    self->gil_interval = GIL_INTERVAL;
    if (loop->woken && self->lingers == 0 && ++self->wakes >= LINGER_TRY_AGAIN) {
        self->wakes = 0;
        self->lingers = 1;
    }
}

/* ---- floods ------------------------------------------------------------------------------ */

void
ml_pacer_hold_back(ml_aioloop *loop)
{
    ml_mail *mail = &loop->mail;
    size_t waiting = ml_mail_len(mail), taken = mail->taken;
    bool stuck = mail->waited_for == taken;

    if (waiting < MAIL_FULL || (stuck && waiting % MAIL_NAP_EVERY != 0) ||
        (loop->pacer.off & ML_PACER_HOLD)) {
        return;
    }
    Py_INCREF(loop);
    Py_BEGIN_ALLOW_THREADS;
    double start = ml_monotonic();
    do {
        nanosleep(&(struct timespec){.tv_nsec = MAIL_NAP_NS}, NULL);
    } while (!stuck && atomic_load_explicit(&mail->waiting, memory_order_relaxed) > MAIL_FULL / 2 &&
             ml_monotonic() - start < HOLD_SECONDS);
    Py_END_ALLOW_THREADS;
    if (mail->taken == taken) {
        mail->waited_for = taken;
    }
    Py_DECREF(loop);
}
