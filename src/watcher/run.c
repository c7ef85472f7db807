/* ev_run with every guard. */
#include "watcher.h"

#include <errno.h>
#include <pythread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* libev's error hook has no loop argument: the loop that this thread is running. */
static _Thread_local ml_loop *current;

/* ---- libev's hooks ----------------------------------------------------------------------- */

/* A system call of a backend failed, epoll_wait on a closed descriptor say. libev would abort. The
 * GIL may not be held here. */
static void
syserr(const char *message)
{
    int error = errno;

    /* Where libev tries again until it works, returning would be an endless loop. */
    if (current == NULL || ++current->syserr_count > 100) {
        errno = error;
        perror(message);
        abort();
    }
    current->syserr = error; /* libev forgets an ev_break() here: see invoke_pending() */
}

static void
release_gil(struct ev_loop *ev) EV_NOEXCEPT
{
    ml_loop *loop = ev_userdata(ev);

    ml_fdw_polls(loop);
    if (loop->reset_due && loop->embeds != NULL) {
        ml_embed_moved(loop);
    }
    /* ev_loop_fork() has libev look at its own wake-up descriptor; a reset of its own does not */
    loop->expected = loop->fork_told ? 1 : 0;
    /* not after the poll, as other threads run meanwhile */
    loop->reset_due = loop->fork_told = loop->stale = false;
    /* The kernel refused a descriptor just now (ENOMEM, ENOSPC). libev stops its watchers, and
     * would tell them so after the poll, however long that takes. */
    bool end = false;
    if (ev_pending_count(ev) > loop->expected && loop->callback == NULL) {
        loop->refused = end = true;
    }
    if (loop->fork_due) { /* the fork came after libev's look for one: inside of Prepare, say */
        loop->fork_due = false;
        ml_fork_feed(loop);
        end = true;
    }
    if (end && loop->blocking && !ev_is_active(&loop->awake)) {
        assert(!loop->unsure);
        ml_loop_wake(loop);
    }
    if (loop->blocking) {
        assert(loop->tstate == NULL && !loop->polling);
        loop->polling = true; /* before: when this thread goes on after it, others may have run */
        loop->tstate = PyEval_SaveThread();
    }
}

/* libev's own watcher of the descriptor for wake-ups is started, if the kernel had it stopped, when
 * somebody needs it; and libev aborts if a wake-up comes in a poll without. */
static void
restart_wake(ml_loop *loop)
{
    ev_ref(loop->ev);
    ev_async_stop(loop->ev, &loop->wake);
    ev_async_start(loop->ev, &loop->wake);
    ev_unref(loop->ev);
}

void
ml_loop_let_sleep(ml_loop *loop)
{
    if (ev_is_active(&loop->awake)) {
        ev_ref(loop->ev);
        ev_idle_stop(loop->ev, &loop->awake);
    }
}

static void
acquire_gil(struct ev_loop *ev) EV_NOEXCEPT
{
    ml_loop *loop = ev_userdata(ev);
    PyThreadState *tstate = loop->tstate;

    if (tstate != NULL) {
        loop->tstate = NULL;
        PyEval_RestoreThread(tstate);
        loop->polling = false;
    }
    loop->polled = true;
    ml_loop_let_sleep(loop);
    if (loop->unsure) {
        loop->unsure = false;
        restart_wake(loop);
    }
}

/* libev has found a fork, or makes its backend anew: how many events were cleared, which are for us
 * only and nothing that the hook is called for. */
static unsigned int
note_new_backend(ml_loop *loop)
{
    unsigned int cleared = 1;

    ev_clear_pending(loop->ev, &loop->forked);
    /* Not only after ev_loop_fork(): also when epoll reports a descriptor that was closed, as it
     * does while a child has a copy of it. That is no fork for those that watch for one. */
    if (!loop->fork_told && loop->pid == getpid()) {
        cleared += ml_fork_clear(loop);
    }
    loop->pid = getpid();
    loop->reset_due = loop->backend_moved = loop->check_all = loop->unsure = true;
    loop->fork_due = false;
    return cleared;
}

