/* Handle and TimerHandle: one callback with its arguments and context. */
#include "aio.h"
#include "context.h"

/* ---- making and freeing ------------------------------------------------------------------ */

static ml_handle *
take_free(ml_handle **list, int *len, Py_ssize_t nargs, PyTypeObject *type)
{
    ml_handle *handle = list[nargs];

    if (handle != NULL) {
        list[nargs] = (ml_handle *)handle->callback;
        len[nargs]--;
        PyObject_InitVar((PyVarObject *)handle, type, nargs);
    }
    return handle;
}

/* Fills what both kinds share. The handle's memory is not initialised yet. */
static int
fill(ml_handle *handle, PyObject **slots, ml_base *loop, PyObject *callback, PyObject *const *args,
     Py_ssize_t nargs, PyObject *context)
{
    bool failed = false;

    handle->loop = (ml_base *)Py_NewRef((PyObject *)loop);
    handle->callback = Py_NewRef(callback);
    handle->weaklist = NULL;
    handle->debug = NULL;
    handle->cancelled = false;
    handle->threadsafe = false;
    handle->by_hand = false;
    handle->running = 0;
    handle->context = NULL;
    for (Py_ssize_t i = 0; i < nargs; i++) {
        slots[i] = Py_NewRef(args[i]);
    }
    if (context == NULL || context == Py_None) {
        handle->context = ml_context_capture(&failed);
    }
    else {
        handle->context = Py_NewRef(context);
    }
    if (failed) {
        return -1;
    }
    if (loop->debug) {
        PyObject *traceback = ml_diagnose(loop->state, "source_traceback", "()");
        if (traceback == NULL) {
            return -1;
        }
        handle->debug = Py_BuildValue("[NO]", traceback, Py_None);
        if (handle->debug == NULL) {
            return -1;
        }
    }
    if (!loop->running) {
        PyObject_GC_Track(handle);
    }
    return 0;
}

ml_handle *
ml_handle_new(ml_base *loop, PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
              PyObject *context)
{
    ml_aio *aio = loop->state->aio;
    PyTypeObject *type = loop->state->Handle;
    ml_handle *handle = NULL;

    if (nargs < ML_FREELIST_ARGS) {
        handle = take_free(aio->free_handles, aio->free_handles_len, nargs, type);
    }
    if (handle == NULL) {
        handle = PyObject_GC_NewVar(ml_handle, type, nargs);
        if (handle == NULL) {
            return NULL;
        }
        handle->is_timer = false;
    }
    if (fill(handle, handle->args, loop, callback, args, nargs, context) < 0) {
        Py_DECREF(handle);
        return NULL;
    }
    return handle;
}

ml_timer *
ml_timer_new(ml_base *loop, double when, PyObject *callback, PyObject *const *args,
             Py_ssize_t nargs, PyObject *context)
{
    ml_aio *aio = loop->state->aio;
    PyTypeObject *type = loop->state->TimerHandle;
    ml_timer *timer = NULL;

    if (nargs < ML_FREELIST_ARGS) {
        timer = (ml_timer *)take_free(aio->free_timers, aio->free_timers_len, nargs, type);
    }
    if (timer == NULL) {
        timer = PyObject_GC_NewVar(ml_timer, type, nargs);
        if (timer == NULL) {
            return NULL;
        }
        timer->is_timer = true;
    }
    timer->scheduled = false;
    timer->when = when;
    if (fill((ml_handle *)timer, timer->args, loop, callback, args, nargs, context) < 0) {
        Py_DECREF(timer);
        return NULL;
    }
    return timer;
}

static void
drop_arguments(ml_handle *handle)
{
    PyObject **args = ml_handle_args(handle);
    Py_ssize_t nargs = Py_SIZE(handle);

    for (Py_ssize_t i = 0; i < nargs; i++) {
        Py_CLEAR(args[i]);
    }
}

