/* Async: another thread called send(). */
#include "watcher.h"

typedef struct ml_async {
    ml_watcher base;
    ev_async ev;
} ml_async;

ML_START_AND_STOP(async)

static const ml_kind ml_async_kind = {
    .name = "Async",
    .ev_offset = offsetof(ml_async, ev),
    .start = async_start,
    .stop = async_stop,
};

/* ---- Python's view ----------------------------------------------------------------------- */

/* The one call that other threads may make (ev_async_send); libev aborts if it is not active. */
static PyObject *
async_send(ml_async *self, PyObject *Py_UNUSED(unused))
{
    if (ml_watcher_check(&self->base) < 0) {
        return NULL;
    }
    if (ev_is_active(&self->ev)) {
        ev_async_send(self->base.loop->ev, &self->ev);
        if (self->base.loop->embeds != NULL) {
            ml_embed_sent(self->base.loop);
        }
    }
    Py_RETURN_NONE;
}

static PyObject *
async_get_sent(ml_async *self, void *Py_UNUSED(closure))
{
    if (ml_watcher_check(&self->base) < 0) {
        return NULL;
    }
    return PyBool_FromLong(ev_async_pending(&self->ev));
}

static PyMethodDef async_methods[] = {
    {"send", (PyCFunction)async_send, METH_NOARGS,
     PyDoc_STR("send($self, /)\n--\n\n"
               "Wakes the loop, from any thread; nothing if the watcher is not active.")},
    {NULL},
};

static PyGetSetDef async_getset[] = {
    {"sent", (getter)async_get_sent, NULL, PyDoc_STR("True if a send() waits."), NULL},
    {NULL},
};

ML_NEW(async)

static PyType_Slot async_slots[] = {
    ML_WATCHER_SLOTS(async),
    {Py_tp_doc, PyDoc_STR("Async(loop, callback, data=None, priority=0)\n--\n\n"
                          "Calls back after send(), which any thread may call.")},
    {Py_tp_methods, async_methods},
    {Py_tp_getset, async_getset},
    {0, NULL},
};

ML_WATCHER_SPEC(Async, async);
