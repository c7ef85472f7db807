/* StreamProtocolBase: the C half of moodloop.StreamReaderProtocol. What arrives at a transport of
 * ours goes to the reader without a call of Python's in between. */
#include "streams.h"

/* The reader, a new reference; NULL if it is gone, or there is none. -1: with an exception. */
static int
reader_of(const ml_streamprotocol *self, PyObject **reader)
{
    *reader = NULL;
    if (self->reader == NULL) {
        return 0;
    }
#if PY_VERSION_HEX >= 0x030D0000
    return PyWeakref_GetRef(self->reader, reader) < 0 ? -1 : 0;
#else
    PyObject *found = PyWeakref_GetObject(self->reader);
    *reader = found && found != Py_None ? Py_NewRef(found) : NULL;
    return found ? 0 : -1;
#endif
}

static ml_state *
state_of(const ml_streamprotocol *self)
{
    return ml_state_of_type(Py_TYPE((PyObject *)self));
}

static int
feed(ml_state *state, ml_streamprotocol *self, PyObject *data)
{
    PyObject *reader;
    int rc = reader_of(self, &reader);

    if (reader == NULL) {
        return rc;
    }
    if ((PyObject *)Py_TYPE(reader) == state->aio->stream_reader) {
        rc = ml_reader_feed_object((ml_reader *)reader, data);
    }
    else {
        PyObject *result = PyObject_CallMethodOneArg(reader, state->str.feed_data, data);
        Py_XDECREF(result);
        rc = result ? 0 : -1;
    }
    Py_DECREF(reader);
    return rc;
}

static int
native_received(PyObject *protocol, PyObject *data)
{
    return feed(state_of((ml_streamprotocol *)protocol), (ml_streamprotocol *)protocol, data);
}

const ml_native ml_stream_native = {.received = native_received};

static PyObject *
protocol_data_received(ml_streamprotocol *self, PyObject *data)
{
    return ml_none_or_error(feed(state_of(self), self, data));
}

/* ---- `_stream_reader_wr`, which asyncio's code sets ---------------------------------------- */

/* The reader knows who feeds it, to be kept by it: see ml_reader_set_waiter(). */
static int
tell_reader(ml_streamprotocol *self, bool feeds)
{
    PyObject *reader;
    ml_state *state = state_of(self);

    if (state == NULL || reader_of(self, &reader) < 0) {
        return -1;
    }
    if (reader != NULL && PyObject_TypeCheck(reader, state->StreamReaderBase)) {
        ml_reader *ours = (ml_reader *)reader;
        if (feeds) {
            Py_XSETREF(ours->protocol, (ml_streamprotocol *)Py_NewRef((PyObject *)self));
            ml_reader_set_waiter(ours, ours->waiter);
        }
        else if (ours->protocol == self) {
            Py_CLEAR(self->kept);
            Py_CLEAR(ours->protocol);
        }
    }
    Py_XDECREF(reader);
    return 0;
}

static PyObject *
get_reader(ml_streamprotocol *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->reader ? self->reader : Py_None);
}

static int
set_reader(ml_streamprotocol *self, PyObject *value, void *Py_UNUSED(closure))
{
    if (ml_no_delete(value, "_stream_reader_wr") < 0 || tell_reader(self, false) < 0) {
        return -1;
    }
    if (value != Py_None && !PyWeakref_CheckRef(value)) {
        PyErr_SetString(PyExc_TypeError, "_stream_reader_wr must be a weakref.ref or None");
        return -1;
    }
    Py_XSETREF(self->reader, value == Py_None ? NULL : Py_NewRef(value));
    return tell_reader(self, true);
}

static PyObject *
use_classes(PyObject *Py_UNUSED(type), PyObject *args)
{
    PyObject *reader, *protocol;

    if (!PyArg_ParseTuple(args, "O!O!:_use_classes", &PyType_Type, &reader, &PyType_Type,
                          &protocol)) {
        return NULL;
    }
    ml_state *state = ml_state_of_type((PyTypeObject *)protocol);
    if (state == NULL) {
        return NULL;
    }
    Py_XSETREF(state->aio->stream_reader, Py_NewRef(reader));
    Py_XSETREF(state->aio->stream_protocol, Py_NewRef(protocol));
    Py_RETURN_NONE;
}

/* ---- the type ----------------------------------------------------------------------------- */

static int
protocol_traverse(ml_streamprotocol *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->reader);
    Py_VISIT(self->kept);
    return 0;
}

static int
protocol_clear(ml_streamprotocol *self)
{
    Py_CLEAR(self->reader);
    Py_CLEAR(self->kept);
    return 0;
}

static void
protocol_dealloc(ml_streamprotocol *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    protocol_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef protocol_methods[] = {
    {"data_received", (PyCFunction)protocol_data_received, METH_O,
     PyDoc_STR("data_received($self, data, /)\n--\n\nFeeds the reader.")},
    {"_use_classes", (PyCFunction)use_classes, METH_VARARGS | METH_CLASS, NULL},
    {NULL},
};

static PyGetSetDef protocol_getset[] = {
    {"_stream_reader_wr", (getter)get_reader, (setter)set_reader, NULL, NULL},
    {NULL},
};

static PyMemberDef protocol_members[] = {
    {"_paused", T_BOOL, offsetof(ml_streamprotocol, paused), 0, NULL},
    {"_connection_lost", T_BOOL, offsetof(ml_streamprotocol, lost), 0, NULL},
    {NULL},
};

static PyType_Slot protocol_slots[] = {
    {Py_tp_doc, PyDoc_STR("The C half of moodloop.StreamReaderProtocol; not for use by itself.")},
    {Py_tp_dealloc, protocol_dealloc},
    {Py_tp_traverse, protocol_traverse},
    {Py_tp_clear, protocol_clear},
    {Py_tp_methods, protocol_methods},
    {Py_tp_getset, protocol_getset},
    {Py_tp_members, protocol_members},
    {0, NULL},
};

PyType_Spec ml_streamprotocolbase_spec = {
    .name = "moodloop._core.StreamProtocolBase",
    .basicsize = sizeof(ml_streamprotocol),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = protocol_slots,
};
