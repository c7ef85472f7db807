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
    return (aio->Handle = import_name("asyncio.events", "Handle")) &&
                   (aio->TimerHandle = import_name("asyncio.events", "TimerHandle")) &&
                   (aio->futures = PyImport_ImportModule("asyncio.futures")) &&
                   (aio->tasks = PyImport_ImportModule("asyncio.tasks")) &&
                   (aio->BaseEventLoop = import_name("asyncio.base_events", "BaseEventLoop")) &&
                   (aio->BufferedProtocol = import_name("asyncio.protocols", "BufferedProtocol")) &&
                   (aio->TransportSocket = import_name("asyncio.trsock", "TransportSocket")) &&
                   (aio->socket_class = import_name("socket", "socket"))
               ? 0
               : -1;
}

static const struct {
    PyType_Spec *spec;
    const char *base; /* in asyncio.transports */
} transport_bases[] = {
    {&ml_streamtransport_spec, "Transport"},
    {&ml_datagramtransport_spec, "DatagramTransport"},
    {&ml_readpipetransport_spec, "ReadTransport"},
    {&ml_writepipetransport_spec, "WriteTransport"},
};

/* The base of a type: one of asyncio's for transports, whose struct must begin like it. */
static PyObject *
base_of(PyType_Spec *spec)
{
    const char *name = NULL;

    for (size_t i = 0; i < Py_ARRAY_LENGTH(transport_bases); i++) {
        name = transport_bases[i].spec == spec ? transport_bases[i].base : name;
    }
    if (name == NULL) {
        return Py_NewRef((PyObject *)&PyBaseObject_Type);
    }
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
#define X(Name, lower)                                                                            \
    {                                                                                             \
        PyObject *base = base_of(&ml_##lower##_spec);                                             \
        if (base == NULL) {                                                                       \
            return -1;                                                                            \
        }                                                                                         \
        state->Name = (PyTypeObject *)PyType_FromModuleAndSpec(module, &ml_##lower##_spec, base); \
        Py_DECREF(base);                                                                          \
        if (state->Name == NULL || PyModule_AddType(module, state->Name) < 0) {                   \
            return -1;                                                                            \
        }                                                                                         \
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
        Py_VISIT(aio->futures);
        Py_VISIT(aio->tasks);
        Py_VISIT(aio->BaseEventLoop);
        Py_VISIT(aio->BufferedProtocol);
        Py_VISIT(aio->TransportSocket);
        Py_VISIT(aio->socket_class);
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
        Py_CLEAR(aio->futures);
        Py_CLEAR(aio->tasks);
        Py_CLEAR(aio->BaseEventLoop);
        Py_CLEAR(aio->BufferedProtocol);
        Py_CLEAR(aio->TransportSocket);
        Py_CLEAR(aio->socket_class);
        Py_CLEAR(aio->diagnostics);
    }
}
