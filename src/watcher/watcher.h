/* moodloop.event: libev's loop and watchers as Python types. Knows nothing of asyncio; aio/ and
 * net/ sit on the second half of this header. */
#ifndef ML_WATCHER_H
#define ML_WATCHER_H

#include "../args.h"
#include "../util.h"

#include <stdatomic.h>

typedef struct ml_loop ml_loop;
typedef struct ml_watcher ml_watcher;
typedef struct ml_fdw ml_fdw;
typedef struct ml_scheduler ml_scheduler;
typedef struct ml_embed ml_embed;
typedef struct ml_inotify ml_inotify;

/* ---- a descriptor's ev_io (fdw.c) -------------------------------------------------------- */

/* libev aborts the process when a descriptor was closed behind its back before ev_run applies a
 * change to it. So no ev_io is started or stopped but through these functions: they note which
 * descriptors changed, and ml_fdw_check() looks at those, once, just before libev would. */
struct ml_fdw {
    ev_io ev;     /* ev.data is the owner's; ev.fd and ev.events as libev keeps them */
    ml_fdw *next; /* the others on this descriptor */
    bool hosts;   /* the host's: rests in a run without it */
    int error;    /* for ml_fdw_error() */
    unsigned int heard;
};

/* With EV_ERROR if the descriptor was found closed or the kernel does not take it: the ev_io was
 * stopped, and that may be outside of the events' turn, just before a poll, so that it must call no
 * code of users. */
typedef void (*ml_io_cb)(struct ev_loop *, ev_io *, int);

void ml_fdw_init(ml_fdw *fdw, ml_io_cb cb, int fd, int events);
/* In a callback for EV_ERROR: the errno behind it, 0 if libev has found none. */
int ml_fdw_error(ml_loop *loop, ml_fdw *fdw);
/* For callbacks whose owner may have closed the descriptor while a copy of it lives: the kernel
 * goes on to tell of that, and libev takes it for the number. True if it was so; then the callback
 * was called with EV_ERROR, and returns. One event of many is looked at. */
bool ml_fdw_drop_closed(ml_loop *loop, ml_fdw *fdw);

static inline bool
ml_fdw_is_closed(ml_loop *loop, ml_fdw *fdw)
{
    return ++fdw->heard % 256 == 0 && ml_fdw_drop_closed(loop, fdw);
}

/* (Re)starts it; always announces the descriptor as new to libev, since its number may have been
 * reused. -1 with MemoryError. No-op if active. */
int ml_fdw_start(ml_loop *loop, ml_fdw *fdw);
void ml_fdw_stop(ml_loop *loop, ml_fdw *fdw);
/* Changes the events of a watcher, active or not; 0 events stop it, others start it. Cheaper than
 * stop, init, start: the kernel is told only if the descriptor's mask really changed. Only for a
 * descriptor that is known to be the same open file as before. */
int ml_fdw_modify(ml_loop *loop, ml_fdw *fdw, int events);
/* Those of the host rest from a run on in which nobody would serve them: they would be reported
 * again and again, and keep it going. What is started meanwhile rests, too. */
void ml_fdw_rest(ml_loop *loop);
/* The host is about to run. -1 with MemoryError, and then they still rest. */
int ml_fdw_resume(ml_loop *loop);
/* Just before libev looks at its descriptors: takes the watchers off those that libev would abort
 * at, and says whether any had some. What was decided before it may have changed then. */
bool ml_fdw_check(ml_loop *loop);
/* libev has told the kernel what changed, and polls. */
void ml_fdw_polls(ml_loop *loop);
/* Only for the descriptors that changed, which the next ml_fdw_check() looks at again. */
void ml_fdw_check_changed(ml_loop *loop);
/* `guess` if that is an epoll descriptor or an eventfd, else -1. */
int ml_find_backend_fd(int guess);
int ml_find_pipe_fd(int guess);
/* An anonymous inode's, as libev's own are, was closed: or its number is something else's by now,
 * which has a file type. */
