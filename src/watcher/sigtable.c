/* Which loop has which signal, and what to put back. Process-wide, as signals are. */
#include "watcher.h"

#include <signal.h>

static struct {
    ml_loop *loop; /* borrowed; NULL if no watcher is active */
    int count;     /* active watchers */
    struct sigaction before, ours;
    bool signalfd; /* libev blocked it, to read it from a signalfd (EVFLAG_SIGNALFD) */
} table[NSIG];

int
ml_signal_check(int signum)
{
    if (signum <= 0 || signum >= NSIG) {
        PyErr_Format(PyExc_ValueError, "signal number %d out of range [1; %d]", signum, NSIG - 1);
        return -1;
    }
    struct sigaction now; /* libc keeps some real-time signals for itself */
    if (signum == SIGKILL || signum == SIGSTOP || sigaction(signum, NULL, &now) < 0) {
        PyErr_Format(PyExc_ValueError, "signal %d cannot be caught", signum);
        return -1;
    }
    return 0;
}

ml_loop *
ml_signal_owner(int signum)
{
    return signum > 0 && signum < NSIG ? table[signum].loop : NULL;
}

int
ml_signal_start(ml_loop *loop, ev_signal *ev)
{
    int signum = ev->signum;

    if (ev_is_active(ev)) {
        sigaction(signum, &table[signum].ours, NULL); /* signal.signal() may have displaced it */
        return 0;
    }
    if (table[signum].loop != NULL && table[signum].loop != loop) {
        PyErr_Format(loop->state->Error, "signal %d is watched by another loop", signum);
        return -1;
    }
    if (signum == SIGCHLD && ml_default_loop_made() && !loop->is_default) {
        PyErr_SetString(loop->state->Error, "SIGCHLD belongs to the default loop");
        return -1;
    }
    if (table[signum].count == 0) {
        sigaction(signum, NULL, &table[signum].before);
        table[signum].loop = loop;
    }
    sigset_t before, after;
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    ev_signal_start(loop->ev, ev);
    if (table[signum].count++ == 0) {
        pthread_sigmask(SIG_BLOCK, NULL, &after);
        table[signum].signalfd = !sigismember(&before, signum) && sigismember(&after, signum);
        sigaction(signum, NULL, &table[signum].ours);
    }
    return 0;
}

void
ml_signal_stop(ml_loop *loop, ev_signal *ev)
{
    int signum = ev->signum;

    if (loop->ev == NULL || !ev_is_active(ev)) {
        return;
    }
    if (--table[signum].count > 0) {
        ev_signal_stop(loop->ev, ev);
        return;
    }
    /* libev sets SIG_DFL; blocked, so that one that comes in between does not kill the process */
    sigset_t one, old;
    struct sigaction now;

    /* Who has put another handler there since (signal.signal) keeps it. */
    sigaction(signum, NULL, &now);
    bool replaced = now.sa_handler != table[signum].ours.sa_handler;
    sigemptyset(&one);
    sigaddset(&one, signum);
    pthread_sigmask(SIG_BLOCK, &one, &old);
    ev_signal_stop(loop->ev, ev);
    sigaction(signum, replaced ? &now : &table[signum].before, NULL);
    if (table[signum].signalfd) {
        sigdelset(&old, signum);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    table[signum].loop = NULL;
}
