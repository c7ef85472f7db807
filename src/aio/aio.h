/* The asyncio loop on top of event.Loop: the struct, made of those of its parts, each in the header
 * of its file; its errors and its life (loop.c).
 *
 * One turn is stock asyncio's: poll (without waiting if something is ready), append the I/O
 * handles, append the due timers, run exactly what is then in the ring. libev callbacks of this
 * layer only append: no Python code of the asyncio side runs inside ev_run. */
#ifndef ML_AIO_H
#define ML_AIO_H

#include "../watcher/watcher.h" /* first: Python.h comes before the system's headers */

#include "../inspect/meter.h"
#include "../sys/sock.h"
#include "after.h"
#include "clock.h"
#include "fds.h"
#include "handle.h"
#include "hangups.h"
#include "held.h"
#include "imports.h"
#include "pacer.h"
#include "precise.h"
#include "ring.h"
#include "schedule.h"
#include "signals.h"
#include "timers.h"
#include "turn.h"

typedef struct ml_waiter ml_waiter; /* threadsafe.c */

/* See context.h. */
typedef struct ml_contexts {
    PyObject *empty;         /* in which a callback runs that has none of its own */
    PyObject **entered_slot; /* the place of the context of one that runs so, or NULL */
    PyObject *entered;       /* ... and what it runs in; borrowed */
} ml_contexts;

/* The largest datagram that stock asyncio takes. Memory is only used up to what was received. */
#define ML_SCRATCH_SIZE (256 * 1024)

struct ml_aioloop {
    PyObject_HEAD
    ml_state *state;
    ml_loop *ev;  /* owned; NULL until __init__ */
    bool own_ev;  /* made by us: closed with us */
    bool asked;   /* the meter's delays are recorded */
    bool watched; /* callbacks are run by way of what debug mode, delays and the meter want */
    bool closed, debug, stopping, running;
    bool guest;           /* running, in a start() of the event.Loop: see guest.c */
    bool counted;         /* ... which goes on for what is ready and for timers */
    bool in_batch;        /* callbacks are running: writes may wait for the end of theirs */
    bool sleeping;        /* in, or about to enter, a poll that may block */
    _Atomic(bool) woken;  /* ... and has been told to leave it */
    bool custom_time;     /* time() is overridden: timers follow that clock */
    unsigned long thread; /* that runs it, 0 if none */
    /* The version of the class when `custom_time` was found out, 0: find out. */
    unsigned int clock_version;
    ml_ring ready;
    ml_mail mail; /* what other threads have scheduled while it runs */
    ml_batch io;  /* what one poll brought */
    ml_timers timers;
    ml_precise precise;
    ml_hangups hangups;
    ml_pacer pacer;
    ml_contexts contexts;
    PyObject *current_handle;
    PyObject *task_factory;  /* NULL: none */
    PyObject *loop_keywords; /* {"loop": self}, made on first use */
    ml_waiter *waiters;      /* threads in ml_handle_settle() */
    ml_fds fds;
    ml_sig *signals;      /* list */
    uint64_t step;        /* counts callbacks */
    uint64_t turns;       /* counts those */
    ml_meter *meter;      /* never NULL */
    ml_histogram *delays; /* list: who wants to know how late callbacks start */
    ml_after *after;      /* list */
    ml_held *held;        /* list */
    PyObject *scratch;    /* bytes, ML_SCRATCH_SIZE; nobody else has it: see recv.c */
    void *tls_room;       /* what its connections with TLS share: see tls/tls.h */
    void (*free_tls_room)(void *);
};

/* Something is ready, or was brought by a poll whose turn an exception kept from coming. */
static inline bool
ml_aioloop_has_work(const ml_aioloop *self)
{
    return ml_ring_len(&self->ready) + ml_mail_len(&self->mail) + self->io.len > 0;
}

/* Notes that I/O was begun: the next turn polls. */
static inline void
ml_aioloop_touch(ml_aioloop *self)
{
    ml_pacer_touch(&self->pacer);
}

/* Ends a poll that waits, or is about to; at most one wake-up for each. Other threads run. */
static inline void
ml_aioloop_wake(ml_aioloop *self)
{
    if (self->sleeping && !self->woken) {
        self->woken = true;
        self->meter->wakeups++;
        ml_loop_wake_and_yield(self->ev);
    }
}

/* The loop's life (loop.c): on an event.Loop, its own or the program's, whose reference it takes
 * over; and the end of it, of which get_task_factory() and the like survive the first part. */
void ml_aioloop_open(ml_aioloop *self, ml_loop *ev, bool own, ml_meter *meter);
void ml_aioloop_shut(ml_aioloop *self);
int ml_aioloop_clear(ml_aioloop *self);
int ml_aioloop_traverse(ml_aioloop *self, visitproc visit, void *arg);
void ml_aioloop_dealloc(ml_aioloop *self);
/* -1 with RuntimeError 'Event loop is closed'. */
int ml_aioloop_check_closed(ml_aioloop *self);
/* Sets the exception that is set aside as stock asyncio does for a callback: 0 if the loop's
 * exception handler took it, -1 if it must leave run_forever(). `context` keys as in
 * call_exception_handler; transport and protocol may be NULL. */
int ml_aioloop_handle_error(ml_aioloop *self, const char *message, PyObject *transport,
                            PyObject *protocol);
bool ml_aioloop_watcher_failed(void *host, PyObject *callback);
char *ml_aioloop_scratch(ml_aioloop *self);
/* verify.c: what is wrong with the loop's lists, counts and heaps, or NULL; SystemError for that.
 */
const char *ml_aioloop_wrong(ml_aioloop *self);
PyObject *ml_aioloop_verify(ml_aioloop *self, PyObject *unused);

#endif
