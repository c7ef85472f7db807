/* What is ready to run: the ring of the loop's own thread, and the mail of the others. */
#ifndef ML_RING_H
#define ML_RING_H

#include "../util.h"

#include <stdatomic.h>

typedef struct ml_ready ml_ready;

/* A ring entry is a Handle, or an object of C with one of these embedded (a transport with an
 * event, an accept), which costs no allocation. The ring owns a reference to `owner`. */
struct ml_ready {
    int (*run)(ml_ready *ready); /* -1: an exception that must leave run_forever() */
    PyObject *owner;             /* borrowed; the object it is embedded in */
    bool queued;
};

/* An entry: a pointer to a Handle, or to a ml_ready with bit 0 set. */
static inline uintptr_t
ml_ready_entry(ml_ready *ready)
{
    return (uintptr_t)ready | 1;
}

/* The ml_ready of an entry; NULL if it is a Handle. */
static inline ml_ready *
ml_entry_ready(uintptr_t entry)
{
    return entry & 1 ? (ml_ready *)(entry & ~(uintptr_t)1) : NULL;
}

static inline PyObject *
ml_entry_object(uintptr_t entry)
{
    return entry & 1 ? ml_entry_ready(entry)->owner : (PyObject *)entry;
}

/* `head` and `tail` count up for ever, so that a place in the ring has a number of its own. */
typedef struct ml_ring {
    uintptr_t *slots;
    size_t cap, mask, head, tail; /* cap: 0 or a power of two */
} ml_ring;

static inline size_t
ml_ring_len(const ml_ring *ring)
{
    return ring->tail - ring->head;
}

/* Makes room for `more` entries. -1 with MemoryError. */
int ml_ring_reserve(ml_ring *ring, size_t more);
/* Before a poll: gives memory back that a burst took. */
void ml_ring_shrink(ml_ring *ring);

static inline int
ml_ring_push(ml_ring *ring, uintptr_t entry)
{
    if (ml_ring_len(ring) == ring->cap && ml_ring_reserve(ring, 1) < 0) {
        return -1;
    }
    ring->slots[ring->tail++ & ring->mask] = entry;
    return 0;
}

static inline uintptr_t
ml_ring_pop(ml_ring *ring)
{
    assert(ml_ring_len(ring) > 0);
    return ring->slots[ring->head++ & ring->mask];
}

static inline uintptr_t
ml_ring_at(const ml_ring *ring, size_t number)
{
    assert(number - ring->head < ml_ring_len(ring));
    return ring->slots[number & ring->mask];
}

/* What other threads hand over. It has a ring of its own so that a turn can take some of it and
 * leave the rest, however fast more comes, while what the loop's thread schedules goes on. Each
 * entry has with it how far the ready ring was filled when it came, so that beside a loop that
 * keeps up all run in the order in which they were scheduled. */
typedef struct ml_mail {
    ml_ring ring; /* in pairs: the entry, and the number of the ready ring's next place */
    _Atomic(size_t) waiting; /* entries, for threads that look without the GIL */
    size_t taken;            /* entries so far, counted on for ever */
    size_t waited_for;       /* `taken` when a thread last waited in vain for it to change */
} ml_mail;

static inline size_t
ml_mail_len(const ml_mail *mail)
{
    return ml_ring_len(&mail->ring) / 2;
}

/* `after`: the number of the next place in the ready ring. -1 with MemoryError. */
int ml_mail_push(ml_mail *mail, uintptr_t entry, size_t after);
uintptr_t ml_mail_pop(ml_mail *mail);

/* True if its first entry came before the one with that number. */
static inline bool
ml_mail_is_next(const ml_mail *mail, size_t number)
{
    const ml_ring *ring = &mail->ring;

    return (ptrdiff_t)(ring->slots[(ring->head + 1) & ring->mask] - number) <= 0;
}

/* A growing array of entries that one poll collects. */
typedef struct ml_batch {
    uintptr_t *items;
    size_t len, cap;
} ml_batch;

/* False if memory is out. */
bool ml_batch_append(ml_batch *batch, uintptr_t entry);
/* The same as ml_ring_shrink(), for one that is empty and had `had` entries. */
void ml_batch_shrink(ml_batch *batch, size_t had);

#endif
