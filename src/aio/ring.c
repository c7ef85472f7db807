/* The ring of what is ready, the mail of other threads, and the batch that one poll brings. */
#include "ring.h"

/* What a burst left larger than this (entries) is given back when little of it is used. */
#define KEEP_ENTRIES 16384

static bool
is_too_large(size_t cap, size_t len)
{
    return cap > KEEP_ENTRIES && len <= cap / 8;
}

/* False if memory is out. */
static bool
resize(ml_ring *ring, size_t cap)
{
    uintptr_t *slots = PyMem_RawMalloc(cap * sizeof(*slots));

    assert((cap & (cap - 1)) == 0 && cap >= ml_ring_len(ring));
    if (slots == NULL) {
        return false;
    }
    for (size_t i = ring->head; i != ring->tail; i++) {
        slots[i & (cap - 1)] = ring->slots[i & ring->mask];
    }
    PyMem_RawFree(ring->slots);
    ring->slots = slots;
    ring->cap = cap;
    ring->mask = cap - 1;
    return true;
}

int
ml_ring_reserve(ml_ring *ring, size_t more)
{
    size_t count = ml_ring_len(ring), cap = ring->cap ? ring->cap : 64;

    if (count + more <= ring->cap) {
        return 0;
    }
    while (cap < count + more) {
        if (cap > SIZE_MAX / 2 / sizeof(uintptr_t)) {
            PyErr_NoMemory();
            return -1;
        }
        cap *= 2;
    }
    if (!resize(ring, cap)) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

void
ml_ring_shrink(ml_ring *ring)
{
    size_t cap = ring->cap, len = ml_ring_len(ring);

    while (is_too_large(cap, len)) {
        cap /= 2;
    }
    if (cap < ring->cap) {
        resize(ring, cap); /* or it stays as it is */
    }
}

int
ml_mail_push(ml_mail *mail, uintptr_t entry, size_t after)
{
    if (ml_ring_reserve(&mail->ring, 2) < 0) {
        return -1;
    }
    ml_ring_push(&mail->ring, entry);
    ml_ring_push(&mail->ring, after);
    atomic_store_explicit(&mail->waiting, ml_mail_len(mail), memory_order_relaxed);
    return 0;
}

uintptr_t
ml_mail_pop(ml_mail *mail)
{
    uintptr_t entry = ml_ring_pop(&mail->ring);

    ml_ring_pop(&mail->ring);
    mail->taken++;
    atomic_store_explicit(&mail->waiting, ml_mail_len(mail), memory_order_relaxed);
    return entry;
}

bool
ml_batch_append(ml_batch *batch, uintptr_t entry)
{
    if (batch->len == batch->cap) {
        size_t cap = batch->cap ? batch->cap * 2 : 64;
        uintptr_t *items = cap > SIZE_MAX / sizeof(*items)
                               ? NULL
                               : PyMem_RawRealloc(batch->items, cap * sizeof(*items));
        if (items == NULL) {
            return false;
        }
        batch->items = items;
        batch->cap = cap;
    }
    batch->items[batch->len++] = entry;
    return true;
}

void
ml_batch_shrink(ml_batch *batch, size_t had)
{
    assert(batch->len == 0);
    if (is_too_large(batch->cap, had)) {
        PyMem_RawFree(batch->items);
        batch->items = NULL;
        batch->cap = 0;
    }
}
