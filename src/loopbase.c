/* LoopBase: the C half of EventLoop, first in its MRO, before asyncio.BaseEventLoop. The type and
 * its tables are put together here, above the layers whose functions they name.
 *
 * Private attributes that BaseEventLoop's Python code reads and writes (_closed, _debug, ...) are
 * members of the struct: data descriptors win over the instance dict, so both halves see one
 * value. */
#include "aio/aio.h"
#include "inspect/watch.h"
#include "net/methods.h" /* rows of the table */

/* ---- small methods ----------------------------------------------------------------------- */

static PyObject *
base_is_running(ml_aioloop *self, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(self->thread != 0);
}

static PyObject *
base_is_closed(ml_aioloop *self, PyObject *Py_UNUSED(unused))
{
    return PyBool_FromLong(self->closed);
}

static PyObject *
base_get_debug(ml_aioloop *self, void *Py_UNUSED(unused))
{
    return PyBool_FromLong(self->debug);
}

static PyObject *
base_stop(ml_aioloop *self, PyObject *Py_UNUSED(unused))
{
    self->stopping = true;
    ml_aioloop_wake(self); /* from a watcher's callback, or another thread */
    Py_RETURN_NONE;
}

static PyObject *
base_check_closed(ml_aioloop *self, PyObject *Py_UNUSED(unused))
{
    return ml_none_or_error(ml_aioloop_check_closed(self));
}

/* ---- life -------------------------------------------------------------------------------- */

static PyObject *
base_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    ml_aioloop *self = (ml_aioloop *)type->tp_alloc(type, 0);

    if (self != NULL) {
        self->state = ml_state_of_type(type);
        self->closed = true; /* until __init__ */
        self->meter = &ml_no_meter;
    }
    return (PyObject *)self;
}

/* LoopBase.__init__(ev=None) */
static int
base_init(ml_aioloop *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"ev", NULL};
    PyObject *ev = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:LoopBase", keywords, &ev)) {
        return -1;
    }
    if (self->ev != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "__init__() of an event loop called twice");
        return -1;
    }
    ml_loop *loop;
    if (ev == Py_None) {
        /* epoll by name: ev_loop_new(0) obeys LIBEV_FLAGS and falls back to poll at EMFILE */
        loop = ml_loop_new(self->state, EVBACKEND_EPOLL | EVFLAG_NOENV);
        if (loop == NULL) {
            return -1;
        }
    }
    else if (!PyObject_TypeCheck(ev, self->state->Loop)) {
        PyErr_Format(PyExc_TypeError, "ev must be a moodloop.event.Loop, not %s",
                     Py_TYPE(ev)->tp_name);
        return -1;
    }
    else {
        loop = (ml_loop *)Py_NewRef(ev);
        if (ml_loop_check_open(loop) < 0) {
            Py_DECREF(loop);
            return -1;
        }
        if (loop->host != NULL) {
            Py_DECREF(loop);
            PyErr_SetString(PyExc_RuntimeError, "an asyncio loop runs on this event.Loop already");
            return -1;
        }
    }
    ml_meter *meter = ml_meter_new();
    if (meter == NULL) {
        Py_DECREF(loop);
        return -1;
    }
    ml_aioloop_open(self, loop, ev == Py_None, meter);
    return ml_clock_find(self);
}

/* _close(): the C half of close(). The event.Loop is closed too if it is ours. */
static PyObject *
base_close(ml_aioloop *self, PyObject *Py_UNUSED(unused))
{
    if (self->running) {
        PyErr_SetString(PyExc_RuntimeError, "Cannot close a running event loop");
        return NULL;
    }
    ml_aioloop_shut(self);
    Py_RETURN_NONE;
}

