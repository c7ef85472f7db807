/* StreamReaderBase: the type, and asyncio's private names of a reader as views. */
#include "streams.h"

/* ---- methods ------------------------------------------------------------------------------ */

static PyObject *
reader_feed_data(ml_reader *self, PyObject *data)
{
    return ml_none_or_error(ml_reader_feed_object(self, data));
}

static PyObject *
reader_feed_eof(ml_reader *self, PyObject *Py_UNUSED(unused))
{
    return ml_none_or_error(ml_reader_feed_eof(self));
}

static PyObject *
reader_set_exception(ml_reader *self, PyObject *exc)
{
    Py_XSETREF(self->exception, exc == Py_None ? NULL : Py_NewRef(exc));
    return ml_none_or_error(ml_reader_wake(self, self->state->str.set_exception, exc));
}

static PyObject *
reader_exception(ml_reader *self, PyObject *Py_UNUSED(unused))
{
    return Py_NewRef(ml_or_none(self->exception));
}

static PyObject *
reader_at_eof(ml_reader *self, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(self->eof && ml_buffer_size(&self->buffer) == 0);
}

static PyObject *
reader_wakeup_waiter(ml_reader *self, PyObject *Py_UNUSED(unused))
{
    return ml_none_or_error(ml_reader_wake(self, self->state->str.set_result, Py_None));
}

static PyObject *
reader_maybe_resume_transport(ml_reader *self, PyObject *Py_UNUSED(unused))
{
    return ml_none_or_error(ml_reader_maybe_resume(self));
}

/* ---- asyncio's private names -------------------------------------------------------------- */

static PyObject *
get_buffer(ml_reader *self, void *Py_UNUSED(closure))
{
    return Py_XNewRef(ml_buffer_expose(&self->buffer));
}

static int
set_buffer(ml_reader *self, PyObject *value, void *Py_UNUSED(closure))
{
    return ml_no_delete(value, "_buffer") < 0 ? -1 : ml_buffer_replace(&self->buffer, value);
}

static PyObject *
get_limit(ml_reader *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(ml_or_none(self->limit_object));
}

/* A float, such as math.inf, limits too. */
static int
set_limit(ml_reader *self, PyObject *value, void *Py_UNUSED(closure))
{
    Py_ssize_t limit;

    if (ml_no_delete(value, "_limit") < 0) {
        return -1;
    }
    if (PyFloat_Check(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        limit = number < (double)PY_SSIZE_T_MAX ? (Py_ssize_t)number : PY_SSIZE_T_MAX;
    }
    else if ((limit = PyNumber_AsSsize_t(value, NULL)) == -1 && PyErr_Occurred()) {
        return -1;
    }
    self->limit = limit < 0 ? 0 : (size_t)limit;
    Py_XSETREF(self->limit_object, Py_NewRef(value));
    return 0;
}

static PyObject *
get_waiter(ml_reader *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(ml_or_none(self->waiter));
}

static int
set_waiter(ml_reader *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (ml_no_delete(value, "_waiter") < 0) {
        return -1;
    }
    ml_reader_set_waiter(self, value);
    return 0;
}

static PyObject *
get_object(ml_reader *self, void *closure)
{
    PyObject *object = *(PyObject **)((char *)self + (size_t)closure);

    return Py_NewRef(object ? object : Py_None);
}

static int
set_object(ml_reader *self, PyObject *value, void *closure)
{
    PyObject **place = (PyObject **)((char *)self + (size_t)closure);

    Py_XSETREF(*place, ml_is_there(value) ? Py_NewRef(value) : NULL);
    return 0;
}

/* ---- the type ----------------------------------------------------------------------------- */

static PyObject *
reader_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    ml_state *state = ml_state_of_type(type);
    ml_reader *self = state ? (ml_reader *)type->tp_alloc(type, 0) : NULL;

    if (self != NULL) {
        self->state = state;
    }
    return (PyObject *)self;
}

/* True if asyncio's own __init__ would do no more than what new has done: `loop` is ours, and not
 * in debug mode. */
static bool
is_simple(const ml_reader *self, PyObject *limit, PyObject *loop)
{
    return limit != NULL && loop != NULL && PyLong_CheckExact(limit) &&
           PyObject_TypeCheck(loop, self->state->LoopBase) && !((ml_aioloop *)loop)->debug &&
           PyNumber_AsSsize_t(limit, NULL) > 0;
}

static int
reader_init(ml_reader *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"limit", "loop", NULL};
    PyObject *limit = NULL, *loop = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OO:StreamReader", names, &limit, &loop)) {
        return -1;
    }
    if (is_simple(self, limit, loop) && self->loop == NULL) {
        self->loop = Py_NewRef(loop);
        return set_limit(self, limit, NULL);
    }
    PyObject *init = PyObject_GetAttrString(self->state->aio->StreamReader, "__init__");
    Py_ssize_t count = PyTuple_GET_SIZE(args);
    PyObject *all = init ? PyTuple_New(count + 1) : NULL;
    PyObject *result = NULL;
    if (all != NULL) {
        PyTuple_SET_ITEM(all, 0, Py_NewRef((PyObject *)self));
        for (Py_ssize_t i = 0; i < count; i++) {
            PyTuple_SET_ITEM(all, i + 1, Py_NewRef(PyTuple_GET_ITEM(args, i)));
        }
        result = PyObject_Call(init, all, kwargs);
    }
    Py_XDECREF(init);
    Py_XDECREF(all);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int
