/* Cleanup: the loop is about to be destroyed. */
#include "watcher.h"

typedef struct ml_cleanup {
    ml_watcher base;
    ev_cleanup ev;
} ml_cleanup;

/* libev does not count these; the base does, and takes it back (`uncounted`). */
static int
cleanup_start(ml_watcher *base)
{
    ev_cleanup_start(base->loop->ev, &((ml_cleanup *)base)->ev);
    ev_ref(base->loop->ev);
    return 0;
}

static void
cleanup_stop(ml_watcher *base)
{
    if (ev_is_active(&((ml_cleanup *)base)->ev)) {
        ev_cleanup_stop(base->loop->ev, &((ml_cleanup *)base)->ev);
        ev_unref(base->loop->ev);
    }
}

static const ml_kind ml_cleanup_kind = {
    .name = "Cleanup",
    .uncounted = true,
    .ev_offset = offsetof(ml_cleanup, ev),
    .start = cleanup_start,
    .stop = cleanup_stop,
};

/* ---- the end of a loop ------------------------------------------------------------------- */

/* The active ones, as those started meanwhile are not called; NULL with an exception. */
static PyObject *
active_ones(ml_loop *loop)
{
    PyObject *found = PyList_New(0);

    for (ml_watcher *watcher = loop->held; found != NULL && watcher != NULL;
         watcher = watcher->next) {
        if (watcher->kind == &ml_cleanup_kind && ev_is_active(ml_watcher_ev(watcher)) &&
            PyList_Append(found, (PyObject *)watcher) < 0) {
            Py_CLEAR(found);
        }
    }
    return found;
}

/* libev would call them in ev_loop_destroy(), together with all else that is pending, and cannot
 * take a callback that starts another one. */
void
ml_cleanup_run(ml_loop *loop)
{
    PyObject *found = active_ones(loop);

    assert(loop->depth == 0 && loop->invoking == 0);
    if (found == NULL || ml_invoking_begin(loop) < 0) {
        Py_XDECREF(found);
        ml_loop_set_aside(loop, (PyObject *)loop);
        return;
    }
    for (int priority = EV_MAXPRI; priority >= EV_MINPRI; priority--) {
        for (Py_ssize_t i = 0; i < PyList_GET_SIZE(found); i++) {
            ml_watcher *watcher = (ml_watcher *)PyList_GET_ITEM(found, i);
            ev_watcher *ev = ml_watcher_ev(watcher);
            if (watcher->loop == loop && ev_is_active(ev) && ev_priority(ev) == priority) {
                ml_watcher_stop(watcher);
                ml_loop_call(loop, watcher->callback, (PyObject *)watcher, EV_CLEANUP);
            }
        }
    }
    ml_invoking_end(loop);
    Py_DECREF(found);
}

/* ---- Python's view ----------------------------------------------------------------------- */

ML_NEW(cleanup)

static PyType_Slot cleanup_slots[] = {
    ML_WATCHER_SLOTS(cleanup),
    {Py_tp_doc,
     PyDoc_STR("Cleanup(loop, callback, data=None, priority=0)\n--\n\n"
               "Calls back once, when the loop is closed, collected as garbage, or still "
               "open at interpreter exit. Never keeps start() from returning.")},
    {0, NULL},
};

ML_WATCHER_SPEC(Cleanup, cleanup);