bool ml_fd_is_lost(int fd);
/* The next check looks at it again: what can be done with it may have changed since the last. */
void ml_fdw_recheck(ml_loop *loop, ml_fdw *fdw);
/* For a poll that begins with events pending: libev could not register a descriptor. */
void ml_fdw_refused(ml_loop *loop);
/* Takes one that is not active off the descriptor. */
void ml_fdw_unlink(ml_loop *loop, ml_fdw *fdw);

/* ---- memory kept back for libev (reserve.c) ---------------------------------------------- */

extern _Atomic(void *) ml_reserve; /* NULL once libev had to be given it */
int ml_reserve_init(void);
int ml_reserve_refill(void);

/* Before anything is started: -1 with MemoryError if libev could be out of memory next. */
static inline int
ml_reserve_check(void)
{
    return atomic_load_explicit(&ml_reserve, memory_order_relaxed) ? 0 : ml_reserve_refill();
}

/* ---- libev's backends (backends.c) ------------------------------------------------------- */

/* Of these EVBACKEND_* the ones that do not end the process. */
static inline unsigned int
ml_backends_usable(unsigned int backends)
{
    return backends & ~(unsigned int)EVBACKEND_IOURING;
}

/* Takes the others out of the flags of a loop to be made, after what the environment says; -1 with
 * Error if none is left. */
int ml_backends_flags(ml_state *state, unsigned int *flags);

/* ---- the loop (loop.c, run.c) ------------------------------------------------------------ */

/* What the asyncio loop on top, the host, does while it runs: either it runs this loop itself, or
 * it is the guest of a program that calls start(). */
typedef struct ml_host_ops {
    /* An exception, raised by `callback` of a watcher, is set: true if it was dealt with, false
     * (exception still set) if the run must end with it. */
    bool (*failed)(void *host, PyObject *callback);
    /* -1 with Error if start() cannot be called now. */
    int (*check_start)(void *host);
    /* A guest's part of each round, after the pending events were invoked and before the next poll;
     * `polled`: there was a poll since the last call. NULL if the host runs the loop itself. */
    void (*turn)(void *host, bool polled);
    /* Just before a poll that may wait: true if it must not, as the host has work. */
    bool (*before_poll)(void *host);
    /* 1 if the guest has something to wait for that is no watcher, 0 if not, -1 with an exception.
     */
    int (*waits)(void *host);
    /* This process is about to fork. -1 with an exception. */
    int (*before_fork)(void *host);
} ml_host_ops;

/* An event that is not delivered yet. */
typedef struct ml_aside {
    ml_watcher *watcher;
    int revents;
} ml_aside;

struct ml_loop {
    PyObject_HEAD
    PyObject *module;    /* owned, as types are cleared before their instances at exit */
    ml_state *state;     /* in it */
    struct ev_loop *ev;  /* NULL once closed */
    ml_loop *next, **by; /* state->loops */
    PyObject *weaklist;
    PyObject *callback; /* invoke-pending hook or NULL */
    PyObject *data;
    ml_watcher *held;      /* active or pending watchers, each with a reference of ours */
    struct ml_once *onces; /* calls of once() that wait */

