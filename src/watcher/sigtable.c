/* Who wants which signal: the one owner of what the process does with it. Process-wide, as signals
 * are.
 *
 * libev has a signal on one loop. Any number of watchers of that loop share it, and an asyncio
 * loop's handler, its claim; those of other asyncio loops wait, and get it when all before them
 * have left. Whoever leaves changes nothing for those who stay. The last one puts back what stood
 * there before the first, and if that is a claim the default action, as asyncio does.
 *
 * Python's own table knows of claims only: `ml_signal_handler` stands there, in the main thread's
 * hands, below libev's handler. What the program puts in its place by signal.signal() stays. */
#include "watcher.h"

#include <assert.h>
#include <signal.h>

typedef struct entry {
    ml_loop *loop; /* borrowed: libev has the signal on it; NULL if nobody wants it */
    int count;     /* active ev_signals there */
    bool signalfd; /* libev blocked it, to read it from a signalfd (EVFLAG_SIGNALFD) */
    struct sigaction before, ours;
    ml_sigclaim *claims; /* who asked last comes first */
    PyObject *handler;   /* Python's before the first claim; NULL: none that could come back */
} entry;

static entry table[NSIG];

#define HANDLER "_on_signal" /* Python's name of ml_signal_handler() */

int
ml_signal_check(int signum)
{
    if (signum <= 0 || signum >= NSIG) {
        PyErr_Format(PyExc_ValueError, "signal number %d out of range [1; %d]", signum, NSIG - 1);
        return -1;
    }
    struct sigaction now; /* libc keeps some real-time signals for itself */
    if (signum == SIGKILL || signum == SIGSTOP || sigaction(signum, NULL, &now) < 0) {
        PyErr_Format(PyExc_ValueError, "sig %d cannot be caught", signum);
        return -1;
    }
    return 0;
}

ml_loop *
ml_signal_owner(int signum)
{
    return signum > 0 && signum < NSIG ? table[signum].loop : NULL;
}

/* ---- libev's half ------------------------------------------------------------------------ */

/* The claim that has the signal, or NULL. Who asked last has it before the others: where that one
 * waits, watchers have the signal. */
static ml_sigclaim *
active_claim(const entry *self)
{
    return self->claims != NULL && ev_is_active(&self->claims->ev) ? self->claims : NULL;
}

/* Somebody, by signal.signal() mostly, has put another handler there since. */
static bool
displaced(const entry *self, const struct sigaction *now)
{
    return now->sa_handler != self->ours.sa_handler;
}

/* libev stops handling the signal for `from`, the only active one (NULL: nobody), and begins for
 * `ev` on the loop `to` (NULL: nobody). Blocked, as in between libev sets SIG_DFL, which could end
 * the process. */
