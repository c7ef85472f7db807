/* What is done when the callback that runs has returned, before the next one runs: sending what it
 * wrote. To wait for the end of the turn, so that peers get their answers all at once, costs a
 * server with few clients a tenth of its requests. */
#ifndef ML_AFTER_H
#define ML_AFTER_H

#include "../util.h"

typedef struct ml_aioloop ml_aioloop;
typedef struct ml_after ml_after;

struct ml_after {
    int (*run)(ml_after *after); /* -1: must leave run_forever() */
    PyObject *owner;             /* borrowed; the object it is embedded in */
    ml_after *next, **by;        /* loop->after, which then owns a reference */
};

void ml_after_add(ml_aioloop *loop, ml_after *after);
/* The caller has a reference of its own. */
void ml_after_remove(ml_after *after);
/* All that is to be done, and no failure keeps the rest waiting. -1: must leave. */
int ml_aioloop_run_after(ml_aioloop *loop);
/* LoopBase._flush(): the same before what others are to see after it. */
PyObject *ml_aioloop_flush(ml_aioloop *loop, PyObject *unused);
/* The child, too, would do it, when the callback that forks has returned there. */
int ml_aioloop_before_fork(void *host);

static inline bool
ml_after_is_due(const ml_after *after)
{
    return after->by != NULL;
}

#endif
