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

static void
hold(ml_watcher *self)
{
    self->held = true;
    self->prev = NULL;
    self->next = self->loop->held;
    if (self->next != NULL) {
        self->next->prev = self;
    }
    self->loop->held = self;
    Py_INCREF(self);
}

static void
release(ml_watcher *self)
{
    self->held = false;
    if (self->prev != NULL) {
        self->prev->next = self->next;
    }
    else {
        self->loop->held = self->next;
    }
    if (self->next != NULL) {
        self->next->prev = self->prev;
    }
    self->prev = self->next = NULL;
    Py_DECREF(self);
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
    if (needed && !self->held) {
        hold(self);
    }
    else if (!needed && self->held) {
        release(self);
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
    if (ml_reserve_check() < 0 || self->kind->start(self) < 0) {
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
    ev_clear_pending(self->loop->ev, ml_watcher_ev(self));
    self->aside = false;
    ml_watcher_sync(self);
    ml_loop_changed(self->loop);
    Py_DECREF(self);
}

/* ---- events ------------------------------------------------------------------------------ */

static int
put_aside(ml_watcher *self, int revents)
{
    ml_loop *loop = self->loop;

    if (loop->aside_len == loop->aside_cap) {
        Py_ssize_t cap = loop->aside_cap ? loop->aside_cap * 2 : 16;
        ml_watcher **aside = PyMem_RawRealloc(loop->aside, (size_t)cap * sizeof(*aside));
        if (aside == NULL) {
            return -1;
        }
        loop->aside = aside;
        int *all = PyMem_RawRealloc(loop->aside_revents, (size_t)cap * sizeof(*all));
        if (all == NULL) {
            return -1;
        }
        loop->aside_revents = all;
        loop->aside_cap = cap;
    }
    loop->aside[loop->aside_len] = (ml_watcher *)Py_NewRef((PyObject *)self);
    loop->aside_revents[loop->aside_len++] = revents;
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
        PyErr_NoMemory();
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

/* Borrowed; NULL without an exception if it was not given. */
static PyObject *
keyword(PyObject *kwargs, const char *name)
{
    PyObject *key = PyUnicode_FromString(name);
    PyObject *value = key ? PyDict_GetItemWithError(kwargs, key) : NULL;

    Py_XDECREF(key);
    return value;
}

/* Sorts positional and keyword arguments into `values`, by `names`. */
static int
collect(const char *function, PyObject *args, PyObject *kwargs, const char *const *names,
        const char *const *aliases, int count, PyObject **values)
{
    Py_ssize_t given = PyTuple_GET_SIZE(args), used = 0;

    if (given > count) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments (%zd given)", function,
                     count, given);
        return -1;
    }
    for (Py_ssize_t i = 0; i < given; i++) {
        values[i] = PyTuple_GET_ITEM(args, i);
    }
    for (int i = 0; kwargs != NULL && i < count; i++) {
        PyObject *value = keyword(kwargs, names[i]);
        if (value == NULL && aliases[i] != NULL && !PyErr_Occurred()) {
            value = keyword(kwargs, aliases[i]);
        }
        if (value == NULL && PyErr_Occurred()) {
            return -1;
        }
        if (value == NULL) {
            continue;
        }
        if (values[i] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%s'", function,
                         names[i]);
            return -1;
        }
        values[i] = value;
        used++;
    }
    if (kwargs != NULL && used < PyDict_GET_SIZE(kwargs)) {
        PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument", function);
        return -1;
    }
    return 0;
}

static int
arg_count(const ml_kind *kind)
{
    int count = 0;

    while (kind->args[count] != NULL) {
        count++;
    }
    return count;
}

static int
require(const char *function, const char *const *names, PyObject **values, int from, int to)
{
    for (int i = from; i < to; i++) {
        if (values[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() missing required argument: '%s'", function,
                         names[i]);
            return -1;
        }
    }
    return 0;
}

/* The arguments with the argument at `from` in front, or with `first` there if it is not NULL. */
static PyObject *
in_front(PyObject *args, Py_ssize_t from, PyObject *first)
{
    Py_ssize_t given = PyTuple_GET_SIZE(args), place = 0;
    PyObject *sorted = PyTuple_New(first ? given + 1 : given);

    if (sorted == NULL) {
        return NULL;
    }
    PyTuple_SET_ITEM(sorted, place++, Py_NewRef(first ? first : PyTuple_GET_ITEM(args, from)));
    for (Py_ssize_t i = 0; i < given; i++) {
        if (first != NULL || i != from) {
            PyTuple_SET_ITEM(sorted, place++, Py_NewRef(PyTuple_GET_ITEM(args, i)));
        }
    }
    return sorted;
}

/* mood.event 1.x and pyev have the loop after the kind's own arguments. That order is taken, too:
 * when the first argument is no loop and the one in that place is, and when the loop is a keyword.
 * Replaces both by new references. */
