/* How a program asks a reader to read: the arguments, and who is to do it. */
#include "streams.h"

/* Calls asyncio's method, behind ours. */
static PyObject *
stock(ml_reader *self, const char *name, PyObject *arg)
{
    PyObject *method = PyObject_GetAttrString(self->state->aio->StreamReader, name);
    PyObject *result = method ? PyObject_CallFunctionObjArgs(method, self, arg, NULL) : NULL;

    Py_XDECREF(method);
    return result;
}

/* Whether a subclass has a method of its own that `name` stands for: asyncio's methods call each
 * other, and so ours must not go by. 1, 0 or -1. */
static int
is_overridden(ml_reader *self, PyObject *name)
{
    PyTypeObject *type = Py_TYPE(self);

    if ((PyObject *)type == self->state->aio->stream_reader) {
        return 0;
    }
    PyObject *theirs = PyObject_GetAttr((PyObject *)type, name);
    PyObject *base = (PyObject *)self->state->StreamReaderBase;
    PyObject *ours = theirs ? PyObject_GetAttr(base, name) : NULL;
    int same = theirs == ours;
    Py_XDECREF(theirs);
    Py_XDECREF(ours);
    return ours ? !same : -1;
}

/* The argument of read() and readexactly(): -1 if asyncio's own method is to be asked. */
static int
as_size(PyObject *arg, Py_ssize_t *size)
{
    if (!PyLong_CheckExact(arg)) {
        return -1;
    }
    *size = PyNumber_AsSsize_t(arg, NULL); /* clips */
    return 0;
}

/* The one argument, by place or by name; NULL without an exception if there is none. */
static int
one_argument(PyObject *const *args, Py_ssize_t nargs, PyObject *names, const char *name,
             PyObject **value)
{
    Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;

    *value = nargs + named > 0 ? args[0] : NULL;
    if (nargs + named <= 1 &&
        (named == 0 || PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), name) == 0)) {
        return 0;
    }
    PyErr_Format(PyExc_TypeError, "takes one argument, %s", name);
    return -1;
}

static PyObject *
sized(ml_reader *self, ml_asked asked, const char *name, PyObject *arg)
{
    Py_ssize_t size = -1;

    if (arg != NULL && as_size(arg, &size) < 0) {
        return stock(self, name, arg);
    }
    if (asked == ML_READ && size < 0) {
        int overridden = is_overridden(self, self->state->str.read);
        if (overridden) {
            return overridden < 0 ? NULL : stock(self, name, arg);
        }
        asked = ML_READ_ALL;
    }
    return (PyObject *)ml_streamop_new(self->state, (PyObject *)self, asked, size);
}

PyObject *
ml_reader_read(ml_reader *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    PyObject *arg;

    if (one_argument(args, nargs, names, "n", &arg) < 0) {
        return NULL;
    }
    return sized(self, ML_READ, "read", arg);
}

PyObject *
ml_reader_readexactly(ml_reader *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    PyObject *arg;

    if (one_argument(args, nargs, names, "n", &arg) < 0) {
        return NULL;
    }
    if (arg == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "StreamReader.readexactly() missing 1 required positional argument: 'n'");
        return NULL;
    }
    return sized(self, ML_EXACTLY, "readexactly", arg);
}

static PyObject *
until(ml_reader *self, ml_asked asked, PyObject *separator)
{
    ml_streamop *op = ml_streamop_new(self->state, (PyObject *)self, asked, 0);
    int rc = op ? ml_search_init(&op->search, separator) : -1;

    if (rc != 0 && op != NULL) {
        op->started = true; /* nobody was to await it */
        Py_CLEAR(op);
    }
    return rc > 0 ? stock(self, "readuntil", separator) : (PyObject *)op;
}

PyObject *
ml_reader_readuntil(ml_reader *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names)
{
    PyObject *separator;

    if (one_argument(args, nargs, names, "separator", &separator) < 0) {
        return NULL;
    }
    return until(self, ML_UNTIL, separator ? separator : self->state->aio->newline);
}

static PyObject *
line(ml_reader *self, ml_asked asked, PyObject *calls, const char *name)
{
    int overridden = is_overridden(self, calls);

    if (overridden) {
        return overridden < 0 ? NULL : stock(self, name, NULL);
    }
    return until(self, asked, self->state->aio->newline);
}

PyObject *
ml_reader_readline(ml_reader *self, PyObject *Py_UNUSED(unused))
{
    return line(self, ML_LINE, self->state->str.readuntil, "readline");
}

PyObject *
ml_reader_anext(ml_reader *self)
{
    int overridden = is_overridden(self, self->state->str.readline);

    if (overridden) {
        return overridden < 0 ? NULL : stock(self, "__anext__", NULL);
    }
    return line(self, ML_NEXT_LINE, self->state->str.readuntil, "__anext__");
}
