/* The life of a connection's TLS: handshake, end, errors. Its stages and what happens in each are
 * those of asyncio's SSLProtocol. */
#include "tls.h"

static void
become(ml_tls *self, ml_tls_stage stage)
{
    assert(stage > self->stage);
    self->stage = stage;
}

/* ---- timeouts ---------------------------------------------------------------------------- */

int
ml_tls_cancel_timer(ml_tls *self)
{
    PyObject *timer = self->timer;

    self->timer = NULL;
    PyObject *result = timer ? PyObject_CallMethodNoArgs(timer, self->loop->state->str.cancel)
                             : Py_NewRef(Py_None);
    Py_XDECREF(timer);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int
ml_tls_start_timer(ml_tls *self, const char *method, PyObject *delay)
{
    PyObject *callback = PyObject_GetAttrString((PyObject *)self, method);

    assert(self->timer == NULL);
    if (callback != NULL) {
        self->timer =
            PyObject_CallMethod((PyObject *)self->loop, "call_later", "OO", delay, callback);
        Py_DECREF(callback);
    }
    return self->timer ? 0 : -1;
}

static int
start_shutdown_timer(ml_tls *self)
{
    return self->timer
               ? 0
               : ml_tls_start_timer(self, "_check_shutdown_timeout", self->shutdown_timeout);
}

int
ml_tls_timed_out(ml_tls *self, bool handshake)
{
    Py_CLEAR(self->timer);
    if (handshake) {
        if (self->stage != TLS_HANDSHAKE) {
            return 0;
        }
        PyErr_Format(PyExc_ConnectionAbortedError,
                     "SSL handshake is taking longer than %S seconds: aborting the connection",
                     self->handshake_timeout);
        return ml_tls_fatal(self, "Fatal error on transport");
    }
    if (self->lower == NULL) {
        return 0;
    }
    PyObject *exc = self->error
                        ? Py_NewRef(self->error)
                        : PyObject_CallFunction(PyExc_TimeoutError, "s", "SSL shutdown timed out");
    int rc = exc ? ml_tls_lower_force_close(self, exc) : -1;
    Py_XDECREF(exc);
    return rc;
}

/* ---- errors ------------------------------------------------------------------------------ */

/* Tells the exception: the exception handler, or in debug mode the log, if it is the network's. */
static int
tell_failure(ml_tls *self, PyObject *exc, const char *message)
{
    if (!PyErr_GivenExceptionMatches(exc, PyExc_OSError)) {
        ml_raise(Py_NewRef(exc));
        return ml_aioloop_handle_error(self->loop, message, (PyObject *)self, self->protocol);
    }
    if (!self->loop->debug) {
        return 0;
    }
    PyObject *done =
        ml_diagnose(self->loop->state, "connection_error", "(OsO)", self, message, exc);
    Py_XDECREF(done);
    return done ? 0
                : ml_aioloop_handle_error(self->loop, message, (PyObject *)self, self->protocol);
}

/* Where an alert waits behind what the peer has yet to read, it has its time. */
static int
end_below(ml_tls *self, PyObject *exc)
{
    if (self->native == NULL || self->native->stream.queued == 0 ||
        ml_transport_is_lost(self->native)) {
        return ml_tls_lower_force_close(self, exc);
    }
    Py_XSETREF(self->error, Py_NewRef(exc));
    int rc = self->timer ? 0 : start_shutdown_timer(self);
    return rc < 0 ? -1 : ml_tls_lower_close(self);
}

int
ml_tls_fatal(ml_tls *self, const char *message)
{
    PyObject *exc = ml_take_exception();

    assert(exc != NULL);
    if (ml_is_fatal_exc(exc)) {
        ml_raise(exc);
        return -1;
    }
    self->failed = true;
    ml_tls_discard(self);
    int rc = ml_tls_put_own(self); /* an alert that tells the peer why */
    PyObject *left = rc < 0 ? ml_take_exception() : NULL;
    rc = ml_raise_again(left, end_below(self, exc), (PyObject *)self);
    left = rc < 0 ? ml_take_exception() : NULL;
    rc = tell_failure(self, exc, message);
    Py_DECREF(exc);
    return ml_raise_again(left, rc, (PyObject *)self);
}

/* Completes the waiter. */
int
ml_tls_settle(ml_tls *self, PyObject *exc)
{
    PyObject *waiter = self->waiter;

    self->waiter = NULL;
    if (waiter == NULL) {
        return 0;
    }
    ml_state *state = self->loop->state;
    PyObject *done = PyObject_CallMethodNoArgs(waiter, state->str.done), *result = NULL;
    int is_done = done ? PyObject_IsTrue(done) : -1;
    Py_XDECREF(done);
    if (is_done == 0) {
        result = exc ? PyObject_CallMethodOneArg(waiter, state->str.set_exception, exc)
                     : PyObject_CallMethodOneArg(waiter, state->str.set_result, Py_None);
    }
    Py_DECREF(waiter);
    Py_XDECREF(result);
    return is_done > 0 || result ? 0 : -1;
}

/* ---- the handshake ----------------------------------------------------------------------- */

int
ml_tls_start_handshake(ml_tls *self)
{
    become(self, TLS_HANDSHAKE);
    if (self->loop->debug) {
        PyObject *done = ml_diagnose(self->loop->state, "starts_handshake", "(O)", self);
        if (done == NULL) {
            return -1;
        }
        self->began = PyFloat_AsDouble(done);
        Py_DECREF(done);
    }
    if (ml_tls_start_timer(self, "_check_handshake_timeout", self->handshake_timeout) < 0) {
        return -1;
    }
    return ml_tls_arrived(self, NULL, 0);
}

/* A step of a handshake, whose time is counted. */
static int
step_of_handshake(ml_tls *self, ml_tls_room *room)
{
    double begun = ml_monotonic();
    int rc = ml_tls_call_object(self, "do_handshake");

    room->shaking += ml_monotonic() - begun;
    return rc;
}

int
ml_tls_handshake(ml_tls *self)
{
    ml_ssl_names *names = self->loop->state->aio->ssl;
    ml_tls_room *room = ml_tls_room_of(self->loop);

    if (room != NULL && !ml_tls_may_shake_hands(self, room)) {
        return ml_tls_wait_for_turn(self, room);
    }
    int rc = room ? step_of_handshake(self, room) : -1;
    PyObject *exc = rc < 0 ? ml_take_exception() : NULL;

    if (self->stage != TLS_HANDSHAKE || self->failed) { /* a callback has ended it */
        Py_XDECREF(exc);
        return 0;
    }
    rc = ml_tls_put_own(self);
    if (rc < 0 || self->stage != TLS_HANDSHAKE || self->failed) { /* it cannot be sent */
        Py_XDECREF(exc);
        return rc < 0 ? -1 : 0;
    }
    if (exc == NULL) {
        return ml_tls_handshake_done(self, NULL);
    }
    if (PyErr_GivenExceptionMatches(exc, names->again)) {
        Py_DECREF(exc);
        return 0;
    }
    if (PyErr_GivenExceptionMatches(exc, names->Error)) {
        rc = ml_tls_handshake_done(self, exc);
        Py_DECREF(exc);
        return rc;
    }
    ml_raise(exc);
    return -1;
}

static int
handshake_failed(ml_tls *self, PyObject *exc)
{
    ml_ssl_names *names = self->loop->state->aio->ssl;
    bool certificate = PyErr_GivenExceptionMatches(exc, names->CertificateError);

    become(self, TLS_OVER);
    ml_raise(Py_NewRef(exc));
    int rc = ml_tls_fatal(self, certificate ? "SSL handshake failed on verifying the certificate"
                                            : "SSL handshake failed");
    PyObject *left = rc < 0 ? ml_take_exception() : NULL;
    return ml_raise_again(left, ml_tls_settle(self, exc), (PyObject *)self);
}

/* connection_made(), the waiter, and then what came with the end of the handshake. */
int
ml_tls_handshake_done(ml_tls *self, PyObject *exc)
{
    if (ml_tls_cancel_timer(self) < 0) {
        return -1;
    }
    if (exc != NULL) {
        return handshake_failed(self, exc);
    }
    become(self, TLS_OPEN);
    self->shook_hands = true;
    if (self->loop->debug) {
        PyObject *done =
            ml_diagnose(self->loop->state, "handshake_took", "(Od)", self, self->began);
        if (done == NULL) {
            return -1;
        }
        Py_DECREF(done);
    }
    if (self->told == TOLD_NOTHING) {
        PyObject *protocol = Py_NewRef(self->protocol);
        self->told = TOLD_MADE;
        PyObject *result = PyObject_CallMethodOneArg(
            protocol, self->loop->state->str.connection_made, (PyObject *)self);
        Py_DECREF(protocol);
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    if (ml_tls_settle(self, NULL) < 0 || ml_tls_flush(self) < 0) {
        return -1;
    }
    /* start_tls() returns the transport when its waiter wakes the program. Data that came with the
     * handshake have to wait for that: they would be answered in plain text. */
    return self->upgraded ? ml_tls_go_on_later(self) : ml_tls_read(self);
}

/* ---- the end ----------------------------------------------------------------------------- */

int
ml_tls_abort(ml_tls *self, PyObject *exc)
{
    self->closed = true;
    if (self->stage != TLS_OVER) {
        become(self, TLS_OVER);
    }
    return ml_tls_lower_force_close(self, exc);
}

int
ml_tls_start_shutdown(ml_tls *self)
{
    if (self->stage == TLS_NEW || self->stage >= TLS_FLUSHING) {
        return 0;
    }
    self->closed = true;
    if (self->stage == TLS_HANDSHAKE) {
        return ml_tls_abort(self, NULL);
    }
    become(self, TLS_FLUSHING);
    if (ml_tls_is_inside(self)) {
        return ml_tls_go_on_later(self);
    }
    if (ml_tls_flushing(self) < 0) {
        return -1;
    }
    return ml_tls_steer(self);
}

/* What was written has to be on its way, and what came before the end of the connection with the
 * program, before TLS is ended. */
int
ml_tls_flushing(ml_tls *self)
{
    if (ml_tls_is_inside(self) || (self->paused && !self->closed)) {
        return 0;
    }
    if (start_shutdown_timer(self) < 0 || ml_tls_read(self) < 0) {
        return -1;
    }
    if (self->stage != TLS_FLUSHING || self->failed) {
        return 0;
    }
    if (!self->closed && !self->ended && ml_tls_has_input(self)) {
        return 0; /* the next turn goes on with it */
    }
    if (ml_tls_flush(self) < 0) {
        return -1;
    }
    if (self->stage != TLS_FLUSHING || self->failed || self->stream.len > 0) {
        return 0;
    }
    become(self, TLS_SHUTDOWN);
    return ml_tls_shutdown(self);
}

int
ml_tls_call_eof(ml_tls *self)
{
    if (self->told != TOLD_MADE || self->protocol == NULL) {
        return 0;
    }
    self->told = TOLD_EOF;
    PyObject *protocol = Py_NewRef(self->protocol);
    PyObject *keep = PyObject_CallMethodNoArgs(protocol, self->loop->state->str.eof_received);
    Py_DECREF(protocol);
    int keep_open = keep ? PyObject_IsTrue(keep) : -1;
    Py_XDECREF(keep);
    if (keep_open < 0) {
        return ml_tls_fatal(self, "Error calling eof_received()");
    }
    if (keep_open) {
        PyObject *done =
            ml_diagnose(self->loop->state, "write_after_lost", "(s)",
                        "returning true from eof_received() has no effect when using ssl");
        Py_XDECREF(done);
        return done ? 0 : -1;
    }
    return 0;
}

/* TLS is at its end: the transport below sends what it has, and that is all. */
static int
shutdown_complete(ml_tls *self)
{
    if (ml_tls_call_eof(self) < 0) {
        return -1;
    }
    if (self->failed || self->lower == NULL) {
        return 0;
    }
    return start_shutdown_timer(self) < 0 ? -1 : ml_tls_lower_close(self);
}

/* The reason of the SSLError for data that the peer sent before our close_notify reached it. */
static bool
is_late_data(PyObject *exc)
{
    PyObject *reason = PyObject_GetAttrString(exc, "reason");
    bool is = reason != NULL && PyUnicode_Check(reason) &&
              PyUnicode_CompareWithASCIIString(reason, "APPLICATION_DATA_AFTER_CLOSE_NOTIFY") == 0;

    if (reason == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(reason);
    return is;
}

/* Says that this is the end. 1: the peer said so, too; 0: its answer is to come; -1: must leave. */
static int
notify(ml_tls *self)
{
    ml_ssl_names *names = self->loop->state->aio->ssl;
    int rc = ml_tls_call_object(self, "unwrap");
    PyObject *exc = rc < 0 ? ml_take_exception() : NULL;

    self->notified = true;
    rc = ml_tls_put_own(self);
    if (rc < 0 || exc == NULL) {
        Py_XDECREF(exc);
        return rc < 0 ? -1 : 1;
    }
    if (PyErr_GivenExceptionMatches(exc, names->again)) {
        Py_DECREF(exc);
        return 0;
    }
    if (is_late_data(exc)) { /* no error: the peer could not know (RFC 8446, 6.1) */
        self->dropped++;
        Py_DECREF(exc);
        return 0;
    }
    bool expected = PyErr_GivenExceptionMatches(exc, names->Error);
    ml_raise(exc);
    return expected ? ml_tls_fatal(self, "Fatal error on transport") : -1;
}

int
ml_tls_shutdown(ml_tls *self)
{
    if (self->failed || ml_tls_is_inside(self) || self->lower == NULL) {
        return 0;
    }
    if (!self->notified && !self->eof) {
        int rc = notify(self);
        if (rc) {
            return rc < 0 ? -1 : shutdown_complete(self);
        }
        if (self->failed || self->stage != TLS_SHUTDOWN) {
            return 0;
        }
    }
    if (!self->eof) {
        self->closed = true;
        if (ml_tls_read(self) < 0) {
            return -1;
        }
    }
    return self->eof || self->ended ? shutdown_complete(self) : 0;
}

/* The transport below is gone. */
void
ml_tls_lost(ml_tls *self)
{
    ml_tls_leave_queue(self);
    if (!self->in_ssl) { /* which may be reading what is queued */
        ml_tls_discard(self);
        ml_tls_release_buffers(self);
    }
    ml_tls_out_free(&self->rest);
    ml_tls_out_free(&self->io.own);
    self->closed = true;
    if (self->stage != TLS_OVER) {
        become(self, TLS_OVER);
    }
    self->native = NULL;
    Py_CLEAR(self->lower);
}

/* Keeps no context and no keys once the connection is over, though a program keeps us. */
void
ml_tls_let_go(ml_tls *self)
{
    if (self->lower == NULL && self->stage == TLS_OVER && !self->in_ssl) {
        ml_tls_bio_detach(self);
        self->ssl = NULL;
        Py_CLEAR(self->context);
        Py_CLEAR(self->inner);
        Py_CLEAR(self->object);
        Py_CLEAR(self->peercert);
        Py_CLEAR(self->extra);
    }
}
