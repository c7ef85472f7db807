/* The life of a transport: its states, and the ways from one to the next.
 *
 * close(), abort(), a fatal error, the end of what is read and a descriptor that was closed behind
 * its back all come to lose(), which has connection_lost() called; that, and the collection of one
 * that nobody closed, come to vanish(). An exception that is on its way is set aside first: what is
 * called here is the program's, the socket's and the server's. */
#include "transport.h"
#include "../aio/context.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

static void
become(ml_transport *self, ml_life life)
{
    assert(life > self->life);
    self->life = life;
    if (life >= ML_CLOSING) {
        ml_transport_share(self);
    }
    if (life == ML_GONE && self->counted) {
        self->counted = false;
        self->loop->meter->transports--;
    }
}

void
ml_transport_opened(ml_transport *self)
{
    if (self->life == ML_OPENING) { /* close() may have come before */
        become(self, ML_OPEN);
    }
}

/* ---- the end ----------------------------------------------------------------------------- */

/* The descriptor has one owner: the socket object if there is one, else this transport. */
static void
close_descriptor(ml_transport *self)
{
    int fd = self->stream.fd;

    if (fd < 0) {
        return;
    }
    if (self->kind->is_socket && self->addr_len[ADDR_LOCAL] == 0) {
        ml_transport_remember_addr(self, ADDR_LOCAL); /* asked afterwards, it is gone */
    }
    ml_stream_detach(&self->stream);
    ml_aioloop_unset_transport(self->loop, fd, (PyObject *)self);
    if (self->stream.in_hangups) {
        ml_hangups_forget(self->loop, fd);
    }
    if (self->sock == NULL) {
        close(fd);
        return;
    }
    PyObject *result = PyObject_CallMethodNoArgs(self->sock, self->loop->state->str.close);
    if (result == NULL) {
        ml_unraisable((PyObject *)self);
    }
    Py_XDECREF(result);
}

