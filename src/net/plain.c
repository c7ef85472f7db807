/* Socket objects that may be passed over. Proxies, guards of tests, tracers and overlay networks
 * put methods of their own on a subclass of socket.socket, on that class in place, or another class
 * in place of it, before moodloop is imported or at any time after. So the kernel is called by the
 * descriptor only if the object's class is the socket module's, and has nothing but what that
 * module and the type beneath, which cannot be changed, gave it. */
#include "plain.h"
#include "methods.h"

/* What stock asyncio asks of a socket object, and `_socket.socket` does. */
static const char *const by_type[] = {
    "__new__",    "__getattribute__", "fileno",      "recv",        "recv_into",
    "recvfrom",   "recvfrom_into",    "send",        "sendmsg",     "sendto",
    "connect",    "shutdown",         "getsockname", "getpeername", "getsockopt",
    "setsockopt", "setblocking",      "_accept",
};

/* What functions of the socket module do. */
static const char *const by_module[] = {"__init__", "accept", "close", "_real_close"};

static bool
is_inherited(const ml_aio *aio, const char *name)
{
    PyObject *own = PyObject_GetAttrString(aio->socket_class, name);
    PyObject *first = own ? PyObject_GetAttrString(aio->raw_socket, name) : NULL;
    bool same = own != NULL && own == first;

    Py_XDECREF(own);
    Py_XDECREF(first);
    return same;
}

static bool
is_of_module(const ml_aio *aio, const char *name)
{
    PyObject *own = PyObject_GetAttrString(aio->socket_class, name);
    bool same = own != NULL && PyFunction_Check(own) &&
                PyFunction_GetGlobals(own) == PyModule_GetDict(aio->socket_module);

    Py_XDECREF(own);
    return same;
}

static bool
look_at_class(ml_aio *aio)
{
    PyTypeObject *type = (PyTypeObject *)aio->socket_class;
    bool plain = type->tp_getattro == PyObject_GenericGetAttr;

    for (size_t i = 0; plain && i < Py_ARRAY_LENGTH(by_type); i++) {
        plain = is_inherited(aio, by_type[i]);
    }
    for (size_t i = 0; plain && i < Py_ARRAY_LENGTH(by_module); i++) {
        plain = is_of_module(aio, by_module[i]);
    }
    if (!plain) {
        PyErr_Clear(); /* of a method that was deleted */
    }
    aio->plain_version = plain ? type->tp_version_tag : 0;
    return plain;
}

/* CPython changes a type's version with each change of it or of its bases, and takes the version
 * away, 0, until somebody looks something up. */
static inline bool
class_is_plain(ml_aio *aio)
{
    unsigned int version = ((PyTypeObject *)aio->socket_class)->tp_version_tag;

    return (version != 0 && version == aio->plain_version) || look_at_class(aio);
}

bool
ml_is_plain(ml_state *state, PyObject *sock)
{
    assert(!PyErr_Occurred());
    return (PyObject *)Py_TYPE(sock) == state->aio->socket_class && class_is_plain(state->aio);
}

bool
ml_makes_plain(ml_state *state)
{
    PyObject *names = PyModule_GetDict(state->aio->socket_module);

    assert(!PyErr_Occurred());
    return PyDict_GetItemWithError(names, state->str.socket) == state->aio->socket_class &&
           class_is_plain(state->aio);
}

PyObject *
ml_plain_socket(ml_state *state, int family, int type, int proto, int fd)
{
    return PyObject_CallFunction(state->aio->socket_class, "iiii", family, type, proto, fd);
}

PyObject *
ml_aioloop_is_plain(ml_aioloop *self, PyObject *sock)
{
    return PyBool_FromLong(ml_is_plain(self->state, sock));
}

/* In debug mode a socket that would block is refused, by stock asyncio's functions. */
bool
ml_can_try(ml_aioloop *self, PyObject *sock)
{
    if (!ml_is_plain(self->state, sock)) {
        return false;
    }
    if (!self->debug) {
        return true;
    }
    PyObject *timeout = PyObject_CallMethod(sock, "gettimeout", NULL);
    bool ready = timeout != NULL && PyFloat_Check(timeout) && PyFloat_AS_DOUBLE(timeout) == 0.;
    Py_XDECREF(timeout);
    PyErr_Clear(); /* stock asyncio's function finds it again */
    return ready;
}

PyObject *
ml_aioloop_can_try(ml_aioloop *self, PyObject *sock)
{
    return PyBool_FromLong(ml_can_try(self, sock));
}

/* Borrowed: the first class below `_socket.socket` that says it is the module's; the module makes
 * it before anybody else can make one. */
static PyObject *
find_class(PyObject *subclasses)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(subclasses); i++) {
        PyObject *cls = PyList_GET_ITEM(subclasses, i);
        PyObject *module = PyObject_GetAttrString(cls, "__module__");
        bool found = module != NULL && PyUnicode_Check(module) &&
                     PyUnicode_CompareWithASCIIString(module, "socket") == 0;
        Py_XDECREF(module);
        if (found) {
            return cls;
        }
    }
    PyErr_SetString(PyExc_ImportError, "the class of sockets that Python came with is gone");
    return NULL;
}

int
ml_plain_init(ml_aio *aio)
{
    PyObject *subclasses = PyObject_CallMethod(aio->raw_socket, "__subclasses__", NULL);

    if (subclasses == NULL) {
        return -1;
    }
    aio->socket_class = Py_XNewRef(find_class(subclasses));
    Py_DECREF(subclasses);
    return aio->socket_class ? 0 : -1;
}
