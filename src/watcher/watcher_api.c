/* The methods and attributes that all watchers have. */
#include "watcher.h"

static PyObject *
watcher_start(ml_watcher *self, PyObject *Py_UNUSED(unused))
{
    return ml_none_or_error(ml_watcher_start(self));
}

static PyObject *
watcher_stop(ml_watcher *self, PyObject *Py_UNUSED(unused))
{
    if (ml_watcher_check_change(self) < 0) {
        return NULL;
    }
    ml_watcher_stop(self);
    Py_RETURN_NONE;
}

static int
revents_arg(PyObject *arg, int *revents)
{
    long value = PyLong_AsLong(arg);

    if (value == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (value < INT_MIN || value > INT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "revents does not fit a C int");
        return -1;
    }
    *revents = (int)value;
    return 0;
}

/* Outside of a run what must end it is raised here; inside it ends the run as well. */
static PyObject *
watcher_invoke(ml_watcher *self, PyObject *arg)
{
    int revents;

    if (ml_watcher_check_change(self) < 0 || revents_arg(arg, &revents) < 0 ||
        ml_watcher_check_change(self) < 0) {
        return NULL;
    }
    if (ml_invoking_begin(self->loop) < 0) {
        return NULL;
    }
    ml_loop *loop = (ml_loop *)Py_NewRef((PyObject *)self->loop);
    bool nothing_before = loop->exc == NULL;
    if (revents & EV_ERROR) {
        ml_watcher_error(self);
    }
    else if (self->callback != NULL) {
        ml_loop_call(loop, self->callback, (PyObject *)self, revents);
    }
    int rc = nothing_before ? ml_loop_raise_aside(loop) : 0;
    ml_invoking_end(loop);
    Py_DECREF(loop);
    return ml_none_or_error(rc);
}

static PyObject *
watcher_feed(ml_watcher *self, PyObject *arg)
{
    int revents;

    if (ml_watcher_check_change(self) < 0 || revents_arg(arg, &revents) < 0 ||
        ml_watcher_check_change(self) < 0 || ml_reserve_check() < 0) {
        return NULL;
    }
    ev_feed_event(self->loop->ev, ml_watcher_ev(self), revents);
    ml_watcher_sync(self);
    ml_loop_changed(self->loop);
    Py_RETURN_NONE;
}

static PyObject *
watcher_clear(ml_watcher *self, PyObject *Py_UNUSED(unused))
{
    if (ml_watcher_check_change(self) < 0) {
        return NULL;
    }
    int revents = ml_aside_take(self->loop, self);
    revents |= ev_clear_pending(self->loop->ev, ml_watcher_ev(self));
    ml_watcher_sync(self);
    return PyLong_FromLong(revents);
}

static PyObject *
get_loop(ml_watcher *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->loop ? (PyObject *)self->loop : Py_None);
}

static PyObject *
get_active(ml_watcher *self, void *Py_UNUSED(closure))
{
    bool open = self->loop != NULL && self->loop->ev != NULL;
    return PyBool_FromLong(open && ev_is_active(ml_watcher_ev(self)));
}

static PyObject *
get_pending(ml_watcher *self, void *Py_UNUSED(closure))
{
    bool open = self->loop != NULL && self->loop->ev != NULL;
    return PyBool_FromLong(open && ml_watcher_pending(self));
}

/* The getter of what needs no more than a look into the struct. */
PyObject *
ml_watcher_get(ml_watcher *self, void *member)
{
    return ml_watcher_check(self) < 0 ? NULL : PyMember_GetOne((const char *)self, member);
}

static int
set_callback(ml_watcher *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (ml_no_delete(value, "callback") < 0 || ml_watcher_check_change(self) < 0 ||
        ml_watcher_check_callback(self, value) < 0) {
        return -1;
    }
    Py_XSETREF(self->callback, value == Py_None ? NULL : Py_NewRef(value));
    return 0;
}

static PyObject *
get_data(ml_watcher *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->data ? self->data : Py_None);
}

static int
set_data(ml_watcher *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (ml_no_delete(value, "data") < 0) {
        return -1;
    }
    Py_XSETREF(self->data, Py_NewRef(value));
    return 0;
}

