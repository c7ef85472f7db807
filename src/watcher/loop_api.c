/* The methods and attributes of event.Loop. */
#include "watcher.h"

#include <pythread.h>
#include <signal.h>

/* ---- running ----------------------------------------------------------------------------- */

/* With a guest the run goes on while that waits for what is no watcher (a task for another thread,
 * say): the wake-up ends the poll. Asked only when no watcher is left. */
static int
run_for_guest(ml_loop *self, int flags)
{
    bool once = flags & (EVRUN_ONCE | EVRUN_NOWAIT), blocking = !(flags & EVRUN_NOWAIT);
    int result = ml_loop_run(self, flags, blocking), waits;

    while (result == 0 && self->host_ops != NULL &&
           (waits = self->host_ops->waits(self->host)) != 0) {
        if (waits < 0) {
            return -1;
        }
        ev_ref(self->ev);
        result = ml_loop_run(self, once ? flags : EVRUN_ONCE, blocking);
        ev_unref(self->ev);
        if (result == ML_RUN_ACTIVE && !once) {
            result = ml_loop_run(self, flags, blocking);
        }
    }
    return result;
}

static PyObject *
loop_start(ml_loop *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"flags", NULL};
    int flags = 0;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|i:start", keywords, &flags) ||
        ml_loop_check_change(self) < 0 || ml_loop_check_thread(self) < 0) {
        return NULL;
    }
    Py_INCREF(self);
    PyObject *result = NULL;
    if (ml_interrupt_begin(self) == 0) { /* Python code: another thread may have attached a guest */
        bool refused = self->host_ops != NULL && self->host_ops->check_start(self->host) < 0;
        /* Python code runs between the runs for a guest, too: not even that can close the loop */
        int ended = refused || ml_invoking_begin(self) < 0 ? -1 : 0;
        if (ended == 0) {
            ended = run_for_guest(self, flags);
            ml_invoking_end(self);
        }
        ended = ml_interrupt_end(self) < 0 ? -1 : ended;
        result = ended < 0 ? NULL : PyBool_FromLong(ended & ML_RUN_ACTIVE);
    }
    Py_DECREF(self);
    return result;
}

/* Also from a reschedule callable: a signal handler, which ends a program so, can run in there.
 *
 * A libev with assertions forgets an ev_break() that comes while it polls, so another thread's is
 * noted for after the poll, and the poll ended. */
static PyObject *
loop_stop(ml_loop *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"how", NULL};
    int how = EVBREAK_ONE;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|i:stop", keywords, &how) ||
        ml_loop_check_change(self) < 0) {
        return NULL;
    }
    if (how != EVBREAK_CANCEL && how != EVBREAK_ONE && how != EVBREAK_ALL) {
        /* libev has values of its own beside these, and aborts if it finds one in the next run */
        return PyErr_Format(PyExc_ValueError, "how must be EVBREAK_CANCEL, _ONE or _ALL, not %d",
                            how);
    }
    if (self->depth > 0 && self->owner == PyThread_get_thread_ident()) {
        ml_loop_break(self, how);
    }
    else if (self->depth > 0) {
        self->break_how = how;
        ml_loop_wake(self);
    }
    Py_RETURN_NONE;
}

static PyObject *
loop_invoke(ml_loop *self, PyObject *Py_UNUSED(unused))
{
    if (ml_loop_check_change(self) < 0 || ml_loop_check_thread(self) < 0) {
        return NULL;
    }
    if (ml_invoking_begin(self) < 0) {
        return NULL;
    }
    bool nothing_before = self->exc == NULL;
    ev_invoke_pending(self->ev);
    int rc = nothing_before ? ml_loop_raise_aside(self) : 0;
    ml_invoking_end(self);
    return ml_none_or_error(rc);
}

static PyObject *
loop_reset(ml_loop *self, PyObject *Py_UNUSED(unused))
{
    if (ml_loop_check_change(self) < 0) {
        return NULL;
    }
    if (self->preparing) {
        PyErr_SetString(self->state->Error, "cannot reset a loop from a Prepare callback");
        return NULL;
    }
    ml_loop_reset(self);
    Py_RETURN_NONE;
}

/* ---- time -------------------------------------------------------------------------------- */

