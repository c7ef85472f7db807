#include "util.h"

#include <errno.h>

void
ml_unraisable(PyObject *object)
{
    PyErr_WriteUnraisable(object);
}

int
ml_raise_again(PyObject *exc, int rc, PyObject *source)
{
    if (exc == NULL) {
        return rc;
    }
    if (rc < 0) {
        assert(PyErr_Occurred());
        ml_unraisable(source);
    }
    ml_raise(exc);
    return -1;
}

bool
ml_clear_would_block(void)
{
    if (!PyErr_ExceptionMatches(PyExc_BlockingIOError) &&
        !PyErr_ExceptionMatches(PyExc_InterruptedError)) {
        return false;
    }
    PyErr_Clear();
    return true;
}

int
ml_fd_from_object(PyObject *object)
{
    return PyObject_AsFileDescriptor(object);
}

PyObject *
ml_os_error(int errnum)
{
    errno = errnum;
    return PyErr_SetFromErrno(PyExc_OSError);
}

int
ml_grow(void *place, int *cap, size_t need, size_t item_size)
{
    size_t size = *cap ? (size_t)*cap : 16;
    void *items, *old;

    memcpy(&old, place, sizeof(old));
    while (size < need) {
        size *= 2;
    }
    size = size > INT_MAX ? INT_MAX : size;
    items = size < need ? NULL : PyMem_RawRealloc(old, size * item_size);
    if (items == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset((char *)items + (size_t)*cap * item_size, 0, (size - (size_t)*cap) * item_size);
    memcpy(place, &items, sizeof(items));
    *cap = (int)size;
    return 0;
}

PyObject *
ml_no_pickle(PyObject *self, PyObject *Py_UNUSED(unused))
{
    return PyErr_Format(PyExc_TypeError, "cannot pickle '%s' object", Py_TYPE(self)->tp_name);
}

int
ml_no_delete(PyObject *value, const char *name)
{
    if (value == NULL) {
        PyErr_Format(PyExc_AttributeError, "cannot delete %s", name);
        return -1;
    }
    return 0;
}

PyObject *
ml_throw(PyObject *iterator, PyObject *args)
{
    PyObject *throw = PyObject_GetAttrString(iterator, "throw");
    PyObject *result = throw ? PyObject_Call(throw, args, NULL) : NULL;

    Py_XDECREF(throw);
    return result;
}