static PyObject *
get_priority(ml_watcher *self, void *Py_UNUSED(closure))
{
    if (ml_watcher_check(self) < 0) {
        return NULL;
    }
    return PyLong_FromLong(ev_priority(ml_watcher_ev(self)));
}

static int
set_priority_attr(ml_watcher *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (ml_no_delete(value, "priority") < 0 ||
        ml_watcher_check_inactive(self, "set the priority") < 0) {
        return -1;
    }
    if (ml_watcher_pending(self)) {
        PyErr_SetString(self->loop->state->Error, "cannot set the priority of a pending watcher");
        return -1;
    }
    return ml_watcher_set_priority(self, value);
}

static PyObject *
get_ref(ml_watcher *self, void *Py_UNUSED(closure))
{
    if (ml_watcher_check(self) < 0) {
        return NULL;
    }
    return PyBool_FromLong(!self->no_ref);
}

static int
set_ref(ml_watcher *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (ml_no_delete(value, "ref") < 0 || ml_watcher_check_change(self) < 0) {
        return -1;
    }
    int ref = PyObject_IsTrue(value);
    if (ref < 0 || ml_watcher_check_change(self) < 0) {
        return -1;
    }
    self->no_ref = !ref;
    ml_watcher_sync(self);
    ml_loop_changed(self->loop);
    return 0;
}

PyObject *
ml_watcher_repr(ml_watcher *self)
{
    const char *name = Py_TYPE(self)->tp_name;

    if (self->loop == NULL) {
        return PyUnicode_FromFormat("<%s uninitialised>", name);
    }
    ev_watcher *ev = ml_watcher_ev(self);
    bool open = self->loop->ev != NULL;
    const char *state = !open                      ? "loop closed"
                        : ev_is_active(ev)         ? "active"
                        : ml_watcher_pending(self) ? "pending"
                                                   : "stopped";
    if (self->kind->describe == NULL) {
        return PyUnicode_FromFormat("<%s %s>", name, state);
    }
    PyObject *what = self->kind->describe(self);
    PyObject *repr = what ? PyUnicode_FromFormat("<%s %s %U>", name, state, what) : NULL;
    Py_XDECREF(what);
    return repr;
}

PyMethodDef ml_watcher_methods[] = {
    {"start", (PyCFunction)watcher_start, METH_NOARGS,
     PyDoc_STR("start($self, /)\n--\n\nActivates the watcher; its loop keeps it alive.")},
    {"stop", (PyCFunction)watcher_stop, METH_NOARGS,
     PyDoc_STR("stop($self, /)\n--\n\nDeactivates the watcher and drops a pending event.")},
    {"invoke", (PyCFunction)watcher_invoke, METH_O,
     PyDoc_STR("invoke($self, revents, /)\n--\n\nCalls the callback now.")},
    {"feed", (PyCFunction)watcher_feed, METH_O,
     PyDoc_STR("feed($self, revents, /)\n--\n\nQueues an event for the callback.")},
    {"clear", (PyCFunction)watcher_clear, METH_NOARGS,
     PyDoc_STR("clear($self, /)\n--\n\nTakes back a pending event; its revents, or 0.")},
    {"__reduce__", ml_no_pickle, METH_NOARGS, NULL},
    {NULL},
};

PyGetSetDef ml_watcher_getset[] = {
    {"loop", (getter)get_loop, NULL, PyDoc_STR("The Loop."), NULL},
    {"active", (getter)get_active, NULL, PyDoc_STR("True between start() and stop()."), NULL},
    {"pending", (getter)get_pending, NULL, PyDoc_STR("True if an event waits."), NULL},
    ML_MEMBER(ml_watcher_get, set_callback, "callback", T_OBJECT, ml_watcher, callback,
              "Called as callback(watcher, revents)."),
    {"data", (getter)get_data, (setter)set_data, PyDoc_STR("Any object."), NULL},
    {"priority", (getter)get_priority, (setter)set_priority_attr,
     PyDoc_STR("EV_MINPRI to EV_MAXPRI; what is outside is clamped."), NULL},
    {"ref", (getter)get_ref, (setter)set_ref,
     PyDoc_STR("False: an active watcher does not keep start() from returning."), NULL},
    {NULL},
};
