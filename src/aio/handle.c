/* Handles and timers: one callback with its arguments and context, made, run and cancelled. */
#include "aio.h"
#include "context.h"

/* ---- making and freeing ------------------------------------------------------------------ */

static ml_handle *
take_free(ml_handle **list, int *len, Py_ssize_t nargs, PyTypeObject *type)
{
    ml_handle *handle = list[nargs];

    if (handle != NULL) {
        list[nargs] = (ml_handle *)handle->callback;
        len[nargs]--;
        PyObject_InitVar((PyVarObject *)handle, type, nargs);
    }
    return handle;
}

/* Fills what both kinds share. The handle's memory is not initialised yet. */
static int
fill(ml_handle *handle, PyObject **slots, ml_aioloop *loop, PyObject *callback,
     PyObject *const *args, Py_ssize_t nargs, PyObject *context)
{
    bool failed = false;

    handle->loop = (ml_aioloop *)Py_NewRef((PyObject *)loop);
    handle->callback = Py_NewRef(callback);
    handle->weaklist = NULL;
    handle->debug = NULL;
    handle->cancelled = false;
    handle->threadsafe = false;
    handle->by_hand = false;
    handle->running = 0;
    handle->context = NULL;
    for (Py_ssize_t i = 0; i < nargs; i++) {
        slots[i] = Py_NewRef(args[i]);
    }
    if (context == NULL || context == Py_None) {
        handle->context = ml_context_capture(&failed);
    }
    else {
        handle->context = Py_NewRef(context);
    }
    if (failed) {
        return -1;
    }
    if (loop->debug) {
        PyObject *traceback = ml_diagnose(loop->state, "source_traceback", "()");
        if (traceback == NULL) {
            return -1;
        }
        handle->debug = Py_BuildValue("[NO]", traceback, Py_None);
        if (handle->debug == NULL) {
            return -1;
        }
    }
    if (!loop->running) {
        PyObject_GC_Track(handle);
    }
    return 0;
}

ml_handle *
ml_handle_new(ml_aioloop *loop, PyObject *callback, PyObject *const *args, Py_ssize_t nargs,
              PyObject *context)
{
    ml_aio *aio = loop->state->aio;
    PyTypeObject *type = loop->state->Handle;
    ml_handle *handle = NULL;

    if (nargs < ML_FREELIST_ARGS) {
        handle = take_free(aio->free_handles, aio->free_handles_len, nargs, type);
    }
    if (handle == NULL) {
        handle = PyObject_GC_NewVar(ml_handle, type, nargs);
        if (handle == NULL) {
            return NULL;
        }
        handle->is_timer = false;
    }
    if (fill(handle, handle->args, loop, callback, args, nargs, context) < 0) {
        Py_DECREF(handle);
        return NULL;
    }
    return handle;
}

ml_timer *
ml_timer_new(ml_aioloop *loop, double when, PyObject *callback, PyObject *const *args,
             Py_ssize_t nargs, PyObject *context)
{
    ml_aio *aio = loop->state->aio;
    PyTypeObject *type = loop->state->TimerHandle;
    ml_timer *timer = NULL;

    if (nargs < ML_FREELIST_ARGS) {
        timer = (ml_timer *)take_free(aio->free_timers, aio->free_timers_len, nargs, type);
    }
    if (timer == NULL) {
        timer = PyObject_GC_NewVar(ml_timer, type, nargs);
        if (timer == NULL) {
            return NULL;
        }
        timer->is_timer = true;
    }
    timer->place = 0;
    timer->when = when;
    if (fill((ml_handle *)timer, timer->args, loop, callback, args, nargs, context) < 0) {
        Py_DECREF(timer);
        return NULL;
    }
    return timer;
}

static void
drop_arguments(ml_handle *handle)
{
    PyObject **args = ml_handle_args(handle);
    Py_ssize_t nargs = Py_SIZE(handle);

    for (Py_ssize_t i = 0; i < nargs; i++) {
        Py_CLEAR(args[i]);
    }
}

int
ml_handle_clear(ml_handle *handle)
{
    if (handle->running == 0) {
        Py_CLEAR(handle->callback);
        drop_arguments(handle);
    }
    Py_CLEAR(handle->context);
    Py_CLEAR(handle->debug);
    return 0;
}