static PyObject *
loop_now(ml_loop *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"update", NULL};
    int update = 0;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p:now", keywords, &update) ||
        ml_loop_check_open(self) < 0) {
        return NULL;
    }
    if (update) {
        if (ml_loop_check_change(self) < 0) {
            return NULL;
        }
        ev_now_update(self->ev);
    }
    return PyFloat_FromDouble(ev_now(self->ev));
}

static PyObject *
loop_update(ml_loop *self, PyObject *Py_UNUSED(unused))
{
    if (ml_loop_check_change(self) < 0) {
        return NULL;
    }
    ev_now_update(self->ev);
    Py_RETURN_NONE;
}

static PyObject *
suspend_or_resume(ml_loop *self, bool suspend)
{
    if (ml_loop_check_change(self) < 0) {
        return NULL;
    }
    if (self->suspended == suspend) {
        PyErr_SetString(self->state->Error,
                        suspend ? "the loop is suspended already" : "the loop is not suspended");
        return NULL;
    }
    self->suspended = suspend;
    (suspend ? ev_suspend : ev_resume)(self->ev);
    Py_RETURN_NONE;
}

static PyObject *
loop_suspend(ml_loop *self, PyObject *Py_UNUSED(unused))
{
    return suspend_or_resume(self, true);
}

static PyObject *
loop_resume(ml_loop *self, PyObject *Py_UNUSED(unused))
{
    return suspend_or_resume(self, false);
}

/* ---- references -------------------------------------------------------------------------- */

static PyObject *
loop_ref(ml_loop *self, PyObject *Py_UNUSED(unused))
{
    if (ml_loop_check_change(self) < 0) {
        return NULL;
    }
    self->refs++;
    ev_ref(self->ev);
    ml_loop_changed(self);
    Py_RETURN_NONE;
}

/* What keeps start() going, as far as the user's watchers and calls go. */
static int
reasons(ml_loop *self)
{
    int count = self->counted;

    /* A one-shot that libev has stopped is not known as such before it tells its event. */
    if (ev_pending_count(self->ev) > 0) {
        count = 0;
        for (ml_watcher *watcher = self->held; watcher != NULL; watcher = watcher->next) {
            count += ev_is_active(ml_watcher_ev(watcher)) && !watcher->unrefd;
        }
    }
    return count + self->refs;
}

void
ml_loop_balance(ml_loop *self)
{
    for (int count = self->counted + self->refs; count < 0; count++) {
        self->refs++;
        ev_ref(self->ev);
    }
}

/* libev aborts (verify) or never ends when its count goes below zero: it is counted here too. */
static PyObject *
loop_unref(ml_loop *self, PyObject *Py_UNUSED(unused))
{
    if (ml_loop_check_change(self) < 0) {
        return NULL;
    }
    if (reasons(self) <= 0) {
        PyErr_SetString(self->state->Error, "more unref() than ref() and active watchers");
        return NULL;
    }
    self->refs--;
    ev_unref(self->ev);
    ml_loop_changed(self);
    Py_RETURN_NONE;
}

/* ---- events by hand ---------------------------------------------------------------------- */

static PyObject *
loop_feed_fd_event(ml_loop *self, PyObject *args)
{
    PyObject *object;
    int revents;

    if (!PyArg_ParseTuple(args, "Oi:feed_fd_event", &object, &revents) ||
        ml_loop_check_change(self) < 0) {
        return NULL;
    }
    int fd = ml_fd_from_object(object);
    if (fd < 0 || ml_loop_check_change(self) < 0 || ml_reserve_check() < 0) {
        return NULL;
    }
    ev_feed_fd_event(self->ev, fd, revents);
    ml_loop_changed(self);
    Py_RETURN_NONE;
}

static PyObject *
loop_feed_signal_event(ml_loop *self, PyObject *arg)
{
    long signum = PyLong_AsLong(arg);

    if ((signum == -1 && PyErr_Occurred()) || ml_loop_check_change(self) < 0) {
        return NULL;
    }
    if (signum <= 0 || signum >= NSIG) {
        return PyErr_Format(PyExc_ValueError, "signal number %ld out of range [1; %d]", signum,
                            NSIG - 1);
    }
    if (ml_reserve_check() < 0) {
        return NULL;
    }
    ev_feed_signal_event(self->ev, (int)signum);
    ml_loop_changed(self);
    Py_RETURN_NONE;
}

