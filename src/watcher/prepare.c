/* Prepare: the loop is about to poll. */
#include "watcher.h"

typedef struct ml_prepare {
    ml_watcher base;
    ev_prepare ev;
} ml_prepare;

static int
prepare_start(ml_watcher *base)
{
    ev_prepare_start(base->loop->ev, &((ml_prepare *)base)->ev);
    return 0;
}

static void
prepare_stop(ml_watcher *base)
{
    ev_prepare_stop(base->loop->ev, &((ml_prepare *)base)->ev);
}

static const ml_kind ml_prepare_kind = {
    .name = "Prepare",
    .args = {NULL},
    .ev_offset = offsetof(ml_prepare, ev),
    .start = prepare_start,
    .stop = prepare_stop,
};

/* ---- Python's view ----------------------------------------------------------------------- */

ML_NEW(prepare)

static PyType_Slot prepare_slots[] = {
    ML_WATCHER_SLOTS(prepare),
    {Py_tp_doc, PyDoc_STR("Prepare(loop, callback, data=None, priority=0)\n--\n\n"
                          "Calls back before each poll.")},
    {0, NULL},
};

ML_WATCHER_SPEC(Prepare, prepare);
