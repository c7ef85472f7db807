/* event.Loop: how it is made and closed. Running it is in run.c, what Python sees in loop_api.c. */
#include "inotify.h"

#include <errno.h>
#include <pythread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- making ------------------------------------------------------------------------------ */

int
ml_loop_check_open(ml_loop *loop)
{
    if (loop->ev == NULL || loop->closing) {
        PyErr_SetString(loop->state->Error, "loop is closed");
        return -1;
    }
    return 0;
}

int
ml_loop_check_change(ml_loop *loop)
{
    if (loop->rescheduling != 0 && loop->rescheduling == PyThread_get_thread_ident()) {
        PyErr_SetString(loop->state->Error, "a reschedule callable cannot change its loop");
        return -1;
    }
    return ml_loop_check_open(loop);
}

bool
ml_loop_runs_elsewhere(ml_loop *loop)
{
    return loop->depth > 0 && loop->owner != PyThread_get_thread_ident();
}

int
ml_loop_check_thread(ml_loop *loop)
{
    if (ml_loop_runs_elsewhere(loop)) {
        PyErr_SetString(loop->state->Error, "another thread is inside start() of this loop");
        return -1;
    }
    return 0;
}

static void
wake_event(struct ev_loop *Py_UNUSED(ev), ev_async *Py_UNUSED(async), int Py_UNUSED(revents))
{
}

static void
awake_event(struct ev_loop *Py_UNUSED(ev), ev_idle *Py_UNUSED(idle), int Py_UNUSED(revents))
{
}

/* Never called: invoke_pending() takes the event first. */
static void
forked_event(struct ev_loop *Py_UNUSED(ev), ev_fork *Py_UNUSED(fork), int Py_UNUSED(revents))
{
}

void
ml_loop_adopt(ml_loop *self, struct ev_loop *ev, int guess, int next)
{
    self->ev = ev;
    self->pid = getpid();
    self->wakeup_fds[0] = self->wakeup_fds[1] = self->wakeup_old = -1;
    self->backend_fd = guess >= 0 ? ml_find_backend_fd(guess) : -1;
    self->check_each = ev_backend(ev) != EVBACKEND_EPOLL;
    ml_run_init(self);
    int pipe_guess = next;
    if (self->backend_fd < 0 || next < 0) {
        pipe_guess = eventfd(0, EFD_CLOEXEC); /* libev's gets the lowest number, too */
        if (pipe_guess >= 0) {
            close(pipe_guess);
        }
    }
    ev_async_init(&self->wake, wake_event);
    ev_async_start(ev, &self->wake);
    ev_unref(ev);
    ev_idle_init(&self->awake, awake_event);
    ev_set_priority(&self->awake, EV_MAXPRI);
    ev_idle_start(ev, &self->awake); /* libev has its memory from now on */
    ev_idle_stop(ev, &self->awake);
    self->pipe_fd = pipe_guess >= 0 ? ml_find_pipe_fd(pipe_guess) : -1;
    ev_fork_init(&self->forked, forked_event);
    ev_set_priority(&self->forked, EV_MAXPRI);
    ev_fork_start(ev, &self->forked);
    ev_unref(ev);
    ML_LIST_ADD(&self->state->loops, self);
}

/* libev aborts, or spins, when it cannot have the descriptors that it needs at once: see first. */
int
ml_probe_descriptors(int *next)
{
    int first = eventfd(0, EFD_CLOEXEC), second = first < 0 ? -1 : eventfd(0, EFD_CLOEXEC);

    if (second < 0) {
        ml_os_error(errno);
    }
    if (first >= 0) {
        close(first);
    }
    if (second >= 0) {
        close(second);
    }
    if (next != NULL) {
        *next = second;
    }
    return second < 0 ? -1 : first;
}

static int
create(ml_loop *self, unsigned int flags)
{
    int next = -1;
    int guess = ml_reserve_check() < 0 || ml_backends_flags(self->state, &flags) < 0
                    ? -1
                    : ml_probe_descriptors(&next);

    if (guess < 0) {
        return -1;
    }
    errno = 0;
    struct ev_loop *ev = ev_loop_new(flags);
    if (ev == NULL) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) { /* epoll_create1() */
            ml_os_error(errno);
        }
        else {
            PyErr_SetString(self->state->Error, "could not create loop, bad 'flags'?");
        }
        return -1;
    }
    self->no_inotify = flags & EVFLAG_NOINOTIFY;
    ml_loop_adopt(self, ev, guess, next);
    return 0;
}

