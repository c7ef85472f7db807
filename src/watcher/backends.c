/* Which of libev's backends can be used: all but io_uring.
 *
 * libev 4.33 reuses the entries of its io_uring without clearing them. An IORING_OP_POLL_REMOVE
 * thus carries the events of an older IORING_OP_POLL_ADD, which Linux refuses since 5.13: libev
 * then aborts the process ("io_uring_enter did not consume all sqes") after a dozen rounds. On
 * older kernels it aborts when a watched descriptor's number is reused, and after a fork. */
#include "watcher.h"

#include <stdlib.h>

int
ml_backends_flags(ml_state *state, unsigned int *flags)
{
    const char *environment = *flags & EVFLAG_NOENV ? NULL : getenv("LIBEV_FLAGS");

    if (environment != NULL) {
        *flags = (unsigned int)atoi(environment) | EVFLAG_NOENV; /* as libev has it */
    }
    unsigned int usable = ml_backends_usable(*flags);
    if ((usable & EVBACKEND_MASK) == 0 && (*flags & EVBACKEND_MASK) != 0) {
        PyErr_SetString(state->Error,
                        "libev's io_uring backend aborts the process: use EVBACKEND_EPOLL");
        return -1;
    }
    *flags = usable;
    return 0;
}
