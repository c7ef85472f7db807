/* Times, counted by size: buckets that are an eighth of a power of two wide, so that what they tell
 * is right to 12%, from a nanosecond to the minute. */
#ifndef ML_HISTOGRAM_H
#define ML_HISTOGRAM_H

#include "../util.h"

#define ML_COUNTS_BITS 3          /* 8 buckets for each power of two */
#define ML_COUNTS_MAX_EXPONENT 36 /* 2**36 ns: what is longer is in the last one */
#define ML_COUNTS_BUCKETS ((ML_COUNTS_MAX_EXPONENT - ML_COUNTS_BITS + 1) << ML_COUNTS_BITS)

typedef struct ml_counts {
    uint64_t count, min, max; /* ns */
    double sum, squares;      /* s, s**2 */
    uint64_t buckets[ML_COUNTS_BUCKETS];
} ml_counts;

/* A _core.Histogram: one of these for Python. */
typedef struct ml_histogram {
    PyObject_HEAD
    struct ml_histogram *next; /* in the list of a loop that records into it, which owns it */
    bool recording;
    ml_counts counts;
} ml_histogram;

void ml_counts_add(ml_counts *counts, double seconds);
/* The list of a loop's: adds to all of them. */
void ml_histograms_add(ml_histogram *list, double seconds);
/* Takes one into a list; RuntimeError if it is in one. Out of it: -1 with RuntimeError if not. */
int ml_histograms_join(ml_histogram **list, ml_histogram *histogram);
int ml_histograms_leave(ml_histogram **list, ml_histogram *histogram);
void ml_histograms_clear(ml_histogram **list);

#endif
