/* The asyncio side of the module: its types, and what it needs of the standard library. */
#include "aio.h"
#include "../net/transport.h"

#define X(Name, lower) extern PyType_Spec ml_##lower##_spec;
ML_AIO_TYPES(X)
#undef X

/* `module.name`, a new reference. */
static PyObject *
import_name(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);
    PyObject *result = imported ? PyObject_GetAttrString(imported, name) : NULL;

    Py_XDECREF(imported);
    return result;
}

static int
import_all(ml_aio *aio)
{
#if ML_THREADSAFE_HANDLES
    aio->ThreadSafeHandle = import_name("asyncio.events", "_ThreadSafeHandle");
    if (aio->ThreadSafeHandle == NULL) {
        return -1;
    }
#endif
    return (aio->Handle = import_name("asyncio.events", "Handle")) &&
                   (aio->TimerHandle = import_name("asyncio.events", "TimerHandle")) &&
                   (aio->futures = PyImport_ImportModule("asyncio.futures")) &&
                   (aio->tasks = PyImport_ImportModule("asyncio.tasks")) &&
                   (aio->BaseEventLoop = import_name("asyncio.base_events", "BaseEventLoop")) &&
                   (aio->BufferedProtocol = import_name("asyncio.protocols", "BufferedProtocol")) &&
                   (aio->TransportSocket = import_name("asyncio.trsock", "TransportSocket")) &&
                   (aio->socket_class = import_name("socket", "socket")) &&
                   (aio->gaierror = import_name("socket", "gaierror")) &&
                   (aio->af_inet = import_name("socket", "AF_INET")) &&
                   (aio->af_inet6 = import_name("socket", "AF_INET6")) &&
                   (aio->sock_stream = import_name("socket", "SOCK_STREAM")) &&
                   (aio->sock_dgram = import_name("socket", "SOCK_DGRAM")) &&
                   (aio->sock_raw = import_name("socket", "SOCK_RAW"))
               ? 0
               : -1;
}

static const struct {
    PyType_Spec *spec;
    const char *bases[2]; /* in asyncio.transports: those of stock asyncio's own transports */
} transport_bases[] = {
    {&ml_streamtransport_spec, {"Transport"}},
    {&ml_datagramtransport_spec, {"DatagramTransport", "Transport"}},
    {&ml_readpipetransport_spec, {"ReadTransport"}},
    {&ml_writepipetransport_spec, {"Transport"}},
};

/* One of asyncio's transports, whose layout a struct of ours can begin with. */
static PyObject *
transport_base(const char *name)
{
    PyObject *base = import_name("asyncio.transports", name);

    if (base != NULL &&
        ((PyTypeObject *)base)->tp_basicsize != (Py_ssize_t)offsetof(ml_transport, dict)) {
        PyErr_Format(PyExc_ImportError,
                     "this Python's asyncio.%s has another layout than moodloop was written for; "
                     "a newer moodloop is needed",
                     name);
        Py_CLEAR(base);
    }
    return base;
}

/* The base of a type, or a tuple of them. */
static PyObject *
bases_of(PyType_Spec *spec)
{
    size_t i = 0;

    while (i < Py_ARRAY_LENGTH(transport_bases) && transport_bases[i].spec != spec) {
        i++;
    }
    if (i == Py_ARRAY_LENGTH(transport_bases)) {
        return Py_NewRef((PyObject *)&PyBaseObject_Type);
    }
    const char *second = transport_bases[i].bases[1];
    PyObject *one = transport_base(transport_bases[i].bases[0]);
    PyObject *two = one && second ? transport_base(second) : NULL;
    if (one == NULL || second == NULL) {
        return one;
    }
    PyObject *both = two ? PyTuple_Pack(2, one, two) : NULL;
    Py_XDECREF(two);
    Py_DECREF(one);
    return both;
}

int
ml_aio_init(PyObject *module, ml_state *state)
{
    state->aio = PyMem_RawCalloc(1, sizeof(*state->aio));
    if (state->aio == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (import_all(state->aio) < 0) {
        return -1;
    }
#define X(Name, lower)                                                                             \
    {                                                                                              \
        PyObject *bases = bases_of(&ml_##lower##_spec);                                            \
        if (bases == NULL) {                                                                       \
            return -1;                                                                             \
        }                                                                                          \
        state->Name = (PyTypeObject *)PyType_FromModuleAndSpec(module, &ml_##lower##_spec, bases); \
        Py_DECREF(bases);                                                                          \
        if (state->Name == NULL || PyModule_AddType(module, state->Name) < 0) {                    \
            return -1;                                                                             \
        }                                                                                          \
    }
    ML_AIO_TYPES(X)
#undef X
    return 0;
}

int
ml_aio_traverse(ml_state *state, visitproc visit, void *arg)
{
    ml_aio *aio = state->aio;

    if (aio != NULL) {
        Py_VISIT(aio->Handle);
        Py_VISIT(aio->TimerHandle);
        Py_VISIT(aio->ThreadSafeHandle);
        Py_VISIT(aio->futures);
        Py_VISIT(aio->tasks);
        Py_VISIT(aio->BaseEventLoop);
        Py_VISIT(aio->BufferedProtocol);
        Py_VISIT(aio->TransportSocket);
        Py_VISIT(aio->socket_class);
        Py_VISIT(aio->gaierror);
        Py_VISIT(aio->af_inet);
        Py_VISIT(aio->af_inet6);
        Py_VISIT(aio->sock_stream);
        Py_VISIT(aio->sock_dgram);
        Py_VISIT(aio->sock_raw);
        Py_VISIT(aio->diagnostics);
    }
    return 0;
}

static void
free_list(ml_handle **lists, int *lens)
{
    for (int i = 0; i < ML_FREELIST_ARGS; i++) {
        while (lists[i] != NULL) {
            ml_handle *handle = lists[i];
            lists[i] = (ml_handle *)handle->callback;
            PyObject_GC_Del(handle);
        }
        lens[i] = ML_FREELIST_MAX; /* nothing is recycled from now on */
    }
}

void
ml_aio_clear(ml_state *state)
{
    ml_aio *aio = state->aio;

    if (aio != NULL) {
        free_list(aio->free_handles, aio->free_handles_len);
        free_list(aio->free_timers, aio->free_timers_len);
        Py_CLEAR(aio->Handle);
        Py_CLEAR(aio->TimerHandle);
        Py_CLEAR(aio->ThreadSafeHandle);
        Py_CLEAR(aio->futures);
        Py_CLEAR(aio->tasks);
        Py_CLEAR(aio->BaseEventLoop);
        Py_CLEAR(aio->BufferedProtocol);
        Py_CLEAR(aio->TransportSocket);
        Py_CLEAR(aio->socket_class);
        Py_CLEAR(aio->gaierror);
        Py_CLEAR(aio->af_inet);
        Py_CLEAR(aio->af_inet6);
        Py_CLEAR(aio->sock_stream);
        Py_CLEAR(aio->sock_dgram);
        Py_CLEAR(aio->sock_raw);
        Py_CLEAR(aio->diagnostics);
    }
}
