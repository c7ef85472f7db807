/* Child: a child process has ended or, with `trace`, was stopped or continued.
 *
 * libev's own SIGCHLD watcher calls waitpid(-1): it reaps every child of the process, and
 * subprocess or whoever else waits for one finds its status gone. It stays off (see
 * detach_child()), and the one here asks for the pids that are watched, and for all only while
 * somebody watches all. The ev_child's state, reference and pending event are still libev's. */
#include "watcher.h"

#include <signal.h>
#include <sys/wait.h>

typedef struct ml_child {
    ml_watcher base;
    ev_child ev;            /* `pid` 0: any child; flags 1: `trace` */
    struct ml_child *chain; /* the next one in its bucket, while active */
    bool due;               /* its pid is to be asked for */
} ml_child;

/* Process-wide, as children are; only the default loop has watchers here. */
#define BUCKETS 64
static struct {
    ev_signal signal; /* SIGCHLD, while a watcher is active */
    int active, traced;
    bool unseen;   /* some child has something to tell, and may not have been asked for */
    bool due_left; /* some could not be asked for: a watcher has not told of the last one yet */
    ml_child *by_pid[BUCKETS];
} children;

static ml_child **
bucket(int pid)
{
    return &children.by_pid[(unsigned int)pid % BUCKETS];
}

/* ---- asking ------------------------------------------------------------------------------ */

/* An event of a watcher for exactly `pid` waits, and would be overwritten by another. */
static bool
is_busy(int pid)
{
    for (ml_child *child = *bucket(pid); child != NULL; child = child->chain) {
        if (child->ev.pid == pid && ml_watcher_pending(&child->base)) {
            return true;
        }
    }
    return false;
}

static bool
is_traced(int pid)
{
    for (ml_child *child = *bucket(pid); child != NULL; child = child->chain) {
        if (child->ev.pid == pid && (child->ev.flags & 1)) {
            return true;
        }
    }
    return false;
}

static void
tell(struct ev_loop *ev, int watched, int pid, int status)
{
    bool traced = WIFSTOPPED(status) || WIFCONTINUED(status);

    for (ml_child *child = *bucket(watched); child != NULL; child = child->chain) {
        if (child->ev.pid == watched && (!traced || (child->ev.flags & 1))) {
            child->ev.rpid = pid;
            child->ev.rstatus = status;
            ev_feed_event(ev, &child->ev, EV_CHILD);
        }
    }
}

/* Reaps what has happened to `pid`; false if nothing has. */
static bool
ask(struct ev_loop *ev, int pid)
{
    int status, trace = is_traced(pid) || is_traced(0) ? WUNTRACED | WCONTINUED : 0;

    if (waitpid(pid, &status, WNOHANG | trace) != pid) {
        return false;
    }
    tell(ev, pid, pid, status);
    tell(ev, 0, pid, status);
    return true;
}

/* Some child that has something to tell, not reaped yet; 0 if there is none. */
static int
find_any(bool traced)
{
    siginfo_t info = {.si_pid = 0};
    int trace = traced ? WSTOPPED | WCONTINUED : 0;

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | trace) < 0 ? 0 : info.si_pid;
}

static bool
is_watched(int pid)
{
    ml_child *child = *bucket(pid);

    while (child != NULL && child->ev.pid != pid) {
        child = child->chain;
    }
    return child != NULL;
}

/* Asks for those that the kernel names, one after the other: two calls for each, however many are
 * watched. It goes on naming one that is not reaped here, for which the ones behind it cannot be
 * seen: then all that are watched are due. */
static void
ask_for_named(struct ev_loop *ev)
{
    bool told = true;
    int pid = 0;

    children.unseen = false;
    while (told && (pid = find_any(children.traced > 0)) != 0) {
        if (is_busy(0) || is_busy(pid)) {
            children.unseen = true;
            return;
        }
        told = (is_watched(pid) || is_watched(0)) && ask(ev, pid);
    }
    for (int i = 0; i < BUCKETS && pid != 0; i++) {
        for (ml_child *child = children.by_pid[i]; child != NULL; child = child->chain) {
            child->due = true;
        }
    }
}

/* One event at a time for each watcher; the rest stays with the kernel until that was told. */
static void
ask_for_due(struct ev_loop *ev)
{
    children.due_left = children.unseen;
    for (int i = 0; i < BUCKETS; i++) {
        for (ml_child *child = children.by_pid[i]; child != NULL; child = child->chain) {
            int pid = child->ev.pid;
            if (!child->due) {
                continue;
            }
            if (pid == 0) {
                pid = find_any(is_traced(0));
            }
            child->due = pid != 0 && (is_busy(0) || is_busy(pid));
            if (pid != 0 && !child->due && ask(ev, pid)) {
                child->due = child->ev.pid == 0; /* there may be more */
            }
            children.due_left |= child->due;
        }
    }
}

static void
sigchld_event(struct ev_loop *ev, ev_signal *Py_UNUSED(signal), int revents)
{
    if (children.unseen || (revents & EV_SIGNAL)) {
        ask_for_named(ev);
    }
    ask_for_due(ev);
}

/* With EV_CUSTOM: only for those that are due. */
static void
ask_soon(ml_loop *loop)
{
    if (children.active > 0 && loop->ev != NULL) {
        ev_feed_event(loop->ev, &children.signal, EV_CUSTOM);
    }
}

