/* moodloop._core: multi-phase initialisation, driven by the lists of types in moodloop.h. */
#include "aio/aio.h"
#include "tls/openssl.h"
#include "watcher/functions.h"

#ifndef MOODLOOP_BUILD_FLAGS
#define MOODLOOP_BUILD_FLAGS ""
#endif

#define X(Name, lower) extern PyType_Spec ml_##lower##_spec;
ML_CORE_TYPES(X)
ML_WATCHER_KINDS(X)
#undef X

static int
add_type(PyObject *module, PyTypeObject **place, PyType_Spec *spec, PyTypeObject *base)
{
    *place = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, (PyObject *)base);
    return *place ? PyModule_AddType(module, *place) : -1;
}

static int
add_names(ml_state *state)
{
#define X(name)                                                          \
    if ((state->str.name = PyUnicode_InternFromString(#name)) == NULL) { \
        return -1;                                                       \
    }
    ML_NAMES(X)
#undef X
    return 0;
}

static int
module_exec(PyObject *module)
{
    ml_state *state = ml_state_of_module(module);

    if (ml_reserve_init() < 0) {
        return -1;
    }
    state->Error = PyErr_NewExceptionWithDoc("moodloop.event.Error", "A misuse of the watcher API.",
                                             PyExc_Exception, NULL);
    if (state->Error == NULL || PyModule_AddObjectRef(module, "Error", state->Error) < 0 ||
        PyModule_AddObjectRef(module, "EventError", state->Error) < 0 || add_names(state) < 0) {
        return -1;
    }
#define X(Name, lower)                                                  \
    if (add_type(module, &state->Name, &ml_##lower##_spec, NULL) < 0) { \
        return -1;                                                      \
    }
    ML_CORE_TYPES(X)
#undef X
#define X(Name, lower)                                                            \
    if (add_type(module, &state->Name, &ml_##lower##_spec, state->Watcher) < 0) { \
        return -1;                                                                \
    }
    ML_WATCHER_KINDS(X)
#undef X
    if (ml_stat_add_types(module, state) < 0 || ml_aio_init(state) < 0 ||
        ml_add_aio_types(module, state) < 0 || ml_add_constants(module) < 0) {
        return -1;
    }
#ifdef EV_STANDALONE /* as setup.py has it for every file when it compiles libev in */
    PyObject *compiled_in = Py_True;
#else
    PyObject *compiled_in = Py_False;
#endif
    if (PyModule_AddObjectRef(module, "libev_compiled_in", compiled_in) < 0) {
        return -1;
    }
    return PyModule_AddStringConstant(module, "build_flags", MOODLOOP_BUILD_FLAGS);
}

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    ml_state *state = ml_state_of_module(module);

    Py_VISIT(state->Error);
    Py_VISIT(state->default_loop);
    Py_VISIT(state->Statdata);
#define X(Name, lower) Py_VISIT(state->Name);
    ML_CORE_TYPES(X)
    ML_WATCHER_KINDS(X)
    ML_AIO_TYPES(X)
#undef X
    int rc = ml_openssl_traverse(state, visit, arg);
    return rc ? rc : ml_aio_traverse(state, visit, arg);
}

static int
module_clear(PyObject *module)
{
    ml_state *state = ml_state_of_module(module);

    ml_openssl_clear(state);
    ml_aio_clear(state);
    Py_CLEAR(state->Error);
    Py_CLEAR(state->default_loop);
    Py_CLEAR(state->Statdata);
#define X(Name, lower) Py_CLEAR(state->Name);
    ML_CORE_TYPES(X)
    ML_WATCHER_KINDS(X)
    ML_AIO_TYPES(X)
#undef X
    return 0;
}

static void
module_free(void *module)
{
    ml_state *state = ml_state_of_module(module);

    module_clear(module);
    /* Not before: objects that outlive module_clear() call methods by these names. */
#define X(name) Py_CLEAR(state->str.name);
    ML_NAMES(X)
#undef X
    PyMem_RawFree(state->aio);
    state->aio = NULL;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

struct PyModuleDef ml_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "moodloop._core",
    .m_doc = PyDoc_STR("The C core of moodloop."),
    .m_size = sizeof(ml_state),
    .m_methods = ml_functions,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&ml_module);
}
