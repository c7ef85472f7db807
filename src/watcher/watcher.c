/* Watcher: what all kinds have in common. A kind is a table of functions, ml_kind. */
#include "watcher.h"

#include <errno.h>
#include <math.h>

/* ---- state ------------------------------------------------------------------------------- */

int
ml_watcher_check(ml_watcher *self)
{
    if (self->loop == NULL) {
        ml_state *state = ml_state_of_type(Py_TYPE(self));
        if (state != NULL) {
            PyErr_Format(state->Error, "%s.__init__() was not called", self->kind->name);
        }
        return -1;
    }
    return ml_loop_check_open(self->loop);
}

int
ml_watcher_check_change(ml_watcher *self)
{
    return ml_watcher_check(self) < 0 ? -1 : ml_loop_check_change(self->loop);
}

int
ml_watcher_check_inactive(ml_watcher *self, const char *what)
{
    if (ml_watcher_check_change(self) < 0) {
        return -1;
    }
    if (ev_is_active(ml_watcher_ev(self))) {
        PyErr_Format(self->loop->state->Error, "cannot %s of an active watcher", what);
        return -1;
    }
    return 0;
}

void
ml_watcher_sync(ml_watcher *self)
{
    ev_watcher *ev = ml_watcher_ev(self);
    bool active = ev_is_active(ev), silent = self->no_ref || self->kind->uncounted;

    if (self->counted != (active && !silent)) {
        self->counted = !self->counted;
        self->loop->counted += self->counted ? 1 : -1;
    }
    if (self->unrefd != (active && silent)) {
        self->unrefd = !self->unrefd;
        if (self->unrefd) {
            ev_unref(self->loop->ev);
        }
        else {
            ev_ref(self->loop->ev);
        }
    }
    if (self->loop->refs < 0) {
        ml_loop_balance(self->loop);
    }
    bool needed = active || ml_watcher_pending(self);
    if (needed && self->by == NULL) {
        ML_LIST_ADD(&self->loop->held, self);
        Py_INCREF(self);
    }
    else if (!needed && self->by != NULL) {
        ML_LIST_REMOVE(self);
        Py_DECREF(self);
    }
}

int
ml_watcher_start(ml_watcher *self)
{
    if (ml_watcher_check_change(self) < 0) {
        return -1;
    }
    if (ev_is_active(ml_watcher_ev(self))) {
        return 0;
    }
    self->error = 0;
    if (ml_reserve_check() < 0 || self->kind->start(self) < 0) {
        assert(PyErr_Occurred());
        return -1;
    }
    ml_watcher_sync(self);
    ml_loop_changed(self->loop);
    return 0;
}

void
ml_watcher_stop(ml_watcher *self)
{
    if (self->loop == NULL || self->loop->ev == NULL) {
        return;
    }
    Py_INCREF(self);
    /* libev's count first: its own decrement must not take it below zero */
    if (self->unrefd) {
        self->unrefd = false;
        ev_ref(self->loop->ev);
    }
    self->kind->stop(self);
    assert(!ev_is_active(ml_watcher_ev(self)));
    ev_clear_pending(self->loop->ev, ml_watcher_ev(self));
    self->aside = false;
    ml_watcher_sync(self);
    ml_loop_changed(self->loop);
    Py_DECREF(self);
}

/* ---- events ------------------------------------------------------------------------------ */

/* -1 with MemoryError. */
static int
put_aside(ml_watcher *self, int revents)
{
    ml_loop *loop = self->loop;

    if (loop->aside_len == loop->aside_cap &&
        ml_grow(&loop->aside, &loop->aside_cap, (size_t)loop->aside_len + 1, sizeof(*loop->aside)) <
            0) {
        return -1;
    }
    Py_INCREF(self);
    loop->aside[loop->aside_len++] = (ml_aside){self, revents};
    self->aside = true;
    return 0;
}

/* EV_ERROR: the callback is not told; the watcher is stopped and the run ends with an error. */
void
ml_watcher_error(ml_watcher *self)
{
    ml_loop *loop = self->loop;

    Py_INCREF(self); /* the loop's reference may be the last one */
    ml_watcher_stop(self);
    if (self->error == ENOMEM) {
        self->error = 0;
        PyErr_NoMemory();
    }
    else if (self->error) {
        ml_os_error(self->error);
        self->error = 0;
    }
    else {
        PyErr_Format(loop->state->Error, "libev stopped %R with an error", (PyObject *)self);
    }
    ml_loop_set_aside(loop, (PyObject *)self);
    Py_DECREF(self);
}

