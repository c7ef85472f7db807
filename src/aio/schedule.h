/* call_soon and its like (schedule.c); create_future and create_task (tasks.c). */
#ifndef ML_SCHEDULE_H
#define ML_SCHEDULE_H

#include "../watcher/watcher.h"

typedef struct ml_base ml_base;

/* Takes context= out of the keywords, callback= and the one named `first_name`: stock asyncio's
 * signatures allow them. NULL for what a function has not, never for callback; those
 * given by position are not NULL. */
int ml_base_keywords(ml_base *self, const char *name, PyObject *const *values, PyObject *kwnames,
                     const char *first_name, PyObject **first, PyObject **callback,
                     PyObject **context);
PyObject *ml_base_call_soon_method(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_base_call_soon_threadsafe(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_base_call_later(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_base_call_at(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);

PyObject *ml_base_create_future(ml_base *self, PyObject *unused);
PyObject *ml_base_create_task(ml_base *, PyObject *const *, Py_ssize_t, PyObject *);

#endif
