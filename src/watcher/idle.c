/* Idle: nothing of equal or higher priority is to be done. */
#include "watcher.h"

typedef struct ml_idle {
    ml_watcher base;
    ev_idle ev;
} ml_idle;

ML_START_AND_STOP(idle)

static const ml_kind ml_idle_kind = {
    .name = "Idle",
    .callback_optional = true,
    .ev_offset = offsetof(ml_idle, ev),
    .start = idle_start,
    .stop = idle_stop,
};

/* ---- Python's view ----------------------------------------------------------------------- */

ML_NEW(idle)

static PyType_Slot idle_slots[] = {
    ML_WATCHER_SLOTS(idle),
    {Py_tp_doc, PyDoc_STR("Idle(loop, callback=None, data=None, priority=0)\n--\n\n"
                          "Calls back in each iteration in which nothing of its priority or above "
                          "is pending. Without a callback it only keeps the loop from waiting.")},
    {0, NULL},
};

ML_WATCHER_SPEC(Idle, idle);
