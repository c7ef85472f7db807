/* Small helpers with no noun of their own: errors, compatibility between Pythons. */
#ifndef ML_UTIL_H
#define ML_UTIL_H

#include "list.h"
#include "moodloop.h"
#include "sys/clock.h"

#include <assert.h>

/* PEP 7 names for what 3.12 brought, so that the rest of the code has one spelling. */
#if PY_VERSION_HEX < 0x030C0000
static inline PyObject *
ml_take_exception(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (!type) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback) {
        PyException_SetTraceback(value, traceback);
        Py_DECREF(traceback);
    }
    Py_DECREF(type);
    return value;
}

static inline void
ml_raise(PyObject *exc) /* steals */
{
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(exc)), exc, PyException_GetTraceback(exc));
}
#else
#define ml_take_exception PyErr_GetRaisedException
#define ml_raise PyErr_SetRaisedException
#endif

/* The end of what was done with an exception set aside: raises `exc` again (stolen; NULL: there was
 * none), and reports what has failed meanwhile, which `rc` tells. 0 or -1. */
int ml_raise_again(PyObject *exc, int rc, PyObject *source);

/* What a method without a result returns for a function that gave -1 with an exception, or 0. */
static inline PyObject *
ml_none_or_error(int rc)
{
    assert((rc < 0) == (PyErr_Occurred() != NULL));
    if (rc < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

#define ML_CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* Reports the exception that is set to sys.unraisablehook with `object` as its source. */
void ml_unraisable(PyObject *object);

/* True if the exception (an instance) must never be handled on the user's behalf. */
static inline bool
ml_is_fatal_exc(PyObject *exc)
{
    return PyErr_GivenExceptionMatches(exc, PyExc_KeyboardInterrupt) ||
           PyErr_GivenExceptionMatches(exc, PyExc_SystemExit);
}

/* True, and the exception cleared, if that is what the socket module raises where a call would
 * block. */
bool ml_clear_would_block(void);

/* An int, or an object with fileno(); -1 with TypeError or ValueError as
 * PyObject_AsFileDescriptor gives them. */
int ml_fd_from_object(PyObject *object);

/* Sets OSError (or its subclass) from an errno value; returns NULL. */
PyObject *ml_os_error(int errnum);

/* Doubles an array (of PyMem_Raw) until it has room for `need` items; the new ones are zero.
 * `place` is the address of the pointer to it. -1 with MemoryError. */
int ml_grow(void *place, int *cap, size_t need, size_t item_size);

/* iterator.throw(*args) of what is waited for. */
PyObject *ml_throw(PyObject *iterator, PyObject *args);

/* For setters: -1 with AttributeError if `value` is NULL, which is a deletion. */
int ml_no_delete(PyObject *value, const char *name);

/* Raises TypeError "cannot pickle ..."; a METH_NOARGS for __reduce__ and __copy__. */
PyObject *ml_no_pickle(PyObject *self, PyObject *unused);

#endif
