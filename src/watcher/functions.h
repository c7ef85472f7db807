/* The functions of moodloop.event. */
#ifndef ML_FUNCTIONS_H
#define ML_FUNCTIONS_H

#include "watcher.h"

extern PyMethodDef ml_functions[];
/* EVFLAG_*, EVBACKEND_*, EVRUN_*, EVBREAK_*, EV_*. */
int ml_add_constants(PyObject *module);

#endif
