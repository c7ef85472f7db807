/* What a loop keeps: the owner of a descriptor that it watches.
 *
 * A task that waits is often known to nobody but what will call it back, and that to nobody but
 * libev, which the collector knows nothing of. So the loop owns a reference to it, in one list:
 * streams and operations on sockets. (Readers and writers are kept by their slots.) */
#ifndef ML_HELD_H
#define ML_HELD_H

#include "../watcher/watcher.h"

typedef struct ml_aioloop ml_aioloop;
typedef struct ml_held ml_held;

struct ml_held {
    ml_fdw fdw;
    PyObject *owner;     /* borrowed; the object it is embedded in */
    ml_held *next, **by; /* loop->held, which then owns a reference */
};

void ml_held_init(ml_held *held, PyObject *owner, ml_io_cb cb, int fd);
/* Watches for these events from now on and keeps the owner; for none it lets go of both, and the
 * caller must have a reference of its own. A closed loop watches nothing. -1 with MemoryError, and
 * then nothing has changed. */
int ml_held_watch(ml_held *held, ml_aioloop *loop, int events);

/* Only keeps the owner, or lets go of it, whatever is watched. */
void ml_held_keep(ml_held *held, ml_aioloop *loop, bool on);

/* What it is watched for. */
static inline int
ml_held_events(const ml_held *held)
{
    return ev_is_active(&held->fdw.ev) ? held->fdw.ev.events & (EV_READ | EV_WRITE) : 0;
}

static inline bool
ml_held_is_kept(const ml_held *held)
{
    return held->by != NULL;
}

/* For the collector; and for close(), after which nothing is watched any more. */
int ml_aioloop_held_traverse(ml_aioloop *self, visitproc visit, void *arg);
void ml_aioloop_held_clear(ml_aioloop *self);

#endif