static PyObject *
loop_verify(ml_loop *self, PyObject *Py_UNUSED(unused))
{
    if (ml_loop_check_open(self) < 0) {
        return NULL;
    }
    ev_verify(self->ev);
    Py_RETURN_NONE;
}

/* ---- closing ----------------------------------------------------------------------------- */

static PyObject *
loop_close(ml_loop *self, PyObject *Py_UNUSED(unused))
{
    if (self->ev != NULL && self->host != NULL) {
        PyErr_SetString(self->state->Error, "an asyncio loop runs on this loop: close that");
        return NULL;
    }
    return ml_none_or_error(ml_loop_close(self));
}

static PyObject *
loop_enter(ml_loop *self, PyObject *Py_UNUSED(unused))
{
    return ml_loop_check_open(self) < 0 ? NULL : Py_NewRef((PyObject *)self);
}

static PyObject *
loop_exit(ml_loop *self, PyObject *Py_UNUSED(args))
{
    return loop_close(self, NULL);
}

static PyObject *
loop_watchers(ml_loop *self, PyObject *Py_UNUSED(unused))
{
    PyObject *list = ml_loop_check_open(self) < 0 ? NULL : PyList_New(0);

    for (ml_watcher *watcher = self->held; list != NULL && watcher != NULL;
         watcher = watcher->next) {
        if (ev_is_active(ml_watcher_ev(watcher)) && PyList_Append(list, (PyObject *)watcher) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* ---- factories --------------------------------------------------------------------------- */

/* loop.io(fd, ...) is Io(loop, fd, ...) */
static PyObject *
make_watcher(ml_loop *self, PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    Py_ssize_t count = PyTuple_GET_SIZE(args);
    PyObject *all = PyTuple_New(count + 1);

    if (all == NULL) {
        return NULL;
    }
    PyTuple_SET_ITEM(all, 0, Py_NewRef((PyObject *)self));
    for (Py_ssize_t i = 0; i < count; i++) {
        PyTuple_SET_ITEM(all, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
    }
    PyObject *watcher = PyObject_Call((PyObject *)type, all, kwargs);
    Py_DECREF(all);
    return watcher;
}

#define X(Name, lower)                                                             \
    static PyObject *make_##lower(ml_loop *self, PyObject *args, PyObject *kwargs) \
    {                                                                              \
        return make_watcher(self, self->state->Name, args, kwargs);                \
    }
ML_WATCHER_KINDS(X)
#undef X

/* ---- attributes -------------------------------------------------------------------------- */

static PyObject *
get_member(ml_loop *self, void *member)
{
    return ml_loop_check_open(self) < 0 ? NULL : PyMember_GetOne((const char *)self, member);
}

static int
set_callback(ml_loop *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (ml_no_delete(value, "callback") < 0 || ml_loop_check_change(self) < 0) {
        return -1;
    }
    return ml_loop_set_hook(self, value);
}

static PyObject *
get_data(ml_loop *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->data ? self->data : Py_None);
}

static int
set_data(ml_loop *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (ml_no_delete(value, "data") < 0) {
        return -1;
    }
    Py_XSETREF(self->data, Py_NewRef(value));
    return 0;
}

static int
set_debug(ml_loop *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (ml_no_delete(value, "debug") < 0 || ml_loop_check_change(self) < 0) {
        return -1;
    }
    int debug = PyObject_IsTrue(value);
    self->debug = debug == 1;
    return debug < 0 ? -1 : 0;
}

static int
set_interval(ml_loop *self, PyObject *value, void *member)
{
    const PyMemberDef *which = member;

    if (ml_no_delete(value, which->name) < 0 || ml_loop_check_change(self) < 0) {
        return -1;
    }
    return ml_loop_set_interval(self, value, which->offset == offsetof(ml_loop, io_interval));
}

static PyObject *
get_closed(ml_loop *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->ev == NULL);
}

static PyObject *
get_backend(ml_loop *self, void *Py_UNUSED(closure))
{
    return ml_loop_check_open(self) < 0 ? NULL : PyLong_FromLong((long)ev_backend(self->ev));
}

static PyObject *
get_backend_name(ml_loop *self, void *Py_UNUSED(closure))
{
    static const struct {
        unsigned int bit;
        const char *name;
    } names[] = {
        {EVBACKEND_SELECT, "select"},     {EVBACKEND_POLL, "poll"},
        {EVBACKEND_EPOLL, "epoll"},       {EVBACKEND_KQUEUE, "kqueue"},
        {EVBACKEND_DEVPOLL, "devpoll"},   {EVBACKEND_PORT, "port"},
        {EVBACKEND_LINUXAIO, "linuxaio"},
    };

    if (ml_loop_check_open(self) < 0) {
        return NULL;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(names); i++) {
        if (names[i].bit == ev_backend(self->ev)) {
            return PyUnicode_FromString(names[i].name);
        }
    }
    return PyUnicode_FromFormat("backend %u", ev_backend(self->ev));
}

static PyObject *
get_pending(ml_loop *self, void *Py_UNUSED(closure))
{
    return ml_loop_check_open(self) < 0 ? NULL
                                        : PyLong_FromUnsignedLong(ev_pending_count(self->ev));
}

static PyObject *
get_iteration(ml_loop *self, void *Py_UNUSED(closure))
{
    return ml_loop_check_open(self) < 0 ? NULL : PyLong_FromUnsignedLong(ev_iteration(self->ev));
}

PyObject *
ml_loop_repr(ml_loop *self)
{
    const char *name = Py_TYPE(self)->tp_name;

    if (self->ev == NULL) {
        return PyUnicode_FromFormat("<%s closed>", name);
    }
    PyObject *backend = get_backend_name(self, NULL);
    PyObject *repr = backend ? PyUnicode_FromFormat("<%s %U%s>", name, backend,
                                                    self->is_default ? " default" : "")
                             : NULL;
    Py_XDECREF(backend);
    return repr;
}

PyGetSetDef ml_loop_getset[] = {
    ML_MEMBER(get_member, set_callback, "callback", T_OBJECT, ml_loop, callback,
              "Called as callback(loop) when events are pending, which it is to invoke()."),
    {"data", (getter)get_data, (setter)set_data, PyDoc_STR("Any object."), NULL},
    ML_MEMBER(get_member, set_debug, "debug", T_BOOL, ml_loop, debug,
              "True: every exception of a callback ends start()."),
    ML_MEMBER(get_member, set_interval, "io_interval", T_DOUBLE, ml_loop, io_interval,
              "Seconds for which I/O events are collected (ev_set_io_collect_interval). libev "
              "waits them with the GIL held: other threads stand still."),
    ML_MEMBER(get_member, set_interval, "timeout_interval", T_DOUBLE, ml_loop, timeout_interval,
              "The same for timers (ev_set_timeout_collect_interval)."),
    {"closed", (getter)get_closed, NULL, PyDoc_STR("True after close()."), NULL},
    ML_MEMBER(get_member, NULL, "default", T_BOOL, ml_loop, is_default,
              "True for the default loop."),
    {"backend", (getter)get_backend, NULL, PyDoc_STR("An EVBACKEND_* value."), NULL},
    {"backend_name", (getter)get_backend_name, NULL, PyDoc_STR("\"epoll\", for example."), NULL},
    {"pending", (getter)get_pending, NULL, PyDoc_STR("Events that wait (libev's slots)."), NULL},
    {"iteration", (getter)get_iteration, NULL, PyDoc_STR("Polls so far (ev_iteration)."), NULL},
    ML_MEMBER(get_member, NULL, "depth", T_INT, ml_loop, depth, "Nested start() calls (ev_depth)."),
    {NULL},
};

PyMemberDef ml_loop_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ml_loop, weaklist), READONLY, NULL},
    {NULL},
};