ml_loop *
ml_loop_alloc(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &ml_module);
    ml_loop *self = module ? (ml_loop *)type->tp_alloc(type, 0) : NULL;

    if (self != NULL) {
        self->module = Py_NewRef(module);
        self->state = ml_state_of_module(module);
    }
    return self;
}

ml_loop *
ml_loop_new(ml_state *state, unsigned int flags)
{
    ml_loop *self = ml_loop_alloc(state->Loop);

    if (self != NULL) {
        if (create(self, flags) < 0) {
            Py_CLEAR(self);
        }
    }
    return self;
}

static PyObject *
loop_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    return (PyObject *)ml_loop_alloc(type);
}

static void
set_interval(ml_loop *self, double interval, bool io)
{
    if (io) {
        self->io_interval = interval;
        ev_set_io_collect_interval(self->ev, interval);
    }
    else {
        self->timeout_interval = interval;
        ev_set_timeout_collect_interval(self->ev, interval);
    }
}

int
ml_loop_set_interval(ml_loop *self, PyObject *value, bool io)
{
    double interval;

    if (ml_float_arg(value, io ? "io_interval" : "timeout_interval", 0., &interval) < 0 ||
        ml_loop_check_change(self) < 0) {
        return -1;
    }
    set_interval(self, interval, io);
    return 0;
}

static int
check_hook(PyObject *callback)
{
    if (callback != Py_None && !PyCallable_Check(callback)) {
        PyErr_Format(PyExc_TypeError, "a callable or None is required, got %.200s",
                     Py_TYPE(callback)->tp_name);
        return -1;
    }
    return 0;
}

int
ml_loop_set_hook(ml_loop *self, PyObject *callback)
{
    if (check_hook(callback) < 0) {
        return -1;
    }
    Py_XSETREF(self->callback, callback == Py_None ? NULL : Py_NewRef(callback));
    return 0;
}

/* Loop(flags=EVFLAG_AUTO, callback=None, data=None, io_interval=0.0, timeout_interval=0.0, *,
 * debug=False) */
int
ml_loop_init(ml_loop *self, PyObject *args, PyObject *kwargs, bool is_default)
{
    static char *keywords[] = {"flags", "callback", "data", "io_interval", "timeout_interval",
                               "debug", NULL};
    unsigned int flags = EVFLAG_AUTO;
    PyObject *flags_object = NULL, *callback = Py_None, *data = Py_None, *io = NULL,
             *timeout = NULL;
    int debug = 0;
    double io_interval = 0., timeout_interval = 0.;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O!OOOO$p:Loop", keywords, &PyLong_Type,
                                     &flags_object, &callback, &data, &io, &timeout, &debug)) {
        return -1;
    }
    if (flags_object != NULL) {
        unsigned long value = PyLong_AsUnsignedLong(flags_object);
        if (!PyErr_Occurred() && value > UINT_MAX) {
            PyErr_SetString(PyExc_OverflowError, "flags do not fit a C unsigned int");
        }
        if (PyErr_Occurred()) {
            return -1;
        }
        flags = (unsigned int)value;
    }
    if (getauxval(AT_SECURE)) {
        flags |= EVFLAG_NOENV; /* privileged: the environment is not to be trusted */
    }
    if ((io != NULL && ml_float_arg(io, "io_interval", 0., &io_interval) < 0) ||
        (timeout != NULL && ml_float_arg(timeout, "timeout_interval", 0., &timeout_interval) < 0)) {
        return -1;
    }
    if (self->ev != NULL || self->initialised) {
        PyErr_SetString(self->state->Error, "a loop cannot be initialised twice");
        return -1;
    }
    if (check_hook(callback) < 0 ||
        (is_default ? ml_default_create(self, flags) : create(self, flags)) < 0) {
        return -1;
    }
    self->initialised = true;
    self->debug = debug;
    set_interval(self, io_interval, true);
    set_interval(self, timeout_interval, false);
    Py_XSETREF(self->data, Py_NewRef(data)); /* these two run destructors, of what was set before */
    return ml_loop_set_hook(self, callback);
}

static int
loop_init(ml_loop *self, PyObject *args, PyObject *kwargs)
{
    return ml_loop_init(self, args, kwargs, false);
}

