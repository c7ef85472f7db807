/* event.Loop: life and attributes. Running it is in run.c. */
#define _GNU_SOURCE
#include "watcher.h"

#include <errno.h>
#include <pythread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- making ------------------------------------------------------------------------------ */

int
ml_loop_check_open(ml_loop *loop)
{
    if (loop->ev == NULL) {
        PyErr_SetString(loop->state->Error, "loop is closed");
        return -1;
    }
    return 0;
}

static void
wake_event(struct ev_loop *Py_UNUSED(ev), ev_async *Py_UNUSED(async), int Py_UNUSED(revents))
{
}

/* libev's own epoll descriptor is in no API. It takes the lowest number that is free, which `guess`
 * was before; see whether it is one. */
static int
find_backend_fd(int guess)
{
    char path[64], target[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", guess);
    ssize_t len = readlink(path, target, sizeof(target) - 1);
    if (len < 0) {
        return -1;
    }
    target[len] = 0;
    return strstr(target, "eventpoll") ? guess : -1;
}

/* Takes over a fresh libev loop. */
static void
adopt(ml_loop *self, struct ev_loop *ev, int guess)
{
    self->ev = ev;
    self->wakeup_fds[0] = self->wakeup_fds[1] = self->wakeup_old = -1;
    self->backend_fd = guess >= 0 ? find_backend_fd(guess) : -1;
    ml_run_init(self);
    ev_async_init(&self->wake, wake_event);
    ev_async_start(ev, &self->wake);
    ev_unref(ev);
    self->next_loop = self->state->loops;
    if (self->next_loop != NULL) {
        self->next_loop->prev_loop = self;
    }
    self->state->loops = self;
}

/* libev aborts, or spins, when it cannot have the descriptors that it needs at once: see first. */
static int
probe_descriptors(void)
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
    return second < 0 ? -1 : first;
}

static int
create(ml_loop *self, unsigned int flags)
{
    int guess = probe_descriptors();

    if (guess < 0) {
        return -1;
    }
    struct ev_loop *ev = ev_loop_new(flags);
    if (ev == NULL) {
        PyErr_SetString(self->state->Error, "could not create loop, bad 'flags'?");
        return -1;
    }
    adopt(self, ev, guess);
    return 0;
}

/* The default loop. libev takes SIGCHLD for it at once, and would reap every child of the process:
 * it is given back, until a Child watcher wants it. */
static int
create_default(ml_loop *self, unsigned int flags)
{
    struct sigaction before;
    int guess = self->state->default_made ? -1 : probe_descriptors();

    if (guess < 0 && !self->state->default_made) {
        return -1;
    }
    sigaction(SIGCHLD, NULL, &before);
    struct ev_loop *ev = ev_default_loop(flags);
    sigaction(SIGCHLD, &before, NULL);
    if (ev == NULL) {
        PyErr_SetString(self->state->Error, "could not create loop, bad 'flags'?");
        return -1;
    }
    self->state->default_made = true;
    self->is_default = true;
    adopt(self, ev, guess);
    return 0;
}

ml_loop *
ml_loop_new(ml_state *state, unsigned int flags)
{
    ml_loop *self = (ml_loop *)state->Loop->tp_alloc(state->Loop, 0);

    if (self != NULL) {
        self->state = state;
        if (create(self, flags) < 0) {
            Py_CLEAR(self);
        }
    }
    return self;
}

static PyObject *
loop_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    ml_loop *self = (ml_loop *)type->tp_alloc(type, 0);

    if (self != NULL) {
        self->state = ml_state_of_type(type);
    }
    return (PyObject *)self;
}

int
ml_loop_set_interval(ml_loop *self, PyObject *value, bool io)
{
    double interval;

    if (ml_float_arg(value, io ? "io_interval" : "timeout_interval", 0., &interval) < 0) {
        return -1;
    }
    if (io) {
        self->io_interval = interval;
        ev_set_io_collect_interval(self->ev, interval);
    }
    else {
        self->timeout_interval = interval;
        ev_set_timeout_collect_interval(self->ev, interval);
    }
    return 0;
}

int
ml_loop_set_hook(ml_loop *self, PyObject *callback)
{
    if (callback != Py_None && !PyCallable_Check(callback)) {
        PyErr_Format(PyExc_TypeError, "a callable or None is required, got %.200s",
                     Py_TYPE(callback)->tp_name);
        return -1;
    }
    Py_XSETREF(self->callback, callback == Py_None ? NULL : Py_NewRef(callback));
    return 0;
}

/* Loop(flags=EVFLAG_AUTO, callback=None, data=None, io_interval=0.0, timeout_interval=0.0, *,
 * debug=False) */
