#include "recv.h"

#include <errno.h>

/* Reads below this go through the loop's scratch block: a copy beats a second system call. An echo
 * of 10 KiB takes 4% less time than with that call, one of 100 KiB would take 5% more. */
#define COPY_BELOW 32768

/* What such a read asks for: the unexpectedly large ones are copied too. */
#define SMALL_READ 65536

/* An allocation of 128 KiB or more is an mmap and a munmap for each read, until glibc has seen one
 * freed. */
#define LARGEST_EXACT (120 * 1024)

/* A large read that brought this much keeps the block that it was made into. */
#define KEEP_FROM (ML_SCRATCH_SIZE / 2)

/* ... and one that brought this much is followed by another. */
#define JOIN_FROM 16384

char *
ml_recv_room(ml_aioloop *loop, size_t size, PyObject **block)
{
    if (size <= ML_SCRATCH_SIZE) {
        return ml_aioloop_scratch(loop);
    }
    *block = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    return *block ? PyBytes_AS_STRING(*block) : NULL;
}

void
ml_recv_expect(size_t *expected, size_t got)
{
    *expected = got > *expected / 2 ? got : *expected / 2;
}

ssize_t
ml_recv_stream(const ml_calls *calls, int fd, char *buffer, size_t size, size_t expected,
               int *later)
{
    ssize_t got = calls->recv(fd, buffer, size);
    ssize_t more = later != NULL && expected >= LARGEST_EXACT ? got : 0;

    if (size > ML_SCRATCH_SIZE && (size_t)got < ML_SCRATCH_SIZE) {
        size = ML_SCRATCH_SIZE; /* a sender who keeps up with us shall not keep us */
    }
    while (more >= JOIN_FROM && (size_t)got < size) {
        more = calls->recv(fd, buffer + got, size - (size_t)got);
        if (more > 0) {
            got += more;
        }
        else if (more < 0 && more != -EAGAIN) {
            *later = (int)-more; /* the kernel tells it once; the end, which is 0, again */
        }
    }
    return got;
}

/* Into the scratch block, which nobody else has seen: it becomes the result, cut to what was read,
 * where the block is mostly full. */
static PyObject *
recv_large(ml_aioloop *loop, const ml_calls *calls, int fd, size_t expected, int *later, int *error)
{
    char *scratch = ml_aioloop_scratch(loop);

    if (scratch == NULL) {
        return NULL;
    }
    ssize_t got = ml_recv_stream(calls, fd, scratch, ML_SCRATCH_SIZE, expected, later);
    if (got < KEEP_FROM) {
        *error = got < 0 ? (int)-got : 0;
        return got < 0 ? NULL : PyBytes_FromStringAndSize(scratch, got);
    }
    PyObject *bytes = loop->scratch;
    assert(Py_REFCNT(bytes) == 1);
    loop->scratch = NULL;
    Py_SET_SIZE((PyVarObject *)bytes, got);
    scratch[got] = 0;
    return bytes;
}

/* One call, for all of `limit`: what is left of a message is lost. */
static PyObject *
recv_message(ml_aioloop *loop, const ml_calls *calls, int fd, size_t limit, int *error)
{
    PyObject *block = NULL, *bytes = NULL;
    char *target = ml_recv_room(loop, limit, &block);

    if (target != NULL) {
        ssize_t got = calls->recv(fd, target, limit);
        *error = got < 0 ? (int)-got : 0;
        bytes = got < 0 ? NULL : PyBytes_FromStringAndSize(target, got);
    }
    Py_XDECREF(block);
    return bytes;
}

/* The kernel says how much there is, so that the object needs neither a copy nor a resize. */
static PyObject *
recv_exact(const ml_calls *calls, int fd, size_t size, int *error)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);

    if (bytes == NULL) {
        return NULL;
    }
    ssize_t got = calls->recv(fd, PyBytes_AS_STRING(bytes), size);
    if (got == (ssize_t)size) {
        return bytes;
    }
    PyObject *part = NULL; /* urgent data, or somebody else reads this socket too */
    if (got >= 0) {
        part = PyBytes_FromStringAndSize(PyBytes_AS_STRING(bytes), got);
    }
    else {
        *error = (int)-got;
    }
    Py_DECREF(bytes);
    return part;
}

static size_t
least(size_t one, size_t two)
{
    return one < two ? one : two;
}

PyObject *
ml_recv_bytes(ml_aioloop *loop, const ml_calls *calls, int fd, size_t limit, size_t expected,
              int *later, int *error)
{
    if (calls->messages) {
        return recv_message(loop, calls, fd, least(limit, ML_SCRATCH_SIZE), error);
    }
    if (later != NULL && expected >= LARGEST_EXACT && limit >= ML_SCRATCH_SIZE) {
        return recv_large(loop, calls, fd, expected, later, error);
    }
    int available = expected >= COPY_BELOW && limit > COPY_BELOW ? ml_sock_available(fd) : 0;
    if (available >= COPY_BELOW) {
        return recv_exact(calls, fd, least(limit, least((size_t)available, LARGEST_EXACT)), error);
    }
    return recv_message(loop, calls, fd, least(limit, SMALL_READ), error);
}

PyObject *
ml_recv_once(ml_aioloop *loop, int fd, size_t limit, int *error)
{
    int available = limit > COPY_BELOW ? ml_sock_available(fd) : 0;

    if ((available >= COPY_BELOW || limit > ML_SCRATCH_SIZE) && ml_sock_type(fd) == SOCK_STREAM) {
        if (available >= COPY_BELOW) {
            limit = least(limit, least((size_t)available, LARGEST_EXACT));
            return recv_exact(&ml_sock_calls, fd, limit, error);
        }
        limit = SMALL_READ;
    }
    return recv_message(loop, &ml_sock_calls, fd, limit, error);
}
