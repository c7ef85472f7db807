/* What a reader has: see streams.h. */
#include "streams.h"

/* What a block has room for beside what it is made for. */
#define ROOM 1024

size_t
ml_buffer_size(const ml_buffer *self)
{
    return self->array ? (size_t)PyByteArray_GET_SIZE(self->array) : self->end - self->start;
}

const char *
ml_buffer_data(const ml_buffer *self)
{
    if (self->array != NULL) {
        return PyByteArray_AS_STRING(self->array);
    }
    return self->block ? PyBytes_AS_STRING(self->block) + self->start : NULL;
}

static void
empty(ml_buffer *self)
{
    Py_CLEAR(self->block);
    Py_CLEAR(self->searched);
    self->start = self->end = 0;
    self->own = false;
}

static int
add_to_array(ml_buffer *self, const char *data, size_t size)
{
    Py_ssize_t len = PyByteArray_GET_SIZE(self->array);

    if (size > (size_t)(PY_SSIZE_T_MAX - len)) {
        PyErr_NoMemory();
        return -1;
    }
    if (PyByteArray_Resize(self->array, len + (Py_ssize_t)size) < 0) {
        return -1;
    }
    memcpy(PyByteArray_AS_STRING(self->array) + len, data, size);
    return 0;
}

/* Room for `need` bytes, twice over, or for just what somebody waits for. */
static size_t
room_for(size_t need, size_t wanted)
{
    size_t room = 2 * need < ROOM ? ROOM : 2 * need;

    return wanted >= need && wanted <= 2 * room ? wanted : room;
}

static int
make_room(ml_buffer *self, size_t size, size_t wanted)
{
    size_t len = self->end - self->start;

    if (size > (size_t)PY_SSIZE_T_MAX / 4 - len) {
        PyErr_NoMemory();
        return -1;
    }
    size_t room = room_for(len + size, wanted);
    PyObject *block = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room);
    if (block == NULL) {
        return -1;
    }
    memcpy(PyBytes_AS_STRING(block), ml_buffer_data(self), len);
    Py_SETREF(self->block, block);
    self->start = 0;
    self->end = len;
    self->own = true;
    return 0;
}

int
ml_buffer_add(ml_buffer *self, const char *data, size_t size, PyObject *object, size_t wanted)
{
    if (self->array != NULL) {
        return add_to_array(self, data, size);
    }
    if (self->block == NULL) {
        PyObject *block =
            object ? Py_NewRef(object) : PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
        if (block == NULL) {
            return -1;
        }
        self->block = block;
        self->start = 0;
        self->end = size;
        self->own = false;
        return 0;
    }
    if ((!self->own || (size_t)PyBytes_GET_SIZE(self->block) - self->end < size) &&
        make_room(self, size, wanted) < 0) {
        return -1;
    }
    assert(Py_REFCNT(self->block) == 1);
    memcpy(PyBytes_AS_STRING(self->block) + self->end, data, size);
    self->end += size;
    return 0;
}

int
ml_buffer_drop(ml_buffer *self, size_t size)
{
    if (self->array != NULL) {
        return PySequence_DelSlice(self->array, 0, (Py_ssize_t)size);
    }
    Py_CLEAR(self->searched);
    self->start += size;
    if (self->start == self->end) {
        empty(self);
    }
    return 0;
}

/* All of it, which the block becomes, unless that would keep much that is not used. */
static PyObject *
take_block(ml_buffer *self)
{
    size_t size = self->end, room = (size_t)PyBytes_GET_SIZE(self->block);

    if (self->own && room - size > 64 + room / 8) {
        return NULL;
    }
    PyObject *block = self->block;
    if (room != size) {
        assert(self->own && Py_REFCNT(block) == 1);
        Py_SET_SIZE((PyVarObject *)block, (Py_ssize_t)size);
        PyBytes_AS_STRING(block)[size] = 0;
    }
    self->block = NULL;
    empty(self);
    return block;
}

PyObject *
ml_buffer_take(ml_buffer *self, size_t size)
{
    PyObject *bytes = NULL;

    assert(size <= ml_buffer_size(self));
    if (self->block != NULL && self->start == 0 && size == self->end) {
        bytes = take_block(self);
    }
    if (bytes != NULL) {
        return bytes;
    }
    bytes = PyBytes_FromStringAndSize(ml_buffer_data(self), (Py_ssize_t)size);
    if (bytes != NULL && size > 0 && ml_buffer_drop(self, size) < 0) {
        Py_CLEAR(bytes);
    }
    return bytes;
}

PyObject *
ml_buffer_expose(ml_buffer *self)
{
    if (self->array == NULL) {
        self->array = PyByteArray_FromStringAndSize(ml_buffer_data(self),
                                                    (Py_ssize_t)(self->end - self->start));
        if (self->array != NULL) {
            empty(self);
        }
    }
    return self->array;
}

int
ml_buffer_replace(ml_buffer *self, PyObject *array)
{
    if (!PyByteArray_Check(array)) {
        PyErr_Format(PyExc_TypeError, "_buffer must be a bytearray, not %.100s",
                     Py_TYPE(array)->tp_name);
        return -1;
    }
    Py_XSETREF(self->array, Py_NewRef(array));
    empty(self);
    return 0;
}

int
ml_buffer_traverse(ml_buffer *self, visitproc visit, void *arg)
{
    Py_VISIT(self->array);
    return 0;
}

void
ml_buffer_clear(ml_buffer *self)
{
    Py_CLEAR(self->array);
    empty(self);
}