    /* running */
    unsigned long owner;   /* thread inside ev_run, 0 if none */
    bool polling;          /* in a poll that gave the GIL away */
    _Atomic(int) wakers;   /* threads inside of ml_loop_wake_and_yield() without the GIL */
    int unyielding;        /* its next calls are not to yield the core */
    PyThreadState *tstate; /* saved around a poll that gave the GIL away, else NULL */
    int depth;             /* nested ml_loop_run() calls */
    bool blocking;         /* this ev_run may block, so give the GIL away around its poll */
    bool debug;            /* every exception is fatal */
    bool is_default;
    bool initialised;        /* __init__ has run, once */
    bool preparing;          /* inside a Prepare callback */
    bool closing;            /* being closed: nothing can be started any more */
    unsigned long *invokers; /* threads inside of invoke() and the like: see ml_invoking_begin() */
    int invoking, invokers_cap;
    PyObject *exc;    /* what ends the run, set aside until ev_run has returned */
    PyObject *handed; /* what ended a run within the callback that runs now, which may catch it */
    ml_aside *aside;  /* what came after `exc`, in its order: fed again after ev_run */
    int aside_len, aside_cap;
    int break_how;      /* a stop() of another thread: applied after the poll; 0 */
    int broken;         /* EVBREAK_*: how the innermost run was told to end, 0 if it was not */
    bool polled;        /* there was a poll since the guest's last turn */
    int syserr;         /* errno that libev's backend reported, 0 if none */
    int syserr_count;   /* reports in this run */
    bool reset_due;     /* libev is about to replace its epoll descriptor: no poll has been since */
    bool fork_told;     /* ... because of ev_loop_fork(), and not by itself */
    pid_t pid;          /* the process that libev knows of */
    bool backend_moved; /* ... and it has to be looked for after that poll */
    bool fork_due;      /* this is a forked child, and its Fork watchers do not know yet */
    bool stale;         /* changed since its last poll, of which the kernel is not told yet */

    ml_embed *embeds;    /* the Embed watchers of other loops for this one; borrowed */
    bool swept;          /* before the poll, the loops that are embedded in it get their turn */
    bool again;          /* one of those has something to do since its turn */
    ml_loop *embed_seen; /* while embed.c searches: the next loop found, itself at the end */

    int backend_fd; /* libev's own epoll descriptor, which must not be watched; -1 */
    int pipe_fd;    /* that of its wake-up, to be looked at before poll() and select(); -1 */
    ev_async wake;  /* ends a poll from another thread; started with the loop, unref'd */
    ev_idle awake;  /* keeps the poll that comes next from waiting; active until it has been */
    bool unsure;    /* the kernel may refuse the wake-up in the poll that comes next */
    unsigned int expected; /* events of libev's own that the poll brings */
    bool hasty;            /* for that alone a poll did not wait, and it brought nothing */
    ev_fork forked;        /* pending just before libev registers all descriptors anew */
    bool check_each;       /* the backend looks at descriptors in each poll: not epoll */
    bool check_all;        /* ml_fdw_check() is to look at all descriptors, changed or not */
    bool refused;          /* libev may have stopped watchers, see ml_fdw_refused() */

    ml_scheduler *due, **due_end; /* Schedulers that are to be asked for their next time */
    unsigned long rescheduling;   /* thread inside of a reschedule callable, 0 if none */
    unsigned int invoked;         /* ev_iteration() when events were last invoked */

    /* descriptors */
    ml_fdw **fds; /* by number: the active ml_fdw's of it, and those that rest */
    int fds_cap;
    int *changed; /* descriptors to look at before the next poll */
    int changed_len, changed_cap;
    unsigned int drops; /* how often watchers were taken off a descriptor that libev cannot have */

    /* files: see inotify.h */
    ml_inotify *inotify; /* NULL without watched paths */
    bool no_inotify;     /* EVFLAG_NOINOTIFY */

    /* signals to the main thread: see ml_interrupt_begin() */
    int wakeup_fds[2]; /* a socket pair, made on first use; -1 */
    ml_fdw wakeup_io;
    int wakeup_depth;
    int wakeup_old; /* the fd that was set before ours; what arrives is passed on to it */

    /* The asyncio loop on top, or NULL, and while it runs its functions. */
    void *host;
    const ml_host_ops *host_ops;
    bool resting; /* see ml_fdw_rest() */

    double io_interval, timeout_interval;
    bool suspended;
    int refs;    /* net ref() minus unref() by the user */
    int counted; /* watchers that are */
};

/* Makes a loop from C, for aio/: `flags` go to ev_loop_new as they are. NULL with an exception. */
ml_loop *ml_loop_new(ml_state *state, unsigned int flags);
/* As Loop.close(), also for a loop that has a host: -1 with Error from inside a run; or with what
 * a Cleanup watcher raised, and then the loop is closed. */
