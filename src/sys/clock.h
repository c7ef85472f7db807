/* The kernel's clocks, in seconds; and how often the process's threads went to sleep. */
#ifndef ML_CLOCK_H
#define ML_CLOCK_H

#include <sys/resource.h>
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

/* How often threads of the process have given the CPU away to wait for something. */
static inline long
ml_sleeps(void)
{
    struct rusage usage;

    return getrusage(RUSAGE_SELF, &usage) < 0 ? 0 : usage.ru_nvcsw;
}

#endif
