/* call_soon and its like (schedule.c); create_future and create_task (tasks.c). */
#ifndef ML_SCHEDULE_H
#define ML_SCHEDULE_H

#include "../watcher/watcher.h"

typedef struct ml_aioloop ml_aioloop;

PyObject *ml_aioloop_call_soon_method(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_aioloop_call_soon_threadsafe(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_aioloop_call_later(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_aioloop_call_at(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);

PyObject *ml_aioloop_create_future(ml_aioloop *self, PyObject *unused);
PyObject *ml_aioloop_create_task(ml_aioloop *, PyObject *const *, Py_ssize_t, PyObject *);

#endif
