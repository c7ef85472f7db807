/* Which of libev's backends can be used here.
 *
 * libev 4.33 reuses the entries of its io_uring without clearing them. An IORING_OP_POLL_REMOVE
 * thus carries the events of an older IORING_OP_POLL_ADD, which Linux refuses since 5.13: libev
 * then aborts the process ("io_uring_enter did not consume all sqes") after a dozen rounds. Such a
 * kernel is recognised here, by one entry like that in a ring of our own. */
#include "watcher.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What becomes of the entry: its result, 0 or a negative errno. */
static int
try_entry(int ring, const struct io_uring_params *params)
{
    size_t sq = params->sq_off.array + params->sq_entries * sizeof(unsigned int);
    size_t cq = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
    size_t size = sq > cq ? sq : cq, entries = params->sq_entries * sizeof(struct io_uring_sqe);
    int prot = PROT_READ | PROT_WRITE, result = 0;
    char *rings = mmap(NULL, size, prot, MAP_SHARED, ring, IORING_OFF_SQ_RING);
    struct io_uring_sqe *sqe = mmap(NULL, entries, prot, MAP_SHARED, ring, IORING_OFF_SQES);

    if (rings != MAP_FAILED && (void *)sqe != MAP_FAILED) {
        sqe->opcode = IORING_OP_POLL_REMOVE;
        sqe->fd = -1;
        sqe->poll_events = POLLIN;
        *(unsigned int *)(rings + params->sq_off.array) = 0;
        atomic_store((_Atomic unsigned int *)(rings + params->sq_off.tail), 1);
        if (syscall(SYS_io_uring_enter, ring, 1, 0, 0, NULL, 0) == 1 &&
            atomic_load((_Atomic unsigned int *)(rings + params->cq_off.tail)) == 1) {
            result = ((struct io_uring_cqe *)(rings + params->cq_off.cqes))->res;
        }
    }
    if (rings != MAP_FAILED) {
        munmap(rings, size);
    }
    if ((void *)sqe != MAP_FAILED) {
        munmap(sqe, entries);
    }
    return result;
}

/* False where libev's io_uring backend would end the process. */
static bool
iouring_works(void)
{
    static int known = -1;
    struct io_uring_params params = {0};

    if (known < 0) {
        int ring = (int)syscall(SYS_io_uring_setup, 4, &params);
        if (ring < 0) {
            return errno != EMFILE && errno != ENFILE && errno != ENOMEM; /* libev says no then */
        }
        bool single = params.features & IORING_FEAT_SINGLE_MMAP; /* since Linux 5.4 */
        known = !single || try_entry(ring, &params) != -EINVAL;
        close(ring);
    }
    return known;
}

unsigned int
ml_backends_usable(unsigned int backends)
{
    return (backends & EVBACKEND_IOURING) && !iouring_works() ? backends & ~EVBACKEND_IOURING
                                                              : backends;
}

int
ml_backends_flags(ml_state *state, unsigned int *flags)
{
    const char *environment = *flags & EVFLAG_NOENV ? NULL : getenv("LIBEV_FLAGS");

    if (environment != NULL) {
        *flags = (unsigned int)atoi(environment) | EVFLAG_NOENV; /* as libev has it */
    }
    unsigned int usable = ml_backends_usable(*flags);
    if ((usable & EVBACKEND_MASK) == 0 && (*flags & EVBACKEND_MASK) != 0) {
        PyErr_SetString(state->Error, "libev's io_uring backend aborts on this version of Linux: "
                                      "use EVBACKEND_EPOLL");
        return -1;
    }
    *flags = usable;
    return 0;
}