static void
child_event(struct ev_loop *ev, ev_child *child, int revents)
{
    ml_watcher *self = child->data;
    ml_loop *loop = (ml_loop *)Py_NewRef((PyObject *)self->loop);

    ml_watcher_event(ev, (ev_watcher *)child, revents);
    if (children.due_left) {
        ask_soon(loop);
    }
    Py_DECREF(loop);
}

/* ---- the kind ---------------------------------------------------------------------------- */

static int
child_set(ml_watcher *base, PyObject *const *args)
{
    int overflow = 0, trace = 0;

    if (!base->loop->is_default) {
        PyErr_SetString(base->loop->state->Error, "a Child needs the default loop: default_loop()");
        return -1;
    }
    long pid = PyLong_AsLongAndOverflow(args[0], &overflow);
    if ((pid == -1 && PyErr_Occurred()) || (trace = PyObject_IsTrue(args[1])) < 0) {
        return -1;
    }
    if (overflow > 0 || pid > INT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "pid does not fit a C int");
        return -1;
    }
    if (overflow < 0 || pid < 0) {
        PyErr_SetString(PyExc_ValueError, "pid must not be negative: 0 is any child");
        return -1;
    }
    if (ml_watcher_check_inactive(base, "set the arguments") < 0) {
        return -1;
    }
    ev_child_set(&((ml_child *)base)->ev, (int)pid, trace);
    return 0;
}

static int
child_start(ml_watcher *base)
{
    ml_child *self = (ml_child *)base;
    ml_loop *loop = base->loop;

    if (children.active == 0) {
        ev_signal_init(&children.signal, sigchld_event, SIGCHLD);
        ev_set_priority(&children.signal, EV_MAXPRI);
        if (ml_signal_start(loop, &children.signal) < 0) {
            return -1;
        }
        ev_unref(loop->ev);
    }
    children.active++;
    children.traced += self->ev.flags & 1;
    ev_child_start(loop->ev, &self->ev);
    self->chain = *bucket(self->ev.pid);
    *bucket(self->ev.pid) = self;
    self->due = true; /* it may have ended before */
    ask_soon(loop);
    return 0;
}

static void
child_stop(ml_watcher *base)
{
    ml_child *self = (ml_child *)base;
    ml_loop *loop = base->loop;

    if (!ev_is_active(&self->ev)) {
        return;
    }
    ml_child **place = bucket(self->ev.pid);
    while (*place != self) {
        assert(*place != NULL);
        place = &(*place)->chain;
    }
    *place = self->chain;
    self->chain = NULL;
    ev_child_stop(loop->ev, &self->ev);
    children.traced -= self->ev.flags & 1;
    assert(children.active > 0 && children.traced >= 0);
    if (--children.active == 0) {
        ev_ref(loop->ev);
        ml_signal_stop(loop, &children.signal);
    }
    else if (children.due_left) { /* perhaps for this one to tell its event, which it never will */
        ask_soon(loop);
    }
}

static PyObject *
child_describe(ml_watcher *base)
{
    ml_child *self = (ml_child *)base;
    return PyUnicode_FromFormat("pid=%d trace=%s", self->ev.pid,
                                self->ev.flags & 1 ? "True" : "False");
}

static const ml_kind ml_child_kind = {
    .name = "Child",
    .args = {"set", {"pid", "trace"}, .places = 2, .needed = 2},
    .ev_offset = offsetof(ml_child, ev),
    .set = child_set,
    .start = child_start,
    .stop = child_stop,
    .describe = child_describe,
};

/* ---- Python's view ----------------------------------------------------------------------- */

static int
child_set_result(ml_child *self, PyObject *value, void *member)
{
    const PyMemberDef *which = member;

    if (ml_no_delete(value, which->name) < 0 || ml_watcher_check_change(&self->base) < 0) {
        return -1;
    }
    long number = PyLong_AsLong(value);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (number < INT_MIN || number > INT_MAX) {
        PyErr_Format(PyExc_OverflowError, "%s does not fit a C int", which->name);
        return -1;
    }
    *(int *)((char *)self + which->offset) = (int)number;
    return 0;
}

static PyObject *
child_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    ml_child *self = (ml_child *)ml_watcher_alloc(type, &ml_child_kind);

    if (self != NULL) {
        ev_set_cb(&self->ev, child_event);
    }
    return (PyObject *)self;
}

static PyMethodDef child_methods[] = {
    ML_SET_METHOD,
    {NULL},
};

static PyGetSetDef child_getset[] = {
    ML_MEMBER(ml_watcher_get, NULL, "pid", T_INT, ml_child, ev.pid,
              "The process watched; 0: any child."),
    ML_MEMBER(ml_watcher_get, child_set_result, "rpid", T_INT, ml_child, ev.rpid,
              "The process of the last event; 0 before the first."),
    ML_MEMBER(ml_watcher_get, child_set_result, "rstatus", T_INT, ml_child, ev.rstatus,
              "Its wait status, as os.waitpid() gives it; 0 before the first event."),
    {NULL},
};

static PyType_Slot child_slots[] = {
    ML_WATCHER_SLOTS(child),
    {Py_tp_doc, PyDoc_STR("Child(loop, pid, trace, callback, data=None, priority=0)\n--\n\n"
                          "Calls back when a child process has ended, also before start(); with "
                          "`trace` also when it was stopped or continued. Default loop only.")},
    {Py_tp_methods, child_methods},
    {Py_tp_getset, child_getset},
    {0, NULL},
};

ML_WATCHER_SPEC(Child, child);