void
ml_watcher_event(struct ev_loop *Py_UNUSED(ev_loop), ev_watcher *ev, int revents)
{
    ml_watcher *self = ev->data;
    ml_loop *loop = self->loop;

    Py_INCREF(self);
    Py_INCREF(loop);
    if (loop->exc != NULL && put_aside(self, revents) < 0) {
        ml_unraisable((PyObject *)self);
    }
    bool ending = loop->exc != NULL;
    /* Before the callback, which may give the watcher another loop: no longer pending, and if libev
     * stopped a one-shot not active either. */
    ml_watcher_sync(self);
    if (ending) {
        /* told in the next run */
    }
    else if (revents & EV_ERROR) {
        ml_watcher_error(self);
    }
    else if (self->callback != NULL) {
        bool preparing = loop->preparing;
        loop->preparing = revents == EV_PREPARE;
        ml_loop_call(loop, self->callback, (PyObject *)self, revents);
        loop->preparing = preparing;
    }
    Py_DECREF(loop);
    Py_DECREF(self);
}

/* ---- arguments --------------------------------------------------------------------------- */

int
ml_float_arg(PyObject *object, const char *name, double least, double *value)
{
    *value = PyFloat_AsDouble(object);
    if (*value == -1. && PyErr_Occurred()) {
        return -1;
    }
    if (isnan(*value) || *value < least) {
        if (least == -Py_HUGE_VAL) {
            PyErr_Format(PyExc_ValueError, "%s must not be NaN", name);
        }
        else {
            PyErr_Format(PyExc_ValueError, "%s must not be negative or NaN", name);
        }
        return -1;
    }
    return 0;
}

int
ml_watcher_check_callback(ml_watcher *self, PyObject *callback)
{
    if (PyCallable_Check(callback) || (callback == Py_None && self->kind->callback_optional)) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "a callable%s is required, got %.200s",
                 self->kind->callback_optional ? " or None" : "", Py_TYPE(callback)->tp_name);
    return -1;
}

int
ml_watcher_set_priority(ml_watcher *self, PyObject *value)
{
    if (!PyLong_Check(value)) {
        PyErr_Format(PyExc_TypeError, "an int is required, not %.200s", Py_TYPE(value)->tp_name);
        return -1;
    }
    long priority = PyLong_AsLong(value);
    if ((priority == -1 && PyErr_Occurred()) || priority < INT_MIN || priority > INT_MAX) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_OverflowError, "priority does not fit a C int");
        }
        return -1;
    }
    /* libev indexes arrays with it */
    priority = priority < EV_MINPRI ? EV_MINPRI : priority > EV_MAXPRI ? EV_MAXPRI : priority;
    ev_set_priority(ml_watcher_ev(self), (int)priority);
    return 0;
}

/* ---- making and freeing ------------------------------------------------------------------ */

PyObject *
ml_watcher_alloc(PyTypeObject *type, const ml_kind *kind)
{
    ml_watcher *self = (ml_watcher *)type->tp_alloc(type, 0);

    if (self != NULL) {
        self->kind = kind;
        ev_watcher *ev = ml_watcher_ev(self);
        ev_init(ev, ml_watcher_event);
        ev->data = self;
    }
    return (PyObject *)self;
}

#define OTHERS 4 /* of the arguments of __init__(): those that are not the kind's own */

/* What __init__() takes: (loop, <the kind's own>, callback, data=None, priority=0). The loop is
 * behind the kind's own, where mood.event 1.x and pyev have it, if there is one there and none in
 * front, and last if it is a keyword beside arguments by position. Its place, or -1. */
static int
init_params(const ml_kind *kind, PyObject *args, PyObject *kwargs, ml_state *state,
            ml_params *params)
{
    const char *const others[] = {"callback", "data", "priority"};
    int own = kind->args.places, place = 0;
    Py_ssize_t given = PyTuple_GET_SIZE(args);
    int keyword = kwargs && given > 0 ? PyDict_Contains(kwargs, state->str.loop) : 0;

    if (keyword < 0) {
        return -1;
    }
    if (keyword) {
        place = own + OTHERS - 1;
    }
    else if (given > own && !PyObject_TypeCheck(PyTuple_GET_ITEM(args, 0), state->Loop) &&
             PyObject_TypeCheck(PyTuple_GET_ITEM(args, own), state->Loop)) {
        place = own;
    }
    assert(own + OTHERS <= ML_MAX_ARGS);
    *params = (ml_params){kind->name, .places = own + OTHERS, .alias = kind->args.alias};
    params->needed = own + (place <= own) + !kind->callback_optional;
    params->aliased = place == 0;
    params->names[place] = "loop";
    for (int i = 0; i < own + OTHERS - 1; i++) {
        params->names[i + (i >= place)] = i < own ? kind->args.names[i] : others[i - own];
    }
    return place;
}

