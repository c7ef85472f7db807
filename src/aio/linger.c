/* A loop with nothing to do that a thread wakes at once: run_in_executor() with short work, or a
 * thread that asks and waits for the answer. To sleep in the poll and be woken from it takes a
 * write and two switches, and where the other core was idle 25 us on either side: in a virtual
 * machine it is the hypervisor that wakes it. So where the last waits were short, the loop stays
 * awake for a moment before the poll: 33 us instead of 75 for a call in an executor, with 40 us of
 * CPU time instead of 65. On a core that both threads share that saves nothing, and is left alone.
 */
#include "aio.h"

#include <sched.h>

#define LINGER_SECONDS 50e-6  /* what I/O may wait for it: as where polls are skipped */
#define SWITCHED_SECONDS 1e-6 /* a sched_yield() that has nobody to yield to takes 0.3 us */
#define GRACE_SECONDS 5e-6

#define TRY_AGAIN 16 /* waits that a thread ended, until the next try */
#define LINGERS_MAX 8

/* Without the GIL. True if a thread on another core had something for us. */
static bool
linger(ml_base *self)
{
    double start = ml_monotonic(), now = start, before = 0.;

    while (!self->woken && now - start < LINGER_SECONDS) {
        before = now;
        sched_yield();
        now = ml_monotonic();
    }
    if (!self->woken || now - before > SWITCHED_SECONDS) {
        return false;
    }
    /* It has the GIL until it waits for more; to sleep for that long would cost the same again. */
    for (start = now; now - start < GRACE_SECONDS; now = ml_monotonic()) {
        sched_yield();
    }
    return true;
}

void
ml_base_linger(ml_base *self)
{
    bool paid;

    if (self->lingers == 0 || self->precise.len > 0) { /* a short timer would be late */
        return;
    }
    Py_BEGIN_ALLOW_THREADS;
    paid = linger(self);
    Py_END_ALLOW_THREADS;
    if (!paid) {
        self->lingers /= 2;
    }
    else if (self->lingers < LINGERS_MAX) {
        self->lingers++;
    }
}

void
ml_base_learn_waker(ml_base *self)
{
    if (self->woken && self->lingers == 0 && ++self->wakes >= TRY_AGAIN) {
        self->wakes = 0;
        self->lingers = 1;
    }
}
