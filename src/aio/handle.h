/* Handles: a callback with its arguments and context, and a timer, which is one with a due time. */
#ifndef ML_HANDLE_H
#define ML_HANDLE_H

#include "../util.h"

typedef struct ml_aioloop ml_aioloop;
typedef struct ml_handle ml_handle;
typedef struct ml_timer ml_timer;

/* From Python 3.14 on asyncio has a class of handles for call_soon_threadsafe(): threadsafe.c. */
#if PY_VERSION_HEX >= 0x030E0000
#define ML_THREADSAFE_HANDLES 1
#else
#define ML_THREADSAFE_HANDLES 0
#endif

/* An asyncio.Handle, 88 bytes with the collector's header (stock: 104 and a tuple).
 *
 * The collector is told of a handle only when it can be part of garbage: a handle that waits in a
 * running loop cannot, and one that nobody kept is recycled right after it ran. So tracking
 * happens when the loop is not running, when a handle outlives its run, and at cancel(). */
#define ML_HANDLE_HEAD                                                       \
    PyObject_VAR_HEAD   /* ob_size: the number of arguments */               \
    ml_aioloop *loop;   /* owned */                                          \
    PyObject *callback; /* NULL once cancelled, and while in the freelist */ \
    PyObject *context;  /* NULL: an empty one, see context.h */              \
    PyObject *weaklist;                                                      \
    PyObject *debug; /* NULL or [source traceback, repr kept by cancel()] */ \
    bool is_timer;                                                           \
    bool cancelled;                                                          \
    bool threadsafe;  /* see threadsafe.c */                                 \
    bool by_hand;     /* it is _run() that runs it, not the loop */          \
    unsigned running; /* how many run it: cancel() must leave callback and arguments alone */

struct ml_handle {
    ML_HANDLE_HEAD
    PyObject *args[];
};

struct ml_timer {
    ML_HANDLE_HEAD
    bool untracked; /* the collector does not know it yet */
    bool brief;     /* its delay was so short that it is to end the poll in time: precise.c */
    double when;    /* as it was asked for */
    size_t place;   /* in the loop's timers, counted from 1; 0: not scheduled */
    PyObject *args[];
};

static inline PyObject **
ml_handle_args(ml_handle *handle)
{
    return handle->is_timer ? ((ml_timer *)handle)->args : handle->args;
}

/* context: borrowed, NULL or None for the current one. */
ml_handle *ml_handle_new(ml_aioloop *loop, PyObject *callback, PyObject *const *args,
                         Py_ssize_t nargs, PyObject *context);
ml_timer *ml_timer_new(ml_aioloop *loop, double when, PyObject *callback, PyObject *const *args,
                       Py_ssize_t nargs, PyObject *context);
/* Runs it in its context. -1 only for what must leave run_forever(). */
int ml_handle_run(ml_handle *handle);
/* As Handle.cancel(). -1 with an exception (debug mode: repr failed). */
int ml_handle_cancel(ml_handle *handle);
/* The slots of both types. */
int ml_handle_traverse(ml_handle *handle, visitproc visit, void *arg);
int ml_handle_clear(ml_handle *handle);
void ml_handle_dealloc(ml_handle *handle);

#if ML_THREADSAFE_HANDLES
/* Waits while the loop runs the callback in another thread. -1: a signal handler raised. */
int ml_handle_settle(ml_handle *handle);
/* The callback has returned: lets go those who wait. */
void ml_handle_settled(ml_aioloop *loop, ml_handle *handle);
#else
static inline int
ml_handle_settle(ml_handle *Py_UNUSED(handle))
{
    return 0;
}
#endif

#endif
