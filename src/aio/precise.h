/* A timer of a short delay ends the poll on time. */
#ifndef ML_PRECISE_H
#define ML_PRECISE_H

#include "ownfd.h"

/* Timers whose delays are shorter than this, in seconds, are `brief`. */
#define ML_PRECISE_SECONDS 5e-3

typedef struct ml_precise {
    ml_ownfd own; /* the timerfd */
    double armed; /* what it is set to */
    double lead;  /* how late it wakes the loop: set for so much earlier */
    bool fired;
} ml_precise;

void ml_precise_init(ml_precise *self);
void ml_precise_close(ml_aioloop *loop);
/* Before a poll that waits. Not 0: do not wait, but look until that time. */
double ml_precise_arm(ml_aioloop *loop);
/* After a poll that waited: learns from one that was ended by the timerfd. */
void ml_precise_learn(ml_precise *self, double now);

#endif