/* Setting or deleting `time` on the object may change the clock that timers follow. */
static int
base_setattro(ml_aioloop *self, PyObject *name, PyObject *value)
{
    if (PyObject_GenericSetAttr((PyObject *)self, name, value) < 0) {
        return -1;
    }
    PyObject *time = self->state->str.time;
    if (PyUnicode_Check(name) && self->ev != NULL &&
        (name == time || (PyUnicode_GET_LENGTH(name) == PyUnicode_GET_LENGTH(time) &&
                          PyUnicode_Compare(name, time) == 0))) {
        return ml_clock_find(self);
    }
    return 0;
}

/* ---- what it does ------------------------------------------------------------------------ */

static PyObject *
base_meter_stats(ml_aioloop *self, PyObject *Py_UNUSED(unused))
{
    return ml_aioloop_check_closed(self) < 0 ? NULL : ml_meter_stats(self->meter, ml_monotonic());
}

static PyObject *
base_get_load(ml_aioloop *self, void *Py_UNUSED(closure))
{
    return PyFloat_FromDouble(ml_meter_load(self->meter, ml_monotonic()));
}

static ml_histogram *
take_histogram(ml_aioloop *self, PyObject *object)
{
    if (!Py_IS_TYPE(object, self->state->Histogram)) {
        PyErr_Format(PyExc_TypeError, "a Histogram is wanted, not %s", Py_TYPE(object)->tp_name);
        return NULL;
    }
    return (ml_histogram *)object;
}

/* _record_delays(histogram), _stop_delays(histogram): from the end of a poll to each callback. */
static PyObject *
base_record_delays(ml_aioloop *self, PyObject *object)
{
    ml_histogram *histogram = take_histogram(self, object);

    if (histogram == NULL || ml_aioloop_check_closed(self) < 0) {
        return NULL;
    }
    self->watched = true;
    return ml_none_or_error(ml_histograms_join(&self->delays, histogram));
}

static PyObject *
base_stop_delays(ml_aioloop *self, PyObject *object)
{
    ml_histogram *histogram = take_histogram(self, object);

    if (histogram != NULL && self->closed) { /* which stopped it */
        Py_RETURN_NONE;
    }
    return histogram ? ml_none_or_error(ml_histograms_leave(&self->delays, histogram)) : NULL;
}

/* _watch(threshold, signum, fd): see inspect/watch.h. */
static PyObject *
base_watch(ml_aioloop *self, PyObject *args)
{
    double threshold;
    int signum, fd;

    if (!PyArg_ParseTuple(args, "dii:_watch", &threshold, &signum, &fd) ||
        ml_aioloop_check_closed(self) < 0) {
        return NULL;
    }
    return ml_watch_new(self->state->Watch, self->meter, threshold, signum, fd);
}

/* ---- attributes shared with BaseEventLoop ------------------------------------------------ */

static PyObject *
base_get_thread_id(ml_aioloop *self, void *Py_UNUSED(closure))
{
    return self->thread ? PyLong_FromUnsignedLong(self->thread) : Py_NewRef(Py_None);
}

static int
base_set_thread_id(ml_aioloop *self, PyObject *value, void *Py_UNUSED(closure))
{
    unsigned long thread = 0;

    if (ml_no_delete(value, "_thread_id") < 0) {
        return -1;
    }
    if (value != Py_None) {
        thread = PyLong_AsUnsignedLong(value);
        if (thread == (unsigned long)-1 && PyErr_Occurred()) {
            return -1;
        }
    }
    self->thread = thread;
    return 0;
}

