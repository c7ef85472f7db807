/* Signal: the process got a signal. */
#include "watcher.h"

typedef struct ml_signal {
    ml_watcher base;
    ev_signal ev;
} ml_signal;

static int
signal_set(ml_watcher *base, PyObject *const *args)
{
    ml_signal *self = (ml_signal *)base;
    int overflow = 0;
    long signum = PyLong_AsLongAndOverflow(args[0], &overflow);

    if (signum == -1 && PyErr_Occurred()) {
        return -1;
    }
    signum = overflow || signum < 0 || signum > INT_MAX ? -1 : signum;
    if (ml_signal_check((int)signum) < 0 ||
        ml_watcher_check_inactive(base, "set the arguments") < 0) {
        return -1;
    }
    ev_signal_set(&self->ev, (int)signum);
    return 0;
}

static int
signal_start(ml_watcher *base)
{
    return ml_signal_start(base->loop, &((ml_signal *)base)->ev);
}

static void
signal_stop(ml_watcher *base)
{
    ml_signal_stop(base->loop, &((ml_signal *)base)->ev);
}

static PyObject *
signal_describe(ml_watcher *base)
{
    return PyUnicode_FromFormat("signum=%d", ((ml_signal *)base)->ev.signum);
}

static const ml_kind ml_signal_kind = {
    .name = "Signal",
    .args = {"set", {"signum"}, .places = 1, .needed = 1},
    .ev_offset = offsetof(ml_signal, ev),
    .set = signal_set,
    .start = signal_start,
    .stop = signal_stop,
    .describe = signal_describe,
};

/* ---- Python's view ----------------------------------------------------------------------- */

static PyMethodDef signal_methods[] = {
    ML_SET_METHOD,
    {NULL},
};

static PyGetSetDef signal_getset[] = {
    ML_MEMBER(ml_watcher_get, NULL, "signum", T_INT, ml_signal, ev.signum, "The signal's number."),
    {NULL},
};

ML_NEW(signal)

static PyType_Slot signal_slots[] = {
    ML_WATCHER_SLOTS(signal),
    {Py_tp_doc, PyDoc_STR("Signal(loop, signum, callback, data=None, priority=0)\n--\n\n"
                          "Calls back when the signal arrives; the last watcher to stop puts the "
                          "former disposition back.")},
    {Py_tp_methods, signal_methods},
    {Py_tp_getset, signal_getset},
    {0, NULL},
};

ML_WATCHER_SPEC(Signal, signal);
