/* Embed: another loop has something to do, and is run within this one.
 *
 * libev's ev_embed runs the other loop with a bare ev_run(): no look at its descriptors, no place
 * for an exception, no check of the thread. So only the ev_embed itself is left to libev, for its
 * state; its three parts are stopped at once, and the two here do their work. */
#include "watcher.h"

#include <errno.h>
#include <fcntl.h>

struct ml_embed {
    ml_watcher base;
    ev_embed ev;
    ml_loop *other;       /* owned; NULL until __init__ has run */
    ml_embed *next, **by; /* other->embeds, active or not */
    ml_fdw io;            /* the descriptor of its backend */
    ev_prepare prepare;   /* what no descriptor tells: changes to it, pending events */
};

/* ---- running the other loop -------------------------------------------------------------- */

/* Something the other loop's descriptor does not tell: this loop must not sleep on it. */
static bool
is_due(ml_loop *other)
{
    return other->ev != NULL &&
           (other->stale || other->reset_due || other->again || ev_pending_count(other->ev) > 0);
}

/* With an exception: -1, what ended its run; -2, it cannot run. */
static int
run_other(ml_embed *self)
{
    ml_loop *loop = self->base.loop, *other = self->other;

    if (ml_loop_check_open(other) < 0 ||
        (other->host_ops != NULL && other->host_ops->check_start(other->host) < 0) ||
        Py_EnterRecursiveCall(" while running an embedded loop")) {
        return -2;
    }
    Py_INCREF((PyObject *)loop);
    Py_INCREF((PyObject *)other);
    other->again = false;
    int rc = ml_loop_run(other, EVRUN_NOWAIT, false);
    Py_LeaveRecursiveCall();
    if (loop->ev != NULL && !loop->closing && is_due(other)) {
        loop->again = true;
        ml_loop_changed(loop);
    }
    Py_DECREF((PyObject *)other);
    Py_DECREF((PyObject *)loop);
    return rc < 0 ? -1 : 0;
}

/* From within this loop's run. What ended the other's run ends this one. */
static void
sweep_by_itself(ml_embed *self)
{
    ml_loop *loop = self->base.loop;

    Py_INCREF((PyObject *)self);
    Py_INCREF((PyObject *)loop);
    if (ml_loop_runs_elsewhere(self->other)) { /* it would be so each time */
        PyErr_SetString(loop->state->Error, "another thread is inside start() of the other loop");
        ml_watcher_stop(&self->base);
        ml_loop_set_aside(loop, (PyObject *)self);
    }
    else if (run_other(self) < 0) {
        ml_loop_set_aside(loop, (PyObject *)self);
    }
    Py_DECREF((PyObject *)loop);
    Py_DECREF((PyObject *)self);
}

/* ---- events ------------------------------------------------------------------------------ */

static void
embed_io_event(struct ev_loop *ev, ev_io *io, int revents)
{
    ml_embed *self = io->data;

    if (revents & EV_ERROR) {
        ev_ref(ev); /* it was unref'd while active */
        self->base.error = ml_fdw_error(self->base.loop, &self->io);
        ml_watcher_event(ev, (ev_watcher *)&self->ev, EV_ERROR);
        return;
    }
    ev_feed_event(ev, &self->ev, EV_EMBED);
}

static void
embed_event(struct ev_loop *ev, ev_embed *embed, int revents)
{
    ml_embed *self = embed->data;

    Py_INCREF((PyObject *)self);
    bool ending = self->base.loop->exc != NULL; /* then it is told in the next run */
    ml_watcher_event(ev, (ev_watcher *)embed, revents);
    if (self->base.callback == NULL && !ending && !(revents & EV_ERROR) &&
        ev_is_active(&self->ev)) {
        sweep_by_itself(self);
    }
    Py_DECREF((PyObject *)self);
}

/* Last before the poll. Without a callback the other loop is run each time, which costs one poll:
 * so its signals and timers are at least looked at when this loop wakes up. */
static void
embed_prepare_event(struct ev_loop *ev, ev_prepare *prepare, int Py_UNUSED(revents))
{
    ml_embed *self = prepare->data;
    ml_loop *loop = self->base.loop;

    if (loop->exc != NULL) {
        return;
    }
    if (!loop->swept) { /* the first one */
        loop->swept = true;
        loop->again = false;
    }
    if (self->base.callback == NULL || self->other->reset_due) {
        bool preparing = loop->preparing;
        loop->preparing = true;
        Py_INCREF((PyObject *)self);
        sweep_by_itself(self); /* after a fork its descriptor is another one only then */
        loop->preparing = preparing;
        if (loop->stale) { /* the kernel nests five of them only, and its own may have come first */
            ml_fdw_recheck(loop, &self->io);
        }
        Py_DECREF((PyObject *)self);
    }
    else if (is_due(self->other)) {
        ev_feed_event(ev, &self->ev, EV_EMBED);
    }
}

