/* StreamWriterBase: what is called for each message. The rest is asyncio's. */
#include "streams.h"

/* ---- drain() ------------------------------------------------------------------------------ */

enum { DRAIN_BEGINS, DRAIN_IS_OPEN, DRAIN_HAS_WAITED };

/* -1 with what the reader has for an exception. */
static int
raise_exception_of(const ml_writer *self)
{
    PyObject *reader = self->reader;

    if (!ml_is_there(reader)) {
        return 0;
    }
    if ((PyObject *)Py_TYPE(reader) == self->state->aio->stream_reader) {
        PyObject *exc = ((ml_reader *)reader)->exception;
        if (exc != NULL) {
            ml_reader_raise(exc);
        }
        return exc ? -1 : 0;
    }
    PyObject *exc = PyObject_CallMethodNoArgs(reader, self->state->str.exception);
    if (exc != NULL && exc != Py_None) {
        ml_reader_raise(exc);
    }
    Py_XDECREF(exc);
    return PyErr_Occurred() ? -1 : 0;
}

static int
is_closing(const ml_writer *self)
{
    PyObject *answer =
        PyObject_CallMethodNoArgs(ml_or_none(self->transport), self->state->str.is_closing);
    int closing = answer ? PyObject_IsTrue(answer) : -1;

    Py_XDECREF(answer);
    return closing;
}

static PyObject *
iterator_of(PyObject *awaitable)
{
    const PyAsyncMethods *async = Py_TYPE(awaitable)->tp_as_async;

    if (async != NULL && async->am_await != NULL) {
        return async->am_await(awaitable);
    }
    return PyErr_Format(PyExc_TypeError, "object %.100s can't be used in 'await' expression",
                        Py_TYPE(awaitable)->tp_name);
}

static ml_step
wait_for_protocol(ml_streamop *self, const ml_writer *writer)
{
    PyObject *protocol = ml_or_none(writer->protocol);
    PyObject *helper = PyObject_CallMethodNoArgs(protocol, writer->state->str._drain_helper);

    self->waiting = helper ? iterator_of(helper) : NULL;
    Py_XDECREF(helper);
    return self->waiting ? ML_WAITS : ML_FAILED;
}

static ml_step
drained(PyObject **result)
{
    *result = Py_NewRef(Py_None);
    return ML_DONE;
}

ml_step
ml_drain_step(ml_streamop *self, PyObject **result)
{
    ml_writer *writer = (ml_writer *)self->stream;

    if (self->size == DRAIN_BEGINS) {
        int closing = raise_exception_of(writer) < 0 ? -1 : is_closing(writer);
        self->size = DRAIN_IS_OPEN;
        if (closing) { /* a turn for connection_lost(): who writes in a circle is to hear of it */
            return closing < 0 ? ML_FAILED : ML_YIELDS;
        }
    }
    if (self->size == DRAIN_HAS_WAITED) {
        return drained(result);
    }
    self->size = DRAIN_HAS_WAITED;
    if ((PyObject *)Py_TYPE(ml_or_none(writer->protocol)) == writer->state->aio->stream_protocol) {
        const ml_streamprotocol *protocol = (ml_streamprotocol *)writer->protocol;
        if (!protocol->paused && !protocol->lost) {
            return drained(result);
        }
    }
    return wait_for_protocol(self, writer);
}

static PyObject *
writer_drain(ml_writer *self, PyObject *Py_UNUSED(unused))
{
    return (PyObject *)ml_streamop_new(self->state, (PyObject *)self, ML_DRAIN, DRAIN_BEGINS);
}

/* ---- what goes to the transport ----------------------------------------------------------- */

static PyObject *
pass_on(ml_writer *self, PyObject *name, PyObject *data)
{
    PyObject *transport = Py_NewRef(ml_or_none(self->transport));
    PyObject *result = PyObject_CallMethodOneArg(transport, name, data);

    Py_DECREF(transport);
    if (result == NULL) {
        return NULL;
    }
    Py_DECREF(result);
    Py_RETURN_NONE;
}

static PyObject *
writer_write(ml_writer *self, PyObject *data)
{
    return pass_on(self, self->state->str.write, data);
}

static PyObject *
writer_writelines(ml_writer *self, PyObject *data)
{
    return pass_on(self, self->state->str.writelines, data);
}

static PyObject *
writer_is_closing(ml_writer *self, PyObject *Py_UNUSED(unused))
{
    PyObject *transport = Py_NewRef(ml_or_none(self->transport));
    PyObject *result = PyObject_CallMethodNoArgs(transport, self->state->str.is_closing);

    Py_DECREF(transport);
    return result;
}

static PyObject *
writer_close(ml_writer *self, PyObject *Py_UNUSED(unused))
{
    PyObject *transport = Py_NewRef(ml_or_none(self->transport));
    PyObject *result = PyObject_CallMethodNoArgs(transport, self->state->str.close);

    Py_DECREF(transport);
    return result;
}

