/* The arguments of a call that were given as an array, as METH_FASTCALL has them, or to tp_init. */
#ifndef ML_ARGS_H
#define ML_ARGS_H

#include "moodloop.h"

#include <assert.h>

/* In a method table, what takes more arguments than a PyCFunction; and how: as an array, the names
 * of the last of them beside it. */
#define ML_FUNCTION(function) ((PyCFunction)(void (*)(void))(function))
#define ML_FAST_KEYWORDS (METH_FASTCALL | METH_KEYWORDS)

#define ML_MAX_ARGS 8

/* What a function takes: the same for positions and keywords. */
typedef struct {
    const char *function;               /* in errors */
    const char *names[ML_MAX_ARGS + 1]; /* NULL at the end */
    int places;                         /* this many also by position */
    int needed;                         /* of these, the first that must be given */
    bool rest;                          /* more by position are the caller's `*args` */
    const char *alias;                  /* another keyword for names[aliased], or NULL */
    int aliased;
} ml_params;

int ml_take_args_checked(const ml_params *params, PyObject *const *args, Py_ssize_t nargs,
                         PyObject *keywords, PyObject **values);

/* Borrowed references into `values`, which has one NULL for each name: what was not given stays so.
 * `keywords` is NULL, a tuple of names whose values follow in `args`, or a dict. No Python code
 * runs. 0, or -1 with TypeError. */
static inline int
ml_take_args(const ml_params *params, PyObject *const *args, Py_ssize_t nargs, PyObject *keywords,
             PyObject **values)
{
    if (keywords != NULL || nargs < params->needed || (nargs > params->places && !params->rest)) {
        return ml_take_args_checked(params, args, nargs, keywords, values);
    }
    for (int i = 0; i < params->places && i < nargs; i++) {
        values[i] = args[i];
    }
    return 0;
}

/* The same of one argument; NULL with TypeError. */
static inline PyObject *
ml_take_arg(const ml_params *params, PyObject *const *args, Py_ssize_t nargs, PyObject *keywords)
{
    PyObject *value = NULL;

    return ml_take_args(params, args, nargs, keywords, &value) < 0 ? NULL : value;
}

/* For METH_FASTCALL methods without keywords, whose arguments are all needed. -1 with TypeError. */
int ml_count_args(const char *method, Py_ssize_t nargs, Py_ssize_t count);

#endif