int ml_loop_close(ml_loop *loop);
/* Calls the Cleanup watchers of a loop that nobody closed; what they raise is reported. */
void ml_loop_finalize(ml_loop *loop);
/* Stops all Python watchers and once() calls. */
void ml_loop_stop_all(ml_loop *loop);
void ml_once_stop_all(ml_loop *loop);
int ml_once_traverse(ml_loop *loop, visitproc visit, void *arg);
PyObject *ml_loop_once(ml_loop *loop, PyObject *args, PyObject *kwargs);
/* -1 with Error "loop is closed". */
int ml_loop_check_open(ml_loop *loop);
/* For what changes the loop or a watcher of it, but for their `data`: -1 with Error also inside of
 * a reschedule callable. */
int ml_loop_check_change(ml_loop *loop);
/* A run of the loop goes on in another thread; -1 with Error if so. */
bool ml_loop_runs_elsewhere(ml_loop *loop);
int ml_loop_check_thread(ml_loop *loop);

/* Around calls of Python code outside of a run, by the loop or a watcher: meanwhile the loop cannot
 * be closed. They are noted by thread, as a forked child has only one of them. -1 with MemoryError.
 */
int ml_invoking_begin(ml_loop *loop);
void ml_invoking_end(ml_loop *loop);

/* ev_run with every guard: one thread at a time, descriptors checked, Python's signal handlers
 * run, an exception raised by a watcher set aside and raised here, undelivered events kept.
 * `blocking` says whether the GIL is given away around the poll. Returns -1 with an exception, else
 * a set of these. */
#define ML_RUN_ACTIVE 1 /* watchers are left */
#define ML_RUN_BROKEN 2 /* it was told to end */
int ml_loop_run(ml_loop *loop, int flags, bool blocking);
/* The host begins to serve its descriptors in the runs that follow, or with NULL no longer does. -1
 * with MemoryError, and it does not. */
int ml_loop_serve(ml_loop *loop, const ml_host_ops *ops);
/* ev_break, from inside of a run and in its thread. */
void ml_loop_break(ml_loop *loop, int how);
/* Stops `awake`, if a run that ended before its poll has left it. */
void ml_loop_let_sleep(ml_loop *loop);

/* default.c: the functions of the module; whether libev has made that loop, wrapped or not; it as
 * the `ev` of a new wrapper (-1 with an exception); and the end of its wrapper. */