/* ---- the type ----------------------------------------------------------------------------- */

static PyObject *
writer_get_transport(ml_writer *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(ml_or_none(self->transport));
}

/* A future that is done, which asyncio has in each writer. */
static PyObject *
writer_get_complete(ml_writer *self, void *Py_UNUSED(closure))
{
    if (self->complete == NULL) {
        PyObject *future =
            PyObject_CallMethodNoArgs(ml_or_none(self->loop), self->state->str.create_future);
        PyObject *result =
            future ? PyObject_CallMethodOneArg(future, self->state->str.set_result, Py_None) : NULL;
        Py_XDECREF(result);
        if (result == NULL) {
            Py_XDECREF(future);
            return NULL;
        }
        self->complete = future;
    }
    return Py_NewRef(self->complete);
}

static PyObject *
writer_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    ml_state *state = ml_state_of_type(type);
    ml_writer *self = state ? (ml_writer *)type->tp_alloc(type, 0) : NULL;

    if (self != NULL) {
        self->state = state;
        self->loop = Py_NewRef(Py_None);
        self->transport = Py_NewRef(Py_None);
        self->protocol = Py_NewRef(Py_None);
    }
    return (PyObject *)self;
}

static int
writer_init(ml_writer *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"transport", "protocol", "reader", "loop", NULL};
    PyObject *transport, *protocol, *reader, *loop;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO:StreamWriter", names, &transport,
                                     &protocol, &reader, &loop)) {
        return -1;
    }
    int is = reader == Py_None ? 1 : PyObject_IsInstance(reader, self->state->aio->StreamReader);
    Py_XSETREF(self->transport, Py_NewRef(transport)); /* before: __del__() looks at it */
    Py_XSETREF(self->loop, Py_NewRef(loop));
    if (is <= 0) {
        if (is == 0) {
            PyErr_SetNone(PyExc_AssertionError);
        }
        return -1;
    }
    Py_XSETREF(self->protocol, Py_NewRef(protocol));
    Py_XSETREF(self->reader, Py_NewRef(reader));
    return 0;
}

static int
writer_traverse(ml_writer *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->transport);
    Py_VISIT(self->protocol);
    Py_VISIT(self->reader);
    Py_VISIT(self->complete);
    return 0;
}

static int
writer_clear(ml_writer *self)
{
    Py_CLEAR(self->loop);
    Py_CLEAR(self->transport);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->reader);
    Py_CLEAR(self->complete);
    return 0;
}

static void
writer_dealloc(ml_writer *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    writer_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef writer_methods[] = {
    {"write", (PyCFunction)writer_write, METH_O,
     PyDoc_STR("write($self, data, /)\n--\n\nSends bytes, or queues what cannot be sent now.")},
    {"writelines", (PyCFunction)writer_writelines, METH_O,
     PyDoc_STR("writelines($self, data, /)\n--\n\nwrite(), for several at once.")},
    {"drain", (PyCFunction)writer_drain, METH_NOARGS,
     PyDoc_STR("drain($self, /)\n--\n\nWaits while more is queued than the transport likes.\n\n"
               "What the reader has for an exception; ConnectionResetError once the connection is "
               "lost.")},
    {"close", (PyCFunction)writer_close, METH_NOARGS,
     PyDoc_STR("close($self, /)\n--\n\nCloses the connection when all is sent.")},
    {"is_closing", (PyCFunction)writer_is_closing, METH_NOARGS,
     PyDoc_STR("is_closing($self, /)\n--\n\nTrue from close() on, or once it is lost.")},
    {NULL},
};

static PyGetSetDef writer_getset[] = {
    {"transport", (getter)writer_get_transport, NULL, PyDoc_STR("The transport."), NULL},
    {"_complete_fut", (getter)writer_get_complete, NULL, NULL, NULL},
    {NULL},
};

static PyMemberDef writer_members[] = {
    {"_transport", T_OBJECT, offsetof(ml_writer, transport), 0, NULL},
    {"_protocol", T_OBJECT, offsetof(ml_writer, protocol), 0, NULL},
    {"_reader", T_OBJECT, offsetof(ml_writer, reader), 0, NULL},
    {"_loop", T_OBJECT, offsetof(ml_writer, loop), 0, NULL},
    {NULL},
};

static PyType_Slot writer_slots[] = {
    {Py_tp_doc, PyDoc_STR("The C half of moodloop.StreamWriter; not for use by itself.")},
    {Py_tp_new, writer_new},
    {Py_tp_init, writer_init},
    {Py_tp_dealloc, writer_dealloc},
    {Py_tp_traverse, writer_traverse},
    {Py_tp_clear, writer_clear},
    {Py_tp_methods, writer_methods},
    {Py_tp_getset, writer_getset},
    {Py_tp_members, writer_members},
    {0, NULL},
};

PyType_Spec ml_streamwriterbase_spec = {
    .name = "moodloop._core.StreamWriterBase",
    .basicsize = sizeof(ml_writer),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = writer_slots,
};
