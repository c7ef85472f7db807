/* What a loop does, counted where anybody can read it.
 *
 * A process has one page: a memfd of the name `moodloop`, made with its first asyncio loop, in
 * which each loop has a meter. Who may look into /proc/PID/fd reads it there, without a port, a
 * signal or code in the program, whether or not the loop is stuck and the process stopped.
 *
 * The layout, all in the machine's byte order: at 0 an ml_page; from `meters_at` on `meters` times
 * `meter_size` bytes, each an ml_meter whose `serial` is 0 while no loop has it. The names and
 * places of an ml_meter's fields are those of ML_METER_FIELDS, each 8 bytes wide. A change of any
 * of that is a new ML_PAGE_VERSION.
 *
 * Every field has one writer, who stores and never waits: the loop's thread, but for `wakeups` (who
 * has the GIL) and `ask_until` (who reads from outside). So a reader may see two fields of
 * different moments, and reads twice what has to agree. Where 8 bytes are not stored at once (32
 * bits) it may see half of one. */
#ifndef ML_METER_H
#define ML_METER_H

#include "../util.h"
#include "histogram.h"

#define ML_PAGE_MAGIC "moodloop"
#define ML_PAGE_VERSION 1

typedef struct ml_page {
    char magic[8];
    uint32_t version, header_size; /* bytes */
    uint32_t meters_at, meter_size, meters;
    int32_t pid;       /* as the process itself sees it */
    double started;    /* monotonic seconds, as all times here */
    uint64_t unlisted; /* loops that found no free meter here, and have one of their own */
    char moodloop[16]; /* its version */
} ml_page;

/* What `state` is. */
enum { ML_RESTS, ML_POLLS, ML_RUNS };

/* Monotonic times and sums are in seconds. X(type, name) */
#define ML_METER_COUNTERS(X)                                       \
    X(uint64_t, turns)                                             \
    X(uint64_t, polls)                                             \
    X(uint64_t, callbacks)                                         \
    X(uint64_t, io_events) /* what polls brought of descriptors */ \
    X(uint64_t, timers_fired)                                      \
    X(uint64_t, wakeups) /* of a poll, by other threads */         \
    X(uint64_t, accepted)                                          \
    X(uint64_t, connected)                                         \
    X(uint64_t, bytes_in)                                          \
    X(uint64_t, bytes_out)                                         \
    X(uint64_t, stalls) /* that a watchdog reported */             \
    X(double, idle)     /* in polls that may wait */               \
    X(double, busy)     /* ... and outside of them */              \
    X(double, gc)       /* collections, once somebody asked */     \
    X(double, longest)  /* from the end of a poll to the next */
#define ML_METER_GAUGES(X)                        \
    X(uint64_t, ready)  /* when the turn began */ \
    X(uint64_t, timers) /* when it last polled */ \
    X(uint64_t, readers)                          \
    X(uint64_t, writers)                          \
    X(uint64_t, transports)
#define ML_METER_STATE(X)                                        \
    X(uint64_t, serial) /* the loop's number in its process */   \
    X(uint64_t, tid)    /* of the thread that runs it or did */  \
    X(uint64_t, state)                                           \
    X(double, since)    /* in which it is since then */          \
    X(double, gc_since) /* a collection runs since then, or 0 */ \
    X(uint64_t, gc_generation)                                   \
    X(double, ask_until) /* delays are recorded until then */    \
    X(double, mark_due)  /* when the next mark is to be made */  \
    X(uint64_t, marks)   /* how many were made; the last ones stay */
#define ML_METER_STATS(X) ML_METER_COUNTERS(X) ML_METER_GAUGES(X)
#define ML_METER_FIELDS(X) ML_METER_STATS(X) ML_METER_STATE(X)

/* How busy it was until then; a mark is made no sooner than so long after the last. */
typedef struct ml_mark {
    double time, busy;
} ml_mark;
#define ML_MARKS 32
#define ML_MARK_SECONDS 0.125

typedef struct ml_meter {
#define X(type, name) type name;
    ML_METER_FIELDS(X)
#undef X
    ml_mark mark[ML_MARKS]; /* number n at n % ML_MARKS */
    ml_counts delays;       /* from the end of a poll to the start of each callback, in ns */
} ml_meter;

/* One that counts for nobody: of a loop that is not open. */
extern ml_meter ml_no_meter;

/* A meter for a loop; never NULL, but with MemoryError. The GIL guards these two. */
ml_meter *ml_meter_new(void);
void ml_meter_free(ml_meter *meter);
/* In a forked child: the page is the parent's, and the child gets one of its own in its place. */
void ml_page_after_fork(void);
void ml_meter_mark(ml_meter *meter, double time);
/* The part of the last second in which the loop was busy, 0 to 1. */
double ml_meter_load(const ml_meter *meter, double now);
/* The counters and gauges at `now`, a tuple. */
PyObject *ml_meter_stats(const ml_meter *meter, double now);
/* The thread runs this loop from now on, at `now`; or none. */
void ml_meter_begin(ml_meter *meter, double now);
void ml_meter_end(ml_meter *meter, double now);
/* In a forked child: the thread that runs a loop has another number. */
void ml_meter_forked(void);

/* Functions of the module. The layout, as a reader in Python needs it: a dict of names to (offset,
 * "Q" or "d"), and `stats`, the names of what ml_meter_stats() gives; the page's descriptor, -1 for
 * none; and what is put into gc.callbacks. */
PyObject *ml_page_layout(PyObject *module, PyObject *unused);
PyObject *ml_page_fd(PyObject *module, PyObject *unused);
PyObject *ml_gc_event(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* ---- one call for each event ------------------------------------------------------------- */

/* It was busy from `since` on. */
static inline void
ml_meter_ran(ml_meter *meter, double now)
{
    double ran = now - meter->since;

    meter->busy += ran;
    meter->longest = ran > meter->longest ? ran : meter->longest;
    meter->since = now;
}

/* The poll that comes next may wait. */
static inline void
ml_meter_waits(ml_meter *meter, double now)
{
    ml_meter_ran(meter, now);
    meter->state = ML_POLLS;
}

/* A poll has ended. */
static inline void
ml_meter_polled(ml_meter *meter, double now)
{
    bool due = now >= meter->mark_due;

    meter->polls++;
    if (meter->state == ML_POLLS) {
        if (due) { /* it was busy until the poll, and not since */
            ml_meter_mark(meter, meter->since);
        }
        meter->idle += now - meter->since;
        meter->state = ML_RUNS;
        meter->since = now;
    }
    else {
        ml_meter_ran(meter, now);
    }
    if (due) {
        ml_meter_mark(meter, now);
    }
}

/* The callbacks of a turn come next: so many are ready. */
static inline void
ml_meter_turn(ml_meter *meter, uint64_t turns, size_t ready, uint64_t callbacks)
{
    meter->turns = turns;
    meter->ready = ready;
    meter->callbacks = callbacks;
}

#endif