/* The program's hook, which is to call loop.invoke(). */
static void
call_hook(ml_loop *loop)
{
    PyObject *callback = Py_NewRef(loop->callback); /* it may replace itself */
    PyObject *handed = loop->handed;

    loop->handed = NULL;
    PyObject *result = PyObject_CallOneArg(callback, (PyObject *)loop);
    if (result == NULL) {
        ml_loop_set_aside(loop, callback);
    }
    Py_XSETREF(loop->handed, handed);
    Py_XDECREF(result);
    Py_DECREF(callback);
}

/* The last look before libev tells the kernel about changed descriptors, and polls. All that runs
 * before can give the host work, so the host is asked then: whatever runs in an ev_run is covered.
 * Its answer can take Python code, in which descriptors are closed: so these come after it. */
static void
look_before_poll(ml_loop *loop, bool before_poll)
{
    bool again = loop->swept && loop->again; /* the loops in this one get another turn */
    loop->swept = false;
    bool host = loop->blocking && loop->exc == NULL && loop->host_ops != NULL &&
                (before_poll || loop->host_ops->turn != NULL) &&
                loop->host_ops->before_poll(loop->host);
    bool dropped = ml_fdw_check(loop); /* from here on no Python code runs */
    if (loop->blocking && (again || host || dropped || loop->unsure) &&
        !ev_is_active(&loop->awake)) {
        ev_idle_start(loop->ev, &loop->awake);
        ev_unref(loop->ev);
        loop->hasty = !again && !host;
    }
    if (loop->break_how) {
        ml_loop_break(loop, loop->break_how);
        loop->break_how = 0;
    }
    if (loop->exc != NULL || loop->syserr) {
        ev_break(loop->ev, EVBREAK_ALL);
    }
}

/* Runs in each iteration: the pending events; then Python's signal handlers; then a guest's turn.
 */
static void
invoke_pending(struct ev_loop *ev)
{
    ml_loop *loop = ev_userdata(ev);
    unsigned int iteration = ev_iteration(ev), cleared = 0;
    bool before_poll = loop->invoked == iteration; /* ev_run() begins with this */

    loop->invoked = iteration;
    if (!before_poll && ev_pending_count(ev) > loop->expected) {
        loop->hasty = false;
    }
    if (loop->due != NULL) {
        ml_scheduler_ask_due(loop);
    }
    if (loop->refused) {
        ml_fdw_refused(loop);
    }
    if (ev_is_pending(&loop->forked)) {
        cleared = note_new_backend(loop);
    }
    if (loop->callback != NULL && loop->exc == NULL && ev_pending_count(ev) > cleared) {
        call_hook(loop);
    }
    else { /* with a hook and nothing pending, that frees the slots of what was cleared above */
        ev_invoke_pending(ev);
    }
    /* with an exception on its way handlers run after it, so that none of theirs is lost; and if
     * the poll comes next and does not block, then after it */
    if (loop->exc == NULL && (loop->blocking || !before_poll) && PyErr_CheckSignals() < 0) {
        ml_loop_set_aside(loop, (PyObject *)loop);
    }
    if (loop->exc == NULL && loop->host_ops != NULL && loop->host_ops->turn != NULL) {
        bool polled = loop->polled;
        loop->polled = false;
        loop->host_ops->turn(loop->host, polled);
    }
    look_before_poll(loop, before_poll);
}

void
ml_loop_break(ml_loop *loop, int how)
{
    assert(loop->depth > 0 && !ml_loop_runs_elsewhere(loop));
    loop->broken = how;
    ev_break(loop->ev, how);
}

/* The woken thread needs the GIL at once. On a core that it shares with this one it would go to
 * sleep again, and be woken by whoever then waits for what it does: a call_soon_threadsafe() and
 * its answer took five switches of threads, and takes two if the GIL and the core are given away
 * around the write. With a core of its own for the loop that costs 0.4 us. Where programs compete
 * for the cores, one that computes may take a yielded core for milliseconds: then no more of it. */
#define YIELDED_TOO_LONG 300e-6
#define WITHOUT_YIELD 1000 /* so that at most some microseconds are lost for each */