/* A list of the handles that are ready; of the scheduled timers. Snapshots, for introspection. */
static PyObject *
base_ready_handles(ml_aioloop *self, PyObject *Py_UNUSED(unused))
{
    PyObject *list = PyList_New(0);
    const ml_ring *ready = &self->ready, *mail = &self->mail.ring;
    size_t next = ready->head, letter = mail->head;

    while (list != NULL && (next != ready->tail || letter != mail->tail)) {
        uintptr_t entry;
        if (letter != mail->tail &&
            (next == ready->tail || (ptrdiff_t)(ml_ring_at(mail, letter + 1) - next) <= 0)) {
            entry = ml_ring_at(mail, letter);
            letter += 2;
        }
        else {
            entry = ml_ring_at(ready, next++);
        }
        if (ml_entry_ready(entry) == NULL && PyList_Append(list, (PyObject *)entry) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *
base_scheduled_handles(ml_aioloop *self, PyObject *Py_UNUSED(unused))
{
    PyObject *list = PyList_New(0);

    for (size_t i = 0; list != NULL && i < self->timers.len; i++) {
        if (PyList_Append(list, (PyObject *)self->timers.items[i].timer) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

/* BaseEventLoop.set_debug() assigns what it was given, of any type. */
static int
base_set_debug(ml_aioloop *self, PyObject *value, void *Py_UNUSED(closure))
{
    int debug = ml_no_delete(value, "_debug") < 0 ? -1 : PyObject_IsTrue(value);

    if (debug < 0) {
        return -1;
    }
    self->debug = debug;
    self->watched = self->watched || self->debug;
    return 0;
}

static PyMemberDef base_members[] = {
    {"ev", T_OBJECT_EX, offsetof(ml_aioloop, ev), READONLY,
     PyDoc_STR("The moodloop.event.Loop beneath: watchers on it run inside this loop.")},
    {"_task_factory", T_OBJECT, offsetof(ml_aioloop, task_factory), 0, NULL},
    {"_closed", T_BOOL, offsetof(ml_aioloop, closed), 0, NULL},
    {"_stopping", T_BOOL, offsetof(ml_aioloop, stopping), 0, NULL},
    {"_transports", T_OBJECT, offsetof(ml_aioloop, fds.stock), 0, NULL},
    {"_current_handle", T_OBJECT, offsetof(ml_aioloop, current_handle), 0, NULL},
    {"_pacer_off", T_UINT, offsetof(ml_aioloop, pacer.off), 0, NULL},
    {NULL},
};

static PyGetSetDef base_getset[] = {
    {"_debug", (getter)base_get_debug, (setter)base_set_debug, NULL, NULL},
    {"_thread_id", (getter)base_get_thread_id, (setter)base_set_thread_id, NULL, NULL},
    {"load", (getter)base_get_load, NULL,
     PyDoc_STR("How busy the loop was in the last second, 0 to 1; for any thread."), NULL},
    {NULL},
};

/* As BaseEventLoop's of the running version. */
#if PY_VERSION_HEX >= 0x030E0000
#define CREATE_TASK_ARGS "$self, coro, **kwargs"
#elif PY_VERSION_HEX >= 0x030D0300
#define CREATE_TASK_ARGS "$self, coro, *, name=None, context=None, **kwargs"
#else
#define CREATE_TASK_ARGS "$self, coro, *, name=None, context=None"
#endif

static PyMethodDef base_methods[] = {
    {"call_soon", ML_FUNCTION(ml_aioloop_call_soon_method), ML_FAST_KEYWORDS,
     PyDoc_STR("call_soon($self, callback, *args, context=None)\n--\n\n"
               "Calls callback(*args) in the next turn; returns a Handle.")},
    {"call_soon_threadsafe", ML_FUNCTION(ml_aioloop_call_soon_threadsafe), ML_FAST_KEYWORDS,
     PyDoc_STR("call_soon_threadsafe($self, callback, *args, context=None)\n--\n\n"
               "call_soon() for other threads and signal handlers: wakes the loop.")},
    {"call_from_thread", ML_FUNCTION(ml_aioloop_call_soon_threadsafe), ML_FAST_KEYWORDS,
     PyDoc_STR("call_from_thread($self, callback, *args, context=None)\n--\n\n"
               "Another name of call_soon_threadsafe().")},
    {"call_later", ML_FUNCTION(ml_aioloop_call_later), ML_FAST_KEYWORDS,
     PyDoc_STR("call_later($self, delay, callback, *args, context=None)\n--\n\n"
               "Calls callback(*args) after delay seconds; returns a TimerHandle.")},
    {"call_at", ML_FUNCTION(ml_aioloop_call_at), ML_FAST_KEYWORDS,
     PyDoc_STR("call_at($self, when, callback, *args, context=None)\n--\n\n"
               "Calls callback(*args) at `when` on the clock of time(); returns a TimerHandle.")},
    {"time", (PyCFunction)ml_aioloop_time, METH_NOARGS,
     PyDoc_STR("time($self, /)\n--\n\nSeconds on the clock of time.monotonic().")},
    {"is_running", (PyCFunction)base_is_running, METH_NOARGS,
     PyDoc_STR("is_running($self, /)\n--\n\nTrue inside run_forever().")},
    {"is_closed", (PyCFunction)base_is_closed, METH_NOARGS,
     PyDoc_STR("is_closed($self, /)\n--\n\nTrue after close().")},
    {"get_debug", (PyCFunction)base_get_debug, METH_NOARGS,
     PyDoc_STR("get_debug($self, /)\n--\n\nTrue in debug mode.")},
    {"stop", (PyCFunction)base_stop, METH_NOARGS,
     PyDoc_STR("stop($self, /)\n--\n\nLets run_forever() return after the current turn.")},
    {"create_future", (PyCFunction)ml_aioloop_create_future, METH_NOARGS,
     PyDoc_STR("create_future($self, /)\n--\n\nasyncio.Future(loop=self).")},
    {"create_task", ML_FUNCTION(ml_aioloop_create_task), ML_FAST_KEYWORDS,
     PyDoc_STR("create_task(" CREATE_TASK_ARGS ")\n--\n\n"
               "asyncio.Task(coro, loop=self, **kwargs), or what the task factory makes.")},
    {"add_reader", ML_FUNCTION(ml_aioloop_add_reader), ML_FAST_KEYWORDS,
     PyDoc_STR("add_reader($self, fd, callback, *args)\n--\n\n"
               "Calls callback(*args) whenever fd can be read.")},
    {"add_writer", ML_FUNCTION(ml_aioloop_add_writer), ML_FAST_KEYWORDS,
     PyDoc_STR("add_writer($self, fd, callback, *args)\n--\n\n"
               "Calls callback(*args) whenever fd can be written.")},
    {"remove_reader", ML_FUNCTION(ml_aioloop_remove_reader), ML_FAST_KEYWORDS,
     PyDoc_STR("remove_reader($self, fd)\n--\n\nTrue if there was a reader.")},
    {"remove_writer", ML_FUNCTION(ml_aioloop_remove_writer), ML_FAST_KEYWORDS,
     PyDoc_STR("remove_writer($self, fd)\n--\n\nTrue if there was a writer.")},
    {"_add_reader", ML_FUNCTION(ml_aioloop_add_reader_unchecked), ML_FAST_KEYWORDS, NULL},
    {"_add_writer", ML_FUNCTION(ml_aioloop_add_writer_unchecked), ML_FAST_KEYWORDS, NULL},
    {"_remove_reader", (PyCFunction)ml_aioloop_remove_reader_unchecked, METH_O, NULL},
    {"_remove_writer", (PyCFunction)ml_aioloop_remove_writer_unchecked, METH_O, NULL},
    {"_rewatch", (PyCFunction)ml_aioloop_rewatch, METH_O, NULL},
    {"_signal_start", (PyCFunction)ml_aioloop_signal_start, METH_VARARGS, NULL},
    {"_signal_stop", (PyCFunction)ml_aioloop_signal_stop, METH_O, NULL},
    {"_signal_map", (PyCFunction)ml_aioloop_signal_map, METH_NOARGS, NULL},
    {"_check_closed", (PyCFunction)base_check_closed, METH_NOARGS, NULL},
    {"_ready_handles", (PyCFunction)base_ready_handles, METH_NOARGS, NULL},
    {"_scheduled_handles", (PyCFunction)base_scheduled_handles, METH_NOARGS, NULL},
    {"_run", (PyCFunction)ml_aioloop_run, METH_NOARGS, NULL},
    {"_verify", (PyCFunction)ml_aioloop_verify, METH_NOARGS, NULL},
    {"_flush", (PyCFunction)ml_aioloop_flush, METH_NOARGS, NULL},
    {"_attach", (PyCFunction)ml_aioloop_attach, METH_NOARGS, NULL},
    {"_detach", (PyCFunction)ml_aioloop_detach, METH_NOARGS, NULL},
    {"_close", (PyCFunction)base_close, METH_NOARGS, NULL},
    {"_meter_stats", (PyCFunction)base_meter_stats, METH_NOARGS, NULL},
    {"_record_delays", (PyCFunction)base_record_delays, METH_O, NULL},
    {"_stop_delays", (PyCFunction)base_stop_delays, METH_O, NULL},
    {"_watch", (PyCFunction)base_watch, METH_VARARGS, NULL},
    {"_make_socket_transport", ML_FUNCTION(ml_make_socket_transport), METH_VARARGS | METH_KEYWORDS,
     NULL},
    {"_connect", ML_FUNCTION(ml_connect_literal), METH_FASTCALL, NULL},
    {"_connected", ML_FUNCTION(ml_connect_transport), METH_FASTCALL, NULL},
    {"_is_plain", (PyCFunction)ml_aioloop_is_plain, METH_O, NULL},
    {"_can_try", (PyCFunction)ml_aioloop_can_try, METH_O, NULL},
    {"_ensure_fd_no_transport", (PyCFunction)ml_aioloop_ensure_fd_no_transport, METH_O, NULL},
    {"_make_datagram_transport", ML_FUNCTION(ml_make_datagram_transport),
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"_make_read_pipe_transport", ML_FUNCTION(ml_make_read_pipe_transport),
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"_make_write_pipe_transport", ML_FUNCTION(ml_make_write_pipe_transport),
     METH_VARARGS | METH_KEYWORDS, NULL},
    {"_try_sock_recv", ML_FUNCTION(ml_sockop_recv), METH_FASTCALL, NULL},
    {"_try_sock_recv_into", ML_FUNCTION(ml_sockop_recv_into), METH_FASTCALL, NULL},
    {"_try_sock_recvfrom", ML_FUNCTION(ml_sockop_recvfrom), METH_FASTCALL, NULL},
    {"_try_sock_recvfrom_into", ML_FUNCTION(ml_sockop_recvfrom_into), METH_FASTCALL, NULL},
    {"_try_sock_sendall", ML_FUNCTION(ml_sockop_sendall), METH_FASTCALL, NULL},
    {"_try_sock_sendto", ML_FUNCTION(ml_sockop_sendto), METH_FASTCALL, NULL},
    {"_try_sock_accept", ML_FUNCTION(ml_sockop_accept), METH_FASTCALL, NULL},
    {"_try_sock_connect", ML_FUNCTION(ml_sockop_connect), METH_FASTCALL, NULL},
    {"__reduce__", ml_no_pickle, METH_NOARGS, NULL},
    {NULL},
};

static PyType_Slot base_slots[] = {
    {Py_tp_doc, PyDoc_STR("The C half of moodloop.EventLoop; not for use by itself.")},
    {Py_tp_new, base_new},
    {Py_tp_init, base_init},
    {Py_tp_dealloc, ml_aioloop_dealloc},
    {Py_tp_traverse, ml_aioloop_traverse},
    {Py_tp_clear, ml_aioloop_clear},
    {Py_tp_setattro, base_setattro},
    {Py_tp_methods, base_methods},
    {Py_tp_members, base_members},
    {Py_tp_getset, base_getset},
    {0, NULL},
};

PyType_Spec ml_loopbase_spec = {
    .name = "moodloop._core.LoopBase",
    .basicsize = sizeof(ml_aioloop),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .slots = base_slots,
};