int
ml_transport_attach_server(ml_transport *self)
{
    PyObject *result;

    if (self->server == NULL) {
        return 0;
    }
#if PY_VERSION_HEX >= 0x030D0000
    result =
        PyObject_CallMethodOneArg(self->server, self->loop->state->str._attach, (PyObject *)self);
#else
    result = PyObject_CallMethodNoArgs(self->server, self->loop->state->str._attach);
#endif
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int
ml_transport_detach_server(ml_transport *self)
{
    PyObject *server = self->server, *result;

    self->server = NULL;
    if (server == NULL) {
        return 0;
    }
#if PY_VERSION_HEX >= 0x030D0000
    result = PyObject_CallMethodOneArg(server, self->loop->state->str._detach, (PyObject *)self);
#else
    result = PyObject_CallMethodNoArgs(server, self->loop->state->str._detach);
#endif
    Py_DECREF(server);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* The last step. -1 with what the server raised. */
static int
vanish(ml_transport *self)
{
    assert(!PyErr_Occurred());
    become(self, ML_GONE);
    close_descriptor(self);
    ml_stream_discard(&self->stream); /* datagrams that were sent after close() */
    if (!self->loop->closed) {
        ml_transport_settle_waiter(self);
    }
    Py_CLEAR(self->protocol);
    assert(self->stream.fd < 0 && self->stream.len == 0 && !ml_held_is_kept(&self->stream.held));
    return ml_transport_detach_server(self);
}

/* Calls connection_lost(exc). */
static int
tell_lost(ml_transport *self, PyObject *protocol, PyObject *exc)
{
    ml_aioloop *loop = self->loop;
    PyObject *context = ml_context_enter(loop, &self->context);
    PyObject *result = NULL;

    if (context != NULL) {
        result = PyObject_CallMethodOneArg(protocol, loop->state->str.connection_lost,
                                           exc ? exc : Py_None);
        PyObject *raised = result ? NULL : ml_take_exception();
        ml_context_leave(loop, &self->context, context);
        if (raised != NULL) {
            ml_raise(raised);
        }
    }
    if (result == NULL) {
        return ml_aioloop_handle_error(loop, "Exception in callback connection_lost()",
                                       (PyObject *)self, protocol);
    }
    Py_DECREF(result);
    return 0;
}

int
ml_transport_run_lost(ml_ready *ready)
{
    ml_transport *self = ML_CONTAINER_OF(ready, ml_transport, lost);
    PyObject *protocol = Py_XNewRef(self->protocol), *exc = self->lost_exc;

    assert(self->life == ML_LOST_SCHEDULED);
    self->lost_exc = NULL;
    int rc = protocol ? tell_lost(self, protocol, exc) : 0; /* the collector may have cleared it */
    PyObject *raised = rc < 0 ? ml_take_exception() : NULL;
    Py_XDECREF(protocol);
    Py_XDECREF(exc);
    rc = vanish(self);
    if (rc < 0) {
        rc = ml_aioloop_handle_error(self->loop, "Server._detach() failed", (PyObject *)self, NULL);
    }
    return ml_raise_again(raised, rc, (PyObject *)self);
}

/* Has connection_lost(exc) called. */
static int
lose(ml_transport *self, PyObject *exc)
{
    assert(!PyErr_Occurred());
    if (ml_aioloop_check_closed(self->loop) < 0) {
        become(self, ML_LOST_SCHEDULED); /* but nobody will call it, and nobody is told twice */
        return -1;
    }
    if (ml_aioloop_push_ready(self->loop, &self->lost) < 0) {
        return -1;
    }
    become(self, ML_LOST_SCHEDULED);
    Py_XSETREF(self->lost_exc, exc && exc != Py_None ? Py_NewRef(exc) : NULL);
    ml_transport_settle_waiter(self); /* a sendfile lets go before the descriptor is closed */
    return 0;
}

/* Sends what waits for the end of the callback: a new reference to what a method of the protocol
 * raised then, which must leave, or NULL. */
static PyObject *
send_last(ml_transport *self)
{
    return ml_stream_untried(&self->stream) && ml_stream_flush(&self->stream) < 0
               ? ml_take_exception()
               : NULL;
}

int
ml_transport_close(ml_transport *self)
{
    if (ml_transport_is_closing(self)) {
        return 0;
    }
    become(self, ML_CLOSING);
    PyObject *raised = send_last(self);
    int rc = 0;
    if (!ml_transport_is_lost(self)) { /* neither all is sent, nor was the peer found gone */
        if (self->stream.queued == 0 || !self->kind->write_only) {
            ml_stream_stop_reading(&self->stream); /* else it reads to notice that the peer goes */
        }
        rc = self->stream.queued == 0 ? lose(self, NULL) : 0;
    }
    return ml_raise_again(raised, rc, (PyObject *)self);
}

int
ml_transport_all_sent(ml_transport *self)
{
    assert(self->stream.queued == 0);
    return self->life == ML_CLOSING ? lose(self, NULL) : 0;
}

int
ml_transport_force_close(ml_transport *self, PyObject *exc)
{
    assert(!PyErr_Occurred());
    if (ml_transport_is_lost(self)) {
        return 0;
    }
    /* What the protocol wrote before it raised, an answer or an alert, goes out all the same. */
    PyObject *raised = send_last(self);
    int rc = 0;
    if (!ml_transport_is_lost(self)) {
        if (!ml_transport_is_closing(self)) {
            become(self, ML_CLOSING);
        }
        ml_stream_discard(&self->stream);
        ml_stream_stop(&self->stream);
        rc = lose(self, exc);
    }
    return ml_raise_again(raised, rc, (PyObject *)self);
}

/* ---- errors ------------------------------------------------------------------------------ */

int
ml_transport_log(ml_transport *self, const char *name)
{
    if (!self->loop->debug) {
        return 0;
    }
    PyObject *done = ml_diagnose(self->loop->state, name, "(O)", self);
    if (done == NULL) {
        return ml_aioloop_handle_error(self->loop, "logging failed", (PyObject *)self, NULL);
    }
    Py_DECREF(done);
    return 0;
}

int
ml_transport_fatal(ml_transport *self, const char *message)
{
    return ml_transport_fail(self, message, !PyErr_ExceptionMatches(PyExc_OSError));
}

/* Tells the exception that is set: the exception handler, or in debug mode the log. */
static int
tell_failure(ml_transport *self, const char *message, bool report)
{
    if (report) {
        return ml_aioloop_handle_error(self->loop, message, (PyObject *)self, self->protocol);
    }
    PyObject *exc = ml_take_exception();
    PyObject *done = self->loop->debug ? ml_diagnose(self->loop->state, "connection_error", "(OsO)",
                                                     self, message, exc)
                                       : Py_NewRef(Py_None);
    Py_DECREF(exc);
    if (done == NULL) {
        return ml_aioloop_handle_error(self->loop, message, (PyObject *)self, self->protocol);
    }
    Py_DECREF(done);
    return 0;
}

int
ml_transport_fail(ml_transport *self, const char *message, bool report)
{
    PyObject *exc = ml_take_exception();

    assert(exc != NULL);
    if (ml_is_fatal_exc(exc)) {
        ml_raise(exc);
        return -1;
    }
    ml_raise(Py_NewRef(exc));
    PyObject *raised = tell_failure(self, message, report) < 0 ? ml_take_exception() : NULL;
    int rc = ml_transport_force_close(self, exc);
    Py_DECREF(exc);
    return ml_raise_again(raised, rc, (PyObject *)self);
}

/* ---- whose the descriptor is ------------------------------------------------------------- */

/* sock.fileno(). The method is kept: to find it costs 500 instructions, and each event, write and
 * flush asks, a tenth of a message through a pipe. */
static long
ask_number(ml_transport *self)
{
    if (self->fileno == NULL) {
        self->fileno = PyObject_GetAttr(self->sock, self->loop->state->str.fileno);
    }
    PyObject *number = self->fileno ? PyObject_CallNoArgs(self->fileno) : NULL;
    long fd = number ? PyLong_AsLong(number) : -1;

    Py_XDECREF(number);
    return fd;
}

int
ml_transport_forsake(ml_transport *self)
{
    PyObject *exc = ml_take_exception();
    int fd = self->stream.fd;

    ml_stream_detach(&self->stream);
    ml_aioloop_unset_transport(self->loop, fd, (PyObject *)self);
    ml_raise(exc);
    return ml_transport_fatal(self, "The socket of a transport was closed behind its back");
}

int
ml_transport_check_owned(ml_transport *self)
{
    if (self->sock == NULL || self->stream.fd < 0) {
        return 0;
    }
    long fd = ask_number(self);
    if (fd == self->stream.fd) {
        return 0;
    }
    if (fd == -1 && PyErr_ExceptionMatches(PyExc_ValueError)) {
        PyErr_Clear(); /* a file object's way to say that it is closed */
    }
    PyObject *exc = ml_take_exception();
    if (exc != NULL && ml_is_fatal_exc(exc)) {
        ml_raise(exc);
        return -1;
    }
    if (exc != NULL) {
        ml_raise(exc);
    }
    else {
        ml_os_error(EBADF);
    }
    return ml_transport_forsake(self) < 0 ? -1 : 1;
}

int
ml_transport_claim(ml_aioloop *loop, int fd)
{
    PyObject *stale = ml_aioloop_transport_of(loop, fd);

    if (stale == NULL) {
        return 0;
    }
    Py_INCREF(stale); /* its socket was closed behind its back: the number is ours now */
    ml_os_error(EBADF);
    int rc = ml_transport_forsake((ml_transport *)stale);
    Py_DECREF(stale);
    return rc;
}

/* ---- collection -------------------------------------------------------------------------- */

void
ml_transport_forgo(ml_transport *self)
{
    self->stream.fd = -1;
    become(self, ML_GONE);
    Py_DECREF(self);
}

static void
abandon(ml_transport *self)
{
    PyObject *exc = ml_take_exception();

    if (self->stream.fd >= 0 &&
        PyErr_ResourceWarning((PyObject *)self, 1, "unclosed transport %R", (PyObject *)self) < 0) {
        ml_unraisable((PyObject *)self);
    }
    if (self->lost.queued) { /* another finalizer closed it: so it goes on, to connection_lost() */
        close_descriptor(self);
    }
    else if (vanish(self) < 0) {
        ml_unraisable((PyObject *)self);
    }
    if (exc != NULL) {
        ml_raise(exc);
    }
}

void
ml_transport_finalize(ml_transport *self)
{
    if (self->loop != NULL && self->life != ML_GONE) {
        abandon(self);
    }
}
