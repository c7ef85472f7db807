/* add_signal_handler (signals.c). */
#ifndef ML_SIGNALS_H
#define ML_SIGNALS_H

#include "../watcher/watcher.h"

typedef struct ml_aioloop ml_aioloop;

typedef struct ml_sig ml_sig;

PyObject *ml_aioloop_signal_start(ml_aioloop *, PyObject *args);
PyObject *ml_aioloop_signal_stop(ml_aioloop *, PyObject *arg);
PyObject *ml_aioloop_signal_map(ml_aioloop *, PyObject *unused);
int ml_aioloop_signals_traverse(ml_aioloop *self, visitproc visit, void *arg);
void ml_aioloop_signals_clear(ml_aioloop *self);

#endif
