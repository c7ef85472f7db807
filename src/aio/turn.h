/* The turn, in a run of the loop's own (run.c) and in one of the program's (guest.c). */
#ifndef ML_TURN_H
#define ML_TURN_H

#include "../watcher/watcher.h"

typedef struct ml_aioloop ml_aioloop;

typedef struct ml_handle ml_handle;
typedef struct ml_ready ml_ready;

/* Appends to the ring; takes its own reference. -1 with MemoryError. */
int ml_aioloop_push_handle(ml_aioloop *self, ml_handle *handle);
int ml_aioloop_push_ready(ml_aioloop *self, ml_ready *ready);
/* For libev callbacks: what they pass is put on the ring after the poll. */
void ml_aioloop_got_handle(ml_aioloop *self, ml_handle *handle);
void ml_aioloop_got_ready(ml_aioloop *self, ml_ready *ready);
PyObject *ml_aioloop_run(ml_aioloop *self, PyObject *unused);
/* Collects what the poll brought and runs what is ready. -1: must leave. */
int ml_aioloop_turn(ml_aioloop *self);
/* Just before a poll that may wait, when no more Python code runs: sees to it that it ends for the
 * next timer. True if it must not wait. */
bool ml_aioloop_before_poll(void *host);
/* What waits in a loop that does not run can be garbage with it: the collector is told. */
void ml_aioloop_track_waiting(ml_aioloop *self);
/* Before a poll: what is on from now on, and what waits. */
void ml_aioloop_look(ml_aioloop *self, double now);
void ml_aioloop_rests(ml_aioloop *self);
/* Guest mode (guest.c). */
PyObject *ml_aioloop_attach(ml_aioloop *self, PyObject *unused);
PyObject *ml_aioloop_detach(ml_aioloop *self, PyObject *unused);
void ml_aioloop_end_guest(ml_aioloop *self);

#endif
