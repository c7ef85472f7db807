/* create_future() and create_task(): the classes of asyncio, looked up when used. */
#include "aio.h"

/* class(*args, loop=self). A type takes its keywords as a dict, and a vectorcall would make a new
 * one each time. Steals `args`. */
static PyObject *
new_with_loop(ml_aioloop *self, PyObject *class, PyObject *args)
{
    if (self->loop_keywords == NULL) {
        self->loop_keywords = PyDict_New();
        if (self->loop_keywords == NULL ||
            PyDict_SetItem(self->loop_keywords, self->state->str.loop, (PyObject *)self) < 0) {
            Py_CLEAR(self->loop_keywords);
        }
    }
    PyObject *result =
        args && self->loop_keywords ? PyObject_Call(class, args, self->loop_keywords) : NULL;
    Py_XDECREF(args);
    return result;
}

PyObject *
ml_aioloop_create_future(ml_aioloop *self, PyObject *Py_UNUSED(unused))
{
    PyObject *class = PyObject_GetAttr(self->state->aio->futures, self->state->str.Future);
    PyObject *future = class ? new_with_loop(self, class, PyTuple_New(0)) : NULL;

    Py_XDECREF(class);
    return future;
}

/* BaseEventLoop.create_task(self, ...) of the running Python. */
static PyObject *
stock_create_task(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    Py_ssize_t count = nargs + (kwnames ? PyTuple_GET_SIZE(kwnames) : 0);
    PyObject **stack = PyMem_New(PyObject *, (size_t)count + 1);
    PyObject *method = NULL, *result = NULL;

    if (stack == NULL) {
        return PyErr_NoMemory();
    }
    method = PyObject_GetAttr(self->state->aio->BaseEventLoop, self->state->str.create_task);
    if (method != NULL) {
        stack[0] = (PyObject *)self;
        memcpy(stack + 1, args, (size_t)count * sizeof(*args));
        result = PyObject_Vectorcall(method, stack, (size_t)nargs + 1, kwnames);
        Py_DECREF(method);
    }
    PyMem_Free(stack);
    return result;
}

#define MOST_KEYWORDS 8 /* of a task that is made here */

/* True if Task() may get these: before 3.14 create_task() takes but two, and what it says of others
 * is its own; `loop` is ours to give. */
static bool
are_for_task(ml_aioloop *self, PyObject *kwnames, Py_ssize_t nkw)
{
    if (nkw > MOST_KEYWORDS) {
        return false;
    }
    for (Py_ssize_t i = 0; i < nkw; i++) {
        PyObject *key = PyTuple_GET_ITEM(kwnames, i);
#if PY_VERSION_HEX >= 0x030E0000
        if (PyUnicode_Compare(key, self->state->str.loop) == 0) {
            return false;
        }
#else
        if (PyUnicode_CompareWithASCIIString(key, "name") != 0 &&
            PyUnicode_Compare(key, self->state->str.context) != 0) {
            return false;
        }
#endif
    }
    return true;
}

/* Task(coro, loop=self, **keywords), the class looked up in asyncio.tasks. */
static PyObject *
make_task(ml_aioloop *self, PyObject *const *args, PyObject *kwnames, Py_ssize_t nkw)
{
    PyObject *class = PyObject_GetAttr(self->state->aio->tasks, self->state->str.Task);
    PyObject *stack[MOST_KEYWORDS + 2] = {args[0]}, *names, *result = NULL;

    if (class == NULL) {
        return NULL;
    }
    if (nkw == 0) {
        result = new_with_loop(self, class, PyTuple_Pack(1, args[0]));
    }
    else if ((names = PyTuple_New(nkw + 1)) != NULL) {
        for (Py_ssize_t i = 0; i < nkw; i++) {
            stack[1 + i] = args[1 + i];
            PyTuple_SET_ITEM(names, i, Py_NewRef(PyTuple_GET_ITEM(kwnames, i)));
        }
        stack[1 + nkw] = (PyObject *)self;
        PyTuple_SET_ITEM(names, nkw, Py_NewRef(self->state->str.loop));
        result = PyObject_Vectorcall(class, stack, 1, names);
        Py_DECREF(names);
    }
    Py_DECREF(class);
    return result;
}

/* With a task factory, or in debug mode, the running Python's own create_task() does it all: its
 * rules changed with every version. Without, all versions come to Task(coro, loop=self, **kw). */
PyObject *
ml_aioloop_create_task(ml_aioloop *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    bool factory = self->task_factory != NULL && self->task_factory != Py_None;
    Py_ssize_t nkw = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;

    if (!factory && !self->debug && nargs == 1 && !self->closed &&
        are_for_task(self, kwnames, nkw)) {
        return make_task(self, args, kwnames, nkw);
    }
    return stock_create_task(self, args, nargs, kwnames);
}
