/* Memory kept back for libev, which aborts the process when it cannot have some.
 *
 * libev grows its arrays (descriptors, timers, pending events) deep inside calls that cannot fail.
 * When the system has no memory left, the block kept here is freed, and libev's request repeated;
 * from then on starting a watcher is MemoryError until the block can be had again. It is never
 * touched, so it costs address space only. libev keeps the C library's allocator, and not Python's:
 * another user of the same libev in the process may have allocated before us. */
#include "watcher.h"

#include <stdlib.h>

/* Twice the heap of half a million timers, or of as many descriptors. */
#define RESERVE_SIZE (16 << 20)

_Atomic(void *) ml_reserve;

/* Also called while the GIL is not held: epoll's array of events grows during the poll. */
static void *
allocate(void *ptr, long size) EV_NOEXCEPT
{
    if (size == 0) {
        free(ptr);
        return NULL;
    }
    void *result = realloc(ptr, (size_t)size);
    if (result == NULL) {
        free(atomic_exchange(&ml_reserve, NULL));
        result = realloc(ptr, (size_t)size);
    }
    return result;
}

int
ml_reserve_refill(void)
{
    void *block = malloc(RESERVE_SIZE), *none = NULL;

    if (block == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (!atomic_compare_exchange_strong(&ml_reserve, &none, block)) {
        free(block);
    }
    return 0;
}

int
ml_reserve_init(void)
{
    ev_set_allocator(allocate);
    return ml_reserve_check();
}
