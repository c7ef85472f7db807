/* Check: the loop has polled. */
#include "watcher.h"

typedef struct ml_check {
    ml_watcher base;
    ev_check ev;
} ml_check;

static int
check_start(ml_watcher *base)
{
    ev_check_start(base->loop->ev, &((ml_check *)base)->ev);
    return 0;
}

static void
check_stop(ml_watcher *base)
{
    ev_check_stop(base->loop->ev, &((ml_check *)base)->ev);
}

static const ml_kind ml_check_kind = {
    .name = "Check",
    .args = {NULL},
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