/* In the midst of a run, before the poll, libev makes it anew without another look at the watchers
 * of forks (`forked`): so what that looks at is to be looked at in any case. */
void
ml_loop_reset(ml_loop *self)
{
    ev_loop_fork(self->ev);
    ml_inotify_end(self); /* what one process takes of it, the other misses */
    self->reset_due = self->fork_told = self->backend_moved = self->check_all = true;
}

/* The epoll set is still shared with the parent. If the loop was running in another thread, that is
 * not there any more. */
void
ml_loop_after_fork(ml_loop *self)
{
    ml_interrupt_after_fork(self);
    self->wakers = 0;
    unsigned long thread = PyThread_get_thread_ident();
    int invoking = 0;

    for (int i = 0; i < self->invoking; i++) {
        invoking += self->invokers[i] == thread;
    }
    for (int i = 0; i < invoking; i++) {
        self->invokers[i] = thread;
    }
    self->invoking = invoking;
    if (self->rescheduling != thread) {
        self->rescheduling = 0;
    }
    ml_loop_reset(self);
    self->fork_due = true;
    if (ml_loop_runs_elsewhere(self)) {
        self->preparing = false;
        self->depth = 0;
        self->owner = 0;
        self->tstate = NULL;
        self->polling = false;
        ev_break(self->ev, EVBREAK_CANCEL); /* else it is "in a poll" for libev's assertions */
        if (self->wakeup_depth > 0) {
            self->wakeup_depth = 1;
            if (ml_interrupt_end(self) < 0) {
                ml_unraisable((PyObject *)self);
            }
        }
    }
}

/* ---- closing ----------------------------------------------------------------------------- */

int
ml_invoking_begin(ml_loop *self)
{
    if (self->invoking == self->invokers_cap &&
        ml_grow(&self->invokers, &self->invokers_cap, (size_t)self->invoking + 1,
                sizeof(*self->invokers)) < 0) {
        return -1;
    }
    self->invokers[self->invoking++] = PyThread_get_thread_ident();
    return 0;
}

void
ml_invoking_end(ml_loop *self)
{
    int last = --self->invoking, i = last;

    assert(last >= 0);
    while (i > 0 && self->invokers[i] != PyThread_get_thread_ident()) {
        i--;
    }
    self->invokers[i] = self->invokers[last];
}

void
ml_loop_stop_all(ml_loop *self)
{
    while (self->held != NULL) {
        ml_watcher_stop(self->held);
    }
    ml_once_stop_all(self);
}

/* The ev_io's of C code, whose owners find the loop closed. */
static void
stop_descriptors(ml_loop *self)
{
    for (int fd = 0; fd < self->fds_cap; fd++) {
        while (self->fds[fd] != NULL) {
            ml_fdw *fdw = self->fds[fd];
            self->fds[fd] = fdw->next;
            fdw->next = NULL;
            ev_io_stop(self->ev, &fdw->ev);
        }
    }
    PyMem_RawFree(self->fds);
    PyMem_RawFree(self->changed);
    self->fds = NULL;
    self->changed = NULL;
    self->fds_cap = self->changed_len = self->changed_cap = 0;
}

/* The Cleanup callbacks, or another thread meanwhile, may have begun to use it. */
static int
check_unused(ml_loop *self)
{
    if (self->depth > 0 || self->invoking > 0) {
        PyErr_Format(self->state->Error, "another thread is inside %s() of this loop",
                     self->depth > 0 ? "start" : "invoke");
        return -1;
    }
    if (self->host != NULL) { /* its watchers are for it to stop */
        PyErr_SetString(self->state->Error, "an asyncio loop runs on this loop: close that");
        return -1;
    }
    return 0;
}