static int
handle_clear(ml_handle *handle)
{
    if (handle->running == 0) {
        Py_CLEAR(handle->callback);
        drop_arguments(handle);
    }
    Py_CLEAR(handle->context);
    Py_CLEAR(handle->debug);
    return 0;
}

static int
handle_traverse(ml_handle *handle, visitproc visit, void *arg)
{
    PyObject **args = ml_handle_args(handle);

    Py_VISIT(Py_TYPE(handle));
    Py_VISIT(handle->loop);
    Py_VISIT(handle->callback);
    Py_VISIT(handle->context);
    Py_VISIT(handle->debug);
    for (Py_ssize_t i = 0; i < Py_SIZE(handle); i++) {
        Py_VISIT(args[i]);
    }
    return 0;
}

/* Into the freelist, or back to the allocator. */
static void
free_handle(ml_handle *handle)
{
    PyTypeObject *type = Py_TYPE(handle);
    ml_base *loop = handle->loop;
    Py_ssize_t nargs = Py_SIZE(handle);

    handle->loop = NULL;
    if (nargs < ML_FREELIST_ARGS && loop != NULL) {
        ml_aio *aio = loop->state->aio;
        ml_handle **list = handle->is_timer ? aio->free_timers : aio->free_handles;
        int *len = handle->is_timer ? aio->free_timers_len : aio->free_handles_len;
        if (len[nargs] < ML_FREELIST_MAX) {
            handle->callback = (PyObject *)list[nargs];
            list[nargs] = handle;
            len[nargs]++;
            Py_DECREF(loop);
            Py_DECREF(type);
            return;
        }
    }
    Py_XDECREF(loop);
    type->tp_free(handle);
    Py_DECREF(type);
}

static void
handle_dealloc(ml_handle *handle)
{
    PyObject_GC_UnTrack(handle);
    Py_TRASHCAN_BEGIN(handle, handle_dealloc); /* handles may be arguments of handles, and so on */
    if (handle->weaklist != NULL) {
        PyObject_ClearWeakRefs((PyObject *)handle);
    }
    handle_clear(handle);
    free_handle(handle);
    Py_TRASHCAN_END;
}

/* ---- running and cancelling -------------------------------------------------------------- */

