/* StreamOp: what the methods of streams that may have to wait return. It does what a coroutine
 * would do, when it is awaited and not before; one that need not wait ends in its first send(). */
#include "streams.h"

ml_streamop *
ml_streamop_new(ml_state *state, PyObject *stream, ml_asked asked, Py_ssize_t size)
{
    ml_streamop *self = (ml_streamop *)state->StreamOp->tp_alloc(state->StreamOp, 0);

    if (self != NULL) {
        self->stream = Py_NewRef(stream);
        self->asked = asked;
        self->size = size;
    }
    return self;
}

/* Of a coroutine: what its `finally` does, and that its locals go. */
static void
let_go(ml_streamop *self)
{
    PyObject *future = self->future;

    self->future = NULL;
    if (future != NULL) {
        ml_reader *reader = (ml_reader *)self->stream;
        if (reader->waiter == future) {
            ml_reader_set_waiter(reader, NULL);
        }
        Py_DECREF(future);
    }
    Py_CLEAR(self->waiting);
}

static void
finish(ml_streamop *self)
{
    let_go(self);
    Py_CLEAR(self->blocks);
    Py_CLEAR(self->search.separators);
    Py_CLEAR(self->stream);
}

static int
over(void)
{
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    return -1;
}

/* The wait has ended, with StopIteration if it was a success. */
static int
waited(ml_streamop *self)
{
    if (PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
            return -1;
        }
        PyErr_Clear();
    }
    let_go(self);
    self->woken = true;
    return 0;
}

static PySendResult
go_on(ml_streamop *self, PyObject **result)
{
    for (;;) {
        if (self->waiting != NULL) {
            PyObject *waiting = Py_NewRef(self->waiting);
            *result = Py_TYPE(waiting)->tp_iternext(waiting);
            Py_DECREF(waiting);
            if (*result != NULL) {
                return PYGEN_NEXT;
            }
            if (waited(self) < 0) {
                break;
            }
        }
        ml_step step =
            self->asked == ML_DRAIN ? ml_drain_step(self, result) : ml_readop_step(self, result);
        if (step == ML_DONE) {
            finish(self);
            return PYGEN_RETURN;
        }
        if (step == ML_YIELDS) {
            *result = Py_NewRef(Py_None);
            return PYGEN_NEXT;
        }
        if (step == ML_FAILED) {
            break;
        }
    }
    PyObject *exc = ml_take_exception();
    finish(self);
    ml_raise(exc);
    *result = NULL;
    return PYGEN_ERROR;
}

static PySendResult
op_am_send(ml_streamop *self, PyObject *Py_UNUSED(value), PyObject **result)
{
    *result = NULL;
    if (self->stream == NULL) {
        over();
        return PYGEN_ERROR;
    }
    self->started = true;
    Py_INCREF(self); /* what runs may let go of it */
    PySendResult sent = go_on(self, result);
    Py_DECREF(self);
    return sent;
}

/* For who goes on by calls: the result in a StopIteration. */
static PyObject *
as_call(PySendResult sent, PyObject *result)
{
    if (sent == PYGEN_RETURN) {
        PyErr_SetObject(PyExc_StopIteration, result);
        Py_CLEAR(result);
    }
    return result;
}

static PyObject *
op_next(ml_streamop *self)
{
    PyObject *result;
    PySendResult sent = op_am_send(self, Py_None, &result);

    if (sent == PYGEN_RETURN && result == Py_None) { /* tp_iternext has a short way to say so */
        Py_CLEAR(result);
        return NULL;
    }
    return as_call(sent, result);
}

static PyObject *
op_send(ml_streamop *self, PyObject *value)
{
    PyObject *result;
    PySendResult sent = op_am_send(self, value, &result);

    return as_call(sent, result);
}

/* throw(type[, value[, traceback]]), for who does not wait: raises it here. */
static void
raise_thrown(PyObject *args)
{
    PyObject *type, *value = NULL, *traceback = NULL;

    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &traceback)) {
        return;
    }
    if (PyExceptionInstance_Check(type)) {
        PyErr_SetObject((PyObject *)Py_TYPE(type), type);
    }
    else if (PyExceptionClass_Check(type)) {
        PyErr_SetObject(type, value ? value : Py_None);
    }
    else {
        PyErr_Format(PyExc_TypeError,
                     "exceptions must be classes or instances deriving from BaseException, not %s",
                     Py_TYPE(type)->tp_name);
    }
}

