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
                   (aio->socket_class = import_name("socket", "socket"))
               ? 0
               : -1;
}

/* The bases of a type: asyncio.Transport for transports, whose struct must begin like it. */
static PyObject *
bases_of(PyType_Spec *spec)
{
    if (spec != &ml_streamtransport_spec) {
        return Py_NewRef((PyObject *)&PyBaseObject_Type);
    }
    PyObject *base = import_name("asyncio.transports", "Transport");
    if (base != NULL &&
        ((PyTypeObject *)base)->tp_basicsize != (Py_ssize_t)offsetof(ml_transport, dict)) {
        PyErr_SetString(PyExc_ImportError,
                        "this Python's asyncio.Transport has another layout than moodloop was "
                        "written for; a newer moodloop is needed");
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
        Py_CLEAR(aio->diagnostics);
    }
}
