#include "args.h"

static int
place_of(const ml_params *params, PyObject *name)
{
    int place = 0;

    if (params->alias != NULL && PyUnicode_CompareWithASCIIString(name, params->alias) == 0) {
        return params->aliased;
    }
    while (params->names[place] != NULL &&
           PyUnicode_CompareWithASCIIString(name, params->names[place]) != 0) {
        place++;
    }
    return place;
}

static int
take_named(const ml_params *params, PyObject *name, PyObject *value, PyObject **values)
{
    if (!PyUnicode_Check(name)) { /* a dict may have such keys */
        PyErr_SetString(PyExc_TypeError, "keywords must be strings");
        return -1;
    }
    int place = place_of(params, name);
    bool unknown = params->names[place] == NULL;
    if (unknown || values[place] != NULL) {
        PyErr_Format(PyExc_TypeError, "%s() got %s argument '%U'", params->function,
                     unknown ? "an unexpected keyword" : "multiple values for", name);
        return -1;
    }
    values[place] = value;
    return 0;
}

int
ml_take_args_checked(const ml_params *params, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *keywords, PyObject **values)
{
    if (nargs > params->places && !params->rest) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments (%zd given)",
                     params->function, params->places, nargs);
        return -1;
    }
    for (int i = 0; i < params->places && i < nargs; i++) {
        values[i] = args[i];
    }
    if (keywords != NULL && PyDict_CheckExact(keywords)) {
        PyObject *name, *value;
        for (Py_ssize_t at = 0; PyDict_Next(keywords, &at, &name, &value);) {
            if (take_named(params, name, value, values) < 0) {
                return -1;
            }
        }
    }
    else if (keywords != NULL) {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(keywords); i++) {
            if (take_named(params, PyTuple_GET_ITEM(keywords, i), args[nargs + i], values) < 0) {
                return -1;
            }
        }
    }
    for (int i = 0; i < params->needed; i++) {
        if (values[i] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() missing 1 required positional argument: '%s'",
                         params->function, params->names[i]);
            return -1;
        }
    }
    return 0;
}

int
ml_count_args(const char *method, Py_ssize_t nargs, Py_ssize_t count)
{
    if (nargs != count) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments (%zd given)", method, count, nargs);
        return -1;
    }
    return 0;
}