/* ---- its parts --------------------------------------------------------------------------- */

/* The descriptor of a backend is in no API, but what an ev_embed watches. Leaves the ev_embed
 * active and nothing else. */
static int
start_bare(ml_embed *self)
{
    struct ev_loop *ev = self->base.loop->ev;

    self->ev.other = self->other->ev;
    ev_embed_start(ev, &self->ev);
    int fd = self->ev.io.fd;
    ev_io_stop(ev, &self->ev.io);
    ev_prepare_stop(ev, &self->ev.prepare);
    ev_fork_stop(ev, &self->ev.fork);
    return fd;
}

static int
start_io(ml_embed *self, int fd)
{
    ml_loop *loop = self->base.loop;

    if (fcntl(fd, F_GETFD) < 0) {
        ml_os_error(errno);
        return -1;
    }
    self->io.ev.data = self;
    ml_fdw_init(&self->io, embed_io_event, fd, EV_READ);
    ev_set_priority(&self->io.ev, ev_priority(&self->ev));
    if (ml_fdw_start(loop, &self->io) < 0) {
        return -1;
    }
    ev_unref(loop->ev);
    return 0;
}

static void
stop_io(ml_embed *self)
{
    if (ev_is_active(&self->io.ev)) {
        ev_ref(self->base.loop->ev);
    }
    ml_fdw_stop(self->base.loop, &self->io);
}

static int
embed_start(ml_watcher *base)
{
    ml_embed *self = (ml_embed *)base;
    ml_loop *loop = base->loop;

    if (ml_loop_check_open(self->other) < 0) {
        return -1;
    }
    if (start_io(self, start_bare(self)) < 0) {
        ev_embed_stop(loop->ev, &self->ev);
        return -1;
    }
    ev_prepare_init(&self->prepare, embed_prepare_event);
    ev_set_priority(&self->prepare, EV_MINPRI);
    self->prepare.data = self;
    ev_prepare_start(loop->ev, &self->prepare);
    ev_unref(loop->ev);
    self->other->stale = true; /* for all we know */
    return 0;
}

static void
embed_stop(ml_watcher *base)
{
    ml_embed *self = (ml_embed *)base;
    ml_loop *loop = base->loop;

    if (!ev_is_active(&self->ev)) {
        return;
    }
    stop_io(self);
    ev_ref(loop->ev);
    ev_prepare_stop(loop->ev, &self->prepare);
    ev_embed_stop(loop->ev, &self->ev);
}

/* ---- what the other loop tells ----------------------------------------------------------- */

void
ml_embed_changed(ml_loop *other)
{
    if (!is_due(other)) { /* a timer, say */
        return;
    }
    for (ml_embed *embed = other->embeds; embed != NULL; embed = embed->next) {
        if (ev_is_active(&embed->ev)) {
            embed->base.loop->again = true;
            ml_loop_changed(embed->base.loop);
        }
    }
}

void
ml_embed_sent(ml_loop *other)
{
    other->stale = true;
    ml_embed_changed(other);
}

/* Its backend has another descriptor. No Python code may run here. */
void
ml_embed_moved(ml_loop *other)
{
    for (ml_embed *embed = other->embeds; embed != NULL; embed = embed->next) {
        if (!ev_is_active(&embed->ev)) {
            continue;
        }
        struct ev_loop *ev = embed->base.loop->ev;
        int revents = ev_clear_pending(ev, &embed->ev);
        stop_io(embed);
        ev_embed_stop(ev, &embed->ev);
        if (start_io(embed, start_bare(embed)) < 0) {
            embed->base.error = PyErr_ExceptionMatches(PyExc_MemoryError) ? ENOMEM : EBADF;
            PyErr_Clear();
            revents |= EV_ERROR;
        }
        if (revents) {
            ev_feed_event(ev, &embed->ev, revents);
        }
        ml_loop_changed(embed->base.loop);
    }
}

void
ml_embed_stop_all(ml_loop *other)
{
    ml_embed *embed = other->embeds;

    while (embed != NULL) {
        if (embed->base.by != NULL) {
            ml_watcher_stop(&embed->base); /* can change the list */
            embed = other->embeds;
        }
        else {
            embed = embed->next;
        }
    }
}

/* ---- the kind ---------------------------------------------------------------------------- */

/* Whether `loop` is embedded in `other`, at any depth: breadth first, each loop once. `self` does
 * not count, as it is about to be changed. */