static void
move(int signum, ev_signal *from, ml_loop *to, ev_signal *ev)
{
    entry *self = &table[signum];
    sigset_t one, mask, after;
    struct sigaction now, fresh;

    assert((self->loop != NULL) == (from != NULL) && self->count == (from != NULL));
    sigemptyset(&one);
    sigaddset(&one, signum);
    pthread_sigmask(SIG_BLOCK, &one, &mask);
    sigaction(signum, NULL, &now);
    bool keep = from != NULL && displaced(self, &now);
    if (self->signalfd) {
        sigdelset(&mask, signum);
        self->signalfd = false;
    }
    if (from == NULL) {
        self->before = now;
    }
    else {
        ev_signal_stop(self->loop->ev, from);
    }
    if (to != NULL) {
        sigaction(signum, NULL, &fresh);
        ev_signal_start(to->ev, ev);
        sigaction(signum, NULL, &self->ours);
        pthread_sigmask(SIG_BLOCK, NULL, &after);
        if (self->ours.sa_handler == fresh.sa_handler && !sigismember(&mask, signum)) {
            self->signalfd = true;
            sigaddset(&mask, signum);
        }
        else if (!sigismember(&after, signum)) { /* EVFLAG_NOSIGMASK */
            sigdelset(&mask, signum);
        }
    }
    if (keep || to == NULL) {
        sigaction(signum, keep ? &now : &self->before, NULL);
    }
    self->loop = to;
    self->count = to != NULL;
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

static void
join(int signum, ml_loop *loop, ev_signal *ev)
{
    assert(table[signum].loop == loop && table[signum].count > 0);
    ev_signal_start(loop->ev, ev);
    table[signum].count++;
}

static int
refuse(ml_loop *loop, int signum)
{
    PyErr_Format(loop->state->Error, "signal %d is watched by another loop", signum);
    return -1;
}

static int
check_child(ml_loop *loop, int signum)
{
    if (signum == SIGCHLD && ml_default_loop_made() && !loop->is_default) {
        PyErr_SetString(loop->state->Error, "SIGCHLD belongs to the default loop");
        return -1;
    }
    return 0;
}

int
ml_signal_start(ml_loop *loop, ev_signal *ev)
{
    int signum = ev->signum;
    entry *self = &table[signum];
    struct sigaction now;

    if (self->loop != NULL && self->loop != loop) {
        return refuse(loop, signum);
    }
    if (check_child(loop, signum) < 0) {
        return -1;
    }
    if (self->loop == NULL) {
        move(signum, NULL, loop, ev);
        return 0;
    }
    sigaction(signum, NULL, &now);
    if (self->claims == NULL && displaced(self, &now)) { /* who asks last gets it */
        self->before = now;
        sigaction(signum, &self->ours, NULL);
    }
    join(signum, loop, ev);
    return 0;
}

void
ml_signal_stop(ml_loop *loop, ev_signal *ev)
{
    entry *self = &table[ev->signum];

    if (loop->ev == NULL || !ev_is_active(ev)) {
        return;
    }
    assert(self->loop == loop);
    if (self->count > 1) {
        self->count--;
        ev_signal_stop(loop->ev, ev);
        return;
    }
    ml_sigclaim *next = self->claims;
    move(ev->signum, ev, next ? next->loop : NULL, next ? &next->ev : NULL);
    if (next != NULL) {
        ml_loop_changed(next->loop);
    }
}

/* ---- Python's half ----------------------------------------------------------------------- */

/* signal.signal(): what was there. By the module behind `signal`, whose function is Python code,
 * and could be left by an exception after it had set it. NULL with an exception: ValueError outside
 * of the main thread, or what a handler raised that had to run first. */
static PyObject *
set_handler(int signum, PyObject *handler)
{
    PyObject *module = PyImport_ImportModule("_signal");
    PyObject *old = module ? PyObject_CallMethod(module, "signal", "iO", signum, handler) : NULL;

    Py_XDECREF(module);
    return old;
}

/* Whether our handler stands there: 1, 0, or -1 with an exception. */
static int
is_ours(ml_loop *loop, int signum)
{
    PyObject *ours = PyObject_GetAttrString(loop->module, HANDLER);
    PyObject *module = ours ? PyImport_ImportModule("_signal") : NULL;
    PyObject *now = module ? PyObject_CallMethod(module, "getsignal", "i", signum) : NULL;
    int result = now ? now == ours : -1;

    Py_XDECREF(now);
    Py_XDECREF(module);
    Py_XDECREF(ours);
    return result;
}

static PyObject *
default_handler(int signum)
{
    PyObject *module = PyImport_ImportModule("_signal");
    PyObject *handler =
        module
            ? PyObject_GetAttrString(module, signum == SIGINT ? "default_int_handler" : "SIG_DFL")
            : NULL;

    Py_XDECREF(module);
    return handler;
}

/* In a forked child the parent's loops do not run: where one of its own has asked, theirs wait no
 * more. */
static void
forget_inherited(entry *self)
{
    for (ml_sigclaim **place = &self->claims; *place != NULL;) {
        ml_sigclaim *claim = *place;
        if (claim->inherited && !ev_is_active(&claim->ev)) {
            *place = claim->next;
        }
        else {
            place = &claim->next;
        }
    }
}

void
ml_signal_after_fork(void)
{
    for (int signum = 1; signum < NSIG; signum++) {
        for (ml_sigclaim *claim = table[signum].claims; claim != NULL; claim = claim->next) {
            claim->inherited = true;
        }
    }
}

int
ml_signal_claim(ml_sigclaim *claim)
{
    int signum = claim->ev.signum;
    ml_loop *loop = claim->loop;
    struct sigaction now;

    if (check_child(loop, signum) < 0) {
        return -1;
    }
    entry *self = &table[signum];
    ml_sigclaim *active = active_claim(self);
    if (self->loop != NULL && self->loop != loop && (active == NULL || self->count > 1)) {
        return refuse(loop, signum);
    }
    PyObject *ours = PyObject_GetAttrString(loop->module, HANDLER);
    if (ours == NULL) {
        return -1;
    }
    sigaction(signum, NULL, &now);
    claim->next = self->claims;
    self->claims = claim;
    if (self->loop == loop) {
        join(signum, loop, &claim->ev);
    }
    else {
        move(signum, active ? &active->ev : NULL, loop, &claim->ev);
    }
    ml_loop_changed(loop);
    PyObject *old = set_handler(signum, ours); /* runs Python code: the claim may be gone then */
    if (old != NULL && self->claims == NULL) {
        Py_XSETREF(old, set_handler(signum, old));
    }
    else if (old != NULL && old != ours) {
        if (displaced(self, &now)) {
            self->before = now;
        }
        PyObject *handler = self->handler;
        self->handler = old;
        old = handler;
    }
    bool failed = PyErr_Occurred() != NULL;
    if (!failed && self->loop != NULL) {
        sigaction(signum, &self->ours, NULL);
        forget_inherited(self);
    }
    Py_XDECREF(old);
    Py_DECREF(ours);
    return failed ? -1 : 0;
}

int
ml_signal_release(ml_sigclaim *claim)
{
    int signum = claim->ev.signum;
    entry *self = &table[signum];
    sigset_t one, mask;

    if (self->claims != claim || claim->next != NULL) { /* other asyncio loops want it */
        return 0;
    }
    bool alone = self->count == (ev_is_active(&claim->ev) ? 1 : 0);
    int ours = alone ? 1 : is_ours(claim->loop, signum);
    if (ours <= 0) {
        return ours;
    }
    bool back = !alone && self->handler != NULL && self->handler != Py_None;
    bool known = !alone && self->handler != NULL;
    PyObject *handler = back ? Py_NewRef(self->handler) : default_handler(signum);
    sigemptyset(&one);
    sigaddset(&one, signum);
    pthread_sigmask(SIG_BLOCK, &one, &mask); /* watchers that stay must not be without a handler */
    PyObject *old = handler ? set_handler(signum, handler) : NULL;
    if (old != NULL) {
        if (!known) {
            sigaction(signum, NULL, &self->before);
        }
        if (self->loop != NULL) {
            sigaction(signum, &self->ours, NULL);
        }
    }
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    Py_XDECREF(handler);
    if (old == NULL && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear(); /* not the main thread, as when the collector closes the loop */
        return 0;
    }
    Py_XDECREF(old);
    return old != NULL ? 0 : -1;
}

void
ml_signal_unclaim(ml_sigclaim *claim)
{
    entry *self = &table[claim->ev.signum];
    ml_sigclaim **place = &self->claims;
    PyObject *handler = NULL;

    while (*place != claim) {
        if (*place == NULL) { /* refused, or forgotten */
            return;
        }
        place = &(*place)->next;
    }
    *place = claim->next;
    if (self->claims == NULL) {
        handler = self->handler;
        self->handler = NULL;
    }
    ml_signal_stop(claim->loop, &claim->ev);
    Py_XDECREF(handler);
}

/* ---- signals that Python's handler gets -------------------------------------------------- */

/* As asyncio's loops do, a claim hears of the signal whichever handler Python has for it by then,
 * and with it the watchers beside it: one that signal.signal() sets does not switch it off. */
void
ml_signal_arrived(ml_loop *loop, int signum)
{
    if (ml_signal_owner(signum) == loop && active_claim(&table[signum]) != NULL) {
        ev_feed_signal_event(loop->ev, signum);
    }
}

/* Python's handler runs where libev's was displaced and ours put back, say by who saves and
 * restores what signal.signal() tells. A run in the main thread has the signal from the wakeup fd.
 */
PyObject *
ml_signal_handler(PyObject *Py_UNUSED(module), PyObject *args)
{
    int signum;
    PyObject *frame;

    if (!PyArg_ParseTuple(args, "iO", &signum, &frame)) {
        return NULL;
    }
    ml_loop *owner = ml_signal_owner(signum);
    if (owner != NULL && (owner->wakeup_depth == 0 || active_claim(&table[signum]) == NULL)) {
        ev_feed_signal(signum);
    }
    Py_RETURN_NONE;
}