/* Once the arguments are known: `own` are the kind's, `others` the callback, data and priority. */
static int
init(ml_watcher *self, ml_loop *loop, PyObject *const *own, PyObject *const *others)
{
    PyObject *callback = others[0] ? others[0] : Py_None;

    if (ml_loop_check_change(loop) < 0 || ml_watcher_check_callback(self, callback) < 0 ||
        (others[2] != NULL && ml_watcher_set_priority(self, others[2]) < 0)) {
        return -1;
    }
    ml_loop *old = self->loop;
    self->loop = (ml_loop *)Py_NewRef((PyObject *)loop);
    int rc = self->kind->set ? self->kind->set(self, own) : 0;
    if (rc < 0 && self->by == NULL) { /* else a conversion started it, on the new loop */
        ml_loop *tried = self->loop;
        self->loop = old;
        old = tried;
    }
    if (rc == 0) {
        Py_XSETREF(self->callback, callback == Py_None ? NULL : Py_NewRef(callback));
        Py_XSETREF(self->data, Py_NewRef(others[1] ? others[1] : Py_None));
    }
    Py_XDECREF(old); /* last: this can run code that uses the watcher */
    return rc;
}

int
ml_watcher_init(ml_watcher *self, PyObject *args, PyObject *kwargs)
{
    int own = self->kind->args.places, place;
    PyObject *values[ML_MAX_ARGS] = {NULL};
    ml_params params;
    ml_state *state = ml_state_of_type(Py_TYPE(self));

    if (state == NULL || (place = init_params(self->kind, args, kwargs, state, &params)) < 0 ||
        ml_take_args(&params, ((PyTupleObject *)args)->ob_item, PyTuple_GET_SIZE(args), kwargs,
                     values) < 0) {
        return -1;
    }
    /* Not before: to look up a keyword can run Python code that uses the watcher. */
    if (ev_is_active(ml_watcher_ev(self)) || ml_watcher_pending(self)) {
        PyErr_SetString(state->Error, "cannot initialise an active or pending watcher again");
        return -1;
    }
    if (!PyObject_TypeCheck(values[place], state->Loop)) {
        PyErr_Format(PyExc_TypeError, "%s() argument 'loop' must be a Loop, not %.200s",
                     self->kind->name, Py_TYPE(values[place])->tp_name);
        return -1;
    }
    return init(self, (ml_loop *)values[place], values + (place == 0),
                values + own + (place <= own));
}

PyObject *
ml_watcher_set(ml_watcher *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *values[ML_MAX_ARGS] = {NULL};

    if (ml_watcher_check_inactive(self, "set the arguments") < 0 ||
        ml_take_args(&self->kind->args, args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    return ml_none_or_error(self->kind->set(self, values));
}

int
ml_watcher_traverse(ml_watcher *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->callback);
    Py_VISIT(self->data);
    return self->kind->traverse ? self->kind->traverse(self, visit, arg) : 0;
}

int
ml_watcher_clear(ml_watcher *self)
{
    Py_CLEAR(self->callback);
    Py_CLEAR(self->data);
    if (self->kind->clear != NULL) {
        self->kind->clear(self);
    }
    return 0;
}

void
ml_watcher_dealloc(ml_watcher *self)
{
    PyTypeObject *type = Py_TYPE(self);

    assert(self->by == NULL && !self->aside); /* the loop would have a reference */
    PyObject_GC_UnTrack(self);
    Py_TRASHCAN_BEGIN(self,
                      ml_watcher_dealloc); /* watchers as each other's data, any number deep */
    if (self->weaklist != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    ml_watcher_clear(self);
    if (self->kind->free != NULL) {
        self->kind->free(self);
    }
    Py_CLEAR(self->loop);
    type->tp_free(self);
    Py_DECREF(type);
    Py_TRASHCAN_END;
}

/* ---- the type ---------------------------------------------------------------------------- */

static PyMemberDef watcher_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ml_watcher, weaklist), READONLY, NULL},
    {NULL},
};

static PyType_Slot watcher_slots[] = {
    {Py_tp_doc, PyDoc_STR("The base of all watchers; not instantiable.")},
    {Py_tp_dealloc, ml_watcher_dealloc},
    {Py_tp_traverse, ml_watcher_traverse},
    {Py_tp_clear, ml_watcher_clear},
    {Py_tp_repr, ml_watcher_repr},
    {Py_tp_methods, ml_watcher_methods},
    {Py_tp_getset, ml_watcher_getset},
    {Py_tp_members, watcher_members},
    {0, NULL},
};

PyType_Spec ml_watcher_spec = {
    .name = "moodloop.event.Watcher",
    .basicsize = sizeof(ml_watcher),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE |
             Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = watcher_slots,
};
