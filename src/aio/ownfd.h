/* A descriptor of the loop's own, made on first use, that libev watches and that is no reason for
 * the loop to run. */
#ifndef ML_OWNFD_H
#define ML_OWNFD_H

#include "../watcher/watcher.h"

typedef struct ml_aioloop ml_aioloop;

typedef struct ml_ownfd {
    ml_fdw io;
    int fd;      /* -1: none */
    pid_t owner; /* the process that made it */
} ml_ownfd;

void ml_ownfd_init(ml_ownfd *self);
/* Takes `fd`, which may be -1, and has `callback` called when it can be read. Where that cannot be
 * had it is closed, and self->fd stays -1. */
void ml_ownfd_open(ml_aioloop *loop, ml_ownfd *self, int fd,
                   void (*callback)(struct ev_loop *, ev_io *, int));
void ml_ownfd_close(ml_aioloop *loop, ml_ownfd *self);
/* For the callback's EV_ERROR: somebody closed it, or has its number now; or the kernel has no room
 * to watch it, and it is still ours, and closed. */
void ml_ownfd_refused(struct ev_loop *ev, ml_ownfd *self);
/* Whether there is one of this process's: in a forked child the parent's is closed first. */
bool ml_ownfd_is_ours(ml_aioloop *loop, ml_ownfd *self);

#endif
