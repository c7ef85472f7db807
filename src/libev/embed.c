/* libev itself, compiled in. Only built with MOODLOOP_LIBEV_SOURCE=<unpacked libev>, which puts
 * that directory on the include path and sets EV_STANDALONE and the EV_USE_* switches for every
 * file of the core alike. Its assertions are off: they abort the process. */
#ifndef NDEBUG
#define NDEBUG 1
#endif

#include "ev.c"
