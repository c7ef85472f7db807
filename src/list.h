/* Lists whose items are linked in place, new ones first: `type *next, **by;` in the item, and a
 * `type *` as the list. */
#ifndef ML_LIST_H
#define ML_LIST_H

#include <assert.h>
#include <stddef.h>

/* `by` is what points to the item; NULL: it is in no list. `list` may be any item's `next`, too. */
#define ML_LIST_ADD(list, item)               \
    do {                                      \
        assert((item)->by == NULL);           \
        (item)->next = *(list);               \
        (item)->by = (list);                  \
        if ((item)->next != NULL) {           \
            (item)->next->by = &(item)->next; \
        }                                     \
        *(list) = (item);                     \
    } while (0)

#define ML_LIST_REMOVE(item)               \
    do {                                   \
        assert(*(item)->by == (item));     \
        *(item)->by = (item)->next;        \
        if ((item)->next != NULL) {        \
            (item)->next->by = (item)->by; \
        }                                  \
        (item)->next = NULL;               \
        (item)->by = NULL;                 \
    } while (0)

#endif