reader_traverse(ml_reader *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->limit_object);
    Py_VISIT(self->waiter);
    Py_VISIT(self->exception);
    Py_VISIT(self->transport);
    Py_VISIT(self->protocol);
    return ml_buffer_traverse(&self->buffer, visit, arg);
}

static int
reader_clear(ml_reader *self)
{
    Py_CLEAR(self->loop);
    Py_CLEAR(self->limit_object);
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->exception);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->protocol);
    ml_buffer_clear(&self->buffer);
    return 0;
}

static void
reader_dealloc(ml_reader *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    reader_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef reader_methods[] = {
    {"read", ML_FUNCTION(ml_reader_read), ML_FAST_KEYWORDS,
     PyDoc_STR("read($self, /, n=-1)\n--\n\nUp to n bytes as soon as some are there, b'' at the "
               "end; all to the end for -1.")},
    {"readline", (PyCFunction)ml_reader_readline, METH_NOARGS,
     PyDoc_STR("readline($self, /)\n--\n\nA line with its b'\\n', which the last may lack.\n\n"
               "ValueError if it is longer than the limit.")},
    {"readexactly", ML_FUNCTION(ml_reader_readexactly), ML_FAST_KEYWORDS,
     PyDoc_STR("readexactly($self, /, n)\n--\n\nn bytes. asyncio.IncompleteReadError at the "
               "end.")},
    {"readuntil", ML_FUNCTION(ml_reader_readuntil), ML_FAST_KEYWORDS,
     PyDoc_STR("readuntil($self, /, separator=b'\\n')\n--\n\nAll up to the separator, and with it; "
               "from Python 3.13 on it may be a tuple of them.\n\n"
               "asyncio.IncompleteReadError at the end, asyncio.LimitOverrunError above the "
               "limit.")},
    {"feed_data", (PyCFunction)reader_feed_data, METH_O,
     PyDoc_STR("feed_data($self, data, /)\n--\n\nAdds what a read gives then.")},
    {"feed_eof", (PyCFunction)reader_feed_eof, METH_NOARGS,
     PyDoc_STR("feed_eof($self, /)\n--\n\nNothing comes any more.")},
    {"at_eof", (PyCFunction)reader_at_eof, METH_NOARGS,
     PyDoc_STR("at_eof($self, /)\n--\n\nTrue if nothing is there, and nothing comes any more.")},
    {"set_exception", (PyCFunction)reader_set_exception, METH_O,
     PyDoc_STR("set_exception($self, exc, /)\n--\n\nReads raise it from now on.")},
    {"exception", (PyCFunction)reader_exception, METH_NOARGS,
     PyDoc_STR("exception($self, /)\n--\n\nWhat reads raise; None.")},
    {"_wakeup_waiter", (PyCFunction)reader_wakeup_waiter, METH_NOARGS, NULL},
    {"_maybe_resume_transport", (PyCFunction)reader_maybe_resume_transport, METH_NOARGS, NULL},
    {NULL},
};

#define OBJECT(name, member)                                \
    {                                                       \
        name, (getter)get_object, (setter)set_object, NULL, \
            (void *)(size_t)offsetof(ml_reader, member)     \
    }

static PyGetSetDef reader_getset[] = {
    {"_buffer", (getter)get_buffer, (setter)set_buffer, NULL, NULL},
    {"_limit", (getter)get_limit, (setter)set_limit, NULL, NULL},
    {"_waiter", (getter)get_waiter, (setter)set_waiter, NULL, NULL},
    OBJECT("_exception", exception),
    OBJECT("_transport", transport),
    OBJECT("_loop", loop),
    {NULL},
};

static PyMemberDef reader_members[] = {
    {"_eof", T_BOOL, offsetof(ml_reader, eof), 0, NULL},
    {"_paused", T_BOOL, offsetof(ml_reader, paused), 0, NULL},
    {NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_doc, PyDoc_STR("The C half of moodloop.StreamReader; not for use by itself.")},
    {Py_tp_new, reader_new},
    {Py_tp_init, reader_init},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_traverse, reader_traverse},
    {Py_tp_clear, reader_clear},
    {Py_tp_methods, reader_methods},
    {Py_tp_getset, reader_getset},
    {Py_tp_members, reader_members},
    {Py_am_aiter, PyObject_SelfIter},
    {Py_am_anext, ml_reader_anext},
    {0, NULL},
};

PyType_Spec ml_streamreaderbase_spec = {
    .name = "moodloop._core.StreamReaderBase",
    .basicsize = sizeof(ml_reader),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = reader_slots,
};