int
ml_handle_traverse(ml_handle *handle, visitproc visit, void *arg)
{
    PyObject **args = ml_handle_args(handle);

    Py_VISIT(Py_TYPE(handle));
    Py_VISIT(handle->loop);
    Py_VISIT(handle->callback);
    Py_VISIT(handle->context);
    Py_VISIT(handle->debug);
    for (Py_ssize_t i = 0; i < Py_SIZE(handle); i++) {
        Py_VISIT(args[i]);
    }
    return 0;
}

/* Into the freelist, or back to the allocator. */
static void
free_handle(ml_handle *handle)
{
    PyTypeObject *type = Py_TYPE(handle);
    ml_aioloop *loop = handle->loop;
    Py_ssize_t nargs = Py_SIZE(handle);

    assert(handle->running == 0 && !(handle->is_timer && ((ml_timer *)handle)->place > 0));
    handle->loop = NULL;
    if (nargs < ML_FREELIST_ARGS && loop != NULL) {
        ml_aio *aio = loop->state->aio;
        ml_handle **list = handle->is_timer ? aio->free_timers : aio->free_handles;
        int *len = handle->is_timer ? aio->free_timers_len : aio->free_handles_len;
        if (len[nargs] < ML_FREELIST_MAX) {
            handle->callback = (PyObject *)list[nargs];
            list[nargs] = handle;
            len[nargs]++;
            Py_DECREF(loop);
            Py_DECREF(type);
            return;
        }
    }
    Py_XDECREF(loop);
    type->tp_free(handle);
    Py_DECREF(type);
}

void
ml_handle_dealloc(ml_handle *handle)
{
    PyObject_GC_UnTrack(handle);
    Py_TRASHCAN_BEGIN(handle,
                      ml_handle_dealloc); /* handles may be arguments of handles, and so on */
    if (handle->weaklist != NULL) {
        PyObject_ClearWeakRefs((PyObject *)handle);
    }
    ml_handle_clear(handle);
    free_handle(handle);
    Py_TRASHCAN_END;
}

/* ---- running and cancelling -------------------------------------------------------------- */

/* A callback raised: the loop's exception handler gets it, as from stock Handle._run(). */
static int
callback_failed(ml_handle *handle)
{
    PyObject *exc = ml_take_exception();

    assert(exc != NULL);
    if (ml_is_fatal_exc(exc)) {
        ml_raise(exc);
        return -1;
    }
    PyObject *result =
        ml_diagnose(handle->loop->state, "callback_failed", "(OOO)", handle->loop, handle, exc);
    Py_DECREF(exc);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int
ml_handle_run(ml_handle *handle)
{
    int rc = 0;

    if (handle->cancelled) {
        return 0;
    }
    assert(handle->callback != NULL && !PyErr_Occurred());
    PyObject *context = ml_context_enter(handle->loop, &handle->context);
    if (context == NULL) {
        return callback_failed(handle);
    }
    handle->running++;
    PyObject *result = PyObject_Vectorcall(handle->callback, ml_handle_args(handle),
                                           (size_t)Py_SIZE(handle), NULL);
    handle->running--;
    if (result == NULL) {
        /* Leaving a context must not see the exception of the callback. */
        PyObject *exc = ml_take_exception();
        ml_context_leave(handle->loop, &handle->context, context);
        ml_raise(exc);
        rc = callback_failed(handle);
    }
    else {
        ml_context_leave(handle->loop, &handle->context, context);
        Py_DECREF(result);
    }
    if (handle->cancelled && handle->running == 0) {
        Py_CLEAR(handle->callback);
        drop_arguments(handle);
    }
#if ML_THREADSAFE_HANDLES
    if (handle->loop->waiters != NULL) {
        ml_handle_settled(handle->loop, handle);
    }
#endif
    return rc;
}

int
ml_handle_cancel(ml_handle *handle)
{
    if (handle->cancelled) {
        return 0;
    }
    handle->cancelled = true;
    if (handle->loop->debug && handle->debug != NULL) { /* what it was, while that is known */
        PyObject *repr = PyObject_Repr((PyObject *)handle);
        if (repr == NULL || PyList_SetItem(handle->debug, 1, repr) < 0) {
            return -1;
        }
    }
    Py_INCREF(handle); /* clearing runs destructors, and those anything */
    if (handle->is_timer && ((ml_timer *)handle)->place > 0) {
        ml_timers_remove((ml_timer *)handle);
    }
    if (!PyObject_GC_IsTracked((PyObject *)handle)) {
        PyObject_GC_Track(handle);
    }
    if (handle->running == 0) {
        Py_CLEAR(handle->callback);
        drop_arguments(handle);
    }
    Py_DECREF(handle);
    return 0;
}
