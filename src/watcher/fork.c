/* Fork: the process is a forked child. */
#include "watcher.h"

typedef struct ml_fork {
    ml_watcher base;
    ev_fork ev;
} ml_fork;

ML_START_AND_STOP(fork)

static const ml_kind ml_fork_kind = {
    .name = "Fork",
    .ev_offset = offsetof(ml_fork, ev),
    .start = fork_start,
    .stop = fork_stop,
};

unsigned int
ml_fork_clear(ml_loop *loop)
{
    unsigned int cleared = 0;

    for (ml_watcher *watcher = loop->held; watcher != NULL; watcher = watcher->next) {
        ev_watcher *ev = ml_watcher_ev(watcher);
        if (watcher->kind == &ml_fork_kind && ev_is_active(ev) && ev_is_pending(ev)) {
            ev_clear_pending(loop->ev, ev);
            cleared++;
        }
    }
    return cleared;
}

void
ml_fork_feed(ml_loop *loop)
{
    for (ml_watcher *watcher = loop->held; watcher != NULL; watcher = watcher->next) {
        ev_watcher *ev = ml_watcher_ev(watcher);
        if (watcher->kind == &ml_fork_kind && ev_is_active(ev)) {
            ev_feed_event(loop->ev, ev, EV_FORK);
        }
    }
}

/* ---- Python's view ----------------------------------------------------------------------- */

ML_NEW(fork)

static PyType_Slot fork_slots[] = {
    ML_WATCHER_SLOTS(fork),
    {Py_tp_doc, PyDoc_STR("Fork(loop, callback, data=None, priority=0)\n--\n\n"
                          "Calls back in a forked child, when the loop runs there first and before "
                          "Prepare watchers; also after reset().")},
    {0, NULL},
};

ML_WATCHER_SPEC(Fork, fork);
