/* Check: the loop has polled. */
#include "watcher.h"

typedef struct ml_check {
    ml_watcher base;
    ev_check ev;
} ml_check;

ML_START_AND_STOP(check)

static const ml_kind ml_check_kind = {
    .name = "Check",
    .ev_offset = offsetof(ml_check, ev),
    .start = check_start,
    .stop = check_stop,
};

/* ---- Python's view ----------------------------------------------------------------------- */

ML_NEW(check)

static PyType_Slot check_slots[] = {
    ML_WATCHER_SLOTS(check),
    {Py_tp_doc, PyDoc_STR("Check(loop, callback, data=None, priority=0)\n--\n\n"
                          "Calls back after each poll, before other events.")},
    {0, NULL},
};

ML_WATCHER_SPEC(Check, check);
