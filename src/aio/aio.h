/* The asyncio loop on top of event.Loop: ready ring, handles, descriptors, signals, sock_*.
 *
 * One turn is stock asyncio's: poll (without waiting if something is ready), append the I/O
 * handles, append the due timers, run exactly what is then in the ring. libev callbacks of this
 * layer only append: no Python code of the asyncio side runs inside ev_run. */
#ifndef ML_AIO_H
#define ML_AIO_H

#include "../watcher/watcher.h" /* first: Python.h comes before the system's headers */

#include "../sys/sock.h"
#include "after.h"
#include "handle.h"
#include "held.h"
#include "pacer.h"
#include "precise.h"
#include "ring.h"
#include "timers.h"

typedef struct ml_waiter ml_waiter; /* threadsafe.c */

#if ML_THREADSAFE_HANDLES
#define ML_THREADSAFE_IMPORTS(X) X(ThreadSafeHandle, "asyncio.events", "_ThreadSafeHandle")
#else
#define ML_THREADSAFE_IMPORTS(X)
#endif

/* What the core uses of the standard library: X(field, module, name), NULL for the module itself.
 * Future and Task are not here: programs replace them, so they are looked up when used. */
#define ML_IMPORTS(X)                                                  \
    X(Handle, "asyncio.events", "Handle") /* __class__ and __repr__ */ \
    X(TimerHandle, "asyncio.events", "TimerHandle")                    \
    ML_THREADSAFE_IMPORTS(X)                                           \
    X(futures, "asyncio.futures", NULL)                                \
    X(tasks, "asyncio.tasks", NULL)                                    \
    X(BaseEventLoop, "asyncio.base_events", "BaseEventLoop")           \
    X(BufferedProtocol, "asyncio.protocols", "BufferedProtocol")       \
    X(Protocol, "asyncio.protocols", "Protocol")                       \
    X(TransportSocket, "asyncio.trsock", "TransportSocket")            \
    X(WeakSet, "weakref", "WeakSet")                                   \
    X(socket_class, "socket", "socket")                                \
    X(gaierror, "socket", "gaierror")                                  \
    X(af_inet, "socket", "AF_INET")                                    \
    X(af_inet6, "socket", "AF_INET6")                                  \
    X(sock_stream, "socket", "SOCK_STREAM")                            \
    X(sock_dgram, "socket", "SOCK_DGRAM")                              \
    X(sock_raw, "socket", "SOCK_RAW")

#define ML_FREELIST_ARGS 4 /* handles with fewer arguments than this are recycled */
#define ML_FREELIST_MAX 1024

/* What aio/ and net/ keep per module. */
typedef struct ml_aio {
#define X(field, module, name) PyObject *field;
    ML_IMPORTS(X)
#undef X
    PyObject *diagnostics;  /* moodloop._diagnostics, imported when first needed */
    PyObject *only_context; /* ("context",): the last tuple of keyword names that was just that */
    ml_handle *free_handles[ML_FREELIST_ARGS];
    ml_handle *free_timers[ML_FREELIST_ARGS];
    int free_handles_len[ML_FREELIST_ARGS], free_timers_len[ML_FREELIST_ARGS];
} ml_aio;

/* ---- the loop (loop.c, run.c, schedule.c, tasks.c) --------------------------------------- */

typedef struct ml_slot ml_slot; /* fds.c */
typedef struct ml_sig ml_sig;   /* signals.c */

/* The largest datagram that stock asyncio takes. Memory is only used up to what was received. */
#define ML_SCRATCH_SIZE (256 * 1024)

struct ml_base {
    PyObject_HEAD
    ml_state *state;
    ml_loop *ev; /* owned; NULL until __init__ */
    bool own_ev; /* made by us: closed with us */
    bool closed, debug, stopping, running;
    bool guest;           /* running, in a start() of the event.Loop: see guest.c */
    bool counted;         /* ... which goes on for what is ready and for timers */
    bool in_batch;        /* callbacks are running: writes may wait for the end of theirs */
    bool sleeping;        /* in, or about to enter, a poll that may block */
    _Atomic(bool) woken;  /* ... and has been told to leave it */
    bool custom_time;     /* time() is overridden: timers follow that clock */
    unsigned long thread; /* that runs it, 0 if none */
    ml_ring ready;
    ml_mail mail; /* what other threads have scheduled while it runs */
    ml_batch io;  /* what one poll brought */
    ml_timers timers;
    ml_precise precise;
    ml_pacer pacer;
    PyObject *empty_context; /* see context.h */
    PyObject **entered_slot; /* of the callback that runs in one of these, and which; or NULL */
    PyObject *entered;
    PyObject *current_handle;
    PyObject *task_factory;  /* NULL: none */
    PyObject *loop_keywords; /* {"loop": self}, made on first use */
    ml_waiter *waiters;      /* threads in ml_handle_settle() */
    ml_slot *slots;          /* by descriptor */
    int slots_cap;
    ml_sig *signals;   /* list */
    uint64_t step;     /* counts callbacks */
    ml_after *after;   /* list */
    ml_held *held;     /* list */
    PyObject *scratch; /* bytes, ML_SCRATCH_SIZE; nobody else has it: see recv.c */
};

/* Something is ready, or was brought by a poll whose turn an exception kept from coming. */
static inline bool
ml_base_has_work(const ml_base *self)
{
    return ml_ring_len(&self->ready) + ml_mail_len(&self->mail) + self->io.len > 0;
}

/* Notes that I/O was begun: the next turn polls. */
static inline void
ml_base_touch(ml_base *self)
{
    ml_pacer_touch(&self->pacer);
}

