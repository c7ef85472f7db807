/* libev's default loop: the process has one, whatever number of instances of this module. */
#include "watcher.h"

#include <signal.h>

/* libev keeps the loop, and with it its descriptors, when its wrapper is closed. */
static struct {
    bool made;
    ml_loop *wrapper; /* borrowed; NULL if there is none */
    int backend_fd, pipe_fd;
} the_default = {.backend_fd = -1, .pipe_fd = -1};

bool
ml_default_loop_made(void)
{
    return the_default.made;
}

/* libev's own SIGCHLD watcher calls waitpid(-1) and so reaps every child of the process: it is
 * stopped for good, and child.c does its work for Child watchers. It is in no API, but the next one
 * in the list of a watcher that is started after it. False if it is not: then SIGCHLD is still
 * libev's, which with its last watcher gives a signal back to the system. */
static bool
detach_child(struct ev_loop *ev, const struct sigaction *before)
{
    ev_signal probe;
    struct sigaction now;

    ev_signal_init(&probe, NULL, SIGCHLD);
    ev_signal_start(ev, &probe);
    ev_signal *child = (ev_signal *)probe.next;
    bool found = child != NULL && child->signum == SIGCHLD;
    if (found) {
        ev_ref(ev); /* libev unref'd it */
        ev_signal_stop(ev, child);
    }
    ev_signal_stop(ev, &probe);
    sigaction(SIGCHLD, NULL, &now);
    /* with a signalfd it never had a handler */
    return found && (now.sa_handler == SIG_DFL || now.sa_handler == before->sa_handler);
}

/* libev takes SIGCHLD for it at once: it is given back, until a Child watcher
 * wants it. */
int
ml_default_create(ml_loop *self, unsigned int flags)
{
    struct sigaction before;
    bool made = the_default.made;
    int guess = made ? the_default.backend_fd : ml_probe_descriptors(NULL);

    if (ml_backends_flags(self->state, &flags) < 0) {
        return -1;
    }
    if (guess < 0 && !made) {
        return -1;
    }
    if (the_default.wrapper != NULL || (!made && ml_signal_owner(SIGCHLD) != NULL)) {
        PyErr_SetString(self->state->Error, the_default.wrapper != NULL
                                                ? "the default loop exists"
                                                : "another loop watches SIGCHLD");
        return -1;
    }
    sigaction(SIGCHLD, NULL, &before);
    struct ev_loop *ev = ev_default_loop(flags);
    bool detached = ev != NULL && (made || detach_child(ev, &before));
    sigaction(SIGCHLD, &before, NULL);
    if (!detached) {
        PyErr_SetString(self->state->Error, ev ? "this libev does not give SIGCHLD back"
                                               : "could not create loop, bad 'flags'?");
        return -1;
    }
    the_default.made = self->is_default = true;
    the_default.wrapper = self;
    self->no_inotify = flags & EVFLAG_NOINOTIFY;
    ev_set_io_collect_interval(ev, 0.);
    ev_set_timeout_collect_interval(ev, 0.);
    ml_loop_adopt(self, ev, guess, -1);
    the_default.backend_fd = self->backend_fd;
    if (made) {
        self->pipe_fd = the_default.pipe_fd;
    }
    the_default.pipe_fd = self->pipe_fd;
    return 0;
}

void
ml_default_closed(void)
{
    assert(the_default.wrapper != NULL);
    the_default.wrapper = NULL;
}

static PyObject *
default_loop(ml_state *state, PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (state->default_loop != NULL) {
        bool given = PyTuple_GET_SIZE(args) > 0 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0);
        PyObject *exists = Py_NewRef((PyObject *)state->default_loop); /* a warning can close it */
        if (given && PyErr_WarnEx(PyExc_RuntimeWarning,
                                  "the default loop exists: arguments are ignored", 1) < 0) {
            Py_CLEAR(exists);
        }
        return exists;
    }
    ml_loop *self = ml_loop_alloc(type);
    if (self == NULL) {
        return NULL;
    }
    if (ml_loop_init(self, args, kwargs, true) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    state->default_loop = (ml_loop *)Py_NewRef((PyObject *)self);
    return (PyObject *)self;
}

/* moodloop.event.default_loop() */
PyObject *
ml_default_loop(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ml_state *state = ml_state_of_module(module);

    return default_loop(state, state->Loop, args, kwargs);
}

/* _default_loop_as(type, ...): default_loop(...), which if it is made now is of that type. */
PyObject *
ml_default_loop_as(PyObject *module, PyObject *args, PyObject *kwargs)
{
    ml_state *state = ml_state_of_module(module);
    PyObject *type = PyTuple_GET_SIZE(args) > 0 ? PyTuple_GET_ITEM(args, 0) : NULL;

    if (type == NULL || !PyType_Check(type) ||
        !PyType_IsSubtype((PyTypeObject *)type, state->Loop)) {
        PyErr_SetString(PyExc_TypeError, "a subclass of Loop is required");
        return NULL;
    }
    PyObject *rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
    PyObject *loop = rest ? default_loop(state, (PyTypeObject *)type, rest, kwargs) : NULL;
    Py_XDECREF(rest);
    return loop;
}
