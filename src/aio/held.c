/* The list of what a loop keeps. */
#include "aio.h"

void
ml_held_init(ml_held *held, PyObject *owner, ml_io_cb cb, int fd)
{
    *held = (ml_held){.owner = owner};
    ml_fdw_init(&held->fdw, cb, fd, 0);
    held->fdw.hosts = true;
}

static void
keep(ml_held *held, ml_aioloop *loop)
{
    if (held->by == NULL) {
        ML_LIST_ADD(&loop->held, held);
        Py_INCREF(held->owner);
    }
}

static void
let_go(ml_held *held)
{
    if (held->by != NULL) {
        assert(Py_REFCNT(held->owner) > 1); /* `held` is in it */
        ML_LIST_REMOVE(held);
        Py_DECREF(held->owner);
    }
}

int
ml_held_watch(ml_held *held, ml_aioloop *loop, int events)
{
    if (events == 0) {
        ml_fdw_modify(loop->ev, &held->fdw, 0);
        let_go(held);
    }
    else if (!loop->closed && loop->ev->ev != NULL) {
        if (ml_fdw_modify(loop->ev, &held->fdw, events) < 0) {
            return -1;
        }
        keep(held, loop);
    }
    ml_aioloop_touch(loop);
    return 0;
}

void
ml_held_keep(ml_held *held, ml_aioloop *loop, bool on)
{
    if (on && !loop->closed && loop->ev->ev != NULL) {
        keep(held, loop);
    }
    else {
        let_go(held);
    }
}

int
ml_aioloop_held_traverse(ml_aioloop *self, visitproc visit, void *arg)
{
    for (ml_held *held = self->held; held != NULL; held = held->next) {
        Py_VISIT(held->owner);
    }
    return 0;
}

void
ml_aioloop_held_clear(ml_aioloop *self)
{
    assert(self->closed); /* or what goes with an owner could add to the list without end */
    while (self->held != NULL) {
        PyObject *owner = Py_NewRef(self->held->owner);
        ml_fdw_stop(self->ev, &self->held->fdw);
        let_go(self->held);
        Py_DECREF(owner);
    }
}
