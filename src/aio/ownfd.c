#include "aio.h"

#include <errno.h>
#include <unistd.h>

void
ml_ownfd_init(ml_ownfd *self)
{
    self->fd = -1;
}

void
ml_ownfd_open(ml_aioloop *loop, ml_ownfd *self, int fd,
              void (*callback)(struct ev_loop *, ev_io *, int))
{
    assert(self->fd < 0);
    if (fd < 0) {
        return;
    }
    ml_fdw_init(&self->io, callback, fd, EV_READ);
    if (ml_fdw_start(loop->ev, &self->io) < 0) {
        PyErr_Clear(); /* to go without is no failure */
        close(fd);
        return;
    }
    self->fd = fd;
    self->owner = getpid();
    ev_unref(loop->ev->ev);
}

void
ml_ownfd_close(ml_aioloop *loop, ml_ownfd *self)
{
    if (self->fd < 0) {
        return;
    }
    if (loop->ev->ev != NULL) {
        ev_ref(loop->ev->ev);
        ml_fdw_stop(loop->ev, &self->io);
    }
    close(self->fd);
    self->fd = -1;
}

void
ml_ownfd_refused(struct ev_loop *ev, ml_ownfd *self)
{
    int error = ml_fdw_error(ev_userdata(ev), &self->io);

    ev_ref(ev);
    if (error == ENOSPC || error == ENOMEM) {
        close(self->fd);
    }
    self->fd = -1;
}

bool
ml_ownfd_is_ours(ml_aioloop *loop, ml_ownfd *self)
{
    if (self->fd >= 0 && self->owner != getpid()) {
        ml_ownfd_close(loop, self);
    }
    return self->fd >= 0;
}
