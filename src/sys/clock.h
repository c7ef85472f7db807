/* The kernel's clocks, in seconds. */
#ifndef ML_CLOCK_H
#define ML_CLOCK_H

#include <time.h>

static inline double
ml_clock(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The clock of time.monotonic() and of libev. */
static inline double
ml_monotonic(void)
{
    return ml_clock(CLOCK_MONOTONIC);
}

#endif
