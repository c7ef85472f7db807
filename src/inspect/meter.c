/* A loop's meter: what is read out of it, and what does not happen at each event. */
#include "meter.h"

#include <sys/syscall.h>
#include <unistd.h>

ml_meter ml_no_meter;

/* The meter of the loop that this thread runs, for what knows no loop. */
static _Thread_local ml_meter *running;

void
ml_meter_begin(ml_meter *meter, double now)
{
    meter->tid = (uint64_t)syscall(SYS_gettid);
    meter->since = now;
    meter->state = ML_RUNS;
    ml_meter_mark(meter, now);
    running = meter;
}

void
ml_meter_end(ml_meter *meter, double now)
{
    meter->busy += now - meter->since;
    meter->since = now;
    meter->state = ML_RESTS;
    ml_meter_mark(meter, now);
    running = NULL;
}

void
ml_meter_forked(void)
{
    if (running != NULL) {
        running->tid = (uint64_t)syscall(SYS_gettid);
    }
}

/* ---- how busy ---------------------------------------------------------------------------- */

void
ml_meter_mark(ml_meter *meter, double time)
{
    meter->mark[meter->marks % ML_MARKS] = (ml_mark){time, meter->busy};
    meter->marks++;
    meter->mark_due = time + ML_MARK_SECONDS;
}

/* `busy` and `idle` up to now: a callback, or a poll, may be going on. */
static double
busy_until(const ml_meter *meter, double now)
{
    return meter->busy + (meter->state == ML_RUNS && now > meter->since ? now - meter->since : 0.);
}

static double
idle_until(const ml_meter *meter, double now)
{
    return meter->idle + (meter->state == ML_POLLS && now > meter->since ? now - meter->since : 0.);
}

double
ml_meter_load(const ml_meter *meter, double now)
{
    ml_mark later = {now, busy_until(meter, now)}, earlier = {meter->since, meter->busy};
    double busy = later.busy, start = now - 1.;
    uint64_t left = meter->marks < ML_MARKS ? meter->marks : ML_MARKS, next = meter->marks;

    while (earlier.time > start && left > 0) {
        later = earlier;
        earlier = meter->mark[--next % ML_MARKS];
        left--;
    }
    if (earlier.time > start) { /* it is younger */
        start = earlier.time;
    }
    double width = later.time - earlier.time;
    double part = width > 0. ? (start - earlier.time) / width : 0.;
    double then = earlier.busy + part * (later.busy - earlier.busy);
    double load = now > start ? (busy - then) / (now - start) : 0.;
    return load < 0. ? 0. : load > 1. ? 1. : load;
}

/* ---- what Python reads ------------------------------------------------------------------- */

static int
set(PyObject *dict, const char *name, PyObject *value)
{
    int rc = value ? PyDict_SetItemString(dict, name, value) : -1;

    Py_XDECREF(value);
    return rc;
}

static PyObject *
as_uint64_t(uint64_t value)
{
    return PyLong_FromUnsignedLongLong(value);
}

static PyObject *
as_double(double value)
{
    return PyFloat_FromDouble(value);
}

PyObject *
ml_meter_stats(const ml_meter *meter, double now)
{
    struct {
#define X(type, name) type name;
        ML_METER_STATS(X)
#undef X
    } copy;
    Py_ssize_t place = 0;

    memcpy(&copy, meter, sizeof(copy)); /* with which a meter begins */
    copy.busy = busy_until(meter, now);
    copy.idle = idle_until(meter, now);
    if (meter->state == ML_RUNS && now - meter->since > copy.longest) {
        copy.longest = now - meter->since;
    }
    copy.gc += meter->gc_since > 0. ? now - meter->gc_since : 0.;
#define X(type, name) +1
    PyObject *values = PyTuple_New(0 ML_METER_STATS(X));
#undef X
#define X(type, name)                                                       \
    if (values != NULL) {                                                   \
        PyObject *value = as_##type(copy.name);                             \
        if (value == NULL || PyTuple_SetItem(values, place++, value) < 0) { \
            Py_CLEAR(values);                                               \
        }                                                                   \
    }
    ML_METER_STATS(X)
#undef X
    return values;
}

static int
add_place(PyObject *dict, const char *name, size_t place, const char *format)
{
    return set(dict, name, Py_BuildValue("(ns)", (Py_ssize_t)place, format));
}

PyObject *
ml_page_layout(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    PyObject *dict = PyDict_New();
    const char *uint64_t_format = "Q", *double_format = "d";

    if (dict == NULL) {
        return NULL;
    }
#define X(type, name)                                                          \
    if (add_place(dict, #name, offsetof(ml_meter, name), type##_format) < 0) { \
        Py_CLEAR(dict);                                                        \
        return NULL;                                                           \
    }
    ML_METER_FIELDS(X)
#undef X
    PyObject *names = PyList_New(0);
#define X(type, name)                                         \
    if (names != NULL) {                                      \
        PyObject *text = PyUnicode_InternFromString(#name);   \
        if (text == NULL || PyList_Append(names, text) < 0) { \
            Py_CLEAR(names);                                  \
        }                                                     \
        Py_XDECREF(text);                                     \
    }
    ML_METER_STATS(X)
#undef X
    if (set(dict, "stats", names) < 0 ||
        set(dict, "version", PyLong_FromLong(ML_PAGE_VERSION)) < 0 ||
        add_place(dict, "mark", offsetof(ml_meter, mark), "d") < 0 ||
        set(dict, "mark_count", PyLong_FromLong(ML_MARKS)) < 0 ||
        add_place(dict, "delays", offsetof(ml_meter, delays), "Q") < 0 ||
        set(dict, "delays_size", PyLong_FromSize_t(sizeof(ml_counts))) < 0) {
        Py_CLEAR(dict);
    }
    return dict;
}

/* ---- collections ------------------------------------------------------------------------- */

/* In gc.callbacks, from when somebody first asked: (phase, info). */
PyObject *
ml_gc_event(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    ml_meter *meter = running;

    if (meter == NULL || nargs != 2) {
        Py_RETURN_NONE;
    }
    if (PyUnicode_Check(args[0]) && PyUnicode_CompareWithASCIIString(args[0], "start") == 0) {
        PyObject *number =
            PyDict_Check(args[1]) ? PyDict_GetItemString(args[1], "generation") : NULL;
        long generation = number ? PyLong_AsLong(number) : 0;
        if (generation == -1 && PyErr_Occurred()) {
            return NULL;
        }
        meter->gc_generation = (uint64_t)generation;
        meter->gc_since = ml_monotonic();
    }
    else if (meter->gc_since > 0.) {
        meter->gc += ml_monotonic() - meter->gc_since;
        meter->gc_since = 0.;
    }
    Py_RETURN_NONE;
}
