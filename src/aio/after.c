/* The list of what is done when a callback has returned. */
#include "aio.h"

#include <pythread.h>

void
ml_after_add(ml_aioloop *loop, ml_after *after)
{
    if (after->by == NULL) {
        ML_LIST_ADD(&loop->after, after);
        Py_INCREF(after->owner);
    }
}

void
ml_after_remove(ml_after *after)
{
    if (after->by != NULL) {
        assert(Py_REFCNT(after->owner) > 1); /* `after` is in it */
        ML_LIST_REMOVE(after);
        Py_DECREF(after->owner);
    }
}

int
ml_aioloop_run_after(ml_aioloop *loop)
{
    int rc = 0;

    while (loop->after != NULL) {
        ml_after *after = loop->after;
        PyObject *owner = Py_NewRef(after->owner);
        PyObject *exc = rc < 0 ? ml_take_exception() : NULL;
        ml_after_remove(after);
        rc = ml_raise_again(exc, after->run(after), owner);
        Py_DECREF(owner);
    }
    return rc;
}

PyObject *
ml_aioloop_flush(ml_aioloop *loop, PyObject *Py_UNUSED(unused))
{
    return ml_none_or_error(ml_aioloop_run_after(loop));
}

int
ml_aioloop_before_fork(void *host)
{
    ml_aioloop *loop = host;

    if (loop->thread != PyThread_get_thread_ident()) {
        return 0;
    }
    int rc = ml_aioloop_run_after(loop);
    loop->step++; /* what the child writes first in this callback goes out: it may end in it */
    return rc;
}
