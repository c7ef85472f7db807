/* Handle and TimerHandle as Python sees them: methods, attributes, comparison. */
#include "aio.h"
#include "context.h"

/* ---- Handle ------------------------------------------------------------------------------- */

static PyObject *
handle_cancel(ml_handle *handle, PyObject *Py_UNUSED(unused))
{
    return ml_none_or_error(ml_handle_settle(handle) < 0 ? -1 : ml_handle_cancel(handle));
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
    return ml_none_or_error(rc);
}

static PyObject *
handle_get_context(ml_handle *handle, void *Py_UNUSED(closure))
{
    if (handle->loop->contexts.entered_slot == &handle->context) {
        ml_context_claim(handle->loop);
    }
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
        {"_context", (getter)handle_get_context, NULL, NULL, NULL},        \
        {"_source_traceback", (getter)handle_get_debug, NULL, NULL, NULL}, \
        {"_repr", (getter)handle_get_debug, NULL, NULL, (void *)1},        \
        {"__class__", (getter)handle_get_class, NULL, NULL, NULL},

static PyMethodDef handle_methods[] = {HANDLE_METHODS{NULL}};
static PyGetSetDef handle_getset[] = {HANDLE_GETSET{NULL}};

#define HANDLE_MEMBERS                                                                 \
    {"__weaklistoffset__", T_PYSSIZET, offsetof(ml_handle, weaklist), READONLY, NULL}, \
        {"_loop", T_OBJECT, offsetof(ml_handle, loop), READONLY, NULL},                \
        {"_cancelled", T_BOOL, offsetof(ml_handle, cancelled), READONLY, NULL},

static PyMemberDef handle_members[] = {HANDLE_MEMBERS{NULL}};

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, PyDoc_STR("A callback that the loop will call: what call_soon() returns.")},
    {Py_tp_dealloc, ml_handle_dealloc},
    {Py_tp_traverse, ml_handle_traverse},
    {Py_tp_clear, ml_handle_clear},
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
timer_get_scheduled(ml_timer *timer, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(timer->place > 0);
}

static Py_hash_t
timer_hash(ml_timer *timer)
{
    PyObject *when = PyFloat_FromDouble(timer->when);
    Py_hash_t hash = when ? PyObject_Hash(when) : -1;

    Py_XDECREF(when);
    return hash;
}

/* left == right, of references that it takes over; NULL is an error. Their __eq__ may cancel the
 * timers they come from. */
static int
compare(PyObject *left, PyObject *right)
{
    int equal = left && right ? PyObject_RichCompareBool(left, right, Py_EQ) : -1;

    Py_XDECREF(left);
    Py_XDECREF(right);
    return equal;
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
    int equal = compare(handle_get_callback((ml_handle *)a, NULL),
                        handle_get_callback((ml_handle *)b, NULL));
    if (equal == 1) {
        equal =
            compare(handle_get_args((ml_handle *)a, NULL), handle_get_args((ml_handle *)b, NULL));
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
    {"_scheduled", (getter)timer_get_scheduled, NULL, NULL, NULL},
    HANDLE_GETSET{NULL},
};

static PyMemberDef timer_members[] = {
    {"_when", T_DOUBLE, offsetof(ml_timer, when), READONLY, NULL},
    HANDLE_MEMBERS{NULL},
};

static PyType_Slot timer_slots[] = {
    {Py_tp_doc, PyDoc_STR("A callback with a due time: what call_later() and call_at() return.")},
    {Py_tp_dealloc, ml_handle_dealloc},
    {Py_tp_traverse, ml_handle_traverse},
    {Py_tp_clear, ml_handle_clear},
    {Py_tp_repr, handle_repr},
    {Py_tp_hash, timer_hash},
    {Py_tp_richcompare, timer_richcompare},
    {Py_tp_methods, timer_methods},
    {Py_tp_getset, timer_getset},
    {Py_tp_members, timer_members},
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
