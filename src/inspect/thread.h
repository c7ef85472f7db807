/* What the kernel tells of a thread of this process. No Python; callable without the GIL. */
#ifndef ML_THREAD_H
#define ML_THREAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* At one moment; sums since the thread began. What the kernel does not tell is 0, or -1. */
typedef struct ml_thread_sample {
    double time;           /* monotonic seconds */
    double ran, waited;    /* seconds on a CPU, and ready for one that it did not get */
    double user, system;   /* seconds, in the kernel's coarse ticks */
    uint64_t minor, major; /* page faults: answered from memory, from a disk */
    long call;             /* the system call that it is in, -1: none */
    char state;            /* R, S, D, T ... */
} ml_thread_sample;

void ml_thread_look(pid_t tid, ml_thread_sample *sample);
/* A thread that computes, or waits in another call than futex(): it may have what the others wait
 * for. 0 if there is none but `skip`. */
pid_t ml_thread_find_active(const pid_t *skip, int count);

#endif
