/* Receiving into a bytes object of the right size. */
#include "aio.h"

#include <errno.h>

/* Reads below this go through the loop's scratch buffer: one copy beats a second system call. */
#define COPY_BELOW 8192

/* What such a read asks for: the unexpectedly large ones are copied too. */
#define SMALL_READ 65536

/* A stream that brought this much brings more: it gets room for the largest read. */
#define LARGE_FROM (32 * 1024)

/* A read that brought this much is followed by another one. */
#define JOIN_FROM (32 * 1024)

/* Where data comes as fast as it is read, there is more by the time a read is done. Joined, that
 * saves the protocol's call and the poll in between: a tenth of what receiving costs. */
ssize_t
ml_recv_joined(const ml_calls *calls, int fd, char *buffer, size_t size, int *later)
{
    ssize_t got = calls->recv(fd, buffer, size);

    for (ssize_t more = got; more >= JOIN_FROM && (size_t)got < size;) {
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

/* Makes a new object, which nobody else has seen, as short as it turned out to be. */
static PyObject *
shorten(PyObject *bytes, size_t size)
{
#ifndef Py_TRACE_REFS /* which knows objects by their addresses */
    PyObject *moved = PyObject_Realloc(bytes, sizeof(PyBytesObject) + size);
    bytes = moved ? moved : bytes;
#endif
    Py_SET_SIZE((PyVarObject *)bytes, (Py_ssize_t)size);
    PyBytes_AS_STRING(bytes)[size] = 0;
    return bytes;
}

static PyObject *
recv_large(const ml_calls *calls, int fd, int *later, int *error)
{
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, ML_LARGEST_READ);

    if (bytes == NULL) {
        return NULL;
    }
    ssize_t got = ml_recv_joined(calls, fd, PyBytes_AS_STRING(bytes), ML_LARGEST_READ, later);
    if (got == ML_LARGEST_READ) {
        return bytes;
    }
    if (got >= COPY_BELOW) {
        return shorten(bytes, (size_t)got);
    }
    PyObject *part = got < 0 ? NULL : PyBytes_FromStringAndSize(PyBytes_AS_STRING(bytes), got);
    *error = got < 0 ? (int)-got : 0;
    Py_DECREF(bytes);
    return part;
}

PyObject *
ml_recv_bytes(ml_base *loop, const ml_calls *calls, int fd, size_t limit, size_t expected,
              int *later, int *error)
{
    char *scratch = ml_base_scratch(loop);
    int available = 0;

    if (later != NULL && expected >= LARGE_FROM) {
        return recv_large(calls, fd, later, error);
    }
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
        size = size < ML_LARGEST_READ ? size : ML_LARGEST_READ;
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