/* A callback raised: the loop's exception handler gets it, as from stock Handle._run(). */
static int
callback_failed(ml_handle *handle)
{
    PyObject *exc = ml_take_exception();

    if (ml_is_fatal_exc(exc)) {
        ml_raise(exc);
        return -1;
    }
    PyObject *result =
        ml_diagnose(handle->loop->state, "callback_failed", "(OOO)", handle->loop, handle, exc);
    Py_DECREF(exc);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int
ml_handle_run(ml_handle *handle)
{
    int rc = 0;

    if (handle->cancelled) {
        return 0;
    }
    PyObject *context = ml_context_enter(handle->loop, &handle->context);
    if (context == NULL) {
        return callback_failed(handle);
    }
    handle->running++;
    PyObject *result = PyObject_Vectorcall(handle->callback, ml_handle_args(handle),
                                           (size_t)Py_SIZE(handle), NULL);
    handle->running--;
    if (result == NULL) {
        /* Leaving a context must not see the exception of the callback. */
        PyObject *exc = ml_take_exception();
        ml_context_leave(handle->loop, &handle->context, context);
        ml_raise(exc);
        rc = callback_failed(handle);
    }
    else {
        ml_context_leave(handle->loop, &handle->context, context);
        Py_DECREF(result);
    }
    if (handle->cancelled && handle->running == 0) {
        Py_CLEAR(handle->callback);
        drop_arguments(handle);
    }
#if ML_THREADSAFE_HANDLES
    if (handle->loop->waiters != NULL) {
        ml_handle_settled(handle->loop, handle);
    }
#endif
    return rc;
}

int
ml_handle_cancel(ml_handle *handle)
{
    if (handle->cancelled) {
        return 0;
    }
    handle->cancelled = true;
    if (handle->loop->debug && handle->debug != NULL) { /* what it was, while that is known */
        PyObject *repr = PyObject_Repr((PyObject *)handle);
        if (repr == NULL || PyList_SetItem(handle->debug, 1, repr) < 0) {
            return -1;
        }
    }
    if (!PyObject_GC_IsTracked((PyObject *)handle)) {
        PyObject_GC_Track(handle);
    }
    Py_INCREF(handle); /* clearing runs destructors, and those anything */
    if (handle->running == 0) {
        Py_CLEAR(handle->callback);
        drop_arguments(handle);
    }
    if (handle->is_timer && ((ml_timer *)handle)->scheduled) {
        ml_timer_unschedule((ml_timer *)handle);
    }
    Py_DECREF(handle);
    return 0;
}

/* ---- Python's view ----------------------------------------------------------------------- */

static PyObject *
handle_cancel(ml_handle *handle, PyObject *Py_UNUSED(unused))
{
    if (ml_handle_settle(handle) < 0 || ml_handle_cancel(handle) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
handle_cancelled(ml_handle *handle, PyObject *Py_UNUSED(unused))
{
    if (ml_handle_settle(handle) < 0) {
        return NULL;
    }
    return PyBool_FromLong(handle->cancelled);
}

static PyObject *
handle_run(ml_handle *handle, PyObject *Py_UNUSED(unused))
{
    if (ml_handle_settle(handle) < 0) {
        return NULL;
    }
    bool outer = handle->by_hand;
    handle->by_hand = true;
    int rc = ml_handle_run(handle);
    handle->by_hand = outer;
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
handle_get_context(ml_handle *handle, void *Py_UNUSED(closure))
{
    if (handle->context == NULL && (handle->context = PyContext_New()) == NULL) {
        return NULL;
    }
    return Py_NewRef(handle->context);
}

static PyObject *
handle_context_method(ml_handle *handle, PyObject *Py_UNUSED(unused))
{
    return handle_get_context(handle, NULL);
}

static PyObject *
handle_get_callback(ml_handle *handle, void *Py_UNUSED(closure))
{
    bool gone = handle->callback == NULL || (handle->cancelled && handle->running);
    return Py_NewRef(gone ? Py_None : handle->callback);
}

static PyObject *
handle_get_args(ml_handle *handle, void *Py_UNUSED(closure))
{
    if (handle->callback == NULL || (handle->cancelled && handle->running)) {
        Py_RETURN_NONE;
    }
    PyObject **args = ml_handle_args(handle);
    PyObject *tuple = PyTuple_New(Py_SIZE(handle));
    for (Py_ssize_t i = 0; tuple != NULL && i < Py_SIZE(handle); i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i] ? args[i] : Py_None));
    }
    return tuple;
}

static PyObject *
handle_get_loop(ml_handle *handle, void *Py_UNUSED(closure))
{
    return Py_NewRef((PyObject *)handle->loop);
}

static PyObject *
handle_get_cancelled(ml_handle *handle, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(handle->cancelled);
}

static PyObject *
handle_get_debug(ml_handle *handle, void *closure)
{
    return Py_NewRef(handle->debug ? PyList_GET_ITEM(handle->debug, closure != NULL) : Py_None);
}

/* isinstance(handle, asyncio.Handle) holds by way of __class__: a real base would cost every
 * handle the 64 bytes of its eight slots. */
static PyObject *
handle_get_class(ml_handle *handle, void *Py_UNUSED(closure))
{
    ml_aio *aio = handle->loop->state->aio;
    PyObject *class = handle->is_timer ? aio->TimerHandle : aio->Handle;
#if ML_THREADSAFE_HANDLES
    class = handle->threadsafe ? aio->ThreadSafeHandle : class;
#endif
    return Py_NewRef(class ? class : (PyObject *)Py_TYPE(handle)); /* NULL: at interpreter exit */
}

/* The text is the running Python's own: asyncio's functions work on any object with its slots. */
static PyObject *
call_stock(ml_handle *handle, const char *name)
{
    PyObject *class = handle_get_class(handle, NULL), *result = NULL;
    PyObject *function = PyObject_GetAttrString(class, name);

    if (function != NULL) {
        result = PyObject_CallOneArg(function, (PyObject *)handle);
        Py_DECREF(function);
    }
    Py_DECREF(class);
    return result;
}

static PyObject *
handle_repr(ml_handle *handle)
{
    return call_stock(handle, "__repr__");
}

/* TimerHandle's own _repr_info() calls super(), which only a real subclass can: so the parts of
 * a plain handle, with `when` in its place. */
static PyObject *
handle_repr_info(ml_handle *handle, PyObject *Py_UNUSED(unused))
{
    PyObject *handle_class = handle->loop->state->aio->Handle;
    PyObject *info = PyObject_CallMethod(handle_class, "_repr_info", "O", (PyObject *)handle);

    if (info == NULL || !handle->is_timer) {
        return info;
    }
    PyObject *when = PyFloat_FromDouble(((ml_timer *)handle)->when);
    PyObject *text = when ? PyUnicode_FromFormat("when=%S", when) : NULL;
    Py_XDECREF(when);
    if (text == NULL || PyList_Insert(info, handle->cancelled ? 2 : 1, text) < 0) {
        Py_CLEAR(info);
    }
    Py_XDECREF(text);
    return info;
}

/* Both types have these; a base type would have to be open to subclasses. */
#define HANDLE_METHODS                                                                             \
    {"cancel", (PyCFunction)handle_cancel, METH_NOARGS,                                            \
     PyDoc_STR("cancel($self, /)\n--\n\nKeeps the callback from being called. Idempotent.")},      \
        {"cancelled", (PyCFunction)handle_cancelled, METH_NOARGS,                                  \
         PyDoc_STR("cancelled($self, /)\n--\n\nTrue if cancel() was called.")},                    \
        {"get_context", (PyCFunction)handle_context_method, METH_NOARGS,                           \
         PyDoc_STR("get_context($self, /)\n--\n\nThe contextvars.Context the callback runs in.")}, \
        {"_run", (PyCFunction)handle_run, METH_NOARGS, NULL},                                      \
        {"_repr_info", (PyCFunction)handle_repr_info, METH_NOARGS, NULL},                          \
        {"__reduce__", ml_no_pickle, METH_NOARGS, NULL},

#define HANDLE_GETSET                                                      \
    {"_callback", (getter)handle_get_callback, NULL, NULL, NULL},          \
        {"_args", (getter)handle_get_args, NULL, NULL, NULL},              \
        {"_loop", (getter)handle_get_loop, NULL, NULL, NULL},              \
        {"_context", (getter)handle_get_context, NULL, NULL, NULL},        \
        {"_cancelled", (getter)handle_get_cancelled, NULL, NULL, NULL},    \
        {"_source_traceback", (getter)handle_get_debug, NULL, NULL, NULL}, \
        {"_repr", (getter)handle_get_debug, NULL, NULL, (void *)1},        \
        {"__class__", (getter)handle_get_class, NULL, NULL, NULL},

static PyMethodDef handle_methods[] = {HANDLE_METHODS{NULL}};
static PyGetSetDef handle_getset[] = {HANDLE_GETSET{NULL}};

static PyMemberDef handle_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ml_handle, weaklist), READONLY, NULL},
    {NULL},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, PyDoc_STR("A callback that the loop will call: what call_soon() returns.")},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_repr, handle_repr},
    {Py_tp_methods, handle_methods},
    {Py_tp_getset, handle_getset},
    {Py_tp_members, handle_members},
    {0, NULL},
};

