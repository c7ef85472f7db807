/* Where a separator is in what a reader has. */
#include "streams.h"

#include <string.h>

/* From this version on readuntil() takes a tuple. */
#define TUPLES_FROM 0x030D0000

/* More separators than that are for asyncio's own method. */
#define MOST 64

static int
too_short(const char *message)
{
    PyErr_SetString(PyExc_ValueError, message);
    return -1;
}

/* A tuple of bytes in which the shortest comes first; 1 if there is anything else in it. */
static int
sort(PyObject *separators, PyObject **sorted)
{
    PyObject *items[MOST];
    Py_ssize_t count = PyTuple_GET_SIZE(separators);

    if (count > MOST) {
        return 1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(separators, i);
        Py_ssize_t at = i;
        if (!PyBytes_CheckExact(item)) {
            return 1;
        }
        while (at > 0 && PyBytes_GET_SIZE(items[at - 1]) > PyBytes_GET_SIZE(item)) {
            items[at] = items[at - 1];
            at--;
        }
        items[at] = item;
    }
    *sorted = PyTuple_New(count);
    for (Py_ssize_t i = 0; *sorted != NULL && i < count; i++) {
        PyTuple_SET_ITEM(*sorted, i, Py_NewRef(items[i]));
    }
    return *sorted ? 0 : -1;
}

int
ml_search_init(ml_search *self, PyObject *separator)
{
    PyObject *sorted = NULL;
    int rc = 0;

    if (PyBytes_CheckExact(separator)) {
        sorted = Py_NewRef(separator);
        self->shortest = self->longest = (size_t)PyBytes_GET_SIZE(separator);
    }
    else if (PY_VERSION_HEX < TUPLES_FROM || !PyTuple_CheckExact(separator)) {
        return 1;
    }
    else if ((rc = sort(separator, &sorted)) != 0) {
        return rc;
    }
    else if (PyTuple_GET_SIZE(sorted) > 0) {
        Py_ssize_t last = PyTuple_GET_SIZE(sorted) - 1;
        self->shortest = (size_t)PyBytes_GET_SIZE(PyTuple_GET_ITEM(sorted, 0));
        self->longest = (size_t)PyBytes_GET_SIZE(PyTuple_GET_ITEM(sorted, last));
    }
    self->separators = sorted;
    return 0;
}

/* Said when it is awaited, as by a coroutine. */
int
ml_search_check(const ml_search *self)
{
    PyObject *separators = self->separators;

    if (PyTuple_Check(separators) && PyTuple_GET_SIZE(separators) == 0) {
        return too_short("Separator should contain at least one element");
    }
    return self->shortest ? 0 : too_short("Separator should be at least one-byte string");
}

static bool
look_for(ml_search *self, PyObject *separator, const char *data, size_t size, size_t from)
{
    const char *what = PyBytes_AS_STRING(separator);
    size_t len = (size_t)PyBytes_GET_SIZE(separator);
    const char *place;

    if (size - from < len) {
        return false;
    }
    place = len == 1 ? memchr(data + from, what[0], size - from)
                     : memmem(data + from, size - from, what, len);
    if (place == NULL) {
        return false;
    }
    size_t start = (size_t)(place - data);
    if (self->end == 0 || start + len < self->end) {
        self->start = start;
        self->end = start + len;
    }
    return true;
}

static bool
look(ml_search *self, ml_reader *reader, size_t from)
{
    const char *data = ml_buffer_data(&reader->buffer);
    size_t size = ml_buffer_size(&reader->buffer);
    PyObject *separators = self->separators;
    bool found = false;

    self->end = 0;
    if (PyBytes_Check(separators)) {
        return look_for(self, separators, data, size, from);
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(separators); i++) {
        found |= look_for(self, PyTuple_GET_ITEM(separators, i), data, size, from);
    }
    return found;
}

/* What an earlier read has searched, which was given up, is not searched again. A bytearray that
 * the program has may be another one by now. */
static size_t
searched(const ml_search *self, const ml_buffer *buffer)
{
    bool known = buffer->searched == self->separators && buffer->array == NULL;

    return known && buffer->searched_to > self->offset ? buffer->searched_to : self->offset;
}

ml_found
ml_search_go_on(ml_search *self, ml_reader *reader)
{
    size_t size = ml_buffer_size(&reader->buffer);

    if (size < self->offset || size - self->offset < self->shortest) {
        return ML_MISSING;
    }
    if (look(self, reader, searched(self, &reader->buffer))) {
        return self->start > reader->limit ? ML_FAR : ML_FOUND;
    }
    self->offset = size + 1 > self->longest ? size + 1 - self->longest : 0;
    if (PyBytes_Check(self->separators)) {
        Py_XSETREF(reader->buffer.searched, Py_NewRef(self->separators));
        reader->buffer.searched_to = self->offset;
    }
    return self->offset > reader->limit ? ML_OVERRUN : ML_MISSING;
}
