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

/* What the callback runs in that was entered last with a NULL slot becomes its own. */
static inline void
ml_context_claim(ml_aioloop *loop)
{
    if (*loop->contexts.entered_slot == NULL) {
        *loop->contexts.entered_slot = Py_NewRef(loop->contexts.entered);
    }
}

/* Enters *slot's context; returns it (new reference) for ml_context_leave, or NULL on error. */
static inline PyObject *
ml_context_enter(ml_aioloop *loop, PyObject **slot)
{
    PyObject *context = *slot;

    if (context == NULL) {
        context = loop->contexts.empty;
        loop->contexts.empty = NULL; /* ours alone while it is entered */
        if (context == NULL && (context = PyContext_New()) == NULL) {
            return NULL;
        }
        if (loop->contexts.entered_slot != NULL) { /* one callback runs another */
            ml_context_claim(loop);
        }
        loop->contexts.entered_slot = slot;
        loop->contexts.entered = context;
    }
    else {
        Py_INCREF(context);
    }
    if (PyContext_Enter(context) < 0) {
        loop->contexts.entered_slot =
            loop->contexts.entered_slot == slot ? NULL : loop->contexts.entered_slot;
        Py_DECREF(context);
        return NULL;
    }
    return context;
}

/* Steals `context`. An exception that is set stays set. */
static inline void
ml_context_leave(ml_aioloop *loop, PyObject **slot, PyObject *context)
{
    if (PyContext_Exit(context) < 0) {
        ml_unraisable((PyObject *)loop);
    }
    if (loop->contexts.entered_slot == slot) {
        loop->contexts.entered_slot = NULL;
    }
    if (*slot == NULL) {
        if (Py_REFCNT(context) == 1 && loop->contexts.empty == NULL &&
            PyObject_Size(context) == 0) {
            loop->contexts.empty = context;
            return;
        }
        *slot = context;
        return;
    }
    Py_DECREF(context);
}

#endif
