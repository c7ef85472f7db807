/* moodloop.event: libev's loop and watchers as Python types. Knows nothing of asyncio; aio/ and
 * net/ sit on the second half of this header. */
#ifndef ML_WATCHER_H
#define ML_WATCHER_H

#include "../util.h"

typedef struct ml_loop ml_loop;
typedef struct ml_watcher ml_watcher;
typedef struct ml_fdw ml_fdw;

/* ---- a descriptor's ev_io (fdw.c) -------------------------------------------------------- */

/* libev aborts the process when a descriptor was closed behind its back before ev_run applies a
 * change to it. So no ev_io is started or stopped but through these functions: they note which
 * descriptors changed, and ml_fdw_check() looks at those, once, just before libev would. */
struct ml_fdw {
    ev_io ev;     /* ev.data is the owner's; ev.fd and ev.events as libev keeps them */
    ml_fdw *next; /* the others on this descriptor */
    /* Called by ml_fdw_check() when the descriptor is found closed, after the ev_io was stopped.
     * No Python code may run in it. */
    void (*dead)(ml_loop *loop, ml_fdw *fdw);
};

typedef void (*ml_io_cb)(struct ev_loop *, ev_io *, int);

void ml_fdw_init(ml_fdw *fdw, ml_io_cb cb, void (*dead)(ml_loop *, ml_fdw *), int fd, int events);
/* (Re)starts it; always announces the descriptor as new to libev, since its number may have been
 * reused. -1 with MemoryError. No-op if active. */
int ml_fdw_start(ml_loop *loop, ml_fdw *fdw);
void ml_fdw_stop(ml_loop *loop, ml_fdw *fdw);
/* Changes the events of a watcher, active or not; 0 events stop it, others start it. Cheaper than
 * stop, init, start: the kernel is told only if the descriptor's mask really changed. Only for a
 * descriptor that is known to be the same open file as before. */
int ml_fdw_modify(ml_loop *loop, ml_fdw *fdw, int events);

/* ---- the loop (loop.c, run.c) ------------------------------------------------------------ */

/* Handles the exception that is set, raised by `callback` of a watcher: returns true if it was
 * dealt with, false (exception still set) if the run must end with it. */
typedef bool (*ml_error_hook)(void *host, PyObject *callback);

struct ml_loop {
    PyObject_HEAD
    ml_state *state;
    struct ev_loop *ev; /* NULL once closed */
    ml_loop *prev_loop, *next_loop; /* state->loops */
    PyObject *dict, *weaklist;
    PyObject *callback; /* invoke-pending hook or NULL */
    PyObject *data;
    ml_watcher *held; /* active or pending watchers, each with a reference of ours */

    /* running */
    unsigned long owner;    /* thread inside ev_run, 0 if none */
    PyThreadState *tstate;  /* saved around a poll that gave the GIL away, else NULL */
    int depth;              /* nested ml_loop_run() calls */
    bool blocking;          /* this ev_run may block, so give the GIL away around its poll */
    bool debug;             /* every exception is fatal */
    bool is_default;
    bool closing;
    PyObject *exc;          /* what ends the run, set aside until ev_run has returned */
    ml_watcher **aside;     /* watchers whose events came after `exc`: fed again after ev_run */
    int *aside_revents;
    Py_ssize_t aside_len, aside_cap;
    int syserr;             /* errno that libev's backend reported, 0 if none */

    ev_async wake;          /* ends a poll from another thread; started with the loop, unref'd */

    /* descriptors */
    ml_fdw **fds;           /* by number: the active ml_fdw's of it */
    int fds_cap;
    int *changed;           /* descriptors to look at before the next poll */
    int changed_len, changed_cap;

    /* signals to the main thread: see ml_interrupt_begin() */
    int wakeup_fds[2];      /* a socket pair, made on first use; -1 */
    ml_fdw wakeup_io;
    int wakeup_depth;
    int wakeup_old;         /* the fd that was set before ours; what arrives is passed on to it */

    /* The asyncio loop on top, or NULL, and its hook for exceptions of watchers. */
    void *host;
    ml_error_hook host_error;

    double io_interval, timeout_interval;
    int suspended;
    int refs;               /* net ref() minus unref() by the user */
};

/* Makes a loop from C, for aio/: `flags` go to ev_loop_new as they are. NULL with an exception. */
ml_loop *ml_loop_new(ml_state *state, unsigned int flags);
/* Stops every watcher and destroys the libev loop. Idempotent. -1 with Error from inside a run. */
int ml_loop_close(ml_loop *loop);
/* -1 with Error "loop is closed". */
int ml_loop_check_open(ml_loop *loop);

/* ev_run with every guard: one thread at a time, descriptors checked, Python's signal handlers
 * run, an exception raised by a watcher set aside and raised here, undelivered events kept.
 * `blocking` says whether the GIL is given away around the poll. Returns -1 with an exception, else
 * ev_run's result (0 or 1: watchers are left). */
int ml_loop_run(ml_loop *loop, int flags, bool blocking);

/* Between these two, a signal to the process ends the loop's poll at once, although CPython's C
 * handler only sets a flag (it may run just before the poll, or in another thread): the signal
 * wakeup fd is ours, and what it had been set to before gets the bytes too. Nests. Does nothing
 * outside of the main thread. -1 with an exception. */
int ml_interrupt_begin(ml_loop *loop);
void ml_interrupt_end(ml_loop *loop);

/* Ends the loop's poll from any thread. The GIL must be held. */
static inline void
ml_loop_wake(ml_loop *loop)
{
    ev_async_send(loop->ev, &loop->wake);
}

/* ---- signals (sigtable.c) ---------------------------------------------------------------- */

/* libev allows a signal on one loop only (else it aborts), and its handler hides Python's. These
 * keep the process-wide table and put the former disposition back when the last watcher stops.
 * start: -1 with ValueError (out of range, SIGKILL, SIGSTOP) or Error (other loop, SIGCHLD while
 * libev's default loop exists). */
int ml_signal_check(ml_state *state, int signum);
int ml_signal_start(ml_loop *loop, ev_signal *ev);
void ml_signal_stop(ml_loop *loop, ev_signal *ev);
/* The loop that a signal is on, borrowed, or NULL. */
ml_loop *ml_signal_owner(int signum);

/* ---- the base of all watchers (watcher.c) ------------------------------------------------ */

/* What one kind of watcher defines. */
typedef struct ml_kind {
    PyType_Spec *spec;
    /* Parses the type's own arguments (already without the loop) and calls ev_X_init's equivalent */
    int (*start)(ml_watcher *self); /* ev_X_start with its guards; -1 with an exception */
    void (*stop)(ml_watcher *self);
    int revents;                    /* the events it can get, EV_TIMER for example */
} ml_kind;

struct ml_watcher {
    PyObject_HEAD
    const ml_kind *kind;
    ev_watcher *ev;   /* the ev_X embedded in the subtype */
    ml_loop *loop;    /* owned; NULL until __init__ has run */
    PyObject *callback, *data;
    PyObject *dict, *weaklist;
    ml_watcher *prev, *next; /* loop->held while `held` */
    bool held;
    bool no_ref;      /* ref=False: ev_unref'd while active */
    bool unrefd;      /* ... and it is now */
};

#endif
