/* When a loop polls, stays awake and gives the GIL away, and when threads that flood it wait. */
#ifndef ML_PACER_H
#define ML_PACER_H

#include "../util.h"

typedef struct ml_aioloop ml_aioloop;

/* The rules, each of which tests and benchmarks can switch off: `loop._pacer_off`. */
enum {
    ML_PACER_SKIP = 1,   /* turns without a poll */
    ML_PACER_LINGER = 2, /* staying awake for threads that answer at once */
    ML_PACER_YIELD = 4,  /* the GIL for threads that want it beside a busy loop */
    ML_PACER_HOLD = 8,   /* threads that schedule faster than the loop runs */
};

/* Mail runs for so long in a turn at most, in seconds; so little of it is not timed. */
#define ML_MAIL_SECONDS 2e-3
#define ML_MAIL_UNTIMED 16

typedef struct ml_pacer {
    double polled_at;    /* monotonic seconds, as all here */
    int polls_in_vain;   /* in a row */
    bool skipped;        /* a turn has gone without since then */
    bool due;            /* the next turn polls: I/O was begun */
    double released_at;  /* when the GIL was last given away */
    double gil_interval; /* until it is again */
    double others_cpu;   /* seconds that the other threads had used then */
    int yields_in_vain;  /* in a row: nobody took it */
    int lingers;         /* how often to stay awake before the next waits */
    int wakes;           /* waits that a thread ended since the last try */
    unsigned off;        /* ML_PACER_* that are switched off */
} ml_pacer;

void ml_pacer_begin(ml_pacer *self);
/* A turn with callbacks ready, at `now`: true if it may go without a poll. */
bool ml_pacer_may_skip(ml_pacer *self, double now);
/* There was a poll; `active`: it waited, or brought I/O. */
void ml_pacer_polled(ml_pacer *self, double now, bool active);
/* Gives the GIL away if it is time to. Python code of other threads runs meanwhile. */
void ml_pacer_yield(ml_pacer *self, double now);
/* Before a poll that waits, and after it. */
void ml_pacer_linger(ml_aioloop *loop);
void ml_pacer_slept(ml_aioloop *loop);
/* In another thread that has scheduled a callback: waits if the loop has fallen behind. */
void ml_pacer_hold_back(ml_aioloop *loop);

/* Notes that I/O was begun: the next turn polls. */
static inline void
ml_pacer_touch(ml_pacer *self)
{
    self->due = true;
}

#endif