static PyObject *
op_throw(ml_streamop *self, PyObject *args)
{
    PyObject *result = NULL;

    if (self->stream == NULL) {
        over();
        return NULL;
    }
    self->started = true;
    Py_INCREF(self);
    if (self->waiting != NULL) {
        PyObject *waiting = Py_NewRef(self->waiting);
        result = ml_throw(waiting, args);
        Py_DECREF(waiting);
    }
    else {
        raise_thrown(args);
    }
    if (result == NULL && self->stream != NULL) {
        if (self->waiting != NULL && waited(self) == 0) {
            PySendResult sent = go_on(self, &result);
            result = as_call(sent, result);
        }
        else {
            PyObject *exc = ml_take_exception();
            finish(self);
            ml_raise(exc);
        }
    }
    Py_DECREF(self);
    return result;
}

static PyObject *
op_close(ml_streamop *self, PyObject *Py_UNUSED(unused))
{
    self->started = true;
    finish(self);
    Py_RETURN_NONE;
}

/* What debuggers, and repr() of a task, ask a coroutine. */
static const char *
name_of(const ml_streamop *self)
{
    static const char *const names[] = {
        [ML_READ] = "StreamReader.read",           [ML_READ_ALL] = "StreamReader.read",
        [ML_EXACTLY] = "StreamReader.readexactly", [ML_UNTIL] = "StreamReader.readuntil",
        [ML_LINE] = "StreamReader.readline",       [ML_NEXT_LINE] = "StreamReader.__anext__",
        [ML_DRAIN] = "StreamWriter.drain",
    };

    return names[self->asked];
}

static PyObject *
op_get_qualname(ml_streamop *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(name_of(self));
}

static PyObject *
op_get_name(ml_streamop *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(strchr(name_of(self), '.') + 1);
}

static PyObject *
op_get_running(ml_streamop *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_FALSE;
}

static PyObject *
op_get_await(ml_streamop *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->future ? self->future : self->waiting ? self->waiting : Py_None);
}

static PyObject *
op_repr(ml_streamop *self)
{
    return PyUnicode_FromFormat("<%s %s at %p>", Py_TYPE(self)->tp_name, name_of(self), self);
}

/* Nobody has awaited it. */
static void
op_finalize(ml_streamop *self)
{
    if (self->started || self->stream == NULL) {
        return;
    }
    PyObject *exc = ml_take_exception();
    if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited",
                         name_of(self)) < 0) {
        ml_unraisable((PyObject *)self);
    }
    if (exc != NULL) {
        ml_raise(exc);
    }
}

static int
op_traverse(ml_streamop *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->stream);
    Py_VISIT(self->future);
    Py_VISIT(self->waiting);
    Py_VISIT(self->blocks);
    return 0;
}

static int
op_clear(ml_streamop *self)
{
    finish(self);
    return 0;
}

static void
op_dealloc(ml_streamop *self)
{
    PyTypeObject *type = Py_TYPE(self);

    if (!self->started && PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    finish(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef op_methods[] = {
    {"send", (PyCFunction)op_send, METH_O, NULL},
    {"throw", (PyCFunction)op_throw, METH_VARARGS,
     PyDoc_STR("throw($self, typ, val=None, tb=None, /)\n--\n\n")},
    {"close", (PyCFunction)op_close, METH_NOARGS, NULL},
    {NULL},
};

static PyGetSetDef op_getset[] = {
    {"__name__", (getter)op_get_name, NULL, NULL, NULL},
    {"__qualname__", (getter)op_get_qualname, NULL, NULL, NULL},
    {"cr_running", (getter)op_get_running, NULL, NULL, NULL},
    {"cr_await", (getter)op_get_await, NULL, NULL, NULL},
    {NULL},
};

static PyType_Slot op_slots[] = {
    {Py_tp_doc, PyDoc_STR("A read or a drain() of a stream, to be awaited once.")},
    {Py_tp_dealloc, op_dealloc},
    {Py_tp_finalize, op_finalize},
    {Py_tp_traverse, op_traverse},
    {Py_tp_clear, op_clear},
    {Py_tp_repr, op_repr},
    {Py_tp_methods, op_methods},
    {Py_tp_getset, op_getset},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, op_am_send},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, op_next},
    {0, NULL},
};

PyType_Spec ml_streamop_spec = {
    .name = "moodloop._core.StreamOp",
    .basicsize = sizeof(ml_streamop),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = op_slots,
};