PyType_Spec ml_handle_spec = {
    .name = "moodloop._core.Handle",
    .basicsize = offsetof(ml_handle, args),
    .itemsize = sizeof(PyObject *),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = handle_slots,
};

/* ---- TimerHandle ------------------------------------------------------------------------- */

static PyObject *
timer_when(ml_timer *timer, PyObject *Py_UNUSED(unused))
{
    return PyFloat_FromDouble(timer->when);
}

static PyObject *
timer_get_when(ml_timer *timer, void *Py_UNUSED(closure))
{
    return PyFloat_FromDouble(timer->when);
}

static PyObject *
timer_get_scheduled(ml_timer *timer, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(timer->scheduled);
}

static Py_hash_t
timer_hash(ml_timer *timer)
{
    PyObject *when = PyFloat_FromDouble(timer->when);
    Py_hash_t hash = when ? PyObject_Hash(when) : -1;

    Py_XDECREF(when);
    return hash;
}

/* 1, 0 or -1: same time, callback, arguments and state, as stock asyncio compares. */
static int
timer_equal(ml_timer *a, ml_timer *b)
{
    if (a == b) {
        return 1;
    }
    if (a->when != b->when || a->cancelled != b->cancelled) {
        return 0;
    }
    if (a->cancelled) {
        return 1;
    }
    int equal = PyObject_RichCompareBool(a->callback, b->callback, Py_EQ);
    if (equal == 1) {
        PyObject *left = handle_get_args((ml_handle *)a, NULL);
        PyObject *right = left ? handle_get_args((ml_handle *)b, NULL) : NULL;
        equal = right ? PyObject_RichCompareBool(left, right, Py_EQ) : -1;
        Py_XDECREF(left);
        Py_XDECREF(right);
    }
    return equal;
}

