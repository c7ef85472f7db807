/* What has ended, or is not to be read for now, still can be reset. epoll tells that of each
 * descriptor it has, whatever it is asked; but libev takes those that nobody watches out of its
 * own, as what stands ready for ever would end each poll. So they are put into a second one, which
 * tells changes only, and libev watches that. */
#include "aio.h"

#include <errno.h>
#include <sys/epoll.h>

/* What one look brings; with more the next poll ends at once. */
#define MOST_EVENTS 64

void
ml_hangups_init(ml_hangups *self)
{
    ml_ownfd_init(&self->own);
}

void
ml_hangups_close(ml_aioloop *loop)
{
    ml_ownfd_close(loop, &loop->hangups.own);
}

/* In a forked child what is left out there is the parent's, too. */
static bool
is_ours(ml_aioloop *loop)
{
    return ml_ownfd_is_ours(loop, &loop->hangups.own);
}

/* A number can be another's by now, where the descriptor was closed and a copy is left: who has it
 * sees for himself what there is. */
static void
look(ml_aioloop *loop)
{
    struct epoll_event events[MOST_EVENTS];
    int count = epoll_wait(loop->hangups.own.fd, events, MOST_EVENTS, 0);

    for (int i = 0; i < count; i++) {
        PyObject *transport = ml_aioloop_transport_of(loop, events[i].data.fd);
        if (transport != NULL) {
            loop->hangups.told(transport);
        }
    }
}

static void
changed(struct ev_loop *ev, ev_io *io, int revents)
{
    ml_hangups *self = ML_CONTAINER_OF(io, ml_hangups, own.io.ev);
    ml_loop *loop = ev_userdata(ev);

    if (revents & EV_ERROR) {
        ml_ownfd_refused(ev, &self->own);
    }
    else if (is_ours(loop->host)) {
        look(loop->host);
    }
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
        /* Without a descriptor for it the next write tells. */
        ml_ownfd_open(loop, &self->own, epoll_create1(EPOLL_CLOEXEC), changed);
    }
    int own = self->own.fd;
    if (own >= 0 && epoll_ctl(own, EPOLL_CTL_ADD, fd, &event) < 0 && errno == EEXIST) {
        epoll_ctl(own, EPOLL_CTL_MOD, fd, &event); /* tells again what is so */
    }
}

void
ml_hangups_forget(ml_aioloop *loop, int fd)
{
    struct epoll_event event = {0};

    if (!loop->closed && is_ours(loop)) {
        epoll_ctl(loop->hangups.own.fd, EPOLL_CTL_DEL, fd, &event);
    }
}