static int
init(ml_loop *self, PyObject *args, PyObject *kwargs, bool is_default)
{
    static char *keywords[] = {"flags",            "callback", "data", "io_interval",
                               "timeout_interval", "debug",    NULL};
    unsigned int flags = EVFLAG_AUTO;
    PyObject *flags_object = NULL, *callback = Py_None, *data = Py_None, *io = NULL,
             *timeout = NULL;
    int debug = 0;
    double checked;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O!OOOO$p:Loop", keywords, &PyLong_Type,
                                     &flags_object, &callback, &data, &io, &timeout, &debug)) {
        return -1;
    }
    if (self->ev != NULL || self->data != NULL) {
        PyErr_SetString(self->state->Error, "a loop cannot be initialised twice");
        return -1;
    }
    if (flags_object != NULL) {
        flags = (unsigned int)PyLong_AsUnsignedLong(flags_object);
        if (PyErr_Occurred()) {
            return -1;
        }
    }
    if (getauxval(AT_SECURE)) {
        flags |= EVFLAG_NOENV; /* privileged: the environment is not to be trusted */
    }
    if ((io != NULL && ml_float_arg(io, "io_interval", 0., &checked) < 0) ||
        (timeout != NULL && ml_float_arg(timeout, "timeout_interval", 0., &checked) < 0) ||
        ml_loop_set_hook(self, callback) < 0 ||
        (is_default ? create_default(self, flags) : create(self, flags)) < 0) {
        return -1;
    }
    self->debug = debug;
    self->data = Py_NewRef(data);
    if ((io != NULL && ml_loop_set_interval(self, io, true) < 0) ||
        (timeout != NULL && ml_loop_set_interval(self, timeout, false) < 0)) {
        return -1;
    }
    return 0;
}

static int
loop_init(ml_loop *self, PyObject *args, PyObject *kwargs)
{
    return init(self, args, kwargs, false);
}

/* moodloop.event.default_loop() */
PyObject *
ml_default_loop(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ml_state *state = ml_state_of_module(module);

    if (state->default_loop != NULL) {
        bool given = PyTuple_GET_SIZE(args) > 0 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0);
        if (given && PyErr_WarnEx(PyExc_RuntimeWarning,
                                  "the default loop exists: arguments are ignored", 1) < 0) {
            return NULL;
        }
        return Py_NewRef((PyObject *)state->default_loop);
    }
    ml_loop *self = (ml_loop *)state->Loop->tp_alloc(state->Loop, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = state;
    if (init(self, args, kwargs, true) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    state->default_loop = (ml_loop *)Py_NewRef((PyObject *)self);
    return (PyObject *)self;
}

/* ---- closing ----------------------------------------------------------------------------- */

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

static void
forget(ml_loop *self)
{
    if (self->prev_loop != NULL) {
        self->prev_loop->next_loop = self->next_loop;
    }
    else {
        self->state->loops = self->next_loop;
    }
    if (self->next_loop != NULL) {
        self->next_loop->prev_loop = self->prev_loop;
    }
    self->prev_loop = self->next_loop = NULL;
}

int
ml_loop_close(ml_loop *self)
{
    if (self->ev == NULL) {
        return 0;
    }
    if (self->depth > 0) {
        PyErr_SetString(self->state->Error, "cannot close a loop from inside its callbacks");
        return -1;
    }
    Py_INCREF(self);
    ml_loop_stop_all(self);
    if (self->ev != NULL) { /* a destructor may have closed it meanwhile */
        stop_descriptors(self);
        ev_ref(self->ev);
        ev_async_stop(self->ev, &self->wake);
        ev_set_userdata(self->ev, NULL);
        ev_set_invoke_pending_cb(self->ev, ev_invoke_pending);
        ev_set_loop_release_cb(self->ev, NULL, NULL);
        if (!self->is_default) { /* destroying that leaks its active count: libev keeps it */
            ev_loop_destroy(self->ev);
        }
        self->ev = NULL;
        forget(self);
        if (self->wakeup_fds[0] >= 0) {
            close(self->wakeup_fds[0]);
            close(self->wakeup_fds[1]);
        }
        if (self->state->default_loop == self) {
            self->state->default_loop = NULL;
            Py_DECREF(self);
        }
    }
    Py_DECREF(self);
    return 0;
}

static int
loop_traverse(ml_loop *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->callback);
    Py_VISIT(self->data);
    Py_VISIT(self->exc);
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
    return 0;
}

static void
loop_dealloc(ml_loop *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (self->weaklist != NULL) {
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
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot loop_slots[] = {
    {Py_tp_doc, PyDoc_STR("Loop(flags=EVFLAG_AUTO, callback=None, data=None, io_interval=0.0, "
                          "timeout_interval=0.0, *, debug=False)\n--\n\nA libev event loop.")},
    {Py_tp_new, loop_new},
    {Py_tp_init, loop_init},
    {Py_tp_dealloc, loop_dealloc},
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