static PyObject *
timer_richcompare(ml_timer *timer, PyObject *other, int op)
{
    if (Py_TYPE(other) != Py_TYPE(timer)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    ml_timer *than = (ml_timer *)other;
    int result;
    switch (op) {
    case Py_LT:
        result = timer->when < than->when;
        break;
    case Py_GT:
        result = timer->when > than->when;
        break;
    case Py_LE:
        result = timer->when < than->when ? 1 : timer_equal(timer, than);
        break;
    case Py_GE:
        result = timer->when > than->when ? 1 : timer_equal(timer, than);
        break;
    default:
        result = timer_equal(timer, than);
        if (result >= 0 && op == Py_NE) {
            result = !result;
        }
    }
    return result < 0 ? NULL : PyBool_FromLong(result);
}

static PyMethodDef timer_methods[] = {
    {"when", (PyCFunction)timer_when, METH_NOARGS,
     PyDoc_STR("when($self, /)\n--\n\nThe time the callback is due, in seconds of loop.time().")},
    HANDLE_METHODS{NULL},
};

static PyGetSetDef timer_getset[] = {
    {"_when", (getter)timer_get_when, NULL, NULL, NULL},
    {"_scheduled", (getter)timer_get_scheduled, NULL, NULL, NULL},
    HANDLE_GETSET{NULL},
};

static PyType_Slot timer_slots[] = {
    {Py_tp_doc, PyDoc_STR("A callback with a due time: what call_later() and call_at() return.")},
    {Py_tp_dealloc, handle_dealloc},
    {Py_tp_traverse, handle_traverse},
    {Py_tp_clear, handle_clear},
    {Py_tp_repr, handle_repr},
    {Py_tp_hash, timer_hash},
    {Py_tp_richcompare, timer_richcompare},
    {Py_tp_methods, timer_methods},
    {Py_tp_getset, timer_getset},
    {Py_tp_members, handle_members},
    {0, NULL},
};

PyType_Spec ml_timerhandle_spec = {
    .name = "moodloop._core.TimerHandle",
    .basicsize = offsetof(ml_timer, args),
    .itemsize = sizeof(PyObject *),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = timer_slots,
};
