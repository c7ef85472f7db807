/* Timers of less than a millisecond or a few: epoll waits whole milliseconds, so that one of 300 us
 * was 800 us late. While there are any, a timerfd ends the poll in time for the next timer; it
 * costs two system calls, so that only delays for which it matters get one. To wake a thread takes
 * the machine 20 to 40 us more: the timerfd is set for so much earlier, and what is left of that is
 * spent looking. */
#include "aio.h"

#include <sys/timerfd.h>
#include <unistd.h>

/* libev counts a timer as due once its time has passed; if woken too early it waits a millisecond
 * more. */
#define MARGIN_SECONDS 2e-6

/* The most that is spent looking for one timer. */
#define LEAD_MAX 50e-6

static void
fired(struct ev_loop *ev, ev_io *io, int revents)
{
    ml_precise *self = ML_CONTAINER_OF(io, ml_precise, own.io.ev);
    ml_loop *loop = ev_userdata(ev);
    uint64_t count; /* EAGAIN: set anew meanwhile */

    if (revents & EV_ERROR) {
        ml_ownfd_refused(ev, &self->own);
        self->armed = 0.; /* what it was set to is lost with it */
    }
    else if (self->own.owner != loop->pid) { /* the parent's, which is to read it */
        ml_precise_close(loop->host);
    }
    else {
        self->fired = read(io->fd, &count, sizeof(count)) > 0;
    }
}

void
ml_precise_init(ml_precise *self)
{
    ml_ownfd_init(&self->own);
}

void
ml_precise_close(ml_aioloop *loop)
{
    ml_ownfd_close(loop, &loop->precise.own);
    loop->precise.armed = 0.;
}

static int
set(ml_precise *self, double seconds)
{
    struct itimerspec spec = {0};

    spec.it_value.tv_sec = (time_t)seconds;
    spec.it_value.tv_nsec = (long)((seconds - (double)spec.it_value.tv_sec) * 1e9);
    return timerfd_settime(self->own.fd, TFD_TIMER_ABSTIME, &spec, NULL);
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
    if (!ml_ownfd_is_ours(loop, &self->own)) { /* the parent's would be set by this, too */
        /* Without a descriptor for it such timers are late. */
        ml_ownfd_open(loop, &self->own, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
                      fired);
        self->armed = 0.;
    }
    if (self->armed != early && self->own.fd >= 0 && set(self, early) == 0) {
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
