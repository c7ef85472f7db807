/* The clock that timers follow: the kernel's, or a time() of the program's own (clock.c). */
#ifndef ML_AIO_CLOCK_H
#define ML_AIO_CLOCK_H

#include "../util.h"

typedef struct ml_aioloop ml_aioloop;

/* LoopBase.time() */
PyObject *ml_aioloop_time(ml_aioloop *self, PyObject *unused);
/* Looks whether time() of this object is still that: at first, and when the attribute is set. */
int ml_clock_find(ml_aioloop *self);
/* ... and, in each turn, if its class has changed since. */
void ml_clock_recheck(ml_aioloop *self);
/* What loop.time() says; -1. with an exception if it failed, which may be its word. */
double ml_clock_now(ml_aioloop *self);
/* For a turn: the same, but of the last poll where the clock is the kernel's; -inf if it failed and
 * the exception handler was told. -1: must leave. */
int ml_clock_of_turn(ml_aioloop *self, double *now);

#endif
