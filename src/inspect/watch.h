/* A _core.Watch: a thread of C that looks at a loop's meter, and tells of callbacks that take long.
 *
 * It needs no GIL to see one. A thread of Python waits in wait() to be told, and has then to get
 * the GIL; if that takes too long the stack of the loop's thread is written by a signal of which
 * faulthandler is the handler, at once, and to stderr. */
#ifndef ML_WATCH_H
#define ML_WATCH_H

#include "meter.h"

/* A thread that asks for the GIL gets it sooner than this from any code that gives it away. */
#define ML_WATCH_GIL_SECONDS 50e-3

/* What `loop._watch(threshold, signum, fd)` gives: fd is where faulthandler writes, appending. NULL
 * with an exception. The owner of the meter stops it before the meter goes. */
PyObject *ml_watch_new(PyTypeObject *type, ml_meter *meter, double threshold, int signum, int fd);

#endif
