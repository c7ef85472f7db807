/* What has ended, or is not to be read for now, still can be reset. epoll tells that of each
 * descriptor it has, whatever it is asked; but libev takes those that nobody watches out of its
 * own, as what stands ready for ever would end each poll. So they are put into a second one, which
 * tells changes only, and libev watches that. */
#include "aio.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

/* What one look brings; with more the next poll ends at once. */
#define MOST_EVENTS 64

void
ml_hangups_init(ml_hangups *self)
{
    self->fd = -1;
}

void
ml_hangups_close(ml_aioloop *loop)
{
    ml_hangups *self = &loop->hangups;

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

/* In a forked child it is the parent's: what is left out there is the parent's, too. */
static bool
is_ours(ml_aioloop *loop)
{
    ml_hangups *self = &loop->hangups;

    if (self->fd >= 0 && self->owner != getpid()) {
        ml_hangups_close(loop);
    }
    return self->fd >= 0;
}

/* A number can be another's by now, where the descriptor was closed and a copy is left: who has it
 * sees for himself what there is. */
static void
look(ml_aioloop *loop)
{
    struct epoll_event events[MOST_EVENTS];
    int count = epoll_wait(loop->hangups.fd, events, MOST_EVENTS, 0);

    for (int i = 0; i < count; i++) {
        PyObject *transport = ml_aioloop_transport_of(loop, events[i].data.fd);
        if (transport != NULL) {
            loop->hangups.told(transport);
        }
    }
}

/* An error: somebody closed it, or has its number now; or the kernel has no room to watch it, and
 * it is still ours. */
static void
changed(struct ev_loop *ev, ev_io *io, int revents)
{
    ml_hangups *self = ML_CONTAINER_OF(io, ml_hangups, io.ev);
    ml_loop *loop = ev_userdata(ev);

    if (!(revents & EV_ERROR)) {
        if (is_ours(loop->host)) {
            look(loop->host);
        }
        return;
    }
    int error = ml_fdw_error(loop, &self->io);
    ev_ref(ev);
    if (error == ENOSPC || error == ENOMEM) {
        close(self->fd);
    }
    self->fd = -1;
}

/* Without a descriptor for it the next write tells, which is no reason to fail. */
static void
begin(ml_aioloop *loop)
{
    ml_hangups *self = &loop->hangups;

    self->fd = epoll_create1(EPOLL_CLOEXEC);
    if (self->fd < 0) {
        return;
    }
    ml_fdw_init(&self->io, changed, self->fd, EV_READ);
    if (ml_fdw_start(loop->ev, &self->io) < 0) {
        PyErr_Clear();
        close(self->fd);
        self->fd = -1;
        return;
    }
    self->owner = getpid();
    ev_unref(loop->ev->ev); /* no reason to run */
}

void
ml_hangups_watch(ml_aioloop *loop, int fd, ml_hangup_cb told)
{
    ml_hangups *self = &loop->hangups;
    struct epoll_event event = {.events = EPOLLET, .data.fd = fd};

    assert(fd >= 0 && (self->told == NULL || self->told == told));
    if (loop->closed || loop->ev->ev == NULL) {
        return;
    }
    self->told = told;
    if (!is_ours(loop)) {
        begin(loop);
    }
    if (self->fd >= 0 && epoll_ctl(self->fd, EPOLL_CTL_ADD, fd, &event) < 0 && errno == EEXIST) {
        epoll_ctl(self->fd, EPOLL_CTL_MOD, fd, &event); /* tells again what is so */
    }
}

void
ml_hangups_forget(ml_aioloop *loop, int fd)
{
    struct epoll_event event = {0};

    if (!loop->closed && is_ours(loop)) {
        epoll_ctl(loop->hangups.fd, EPOLL_CTL_DEL, fd, &event);
    }
}
