/* Running a callback in its context.
 *
 * Most programs never set a context variable, and a copy of an empty context costs about 120 ns
 * and 100 bytes a callback. So an empty copy is not kept: NULL stands for it. To run such a
 * callback one private context per loop is entered; if the callback left something in it, or
 * somebody kept it, it becomes the callback's own and the loop makes a new one. */
#ifndef ML_CONTEXT_H
#define ML_CONTEXT_H

#include "aio.h"

/* A new reference to a copy of the current context, NULL for an empty one; *failed on error. */
static inline PyObject *
ml_context_capture(bool *failed)
{
    PyObject *current = PyThreadState_Get()->context;

    if (current == NULL || PyObject_Size(current) == 0) {
        return NULL;
    }
    PyObject *copy = PyContext_CopyCurrent();
    *failed = copy == NULL;
    return copy;
}

/* Enters *slot's context, which a NULL slot then has until ml_context_leave(); returns it (new
 * reference) for that, or NULL on error. */
static inline PyObject *
ml_context_enter(ml_base *loop, PyObject **slot)
{
    if (*slot == NULL) {
        if (loop->empty_context == NULL || loop->empty_entered) {
            *slot = PyContext_New();
            if (loop->empty_context == NULL) {
                loop->empty_context = Py_XNewRef(*slot);
                loop->empty_entered = *slot != NULL;
            }
        }
        else {
            *slot = Py_NewRef(loop->empty_context);
            loop->empty_entered = true;
        }
        if (*slot == NULL) {
            return NULL;
        }
    }
    PyObject *context = Py_NewRef(*slot);
    if (PyContext_Enter(context) < 0) {
        Py_DECREF(context);
        return NULL;
    }
    return context;
}

/* Steals `context`. An exception that is set stays set. */
static inline void
ml_context_leave(ml_base *loop, PyObject **slot, PyObject *context)
{
    if (PyContext_Exit(context) < 0) {
        ml_unraisable((PyObject *)loop);
    }
    if (context == loop->empty_context) {
        Py_ssize_t ours = 2 + (*slot == context); /* the loop's and the one that is stolen */
        loop->empty_entered = false;
        if (Py_REFCNT(context) > ours || PyObject_Size(context) > 0) {
            Py_CLEAR(loop->empty_context); /* the callback's own, from now on */
        }
        else if (*slot == context) {
            Py_CLEAR(*slot);
        }
    }
    Py_DECREF(context);
}

#endif