static int
loop_first(ml_state *state, int own, PyObject **args, PyObject **kwargs)
{
    Py_ssize_t given = PyTuple_GET_SIZE(*args);
    PyObject *name = state->str.loop, *sorted = NULL;
    PyObject *keyword = *kwargs && given > 0 ? PyDict_GetItemWithError(*kwargs, name) : NULL;

    if (keyword == NULL && PyErr_Occurred()) {
        return -1;
    }
    if (keyword != NULL) {
        PyObject *others = PyDict_Copy(*kwargs);
        if (others == NULL || PyDict_DelItem(others, name) < 0 ||
            (sorted = in_front(*args, 0, keyword)) == NULL) {
            Py_XDECREF(others);
            return -1;
        }
        *kwargs = others;
        *args = sorted;
        return 0;
    }
    if (own > 0 && given > own && !PyObject_TypeCheck(PyTuple_GET_ITEM(*args, 0), state->Loop) &&
        PyObject_TypeCheck(PyTuple_GET_ITEM(*args, own), state->Loop)) {
        if ((sorted = in_front(*args, own, NULL)) == NULL) {
            return -1;
        }
        *args = sorted;
    }
    else {
        Py_INCREF(*args);
    }
    Py_XINCREF(*kwargs);
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

/* What __init__() takes; returns how many of these are the kind's own. */
static int
init_names(const ml_kind *kind, const char **names, const char **aliases)
{
    int own = arg_count(kind);

    names[0] = "loop";
    memcpy(names + 1, kind->args, (size_t)own * sizeof(*names));
    memcpy(aliases + 1, kind->aliases, (size_t)own * sizeof(*aliases));
    names[own + 1] = "callback";
    names[own + 2] = "data";
    names[own + 3] = "priority";
    return own;
}

/* Kind(loop, <its own>, callback, data=None, priority=0) */
int
ml_watcher_init(ml_watcher *self, PyObject *args, PyObject *kwargs)
{
    const ml_kind *kind = self->kind;
    const char *names[ML_MAX_ARGS + 4] = {NULL}, *aliases[ML_MAX_ARGS + 4] = {NULL};
    PyObject *values[ML_MAX_ARGS + 4] = {NULL};
    int own = init_names(kind, names, aliases), count = own + 4;
    ml_state *state = ml_state_of_type(Py_TYPE(self));

    if (state == NULL) {
        return -1;
    }
    ml_loop *old = NULL;
    if (loop_first(state, own, &args, &kwargs) < 0) {
        return -1;
    }
    int rc = collect(kind->name, args, kwargs, names, aliases, count, values);
    if (rc == 0) {
        rc = require(kind->name, names, values, 0, own + (kind->callback_optional ? 1 : 2));
    }
    /* Not before: to look up a name can run Python code that uses the watcher. */
    if (rc == 0 && (ev_is_active(ml_watcher_ev(self)) || ml_watcher_pending(self))) {
        PyErr_SetString(state->Error, "cannot initialise an active or pending watcher again");
        rc = -1;
    }
    PyObject *callback = rc == 0 && values[own + 1] ? values[own + 1] : Py_None;
    if (rc == 0 && !PyObject_TypeCheck(values[0], state->Loop)) {
        PyErr_Format(PyExc_TypeError, "%s() argument 'loop' must be a Loop, not %.200s", kind->name,
                     Py_TYPE(values[0])->tp_name);
        rc = -1;
    }
    if (rc == 0) {
        rc = ml_loop_check_change((ml_loop *)values[0]) || ml_watcher_check_callback(self, callback)
                 ? -1
                 : 0;
    }
    if (rc == 0 && values[own + 3] != NULL) {
        rc = ml_watcher_set_priority(self, values[own + 3]);
    }
    if (rc == 0) {
        old = self->loop;
        self->loop = (ml_loop *)Py_NewRef(values[0]);
        rc = kind->set ? kind->set(self, values + 1) : 0;
        if (rc < 0 && !self->held) { /* else a conversion started it, on the new loop */
            ml_loop *tried = self->loop;
            self->loop = old;
            old = tried;
        }
    }
    if (rc == 0) {
        Py_XSETREF(self->callback, callback == Py_None ? NULL : Py_NewRef(callback));
        Py_XSETREF(self->data, Py_NewRef(values[own + 2] ? values[own + 2] : Py_None));
    }
    Py_XDECREF(old); /* last: this can run code that uses the watcher */
    Py_DECREF(args);
    Py_XDECREF(kwargs);
    return rc;
}

PyObject *
ml_watcher_set(ml_watcher *self, PyObject *args, PyObject *kwargs)
{
    PyObject *values[ML_MAX_ARGS] = {NULL};
    int own = arg_count(self->kind);

    if (ml_watcher_check_inactive(self, "set the arguments") < 0 ||
        collect("set", args, kwargs, self->kind->args, self->kind->aliases, own, values) < 0 ||
        require("set", self->kind->args, values, 0, own) < 0 || self->kind->set(self, values) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
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

    /* Never active or pending here: the loop would hold a reference. */
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