static bool
is_within(ml_loop *loop, ml_loop *other, ml_embed *self)
{
    bool found = false;
    ml_loop *last = loop;

    loop->embed_seen = loop; /* the end of the list */
    for (ml_loop *at = loop; !found; at = at->embed_seen) {
        for (ml_embed *embed = at->embeds; embed != NULL; embed = embed->next) {
            ml_loop *around = embed->base.loop;
            found |= embed != self && around == other;
            if (embed != self && around->embed_seen == NULL) {
                last->embed_seen = around;
                around->embed_seen = around;
                last = around;
            }
        }
        if (at == last) {
            break;
        }
    }
    for (ml_loop *at = loop, *next; at != NULL; at = next) {
        next = at->embed_seen == at ? NULL : at->embed_seen;
        at->embed_seen = NULL;
    }
    return found;
}

static int
embed_set(ml_watcher *base, PyObject *const *args)
{
    ml_embed *self = (ml_embed *)base;
    ml_loop *loop = base->loop, *other = (ml_loop *)args[0];

    if (!PyObject_TypeCheck(args[0], loop->state->Loop)) {
        PyErr_Format(PyExc_TypeError, "Embed() argument 'other' must be a Loop, not %.200s",
                     Py_TYPE(args[0])->tp_name);
        return -1;
    }
    if (ml_loop_check_open(other) < 0 || ml_watcher_check_inactive(base, "set the arguments") < 0) {
        return -1;
    }
    if (other == loop || is_within(loop, other, self)) {
        PyErr_SetString(loop->state->Error, "a loop cannot be embedded in itself");
        return -1;
    }
    if (!(ev_backend(other->ev) & ev_embeddable_backends())) {
        PyErr_SetString(loop->state->Error,
                        "the other loop's backend cannot be embedded: EVBACKEND_EPOLL can");
        return -1;
    }
    ml_loop *old = self->other;
    if (old != NULL) {
        ML_LIST_REMOVE(self);
    }
    self->other = (ml_loop *)Py_NewRef((PyObject *)other);
    ML_LIST_ADD(&other->embeds, self);
    Py_XDECREF((PyObject *)old);
    return 0;
}

static PyObject *
embed_describe(ml_watcher *base)
{
    return PyUnicode_FromFormat("other=%R", (PyObject *)((ml_embed *)base)->other);
}

static int
embed_traverse(ml_watcher *base, visitproc visit, void *arg)
{
    Py_VISIT((PyObject *)((ml_embed *)base)->other);
    return 0;
}

static void
embed_free(ml_watcher *base)
{
    ml_embed *self = (ml_embed *)base;

    if (self->other != NULL) {
        ML_LIST_REMOVE(self);
        Py_CLEAR(self->other);
    }
}

static const ml_kind ml_embed_kind = {
    .name = "Embed",
    .args = {"set", {"other"}, .places = 1, .needed = 1},
    .callback_optional = true,
    .ev_offset = offsetof(ml_embed, ev),
    .set = embed_set,
    .start = embed_start,
    .stop = embed_stop,
    .describe = embed_describe,
    .traverse = embed_traverse,
    .free = embed_free,
};

/* ---- Python's view ----------------------------------------------------------------------- */

/* The exception is this loop's too, as with a nested start(): else a callback that is not fatal and
 * does not catch it would swallow it. */
static PyObject *
embed_sweep(ml_embed *self, PyObject *Py_UNUSED(unused))
{
    if (ml_watcher_check_change(&self->base) < 0) {
        return NULL;
    }
    ml_loop *loop = (ml_loop *)Py_NewRef((PyObject *)self->base.loop);
    bool elsewhere = ml_loop_runs_elsewhere(self->other) || ml_loop_runs_elsewhere(loop);
    int rc = run_other(self);

    if (rc == -1 && !elsewhere && loop->depth > 0 && loop->exc == NULL) {
        ml_loop_hand_out(loop, ml_take_exception());
    }
    Py_DECREF((PyObject *)loop);
    return ml_none_or_error(rc);
}

static PyObject *
embed_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    ml_embed *self = (ml_embed *)ml_watcher_alloc(type, &ml_embed_kind);

    if (self != NULL) {
        ev_set_cb(&self->ev, embed_event);
    }
    return (PyObject *)self;
}

static PyMethodDef embed_methods[] = {
    ML_SET_METHOD,
    {"sweep", (PyCFunction)embed_sweep, METH_NOARGS,
     PyDoc_STR("sweep($self, /)\n--\n\nRuns the other loop once, without waiting.")},
    {NULL},
};

static PyGetSetDef embed_getset[] = {
    ML_MEMBER(ml_watcher_get, NULL, "other", T_OBJECT, ml_embed, other, "The embedded loop."),
    {NULL},
};

static PyType_Slot embed_slots[] = {
    ML_WATCHER_SLOTS(embed),
    {Py_tp_doc, PyDoc_STR("Embed(loop, other, callback=None, data=None, priority=0)\n--\n\n"
                          "Calls back when `other` has something to do, for sweep() to be called. "
                          "Without a callback it runs `other` by itself.")},
    {Py_tp_methods, embed_methods},
    {Py_tp_getset, embed_getset},
    {0, NULL},
};

ML_WATCHER_SPEC(Embed, embed);