PyObject *ml_default_loop(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *ml_default_loop_as(PyObject *module, PyObject *args, PyObject *kwargs);
bool ml_default_loop_made(void);
int ml_default_create(ml_loop *loop, unsigned int flags);
void ml_default_closed(void);
/* How both are made: the object; __init__; in that, taking over a fresh libev loop, made when
 * `guess` was the lowest free number and `next` the one after it (-1: not known). */
ml_loop *ml_loop_alloc(PyTypeObject *type);
int ml_loop_init(ml_loop *loop, PyObject *args, PyObject *kwargs, bool is_default);
void ml_loop_adopt(ml_loop *loop, struct ev_loop *ev, int guess, int next);
int ml_loop_set_interval(ml_loop *loop, PyObject *value, bool io);
/* In a forked child. */
void ml_loop_after_fork(ml_loop *loop);
/* ev_loop_fork: before its next poll libev makes the backend anew. */
void ml_loop_reset(ml_loop *loop);
int ml_loop_set_hook(ml_loop *loop, PyObject *callback);
/* loop_api.c: what Python sees. */
extern PyMethodDef ml_loop_methods[];
extern PyGetSetDef ml_loop_getset[];
extern PyMemberDef ml_loop_members[];
PyObject *ml_loop_repr(ml_loop *loop);

/* The number of the descriptor that libev opens next, and in *next, if not NULL, of the one after
 * it; -1 with OSError if it cannot have two. */
int ml_probe_descriptors(int *next);
void ml_run_init(ml_loop *loop); /* sets libev's hooks on a new loop */
/* Ends the run with the exception that is set: ml_loop_run() raises it, and if nobody catches it
 * around a nested one, so do those around that. A second one meanwhile goes to sys.unraisablehook.
 */
void ml_loop_set_aside(ml_loop *loop, PyObject *source);
/* Makes the events that were set aside pending again. */
void ml_feed_again(ml_loop *loop);
/* Takes a watcher out of those set aside; its revents, or 0. */
int ml_aside_take(ml_loop *loop, ml_watcher *watcher);
/* Keeps libev's count of reasons to run from going below zero, after a stop that follows an
 * unref(). */
void ml_loop_balance(ml_loop *loop);
/* Calls callback(first, revents) for an event and deals with what it raises: reported, or set
 * aside to end the run. */
void ml_loop_call(ml_loop *loop, PyObject *callback, PyObject *first, int revents);
/* The second half of that, for the exception that is set. */
void ml_loop_report(ml_loop *loop, PyObject *callback);
/* Raises what was set aside, -1, if anything was, to a caller that may catch it; else, if that is
 * inside of a run, the run ends with it. */
int ml_loop_raise_aside(ml_loop *loop);
/* The second half of that: raises `exc` (stolen). */
void ml_loop_hand_out(ml_loop *loop, PyObject *exc);

/* Between these two, a signal to the process ends the loop's poll at once, although CPython's C
 * handler only sets a flag (it may run just before the poll, or in another thread): the signal
 * wakeup fd is ours, and what it had been set to before gets the bytes too. Nests. Does nothing
 * outside of the main thread. -1 with an exception. */
int ml_interrupt_begin(ml_loop *loop);
/* Whether an exception is set or not: that stays, and what comes with it is reported. */
int ml_interrupt_end(ml_loop *loop);
/* In a forked child: its own socket pair, under the same numbers. */
void ml_interrupt_after_fork(ml_loop *loop);

/* Ends the loop's poll from any thread, with the GIL; without it, as one of `wakers`. */
static inline void
ml_loop_wake(ml_loop *loop)
{
    ev_async_send(loop->ev, &loop->wake);
}

/* The same at the end of a call from Python, and if that is another thread's: it gives the GIL away
 * for the loop's. */
void ml_loop_wake_and_yield(ml_loop *loop);

/* embed.c, for loops that have `embeds`. The loops around it are told what the descriptor of its
 * backend does not tell: that it was sent something; that it was changed, if that matters. */
void ml_embed_sent(ml_loop *other);
void ml_embed_changed(ml_loop *other);
/* That descriptor was replaced. No Python code runs in it. */
void ml_embed_moved(ml_loop *other);
void ml_embed_stop_all(ml_loop *other);

/* After a change to the loop: if it sleeps, this is another thread, and libev has to look again. */
static inline void
ml_loop_changed(ml_loop *loop)
{
    if (loop->polling) {
        ml_loop_wake(loop);
    }
    if (loop->embeds != NULL && loop->depth == 0) {
        ml_embed_changed(loop);
    }
}

/* ---- signals (sigtable.c) ---------------------------------------------------------------- */

/* libev allows a signal on one loop only (else it aborts), and its handler hides Python's.
 * start: -1 with Error (other loop, SIGCHLD while libev's default loop exists). */
int ml_signal_check(int signum); /* -1 with ValueError: out of range, SIGKILL, SIGSTOP */
int ml_signal_start(ml_loop *loop, ev_signal *ev);
void ml_signal_stop(ml_loop *loop, ev_signal *ev);
/* The loop that a signal is on, borrowed, or NULL. */
ml_loop *ml_signal_owner(int signum);

/* An asyncio loop's handler of a signal: active, or waiting while another loop has the signal. */
typedef struct ml_sigclaim {
    ev_signal ev;
    ml_loop *loop;            /* borrowed */
    struct ml_sigclaim *next; /* older ones for the signal */
    bool inherited;           /* this is a forked child, and it was made in the parent */
} ml_sigclaim;

/* Takes the signal, from another claim too, and sets Python's handler. -1 with ValueError (not in
 * the main thread), Error (as above), or what a handler of signal.signal() raised; the
 * claim is to be given up then, too. Python code runs, so it may have been given up before. */
int ml_signal_claim(ml_sigclaim *claim);
/* Python's half of giving it up, before the other one; -1 with an exception, and nothing was
 * changed. Python code runs, as above. */
int ml_signal_release(ml_sigclaim *claim);
void ml_signal_unclaim(ml_sigclaim *claim);
void ml_signal_after_fork(void);
/* The wakeup fd told of a signal while `loop` runs. */
void ml_signal_arrived(ml_loop *loop, int signum);
PyObject *ml_signal_handler(PyObject *module, PyObject *args);

/* ---- the base of all watchers (watcher.c) ------------------------------------------------ */

/* What one kind of watcher defines. */
typedef struct ml_kind {
    const char *name;
    ml_params args; /* its own, as set() takes them; 4 at the most */
    bool callback_optional;
    bool uncounted;   /* never keeps the loop running, whatever `ref` says */
    size_t ev_offset; /* of the ev_X in the object */
    /* Checks its own arguments and puts them into the (inactive) ev_X. -1 with an exception. */
    int (*set)(ml_watcher *self, PyObject *const *args);
    int (*start)(ml_watcher *self);          /* ev_X_start with its guards; -1 with an exception */
    void (*stop)(ml_watcher *self);          /* ev_X_stop; clears a pending event too */
    PyObject *(*describe)(ml_watcher *self); /* its arguments, for repr(); NULL: none */
    /* For kinds that hold objects of their own. The garbage collector may clear an active watcher;
     * what libev uses of it is for `free`. */
    int (*traverse)(ml_watcher *self, visitproc visit, void *arg);
    void (*clear)(ml_watcher *self);
    void (*free)(ml_watcher *self);
} ml_kind;

struct ml_watcher {
    PyObject_HEAD
    const ml_kind *kind;
    ml_loop *loop; /* owned; NULL until __init__ has run */
    PyObject *callback, *data;
    PyObject *weaklist;
    ml_watcher *next, **by; /* loop->held, which then owns a reference */
    bool no_ref;            /* ref=False: does not keep the loop alive */
    bool counted;           /* in loop->counted: a reason for it to run, when last looked at */
    bool unrefd;            /* that (or `uncounted`), and libev has been told, as it is active */
    bool aside;             /* in loop->aside, which counts as pending */
    int error;              /* errno behind an EV_ERROR, 0 if there is none */
};

static inline ev_watcher *
ml_watcher_ev(ml_watcher *self)
{
    return (ev_watcher *)((char *)self + self->kind->ev_offset);
}

static inline bool
ml_watcher_pending(ml_watcher *self)
{
    return self->aside || ev_is_pending(ml_watcher_ev(self));
}

int ml_watcher_check_callback(ml_watcher *self, PyObject *callback);
int ml_watcher_set_priority(ml_watcher *self, PyObject *value);
/* watcher_api.c: what Python sees. */
extern PyMethodDef ml_watcher_methods[];
extern PyGetSetDef ml_watcher_getset[];
PyObject *ml_watcher_get(ml_watcher *self, void *member);
PyObject *ml_watcher_repr(ml_watcher *self);

PyObject *ml_watcher_alloc(PyTypeObject *type, const ml_kind *kind);
/* The slots that every kind has: tp_new is its own, and calls ml_watcher_alloc(). */
int ml_watcher_init(ml_watcher *self, PyObject *args, PyObject *kwargs);
PyObject *ml_watcher_set(ml_watcher *, PyObject *const *, Py_ssize_t, PyObject *);
int ml_watcher_traverse(ml_watcher *self, visitproc visit, void *arg);
int ml_watcher_clear(ml_watcher *self);
void ml_watcher_dealloc(ml_watcher *self);
/* -1 with Error: __init__ was not called, or the loop is closed. */
int ml_watcher_check(ml_watcher *self);
/* The same for what changes the watcher, see ml_loop_check_change(). */
int ml_watcher_check_change(ml_watcher *self);
/* -1 with Error while active. */
int ml_watcher_check_inactive(ml_watcher *self, const char *what);
int ml_watcher_start(ml_watcher *self);
void ml_watcher_stop(ml_watcher *self);
/* Brings loop->held and libev's reference count in line with the state. May drop the last reference
 * but the caller's. */
void ml_watcher_sync(ml_watcher *self);
/* Calls the active Cleanup watchers (cleanup.c). What one raises that would end a run is in
 * loop->exc. */
void ml_cleanup_run(ml_loop *loop);
/* The callback of every ev_X of a Python watcher; ev->data is the watcher. */
void ml_watcher_event(struct ev_loop *loop, ev_watcher *ev, int revents);
/* Stops it and ends the run with OSError(self->error), or Error if that is 0. */
void ml_watcher_error(ml_watcher *self);
/* A float that is not NaN, and not below `least`. -1 with ValueError naming it. As all conversions
 * of arguments it can run Python code, so what the state allows is to be checked after it. */
int ml_float_arg(PyObject *object, const char *name, double least, double *value);

/* fork.c: makes an event of the active ones pending, or takes it back; that gives how many. */
void ml_fork_feed(ml_loop *loop);
unsigned int ml_fork_clear(ml_loop *loop);
/* scheduler.c: asks those that are due, just before callbacks are called. */
void ml_scheduler_ask_due(ml_loop *loop);
/* stat.c: makes Statdata. */
int ml_stat_add_types(PyObject *module, ml_state *state);

/* The `start` and `stop` of a kind for which libev's functions need no guard. */
#define ML_START_AND_STOP(lower)                                       \
    static int lower##_start(ml_watcher *base)                         \
    {                                                                  \
        ev_##lower##_start(base->loop->ev, &((ml_##lower *)base)->ev); \
        return 0;                                                      \
    }                                                                  \
                                                                       \
    static void lower##_stop(ml_watcher *base)                         \
    {                                                                  \
        ev_##lower##_stop(base->loop->ev, &((ml_##lower *)base)->ev);  \
    }

#define ML_NEW(lower)                                                           \
    static PyObject *lower##_new(PyTypeObject *type, PyObject *Py_UNUSED(args), \
                                 PyObject *Py_UNUSED(kwargs))                   \
    {                                                                           \
        return ml_watcher_alloc(type, &ml_##lower##_kind);                      \
    }

#define ML_WATCHER_SLOTS(lower)                                                                   \
    {Py_tp_new, lower##_new}, {Py_tp_init, ml_watcher_init}, {Py_tp_dealloc, ml_watcher_dealloc}, \
        {Py_tp_traverse, ml_watcher_traverse},                                                    \
    {                                                                                             \
        Py_tp_clear, ml_watcher_clear                                                             \
    }

#define ML_WATCHER_SPEC(Name, lower)                                            \
    PyType_Spec ml_##lower##_spec = {                                           \
        .name = "moodloop.event." #Name,                                        \
        .basicsize = sizeof(ml_##lower),                                        \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE, \
        .slots = lower##_slots,                                                 \
    }

/* A row of a getset table, for a member of the struct: its setter, too, gets the PyMemberDef. */
#define ML_MEMBER(getter_, setter_, name, type, structure, member, doc)        \
    {                                                                          \
        name, (getter)getter_, (setter)setter_, PyDoc_STR(doc), &(PyMemberDef) \
        {                                                                      \
            name, type, offsetof(structure, member), READONLY, NULL            \
        }                                                                      \
    }

/* `set` for kinds that have arguments of their own. */
#define ML_SET_METHOD                                                                             \
    {                                                                                             \
        "set", ML_FUNCTION(ml_watcher_set), ML_FAST_KEYWORDS,                                     \
            PyDoc_STR("Replaces the arguments of an inactive watcher; Error while it is active.") \
    }

#endif
