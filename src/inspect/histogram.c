#include "histogram.h"

#include <math.h>

/* ---- counting ---------------------------------------------------------------------------- */

static int
bucket_of(uint64_t ns)
{
    if (ns < (1u << ML_COUNTS_BITS)) {
        return (int)ns;
    }
    int exponent = 63 - __builtin_clzll(ns);
    if (exponent >= ML_COUNTS_MAX_EXPONENT) {
        return ML_COUNTS_BUCKETS - 1;
    }
    int shift = exponent - ML_COUNTS_BITS;
    return (shift << ML_COUNTS_BITS) + (int)(ns >> shift);
}

/* What is in a bucket is less than this, in nanoseconds. */
static double
end_of(int bucket)
{
    if (bucket < (1 << ML_COUNTS_BITS)) {
        return bucket + 1.;
    }
    int shift = (bucket >> ML_COUNTS_BITS) - 1;
    return ldexp((bucket & ((1 << ML_COUNTS_BITS) - 1)) + (1 << ML_COUNTS_BITS) + 1, shift);
}

void
ml_counts_add(ml_counts *counts, double seconds)
{
    seconds = seconds > 0. ? seconds : 0.; /* the clock's last digit */
    uint64_t ns = seconds < 1e9 ? (uint64_t)(seconds * 1e9) : (uint64_t)1e18;

    if (counts->count == 0 || ns < counts->min) {
        counts->min = ns;
    }
    if (ns > counts->max) {
        counts->max = ns;
    }
    counts->count++;
    counts->sum += seconds;
    counts->squares += seconds * seconds;
    counts->buckets[bucket_of(ns)]++;
}

/* ---- a loop's list ------------------------------------------------------------------------ */

void
ml_histograms_add(ml_histogram *list, double seconds)
{
    for (; list != NULL; list = list->next) {
        ml_counts_add(&list->counts, seconds);
    }
}

int
ml_histograms_join(ml_histogram **list, ml_histogram *histogram)
{
    if (histogram->recording) {
        PyErr_SetString(PyExc_RuntimeError, "this monitor is on already");
        return -1;
    }
    histogram->recording = true;
    histogram->next = *list;
    *list = (ml_histogram *)Py_NewRef((PyObject *)histogram);
    return 0;
}

int
ml_histograms_leave(ml_histogram **list, ml_histogram *histogram)
{
    while (*list != NULL && *list != histogram) {
        list = &(*list)->next;
    }
    if (*list == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this monitor is not on");
        return -1;
    }
    *list = histogram->next;
    histogram->next = NULL;
    histogram->recording = false;
    Py_DECREF(histogram);
    return 0;
}

void
ml_histograms_clear(ml_histogram **list)
{
    while (*list != NULL) {
        ml_histograms_leave(list, *list);
    }
}

/* ---- Python's view ------------------------------------------------------------------------ */

static PyObject *
histogram_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {NULL};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":Histogram", keywords)) {
        return NULL;
    }
    return type->tp_alloc(type, 0);
}

static void
histogram_dealloc(ml_histogram *self)
{
    PyTypeObject *type = Py_TYPE(self);

    assert(self->next == NULL && !self->recording);
    type->tp_free(self);
    Py_DECREF(type);
}

/* The least time that so many percent took no longer than, by buckets. */
static PyObject *
histogram_percentile(ml_histogram *self, PyObject *arg)
{
    const ml_counts *counts = &self->counts;
    double percent = PyFloat_AsDouble(arg);

    if (percent == -1. && PyErr_Occurred()) {
        return NULL;
    }
    if (!(percent >= 0. && percent <= 100.)) {
        PyErr_Format(PyExc_ValueError, "a percentile is from 0 to 100, not %R", arg);
        return NULL;
    }
    double rank = ceil(percent / 100. * (double)counts->count), seen = 0.;
    for (int i = 0; i < ML_COUNTS_BUCKETS; i++) {
        seen += (double)counts->buckets[i];
        if (counts->buckets[i] > 0 && seen >= rank) {
            double most = (double)counts->max, end = end_of(i);
            return PyFloat_FromDouble((end < most ? end : most) * 1e-9);
        }
    }
    return PyFloat_FromDouble(0.);
}

