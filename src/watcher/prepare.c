/* Prepare: the loop is about to poll. */
#include "watcher.h"

typedef struct ml_prepare {
    ml_watcher base;
    ev_prepare ev;
} ml_prepare;

ML_START_AND_STOP(prepare)

static const ml_kind ml_prepare_kind = {
    .name = "Prepare",
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
