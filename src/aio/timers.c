/* The heap of timers. A loop has one ev_timer, not one for each: what libev keeps in the order of
 * its own cached time could not be asked for the next, nor served in a turn without a poll. */
#include "aio.h"

#include <math.h>

/* An array of more entries than this is given back once three quarters of it are empty. */
#define KEEP_ENTRIES 2048

/* The longest that the alarm is set for. */
#define LONGEST_SECONDS 3600.

/* ---- the heap ---------------------------------------------------------------------------- */

static inline bool
is_before(const ml_timer_entry *a, const ml_timer_entry *b)
{
    return a->when < b->when || (a->when == b->when && a->seq < b->seq);
}

static inline void
put(ml_timers *self, size_t place, ml_timer_entry entry)
{
    self->items[place] = entry;
    entry.timer->place = place + 1;
}

/* Puts `entry` where `place` is free, or above it. */
static void
sift_up(ml_timers *self, size_t place, ml_timer_entry entry)
{
    while (place > 0) {
        size_t parent = (place - 1) / 4;
        if (!is_before(&entry, &self->items[parent])) {
            break;
        }
        put(self, place, self->items[parent]);
        place = parent;
    }
    put(self, place, entry);
}

/* ... or below it. */
static void
sift_down(ml_timers *self, size_t place, ml_timer_entry entry)
{
    for (;;) {
        size_t first = place * 4 + 1, end = first + 4, least = first;
        if (first >= self->sorted) {
            break;
        }
        end = end < self->sorted ? end : self->sorted;
        for (size_t child = first + 1; child < end; child++) {
            least = is_before(&self->items[child], &self->items[least]) ? child : least;
        }
        if (!is_before(&self->items[least], &entry)) {
            break;
        }
        put(self, place, self->items[least]);
        place = least;
    }
    put(self, place, entry);
}

/* Takes the entry at `place` out of the array. */
static void
take_out(ml_timers *self, size_t place)
{
    if (place < self->sorted) {
        ml_timer_entry last = self->items[--self->sorted];
        if (place < self->sorted) {
            bool up = place > 0 && is_before(&last, &self->items[(place - 1) / 4]);
            (up ? sift_up : sift_down)(self, place, last);
        }
        place = self->sorted;
    }
    if (place < --self->len) {
        put(self, place, self->items[self->len]);
    }
}

double
ml_timers_next(ml_timers *self)
{
    while (self->sorted < self->len) {
        sift_up(self, self->sorted, self->items[self->sorted]);
        self->sorted++;
    }
    assert(self->sorted == self->len);
    return self->len > 0 ? self->items[0].when : Py_HUGE_VAL;
}

/* ---- adding and removing ------------------------------------------------------------------ */

