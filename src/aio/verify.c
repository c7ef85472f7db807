/* A look at everything a loop is made of, as ev_verify() takes one at libev's. Tests take it before
 * each loop is closed, and builds with assertions when each run ends. */
#include "aio.h"

static bool
is_ring(const ml_ring *ring)
{
    bool power = (ring->cap & (ring->cap - 1)) == 0;

    return power && ml_ring_len(ring) <= ring->cap && ring->mask == (ring->cap ? ring->cap - 1 : 0);
}

static bool
is_entry(uintptr_t entry)
{
    return Py_REFCNT(ml_entry_object(entry)) > 0 &&
           (ml_entry_ready(entry) == NULL || ml_entry_ready(entry)->queued);
}

static const char *
wrong_with_rings(const ml_aioloop *self)
{
    const ml_ring *ready = &self->ready, *mail = &self->mail.ring;

    if (!is_ring(ready) || !is_ring(mail) || ml_ring_len(mail) % 2 != 0) {
        return "a ring's bounds are wrong";
    }
    for (size_t i = ready->head; i != ready->tail; i++) {
        if (!is_entry(ml_ring_at(ready, i))) {
            return "the ready ring has an entry that is freed, or not marked as queued";
        }
    }
    for (size_t i = mail->head; i != mail->tail; i += 2) {
        if (!is_entry(ml_ring_at(mail, i)) ||
            (ptrdiff_t)(ml_ring_at(mail, i + 1) - ready->tail) > 0) {
            return "the mail has an entry that is freed, or from the future";
        }
    }
    for (size_t i = 0; i < self->io.len; i++) {
        if (!is_entry(self->io.items[i])) {
            return "what a poll brought is freed, or not marked as queued";
        }
    }
    return NULL;
}

static const char *
wrong_with_timers(const ml_timers *self)
{
    size_t brief = 0, untracked = 0;

    if (self->sorted > self->len || self->len > self->cap) {
        return "the timers' counts are wrong";
    }
    for (size_t i = 0; i < self->len; i++) {
        const ml_timer_entry *entry = &self->items[i];
        if (entry->timer->place != i + 1 || Py_REFCNT(entry->timer) <= 0) {
            return "a timer does not stand where it believes";
        }
        if (i > 0 && i < self->sorted && self->items[(i - 1) / 4].when > entry->when) {
            return "the heap of timers is no heap";
        }
        brief += entry->timer->brief;
        untracked += entry->timer->untracked;
    }
    return brief == self->brief && untracked == self->untracked
               ? NULL
               : "the counts of short and of untracked timers are wrong";
}

/* What is kept need not be watched: it may rest, and who waits for a socket that was closed waits
 * on, as in asyncio. */
static const char *
wrong_with_held(const ml_aioloop *self)
{
    ml_held *const *by = &self->held;

    for (const ml_held *held = self->held; held != NULL; held = held->next) {
        if (held->by != by || Py_REFCNT(held->owner) <= 0) {
            return "the list of what the loop keeps is torn, or has what is freed";
        }
        by = &held->next;
    }
    return NULL;
}

const char *
ml_aioloop_wrong(ml_aioloop *self)
{
    const char *wrong = wrong_with_rings(self);

    if (self->ev == NULL || self->ev->ev == NULL) {
        return wrong; /* closed: the rest is gone */
    }
    wrong = wrong ? wrong : wrong_with_timers(&self->timers);
    return wrong ? wrong : wrong_with_held(self);
}

/* _verify(): SystemError if anything is not as it must be. */
PyObject *
ml_aioloop_verify(ml_aioloop *self, PyObject *Py_UNUSED(unused))
{
    const char *wrong = ml_aioloop_wrong(self);

    /* not above: after the kernel refused its wake-up libev's count of watchers is one short */
    if (self->ev != NULL && self->ev->ev != NULL) {
        ev_verify(self->ev->ev);
    }
    if (wrong != NULL) {
        PyErr_SetString(PyExc_SystemError, wrong);
        return NULL;
    }
    Py_RETURN_NONE;
}
