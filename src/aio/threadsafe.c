/* Handles of call_soon_threadsafe(), from Python 3.14 on: asyncio promises there that cancel() and
 * cancelled() of another thread wait while the callback runs, so that who cancelled knows whether
 * it ran.
 *
 * asyncio has a lock in each such handle. Here the GIL guards the handle, and only a thread that
 * finds its callback running makes a lock, which the loop's thread releases when the callback has
 * returned: who never waits pays one comparison for each callback. */
#include "aio.h"

#if ML_THREADSAFE_HANDLES

/* A thread that waits. Not on its stack, which a forked child has no more. */
struct ml_waiter {
    ml_handle *handle; /* NULL when the callback has returned */
    PyThread_type_lock lock;
    ml_waiter *next;
};

static void
unlink_waiter(ml_aioloop *loop, ml_waiter *waiter)
{
    ml_waiter **at = &loop->waiters;

    while (*at != waiter) {
        at = &(*at)->next;
    }
    *at = waiter->next;
}

/* Until the callback has returned. Signals are handled meanwhile; what their handlers raise ends
 * the wait. */
static int
wait_for(ml_waiter *waiter)
{
    while (waiter->handle != NULL) {
        PyLockStatus status;
        Py_BEGIN_ALLOW_THREADS;
        status = PyThread_acquire_lock_timed(waiter->lock, -1, 1);
        Py_END_ALLOW_THREADS;
        if (status == PY_LOCK_INTR && PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
    return 0;
}

int
ml_handle_settle(ml_handle *handle)
{
    ml_aioloop *loop = handle->loop;

    /* Its own callback must not wait for itself: the loop's thread, or whoever calls _run(). */
    if (!handle->threadsafe || handle->running == 0 || handle->by_hand ||
        loop->thread == PyThread_get_thread_ident()) {
        return 0;
    }
    PyThread_type_lock lock = PyThread_allocate_lock();
    ml_waiter *waiter = lock ? PyMem_RawMalloc(sizeof(*waiter)) : NULL;
    if (waiter == NULL) {
        if (lock != NULL) {
            PyThread_free_lock(lock);
        }
        PyErr_NoMemory();
        return -1;
    }
    *waiter = (ml_waiter){.handle = handle, .lock = lock, .next = loop->waiters};
    Py_INCREF(handle);
    PyThread_acquire_lock(lock, NOWAIT_LOCK);
    loop->waiters = waiter;
    int rc = wait_for(waiter);
    if (waiter->handle != NULL) {
        unlink_waiter(loop, waiter);
    }
    PyThread_release_lock(lock);
    PyThread_free_lock(lock);
    PyMem_RawFree(waiter);
    Py_DECREF(handle);
    return rc;
}

void
ml_handle_settled(ml_aioloop *loop, ml_handle *handle)
{
    for (ml_waiter **at = &loop->waiters; *at != NULL;) {
        ml_waiter *waiter = *at;
        if (waiter->handle == handle) {
            *at = waiter->next;
            waiter->handle = NULL;
            PyThread_release_lock(waiter->lock);
        }
        else {
            at = &waiter->next;
        }
    }
}

#endif