void
ml_loop_wake_and_yield(ml_loop *loop)
{
    if (!loop->polling || loop->owner == PyThread_get_thread_ident()) {
        ml_loop_wake(loop);
        return;
    }
    bool yield = loop->unyielding == 0;
    double took = 0.;

    if (!yield) { /* with the GIL: for each of several threads */
        loop->unyielding--;
    }
    Py_INCREF(loop);
    loop->wakers++;
    Py_BEGIN_ALLOW_THREADS;
    ml_loop_wake(loop);
    loop->wakers--; /* before the GIL: ml_loop_close() waits with it */
    if (yield) {
        double start = ml_monotonic();
        sched_yield();
        took = ml_monotonic() - start;
    }
    Py_END_ALLOW_THREADS;
    if (took > YIELDED_TOO_LONG) {
        loop->unyielding = WITHOUT_YIELD;
    }
    Py_DECREF(loop);
}

void
ml_run_init(ml_loop *loop)
{
    ev_set_userdata(loop->ev, loop);
    ev_set_loop_release_cb(loop->ev, release_gil, acquire_gil);
    ev_set_invoke_pending_cb(loop->ev, invoke_pending);
    ev_set_syserr_cb(syserr);
}

/* ---- exceptions -------------------------------------------------------------------------- */

void
ml_loop_set_aside(ml_loop *loop, PyObject *source)
{
    PyObject *exc = ml_take_exception();

    assert(exc != NULL);
    if (loop->exc == NULL) {
        loop->exc = exc;
        if (loop->ev != NULL) {
            ev_break(loop->ev, EVBREAK_ALL);
            ml_loop_changed(loop);
        }
        return;
    }
    if (loop->exc == exc) { /* a start() that could not even begin raised it */
        Py_DECREF(exc);
        return;
    }
    ml_raise(exc);
    ml_unraisable(source);
}

static bool
marked_fatal(PyObject *callback, const char *mark)
{
    PyObject *value = PyObject_GetAttrString(callback, mark);
    int truth = value ? PyObject_IsTrue(value) : 0;

    Py_XDECREF(value);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
    }
    else if (value == NULL || truth < 0) {
        ml_unraisable(callback);
    }
    return truth == 1;
}

/* True if the exception that is set must end the run. */
static bool
is_fatal(ml_loop *loop, PyObject *callback)
{
    if (loop->debug || loop->callback != NULL || !PyErr_ExceptionMatches(PyExc_Exception)) {
        return true;
    }
    PyObject *exc = ml_take_exception();
    bool fatal =
        marked_fatal(callback, "__event_fatal__") || marked_fatal(callback, "__err_fatal__");
    ml_raise(exc);
    return fatal;
}

/* True if the exception that is set has ended a run within this callback: as that was not caught,
 * it ends this one, too. */
static bool
came_up(ml_loop *loop)
{
    PyObject *exc = ml_take_exception();
    bool same = exc == loop->exc || exc == loop->handed;

    ml_raise(exc);
    return same;
}

void
ml_loop_report(ml_loop *loop, PyObject *callback)
{
    assert(PyErr_Occurred());
    if (came_up(loop) || is_fatal(loop, callback)) {
        ml_loop_set_aside(loop, callback);
    }
    else if (loop->host_ops == NULL) {
        ml_unraisable(callback);
    }
    else if (!loop->host_ops->failed(loop->host, callback)) {
        ml_loop_set_aside(loop, callback);
    }
}

void
ml_loop_hand_out(ml_loop *loop, PyObject *exc)
{
    assert(exc != NULL);
    if (loop->depth > 0 && !ml_loop_runs_elsewhere(loop)) {
        Py_XSETREF(loop->handed, Py_NewRef(exc));
    }
    ml_raise(exc);
}

int
ml_loop_raise_aside(ml_loop *loop)
{
    PyObject *exc = loop->exc;

    if (exc == NULL) {
        return 0;
    }
    loop->exc = NULL;
    if (loop->ev != NULL) {
        ml_feed_again(loop);
        ev_break(loop->ev, loop->broken); /* what else it was told, or nothing */
    }
    ml_loop_hand_out(loop, exc);
    return -1;
}

