/* What the asyncio side keeps in the module's state: what it needs of the standard library, and
 * handles to be used again. */
#include "aio.h"

PyObject *
ml_import_name(const char *module, const char *name)
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
#define X(field, module, name)                                 \
    if ((aio->field = ml_import_name(module, name)) == NULL) { \
        return -1;                                             \
    }
    ML_IMPORTS(X)
#undef X
    return 0;
}

int
ml_aio_init(ml_state *state)
{
    state->aio = PyMem_RawCalloc(1, sizeof(*state->aio));
    if (state->aio == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    state->aio->newline = PyBytes_FromString("\n");
    return state->aio->newline ? import_all(state->aio) : -1;
}

int
ml_aio_traverse(ml_state *state, visitproc visit, void *arg)
{
    ml_aio *aio = state->aio;

    if (aio != NULL) {
#define X(field, module, name) Py_VISIT(aio->field);
        ML_IMPORTS(X)
#undef X
        Py_VISIT(aio->socket_class);
        Py_VISIT(aio->stream_reader);
        Py_VISIT(aio->stream_protocol);
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
        Py_CLEAR(aio->socket_class);
        Py_CLEAR(aio->stream_reader);
        Py_CLEAR(aio->stream_protocol);
        Py_CLEAR(aio->newline);
        Py_CLEAR(aio->diagnostics);
        Py_CLEAR(aio->only_context);
    }
}
