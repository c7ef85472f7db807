/* Timers of less than a millisecond or a few: epoll waits whole milliseconds, so that one of 300 us
 * was 800 us late. While there are any, a timerfd ends the poll in time for the next timer; it
 * costs two system calls, so that only delays for which it matters get one. To wake a thread takes
 * the machine 20 to 40 us more: the timerfd is set for so much earlier, and what is left of that is
 * spent looking. */
#include "aio.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* libev counts a timer as due once its time has passed; if woken too early it waits a millisecond
 * more. */
#define MARGIN_SECONDS 2e-6

/* The most that is spent looking for one timer. */
#define LEAD_MAX 50e-6

/* An error: somebody closed it, or has its number now: go on without. Or the kernel has no room to
 * watch it: then it is still ours. */
static void
fired(struct ev_loop *ev, ev_io *io, int revents)
{
    ml_precise *self = ML_CONTAINER_OF(io, ml_precise, io.ev);
    ml_loop *loop = ev_userdata(ev);
    uint64_t count; /* EAGAIN: set anew meanwhile */

    if (!(revents & EV_ERROR)) {
        if (self->owner != loop->pid) { /* the parent's, which is to read it */
            ml_precise_close(loop->host);
            return;
        }
        self->fired = read(io->fd, &count, sizeof(count)) > 0;
        return;
    }
    int error = ml_fdw_error(loop, &self->io);
    ev_ref(ev);
    if (error == ENOSPC || error == ENOMEM) {
        close(self->fd);
    }
    self->fd = -1;
    self->armed = 0.; /* what it was set to is lost with it */
}

void
ml_precise_init(ml_precise *self)
{
    self->fd = -1;
}

void
ml_precise_close(ml_aioloop *loop)
{
    ml_precise *self = &loop->precise;

    if (self->fd >= 0) {
        if (loop->ev->ev != NULL) {
            ev_ref(loop->ev->ev);
            ml_fdw_stop(loop->ev, &self->io);
        }
        close(self->fd);
        self->fd = -1;
    }
    self->armed = 0.;
}

static int
set(ml_precise *self, double seconds)
{
    struct itimerspec spec = {0};

    spec.it_value.tv_sec = (time_t)seconds;
    spec.it_value.tv_nsec = (long)((seconds - (double)spec.it_value.tv_sec) * 1e9);
    return timerfd_settime(self->fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* Without a descriptor for it such timers are late, which is no reason to fail. */
static void
begin(ml_aioloop *loop, ml_precise *self)
{
    self->fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (self->fd < 0) {
        return;
    }
    ml_fdw_init(&self->io, fired, self->fd, EV_READ);
    if (ml_fdw_start(loop->ev, &self->io) < 0) {
        PyErr_Clear();
        close(self->fd);
        self->fd = -1;
        return;
    }
    self->owner = getpid();
    ev_unref(loop->ev->ev); /* no reason to run */
}

double
ml_precise_arm(ml_aioloop *loop)
{
    ml_precise *self = &loop->precise;

    if (loop->timers.brief == 0 || loop->custom_time) { /* the kernel knows no clock of a program */
        return 0.;
    }
    double now = ml_monotonic(), when = ml_timers_next(&loop->timers) + MARGIN_SECONDS;
    double early = when - self->lead;
    if (early <= now) {
        return when;
    }
    if (self->fd >= 0 && self->owner != getpid()) {
        ml_precise_close(loop); /* the parent's, which would be set by this, too */
    }
    if (self->fd < 0) {
        begin(loop, self);
    }
    if (self->armed != early && self->fd >= 0 && set(self, early) == 0) {
        self->armed = early;
    }
    return 0.;
}

void
ml_precise_learn(ml_precise *self, double now)
{
    double late = now - self->armed;

    if (!self->fired) {
        return;
    }
    self->fired = false;
    self->lead += ((late < LEAD_MAX ? late : LEAD_MAX) - self->lead) / 8.;
}