void
ml_loop_call(ml_loop *loop, PyObject *callback, PyObject *first, int revents)
{
    PyObject *result = NULL, *number = PyLong_FromLong(revents);
    PyObject *handed = loop->handed; /* to the callback that this one is called in, if any */

    loop->handed = NULL;
    Py_INCREF(callback); /* it may replace itself */
    if (number != NULL) {
        PyObject *args[] = {first, number};
        result = PyObject_Vectorcall(callback, args, 2, NULL);
        Py_DECREF(number);
    }
    if (result == NULL) {
        ml_loop_report(loop, callback);
    }
    Py_XSETREF(loop->handed, handed);
    Py_XDECREF(result);
    Py_DECREF(callback);
}

/* Events that came after the exception are pending again for the next run: nothing is lost. Of
 * equal priority libev runs the last that was fed first. */
void
ml_feed_again(ml_loop *loop)
{
    ml_aside *aside = loop->aside;
    int len = loop->aside_len;

    loop->aside = NULL;
    loop->aside_len = loop->aside_cap = 0;
    while (len-- > 0) {
        ml_watcher *watcher = aside[len].watcher;
        if (watcher->aside) { /* else it was stopped meanwhile */
            watcher->aside = false;
            ev_feed_event(loop->ev, ml_watcher_ev(watcher), aside[len].revents);
            ml_watcher_sync(watcher);
        }
        Py_DECREF(watcher);
    }
    PyMem_RawFree(aside);
}

int
ml_aside_take(ml_loop *loop, ml_watcher *watcher)
{
    int revents = 0;

    for (int i = 0; watcher->aside && i < loop->aside_len; i++) {
        revents |= loop->aside[i].watcher == watcher ? loop->aside[i].revents : 0;
    }
    watcher->aside = false;
    return revents;
}

/* What the run ends with: 0, or -1 with an exception. */
static int
outcome(ml_loop *loop)
{
    if (loop->syserr) {
        int error = loop->syserr;
        loop->syserr = 0;
        ml_os_error(error);
        ml_loop_set_aside(loop, (PyObject *)loop);
    }
    return ml_loop_raise_aside(loop);
}

int
ml_loop_serve(ml_loop *loop, const ml_host_ops *ops)
{
    if (ops != NULL && ml_fdw_resume(loop) < 0) {
        return -1;
    }
    loop->host_ops = ops;
    if (ops == NULL && loop->depth > 0) { /* in a run of the program's, which goes on without */
        ml_fdw_rest(loop);
    }
    return 0;
}

int
ml_loop_run(ml_loop *loop, int flags, bool blocking)
{
    if (ml_loop_check_open(loop) < 0 || ml_loop_check_thread(loop) < 0) {
        return -1;
    }
    if (loop->exc != NULL) { /* a run that is about to end with it keeps it */
        if (loop->depth == 0) {
            return ml_loop_raise_aside(loop);
        }
        ml_raise(Py_NewRef(loop->exc));
        return -1;
    }
    if (loop->reset_due && ml_probe_descriptors(NULL) < 0) { /* libev would try for ever */
        return -1;
    }
    if (loop->host != NULL && loop->host_ops == NULL && !loop->resting) {
        ml_fdw_rest(loop);
    }
    loop->syserr_count = 0;
    bool was_blocking = loop->blocking;
    int was_broken = loop->broken;
    ml_loop *was_current = current;
    Py_INCREF(loop);
    loop->owner = PyThread_get_thread_ident();
    if (loop->depth++ == 0) {
        loop->break_how = 0;
    }
    loop->blocking = blocking;
    loop->broken = 0;
    current = loop;
    int active;
    do {
        loop->hasty = false;
        active = ev_run(loop->ev, flags);
    } while ((flags & EVRUN_ONCE) && loop->hasty && active && !loop->broken && loop->exc == NULL &&
             !loop->syserr);
    assert(current == loop && loop->depth > 0 && !loop->polling);
    current = was_current;
    loop->blocking = was_blocking;
    loop->depth--;
    if (loop->depth == 0) {
        loop->owner = 0;
    }
    int broken = loop->broken;
    if (broken != EVBREAK_ALL) { /* else it ends the outer runs as well */
        loop->broken = was_broken;
    }
    int rc = outcome(loop);
    Py_DECREF(loop);
    return rc < 0 ? -1 : (active ? ML_RUN_ACTIVE : 0) | (broken ? ML_RUN_BROKEN : 0);
}