int
ml_loop_close(ml_loop *self)
{
    if (self->ev == NULL || self->closing) {
        return 0;
    }
    if (self->depth > 0 || self->invoking > 0) {
        PyErr_SetString(self->state->Error, "cannot close a loop from inside its callbacks");
        return -1;
    }
    Py_INCREF(self);
    ml_cleanup_run(self);
    if (check_unused(self) < 0) {
        Py_DECREF(self);
        return -1;
    }
    self->closing = true;      /* what destructors run from here on finds it closed */
    while (self->wakers > 0) { /* for as long as a write takes */
        sched_yield();
    }
    ml_embed_stop_all(self);
    ml_loop_stop_all(self);
    assert(self->held == NULL && self->onces == NULL && self->due == NULL);
    ml_inotify_end(self);
    stop_descriptors(self);
    ml_loop_let_sleep(self);
    ev_ref(self->ev);
    ev_async_stop(self->ev, &self->wake);
    ev_ref(self->ev);
    ev_fork_stop(self->ev, &self->forked);
    for (; self->refs > 0; self->refs--) { /* of use to libev's default loop, which lives on */
        ev_unref(self->ev);
    }
    for (; self->refs < 0; self->refs++) {
        ev_ref(self->ev);
    }
    ev_set_userdata(self->ev, NULL);
    ev_set_invoke_pending_cb(self->ev, ev_invoke_pending);
    ev_set_loop_release_cb(self->ev, NULL, NULL);
    if (self->is_default) { /* destroying that leaks its active count: libev keeps it */
        ml_default_closed();
    }
    else {
        ev_loop_destroy(self->ev);
    }
    self->ev = NULL;
    ML_LIST_REMOVE(self);
    if (self->wakeup_fds[0] >= 0) {
        close(self->wakeup_fds[0]);
        close(self->wakeup_fds[1]);
    }
    if (self->state->default_loop == self) {
        self->state->default_loop = NULL;
        Py_DECREF(self);
    }
    PyObject *exc = self->exc;
    self->exc = NULL;
    Py_DECREF(self);
    return ml_raise_again(exc, 0, NULL);
}

void
ml_loop_finalize(ml_loop *self)
{
    if (self->ev == NULL || self->closing || self->depth > 0 || self->invoking > 0) {
        return;
    }
    PyObject *exc = ml_take_exception();
    ml_cleanup_run(self);
    if (self->exc != NULL) {
        PyObject *fatal = self->exc;
        self->exc = NULL;
        ml_raise(fatal);
        ml_unraisable((PyObject *)self);
    }
    if (exc != NULL) {
        ml_raise(exc);
    }
}

static int
loop_traverse(ml_loop *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->module);
    Py_VISIT(self->callback);
    Py_VISIT(self->data);
    Py_VISIT(self->exc);
    Py_VISIT(self->handed);
    for (ml_watcher *watcher = self->held; watcher != NULL; watcher = watcher->next) {
        Py_VISIT(watcher);
    }
    return ml_once_traverse(self, visit, arg);
}

static int
loop_clear(ml_loop *self)
{
    if (self->ev != NULL) {
        ml_loop_stop_all(self);
    }
    Py_CLEAR(self->callback);
    Py_CLEAR(self->data);
    Py_CLEAR(self->exc);
    Py_CLEAR(self->handed);
    return 0;
}

static void
loop_dealloc(ml_loop *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self, loop_dealloc) if (self->weaklist != NULL)
    {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    if (self->ev != NULL) {
        /* resurrected for the time being: closing takes and drops references */
        PyObject *exc = ml_take_exception();
        Py_SET_REFCNT((PyObject *)self, 1);
        if (ml_loop_close(self) < 0) {
            ml_unraisable(NULL);
        }
        Py_SET_REFCNT((PyObject *)self, 0);
        if (exc != NULL) {
            ml_raise(exc);
        }
    }
    loop_clear(self);
    assert(self->held == NULL && self->embeds == NULL && self->invoking == 0);
    PyMem_RawFree(self->invokers);
    Py_CLEAR(self->module);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END
}

static PyType_Slot loop_slots[] = {
    {Py_tp_doc, PyDoc_STR("Loop(flags=EVFLAG_AUTO, callback=None, data=None, io_interval=0.0, "
                          "timeout_interval=0.0, *, debug=False)\n--\n\nA libev event loop.")},
    {Py_tp_new, loop_new},
    {Py_tp_init, loop_init},
    {Py_tp_dealloc, loop_dealloc},
    {Py_tp_finalize, ml_loop_finalize},
    {Py_tp_traverse, loop_traverse},
    {Py_tp_clear, loop_clear},
    {Py_tp_repr, ml_loop_repr},
    {Py_tp_methods, ml_loop_methods},
    {Py_tp_getset, ml_loop_getset},
    {Py_tp_members, ml_loop_members},
    {0, NULL},
};

PyType_Spec ml_loop_spec = {
    .name = "moodloop.event.Loop",
    .basicsize = sizeof(ml_loop),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = loop_slots,
};
