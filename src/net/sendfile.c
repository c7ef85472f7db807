/* What a transport has for loop.sendfile(): a future for the time when its queue is empty. While
 * there is one it takes no writes, and sock_* may use its descriptor. */
#include "transport.h"
#include "transport_api.h"

void
ml_transport_share(ml_transport *self)
{
    ml_aioloop_share_transport(self->loop, self->stream.fd, (PyObject *)self,
                               self->empty_waiter != NULL || ml_transport_is_closing(self));
}

void
ml_transport_settle_waiter(ml_transport *self)
{
    PyObject *waiter = Py_XNewRef(self->empty_waiter), *result = NULL;

    if (waiter == NULL) {
        return;
    }
    PyObject *done = PyObject_CallMethodNoArgs(waiter, self->loop->state->str.done);
    if (done == Py_False && self->stream.fd >= 0 && !ml_transport_is_lost(self)) {
        result = PyObject_CallMethodOneArg(waiter, self->loop->state->str.set_result, Py_None);
    }
    else if (done == Py_False) {
        PyObject *exc =
            PyObject_CallFunction(PyExc_ConnectionError, "s", "Connection is closed by peer");
        result = exc ? PyObject_CallMethodOneArg(waiter, self->loop->state->str.set_exception, exc)
                     : NULL;
        Py_XDECREF(exc);
    }
    else if (done != NULL) {
        result = Py_NewRef(Py_None);
    }
    if (result == NULL) {
        ml_unraisable((PyObject *)self);
    }
    Py_XDECREF(result);
    Py_XDECREF(done);
    Py_DECREF(waiter);
}

/* _make_empty_waiter(), _reset_empty_waiter(): between them the transport takes no writes, and
 * sock_* may use its descriptor. */
PyObject *
ml_transport_py_make_empty_waiter(ml_transport *self, PyObject *Py_UNUSED(unused))
{
    if (self->empty_waiter != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "Empty waiter is already set");
        return NULL;
    }
    if (ml_transport_try_now(self) < 0 ||
        !(self->empty_waiter = ml_aioloop_create_future(self->loop, NULL))) {
        return NULL;
    }
    ml_transport_share(self);
    if (self->stream.queued == 0 || self->stream.fd < 0) {
        ml_transport_settle_waiter(self);
    }
    return Py_NewRef(self->empty_waiter);
}

/* _make_lost_waiter(): in place of an empty waiter that is done, a future that fails when the
 * connection is lost. */
PyObject *
ml_transport_py_make_lost_waiter(ml_transport *self, PyObject *Py_UNUSED(unused))
{
    PyObject *waiter = ml_aioloop_create_future(self->loop, NULL);

    if (waiter == NULL) {
        return NULL;
    }
    Py_XSETREF(self->empty_waiter, Py_NewRef(waiter));
    if (self->stream.fd < 0 || ml_transport_is_lost(self)) {
        ml_transport_settle_waiter(self);
    }
    return waiter;
}

PyObject *
ml_transport_py_reset_empty_waiter(ml_transport *self, PyObject *Py_UNUSED(unused))
{
    Py_CLEAR(self->empty_waiter);
    ml_transport_share(self);
    Py_RETURN_NONE;
}

/* _is_ours(): False if the socket was closed behind the transport, which ends with that. */
PyObject *
ml_transport_py_is_ours(ml_transport *self, PyObject *Py_UNUSED(unused))
{
    int gone = ml_transport_check_owned(self);

    return gone < 0 ? NULL : PyBool_FromLong(!gone && self->stream.fd >= 0);
}