/* Ends a poll that waits, or is about to; at most one wake-up for each. Other threads run. */
static inline void
ml_base_wake(ml_base *self)
{
    if (self->sleeping && !self->woken) {
        self->woken = true;
        ml_loop_wake_and_yield(self->ev);
    }
}

/* Appends to the ring; takes its own reference. -1 with MemoryError. */
int ml_base_push_handle(ml_base *self, ml_handle *handle);
int ml_base_push_ready(ml_base *self, ml_ready *ready);
/* For libev callbacks: what they pass is put on the ring after the poll. */
void ml_base_got_handle(ml_base *self, ml_handle *handle);
void ml_base_got_ready(ml_base *self, ml_ready *ready);
/* The loop's life (loop.c): on an event.Loop, its own or the program's, whose reference it takes
 * over; and the end of it, of which get_task_factory() and the like survive the first part. */
void ml_base_open(ml_base *self, ml_loop *ev, bool own);
void ml_base_shut(ml_base *self);
int ml_base_clear(ml_base *self);
int ml_base_traverse(ml_base *self, visitproc visit, void *arg);
void ml_base_dealloc(ml_base *self);
/* -1 with RuntimeError 'Event loop is closed'. */
int ml_base_check_closed(ml_base *self);
/* Sets the exception that is set aside as stock asyncio does for a callback: 0 if the loop's
 * exception handler took it, -1 if it must leave run_forever(). `context` keys as in
 * call_exception_handler; transport and protocol may be NULL. */
int ml_base_handle_error(ml_base *self, const char *message, PyObject *transport,
                         PyObject *protocol);
bool ml_base_watcher_failed(void *host, PyObject *callback);
PyObject *ml_base_run(ml_base *self, PyObject *unused);
/* Collects what the poll brought and runs what is ready. -1: must leave. */
int ml_base_turn(ml_base *self);
/* Just before a poll that may wait, when no more Python code runs: sees to it that it ends for the
 * next timer. True if it must not wait. */
bool ml_base_before_poll(void *host);
/* loop.time(), where that is a program's own, else the time of the last poll; -inf if it failed and
 * the exception handler was told. -1: must leave. */
int ml_base_time(ml_base *self, double *now);
/* verify.c: what is wrong with the loop's lists, counts and heaps, or NULL; SystemError for that.
 */
const char *ml_base_wrong(ml_base *self);
PyObject *ml_base_verify(ml_base *self, PyObject *unused);
/* What waits in a loop that does not run can be garbage with it: the collector is told. */
void ml_base_track_waiting(ml_base *self);
/* Guest mode (guest.c). */
PyObject *ml_base_attach(ml_base *self, PyObject *unused);
PyObject *ml_base_detach(ml_base *self, PyObject *unused);
void ml_base_end_guest(ml_base *self);
char *ml_base_scratch(ml_base *self);
PyObject *ml_base_create_future(ml_base *self, PyObject *unused);
PyObject *ml_base_create_task(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);
/* `module.name`, or `module` if `name` is NULL: a new reference. */
PyObject *ml_import_name(const char *module, const char *name);
/* Calls moodloop._diagnostics.<name>; `format` is Py_BuildValue's, for a tuple. */
PyObject *ml_diagnose(ml_state *state, const char *name, const char *format, ...);

/* Takes context= out of the keywords, callback= and the one named `first_name`: stock asyncio's
 * signatures allow them. NULL for what a function has not, never for callback; those
 * given by position are not NULL. */
int ml_base_keywords(ml_base *self, const char *name, PyObject *const *values, PyObject *kwnames,
                     const char *first_name, PyObject **first, PyObject **callback,
                     PyObject **context);
PyObject *ml_base_call_soon_method(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_base_call_soon_threadsafe(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_base_call_later(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_base_call_at(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);
/* ---- descriptors (fds.c) ----------------------------------------------------------------- */

PyObject *ml_base_add_reader(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_base_add_writer(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_base_add_reader_unchecked(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_base_add_writer_unchecked(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_base_remove_reader(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_base_remove_writer(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_base_remove_reader_unchecked(ml_base *, PyObject *);
PyObject *ml_base_remove_writer_unchecked(ml_base *, PyObject *);
PyObject *ml_base_rewatch(ml_base *, PyObject *);
/* The transport that owns a socket's descriptor: borrowed, for the "is used by transport" check. */
int ml_base_set_transport(ml_base *self, int fd, PyObject *transport);
void ml_base_unset_transport(ml_base *self, int fd, PyObject *transport);
/* The one a descriptor is known by, borrowed, or NULL. */
PyObject *ml_base_transport_of(ml_base *self, int fd);
/* While `shared`, sock_* may use the descriptor all the same. */
void ml_base_share_transport(ml_base *self, int fd, bool shared);
/* Cancels a reader, a writer, that was left on a number: it is another file's now. */
int ml_base_drop_reader(ml_base *self, int fd);
int ml_base_drop_writer(ml_base *self, int fd);
/* -1 with RuntimeError 'File descriptor N is used by transport ...'. */
int ml_base_check_fd(ml_base *self, PyObject *fileobj, int fd);
int ml_base_slots_traverse(ml_base *self, visitproc visit, void *arg);
void ml_base_slots_clear(ml_base *self);

/* ---- signals (signals.c) ----------------------------------------------------------------- */

PyObject *ml_base_signal_start(ml_base *, PyObject *args);
PyObject *ml_base_signal_stop(ml_base *, PyObject *arg);
PyObject *ml_base_signal_map(ml_base *, PyObject *unused);
int ml_base_signals_traverse(ml_base *self, visitproc visit, void *arg);
void ml_base_signals_clear(ml_base *self);

#endif
