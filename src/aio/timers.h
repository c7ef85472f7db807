/* The timers of call_later() and call_at(): a heap, and one ev_timer that ends the poll in time. */
#ifndef ML_TIMERS_H
#define ML_TIMERS_H

#include "../watcher/watcher.h"

typedef struct ml_aioloop ml_aioloop;
typedef struct ml_timer ml_timer; /* handle.h */

typedef struct ml_timer_entry {
    double when;  /* the timer's, -inf for a NaN, which is due at once */
    uint64_t seq; /* timers of one instant run in the order they were made */
    ml_timer *timer;
} ml_timer_entry;

/* Most timers are timeouts, and many are cancelled in the turn that made them: so the newest stand
 * behind the heap in no order, and are sorted in only when the next due time is asked for. */
typedef struct ml_timers {
    ml_timer_entry *items;
    size_t sorted, len, cap; /* [0, sorted) is a heap with four children a node, the rest is new */
    size_t brief;            /* of all these, those of a short delay: see precise.c */
    size_t untracked;        /* ... and those that the collector does not know */
    uint64_t seq;
    ev_timer alarm; /* always active: libev's cached time can be read from it */
} ml_timers;

void ml_timers_init(ml_aioloop *loop);
void ml_timers_close(ml_aioloop *loop);
/* Schedules it: the list owns a reference. `now` is the loop's time. -1 with MemoryError. */
int ml_timers_add(ml_timer *timer, double now);
/* Takes it out, and drops that reference. */
void ml_timers_remove(ml_timer *timer);
/* When the next one is due, inf if none ever is. */
double ml_timers_next(ml_timers *timers);
/* Puts those that are due onto the ready ring. -1 with MemoryError; all of them are still there. */
int ml_timers_take_due(ml_aioloop *loop, double now);
/* Tells the collector of all of them. */
void ml_timers_track(ml_timers *timers);
/* Has the next poll end when the next timer is due; `now` is the time by the clock they follow. */
void ml_timers_set_alarm(ml_aioloop *loop, double now);
/* libev's own idea of time.monotonic(), of its last poll. */
double ml_timers_polled_at(ml_aioloop *loop);

#endif