int
ml_timers_add(ml_timer *timer, double now)
{
    ml_timers *self = &timer->loop->timers;

    assert(timer->place == 0);
    if (self->len == self->cap) {
        size_t cap = self->cap ? self->cap * 2 : 64;
        ml_timer_entry *items = cap > SIZE_MAX / sizeof(*items)
                                    ? NULL
                                    : PyMem_RawRealloc(self->items, cap * sizeof(*items));
        if (items == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        self->items = items;
        self->cap = cap;
    }
    double when = isnan(timer->when) ? -Py_HUGE_VAL : timer->when;
    put(self, self->len++, (ml_timer_entry){when, self->seq++, timer});
    timer->brief = when - now < ML_PRECISE_SECONDS;
    self->brief += timer->brief;
    timer->untracked = !PyObject_GC_IsTracked((PyObject *)timer);
    self->untracked += timer->untracked;
    Py_INCREF(timer);
    return 0;
}

/* Half of it: as many can come or go before it is moved again. */
static void
shrink(ml_timers *self)
{
    size_t cap = self->cap / 2;
    ml_timer_entry *items = PyMem_RawRealloc(self->items, cap * sizeof(*items));

    assert(self->len <= cap);
    if (items != NULL) {
        self->items = items;
        self->cap = cap;
    }
}

/* The reference is the caller's from now on. */
static void
unschedule(ml_timers *self, ml_timer *timer)
{
    assert(timer->place > 0 && self->items[timer->place - 1].timer == timer);
    take_out(self, timer->place - 1);
    timer->place = 0;
    self->brief -= timer->brief;
    self->untracked -= timer->untracked;
    if (self->cap > KEEP_ENTRIES && self->len < self->cap / 4) {
        shrink(self);
    }
}

void
ml_timers_remove(ml_timer *timer)
{
    unschedule(&timer->loop->timers, timer);
    Py_DECREF(timer);
}

/* The newest, which mostly stand last. */
void
ml_timers_track(ml_timers *self)
{
    for (size_t i = self->len; self->untracked > 0; i--) {
        assert(i > 0);
        ml_timer *timer = self->items[i - 1].timer;
        if (timer->untracked) {
            timer->untracked = false;
            self->untracked--;
            PyObject_GC_Track(timer);
        }
    }
}

int
ml_timers_take_due(ml_aioloop *loop, double now)
{
    ml_timers *self = &loop->timers;

    double next;

    while ((next = ml_timers_next(self)) <= now && next < Py_HUGE_VAL) {
        ml_timer *timer = self->items[0].timer;
        if (ml_ring_push(&loop->ready, (uintptr_t)timer) < 0) {
            return -1;
        }
        unschedule(self, timer);
        loop->meter->timers_fired++;
    }
    return 0;
}

/* ---- the alarm ---------------------------------------------------------------------------- */

/* The poll has ended, which is all it is for. Nobody sets it in a run of the program's, and that is
 * not to be woken at the same interval again and again. */
static void
alarm_event(struct ev_loop *ev, ev_timer *alarm, int Py_UNUSED(revents))
{
    alarm->repeat = LONGEST_SECONDS;
    ev_timer_again(ev, alarm);
}

void
ml_timers_init(ml_aioloop *loop)
{
    ml_timers *self = &loop->timers;

    ev_timer_init(&self->alarm, alarm_event, LONGEST_SECONDS, LONGEST_SECONDS);
    ev_timer_start(loop->ev->ev, &self->alarm);
    ev_unref(loop->ev->ev); /* no reason to run */
}

void
ml_timers_close(ml_aioloop *loop)
{
    ml_timers *self = &loop->timers;

    while (self->len > 0) {
        ml_timers_remove(self->items[self->len - 1].timer);
    }
    if (loop->ev->ev != NULL && ev_is_active(&self->alarm)) {
        ev_ref(loop->ev->ev);
        ev_timer_stop(loop->ev->ev, &self->alarm);
    }
}

/* libev adds its cached time to what a timer is set to, and ev_now() is wall-clock time. */
double
ml_timers_polled_at(ml_aioloop *loop)
{
    ev_timer *alarm = &loop->timers.alarm;

    return alarm->at - ev_timer_remaining(loop->ev->ev, alarm);
}

/* True if the alarm is set for `when`, or comes before it and not soon. */
static bool
is_set(ml_aioloop *loop, double when)
{
    double early = when - loop->timers.alarm.at;

    return early > -1e-6 && (early < 1e-6 || ev_timer_remaining(loop->ev->ev, &loop->timers.alarm) >
                                                 LONGEST_SECONDS / 60.);
}

void
ml_timers_set_alarm(ml_aioloop *loop, double now)
{
    ml_timers *self = &loop->timers;
    double when = ml_timers_next(self), after = when - now;

    if (!loop->custom_time) {
        if (is_set(loop, when)) {
            return;
        }
        after = when - ml_timers_polled_at(loop);
    }
    after = after < LONGEST_SECONDS ? after : LONGEST_SECONDS;
    self->alarm.repeat = after > 1e-9 ? after : 1e-9; /* 0 would stop it */
    ev_timer_again(loop->ev->ev, &self->alarm);
}