static PyObject *
histogram_buckets(ml_histogram *self, PyObject *Py_UNUSED(unused))
{
    PyObject *list = PyList_New(0);

    for (int i = 0; list != NULL && i < ML_COUNTS_BUCKETS; i++) {
        if (self->counts.buckets[i] == 0) {
            continue;
        }
        double end = i + 1 < ML_COUNTS_BUCKETS ? end_of(i) * 1e-9 : Py_HUGE_VAL;
        PyObject *pair = Py_BuildValue("(dK)", end, (unsigned long long)self->counts.buckets[i]);
        if (pair == NULL || PyList_Append(list, pair) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(pair);
    }
    return list;
}

static PyObject *
histogram_reset(ml_histogram *self, PyObject *Py_UNUSED(unused))
{
    self->counts = (ml_counts){0};
    Py_RETURN_NONE;
}

static PyObject *
histogram_record(ml_histogram *self, PyObject *arg)
{
    double seconds = PyFloat_AsDouble(arg);

    if (seconds == -1. && PyErr_Occurred()) {
        return NULL;
    }
    if (!(seconds >= 0.)) {
        PyErr_Format(PyExc_ValueError, "a time is not negative, and %R is", arg);
        return NULL;
    }
    ml_counts_add(&self->counts, seconds);
    Py_RETURN_NONE;
}

static PyObject *
histogram_get_count(ml_histogram *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(self->counts.count);
}

static PyObject *
histogram_get_min(ml_histogram *self, void *Py_UNUSED(closure))
{
    return PyFloat_FromDouble((double)self->counts.min * 1e-9);
}

static PyObject *
histogram_get_max(ml_histogram *self, void *Py_UNUSED(closure))
{
    return PyFloat_FromDouble((double)self->counts.max * 1e-9);
}

static double
mean(const ml_counts *counts)
{
    return counts->count ? counts->sum / (double)counts->count : 0.;
}

static PyObject *
histogram_get_mean(ml_histogram *self, void *Py_UNUSED(closure))
{
    return PyFloat_FromDouble(mean(&self->counts));
}

static PyObject *
histogram_get_stddev(ml_histogram *self, void *Py_UNUSED(closure))
{
    const ml_counts *counts = &self->counts;
    double middle = mean(counts);
    double variance =
        counts->count ? counts->squares / (double)counts->count - middle * middle : 0.;

    return PyFloat_FromDouble(variance > 0. ? sqrt(variance) : 0.);
}

static PyGetSetDef histogram_getset[] = {
    {"count", (getter)histogram_get_count, NULL, PyDoc_STR("How many times were recorded."), NULL},
    {"min", (getter)histogram_get_min, NULL, PyDoc_STR("The least, in seconds; 0 for none."), NULL},
    {"max", (getter)histogram_get_max, NULL, PyDoc_STR("The most, in seconds."), NULL},
    {"mean", (getter)histogram_get_mean, NULL, PyDoc_STR("In seconds; 0 for none."), NULL},
    {"stddev", (getter)histogram_get_stddev, NULL,
     PyDoc_STR("The standard deviation, in seconds; 0 for none."), NULL},
    {NULL},
};

static PyMethodDef histogram_methods[] = {
    {"percentile", (PyCFunction)histogram_percentile, METH_O,
     PyDoc_STR("percentile($self, p, /)\n--\n\nSeconds that p percent took no longer than, 12% too "
               "many at most; 0 for none.")},
    {"buckets", (PyCFunction)histogram_buckets, METH_NOARGS,
     PyDoc_STR("buckets($self, /)\n--\n\n[(upper bound in seconds, count), ...] of what is not "
               "empty, counts not summed up.")},
    {"reset", (PyCFunction)histogram_reset, METH_NOARGS,
     PyDoc_STR("reset($self, /)\n--\n\nForgets all that was recorded.")},
    {"record", (PyCFunction)histogram_record, METH_O,
     PyDoc_STR("record($self, seconds, /)\n--\n\nRecords one time.")},
    {"__reduce__", ml_no_pickle, METH_NOARGS, NULL},
    {NULL},
};

static PyType_Slot histogram_slots[] = {
    {Py_tp_doc, PyDoc_STR("Histogram()\n--\n\nTimes, counted by size: each bucket is an eighth of "
                          "a power of two wide.")},
    {Py_tp_new, histogram_new},
    {Py_tp_dealloc, histogram_dealloc},
    {Py_tp_methods, histogram_methods},
    {Py_tp_getset, histogram_getset},
    {0, NULL},
};

PyType_Spec ml_histogram_spec = {
    .name = "moodloop._core.Histogram",
    .basicsize = sizeof(ml_histogram),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = histogram_slots,
};