#define WITH_KEYWORDS (METH_VARARGS | METH_KEYWORDS)

PyMethodDef ml_loop_methods[] = {
    {"start", ML_FUNCTION(loop_start), WITH_KEYWORDS,
     PyDoc_STR("start($self, /, flags=0)\n--\n\n"
               "Runs until stop() or until nothing is active; False if nothing is. EVRUN_NOWAIT "
               "and EVRUN_ONCE as in ev_run. Raises what a fatal callback raised.")},
    {"stop", ML_FUNCTION(loop_stop), WITH_KEYWORDS,
     PyDoc_STR("stop($self, /, how=EVBREAK_ONE)\n--\n\nLets start() return; from any thread.")},
    {"invoke", ML_FUNCTION(loop_invoke), METH_NOARGS,
     PyDoc_STR("invoke($self, /)\n--\n\nCalls the callbacks of all pending events.")},
    {"reset", ML_FUNCTION(loop_reset), METH_NOARGS,
     PyDoc_STR("reset($self, /)\n--\n\nMakes the loop usable after a fork; done by itself.")},
    {"now", ML_FUNCTION(loop_now), WITH_KEYWORDS,
     PyDoc_STR("now($self, /, update=False)\n--\n\nThe loop's time, seconds since the epoch.")},
    {"update", ML_FUNCTION(loop_update), METH_NOARGS,
     PyDoc_STR("update($self, /)\n--\n\nReads the clock (ev_now_update).")},
    {"suspend", ML_FUNCTION(loop_suspend), METH_NOARGS,
     PyDoc_STR("suspend($self, /)\n--\n\nTimers stand still until resume().")},
    {"resume", ML_FUNCTION(loop_resume), METH_NOARGS,
     PyDoc_STR("resume($self, /)\n--\n\nEnds a suspend().")},
    {"ref", ML_FUNCTION(loop_ref), METH_NOARGS,
     PyDoc_STR("ref($self, /)\n--\n\nOne more reason for start() not to return.")},
    {"incref", ML_FUNCTION(loop_ref), METH_NOARGS,
     PyDoc_STR("incref($self, /)\n--\n\nAnother name of ref().")},
    {"unref", ML_FUNCTION(loop_unref), METH_NOARGS,
     PyDoc_STR("unref($self, /)\n--\n\nOne reason less.")},
    {"decref", ML_FUNCTION(loop_unref), METH_NOARGS,
     PyDoc_STR("decref($self, /)\n--\n\nAnother name of unref().")},
    {"feed_fd_event", ML_FUNCTION(loop_feed_fd_event), METH_VARARGS,
     PyDoc_STR("feed_fd_event($self, fd, revents, /)\n--\n\nAs if the descriptor had events.")},
    {"feed_signal_event", ML_FUNCTION(loop_feed_signal_event), METH_O,
     PyDoc_STR("feed_signal_event($self, signum, /)\n--\n\nAs if the signal had arrived.")},
    {"once", ML_FUNCTION(ml_loop_once), WITH_KEYWORDS,
     PyDoc_STR("once($self, /, fd, events, timeout, callback)\n--\n\n"
               "callback(loop, revents) when the descriptor is ready or after `timeout` seconds; "
               "None for either leaves it out.")},
    {"verify", ML_FUNCTION(loop_verify), METH_NOARGS,
     PyDoc_STR("verify($self, /)\n--\n\nlibev's self-check: aborts if its data is damaged.")},
    {"close", ML_FUNCTION(loop_close), METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nCalls Cleanup watchers, stops all watchers and frees the "
               "loop. Idempotent.")},
    {"watchers", ML_FUNCTION(loop_watchers), METH_NOARGS,
     PyDoc_STR("watchers($self, /)\n--\n\nThe active watchers, newest first.")},
    {"__enter__", ML_FUNCTION(loop_enter), METH_NOARGS, NULL},
    {"__exit__", ML_FUNCTION(loop_exit), METH_VARARGS, NULL},
    {"__reduce__", ml_no_pickle, METH_NOARGS, NULL},
    {"async_", ML_FUNCTION(make_async), WITH_KEYWORDS, PyDoc_STR("Async(loop, ...)")},
#define X(Name, lower)                                                                  \
    {#lower, ML_FUNCTION(make_##lower), WITH_KEYWORDS, PyDoc_STR(#Name "(loop, ...)")}, \
        {"__" #lower "__", ML_FUNCTION(make_##lower), WITH_KEYWORDS,                    \
         PyDoc_STR(#Name "(loop, ...)")},
    ML_WATCHER_KINDS(X)
#undef X
        {NULL},
};
