/* add_signal_handler (signals.c). */
#ifndef ML_SIGNALS_H
#define ML_SIGNALS_H

#include "../watcher/watcher.h"

typedef struct ml_base ml_base;

typedef struct ml_sig ml_sig;

PyObject *ml_base_signal_start(ml_base *, PyObject *args);
PyObject *ml_base_signal_stop(ml_base *, PyObject *arg);
PyObject *ml_base_signal_map(ml_base *, PyObject *unused);
int ml_base_signals_traverse(ml_base *self, visitproc visit, void *arg);
void ml_base_signals_clear(ml_base *self);

#endif
