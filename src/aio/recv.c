/* Receiving into a bytes object of the right size. */
#include "aio.h"

#include <errno.h>

/* Reads below this go through the loop's scratch buffer: one copy beats a second system call. */
#define COPY_BELOW 8192

/* What such a read asks for: the unexpectedly large ones are copied too. */
#define SMALL_READ 65536

/* An allocation of 128 KiB or more is an mmap and a munmap for each read. */
#define LARGEST_READ (120 * 1024)

PyObject *
ml_recv_bytes(ml_base *loop, const ml_calls *calls, int fd, size_t limit, size_t expected,
              int *error)
{
    char *scratch = ml_base_scratch(loop);
    int available = 0;

    if (scratch == NULL) {
        return NULL;
    }
    /* The kernel says how much there is (70 ns), so that the object needs neither a copy nor a
     * resize. */
    if (expected >= COPY_BELOW && limit > COPY_BELOW) {
        available = ml_sock_available(fd);
    }
    if (available >= COPY_BELOW) {
        size_t size = (size_t)available < limit ? (size_t)available : limit;
        size = size < LARGEST_READ ? size : LARGEST_READ;
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
    ssize_t got = calls->recv(fd, scratch, limit < SMALL_READ ? limit : SMALL_READ);
    if (got < 0) {
        *error = (int)-got;
        return NULL;
    }
    return PyBytes_FromStringAndSize(scratch, got);
}
