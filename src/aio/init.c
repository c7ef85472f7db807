/* The asyncio side of the module: its types, and what it needs of the standard library. */
#include "aio.h"
#include "../net/transport.h"

#define X(Name, lower) extern PyType_Spec ml_##lower##_spec;
ML_AIO_TYPES(X)
#undef X

/* `module.name`, or `module` if `name` is NULL: a new reference. */
static PyObject *
import_name(const char *module, const char *name)
{
    PyObject *imported = PyImport_ImportModule(module);

    if (imported == NULL || name == NULL) {
        return imported;
    }
    PyObject *result = PyObject_GetAttrString(imported, name);
    Py_DECREF(imported);
    return result;
}

static int
import_all(ml_aio *aio)
{
#define X(field, module, name)                              \
    if ((aio->field = import_name(module, name)) == NULL) { \
        return -1;                                          \
    }
    ML_IMPORTS(X)
#undef X
    return 0;
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
#define X(field, module, name) Py_VISIT(aio->field);
        ML_IMPORTS(X)
#undef X
        Py_VISIT(aio->diagnostics);
        Py_VISIT(aio->only_context);
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
#define X(field, module, name) Py_CLEAR(aio->field);
        ML_IMPORTS(X)
#undef X
        Py_CLEAR(aio->diagnostics);
        Py_CLEAR(aio->only_context);
    }
}
