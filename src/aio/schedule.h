/* call_soon and its like (schedule.c); create_future and create_task (tasks.c). */
#ifndef ML_SCHEDULE_H
#define ML_SCHEDULE_H

#include "../watcher/watcher.h"

typedef struct ml_aioloop ml_aioloop;

/* Takes context= out of the keywords, callback= and the one named `first_name`: stock asyncio's
 * signatures allow them. NULL for what a function has not, never for callback; those
 * given by position are not NULL. */
int ml_aioloop_keywords(ml_aioloop *self, const char *name, PyObject *const *values,
                        PyObject *kwnames, const char *first_name, PyObject **first,
                        PyObject **callback, PyObject **context);
PyObject *ml_aioloop_call_soon_method(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_aioloop_call_soon_threadsafe(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_aioloop_call_later(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_aioloop_call_at(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);

PyObject *ml_aioloop_create_future(ml_aioloop *self, PyObject *unused);
PyObject *ml_aioloop_create_task(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);

#endif
