#include "transport.h"
#include "transport_api.h"
#include "../aio/context.h"

#include <errno.h>
#include <unistd.h>

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
    ml_base_unset_transport(self->loop, fd, (PyObject *)self);
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

static int
detach_server(ml_transport *self)
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

static int
attach_server(ml_transport *self)
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

/* Calls connection_lost(exc), then lets go of everything. */
static int
run_lost(ml_ready *ready)
{
    ml_transport *self = ML_CONTAINER_OF(ready, ml_transport, lost);
    ml_base *loop = self->loop;
    PyObject *protocol = Py_XNewRef(self->protocol), *exc = self->lost_exc;
    int rc = 0;

    self->lost_exc = NULL;
    if (protocol != NULL) {
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
            rc = ml_base_handle_error(loop, "Exception in callback connection_lost()",
                                      (PyObject *)self, protocol);
        }
        Py_XDECREF(result);
        Py_DECREF(protocol);
    }
    Py_XDECREF(exc);
    PyObject *raised = rc < 0 ? ml_take_exception() : NULL;
    close_descriptor(self);
    ml_transport_settle_waiter(self);
    Py_CLEAR(self->protocol);
    rc = detach_server(self);
    if (rc < 0) {
        rc = ml_base_handle_error(loop, "Server._detach() failed", (PyObject *)self, NULL);
    }
    return ml_raise_again(raised, rc, (PyObject *)self);
}

int
ml_transport_schedule_lost(ml_transport *self, PyObject *exc)
{
    if (ml_base_check_closed(self->loop) < 0) {
        return -1; /* nobody will call connection_lost(), as with stock asyncio */
    }
    self->conn_lost++;
    Py_XSETREF(self->lost_exc, exc && exc != Py_None ? Py_NewRef(exc) : NULL);
    ml_transport_settle_waiter(self); /* a sendfile lets go before the descriptor is closed */
    return ml_base_push_ready(self->loop, &self->lost);
}

int
ml_transport_close(ml_transport *self)
{
    if (self->closing) {
        return 0;
    }
    self->closing = true;
    if (self->stream.queued == 0 && !self->conn_lost && !self->loop->closed) {
        ml_stream_ignore(&self->stream); /* it is closed in the next turn */
        return ml_transport_schedule_lost(self, NULL);
    }
    if (ml_stream_read(&self->stream, false) < 0) {
        return -1;
    }
    if (self->stream.queued > 0) {
        /* ml_transport_drained() goes on when all is sent */
        return ml_stream_untried(&self->stream) ? ml_stream_flush(&self->stream) : 0;
    }
    return self->conn_lost ? 0 : ml_transport_schedule_lost(self, NULL);
}

int
ml_transport_force_close(ml_transport *self, PyObject *exc)
{
    /* What the protocol wrote before it raised, an answer or an alert, goes out all the same. */
    if (!self->conn_lost && ml_stream_untried(&self->stream) &&
        ml_stream_flush(&self->stream) < 0) {
        return -1;
    }
    if (self->conn_lost) {
        return 0;
    }
    self->closing = true;
    ml_stream_discard(&self->stream);
    if (ml_stream_stop(&self->stream) < 0) {
        return -1;
    }
    return ml_transport_schedule_lost(self, exc);
}

int
ml_transport_log(ml_transport *self, const char *name)
{
    if (!self->loop->debug) {
        return 0;
    }
    PyObject *done = ml_diagnose(self->loop->state, name, "(O)", self);
    if (done == NULL) {
        return ml_base_handle_error(self->loop, "logging failed", (PyObject *)self, NULL);
    }
    Py_DECREF(done);
    return 0;
}

int
ml_transport_fatal(ml_transport *self, const char *message)
{
    return ml_transport_fail(self, message, !PyErr_ExceptionMatches(PyExc_OSError));
}

int
ml_transport_fail(ml_transport *self, const char *message, bool report)
{
    PyObject *exc = ml_take_exception();
    int rc = 0;

    if (ml_is_fatal_exc(exc)) {
        ml_raise(exc);
        return -1;
    }
    if (report) {
        ml_raise(Py_NewRef(exc));
        rc = ml_base_handle_error(self->loop, message, (PyObject *)self, self->protocol);
    }
    else if (self->loop->debug) {
        PyObject *done =
            ml_diagnose(self->loop->state, "connection_error", "(OsO)", self, message, exc);
        if (done == NULL) {
            rc = ml_base_handle_error(self->loop, message, (PyObject *)self, self->protocol);
        }
        Py_XDECREF(done);
    }
    int closed = ml_transport_force_close(self, exc);
    Py_DECREF(exc);
    return rc < 0 ? rc : closed;
}

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
ml_transport_check_owned(ml_transport *self)
{
    if (self->sock == NULL || self->stream.fd < 0) {
        return 0;
    }
    long fd = ask_number(self);
    if (fd == self->stream.fd) {
        return 0;
    }
    PyErr_Clear();
    fd = self->stream.fd;
    ml_stream_detach(&self->stream);
    ml_base_unset_transport(self->loop, (int)fd, (PyObject *)self);
    ml_os_error(EBADF);
    return ml_transport_fatal(self, "The socket of a transport was closed behind its back") < 0 ? -1
                                                                                                : 1;
}

/* ---- events ------------------------------------------------------------------------------ */

static int
complete_waiter(ml_transport *self)
{
    ml_base *loop = self->loop;
    PyObject *waiter = self->waiter;

    self->waiter = NULL;
    if (waiter == NULL) {
        return 0;
    }
    PyObject *done = PyObject_CallMethodNoArgs(waiter, loop->state->str.done);
    int is_done = done ? PyObject_IsTrue(done) : -1;
    Py_XDECREF(done);
    if (is_done == 0) {
        PyObject *result = PyObject_CallMethodOneArg(waiter, loop->state->str.set_result, Py_None);
        is_done = result ? 0 : -1;
        Py_XDECREF(result);
    }
    Py_DECREF(waiter);
    return is_done < 0
               ? ml_base_handle_error(loop, "a transport's waiter failed", (PyObject *)self, NULL)
               : 0;
}

/* The first entry in the ring: connection_made(), then reading, then the waiter. The last two
 * happen even if the first raises what leaves run_forever(): the loop may be run again. */
static int
start(ml_transport *self)
{
    ml_base *loop = self->loop;
    PyObject *protocol = Py_NewRef(self->protocol), *left = NULL;
    PyObject *result =
        PyObject_CallMethodOneArg(protocol, loop->state->str.connection_made, (PyObject *)self);

    if (result == NULL && ml_base_handle_error(loop, "Exception in callback connection_made()",
                                               (PyObject *)self, protocol) < 0) {
        left = ml_take_exception();
    }
    Py_XDECREF(result);
    Py_DECREF(protocol);
    int rc = 0;
    if (!self->closing && !self->reading_paused) {
        rc = ml_stream_read(&self->stream, true);
    }
    if (rc == 0) {
        rc = complete_waiter(self);
    }
    return ml_raise_again(left, rc, (PyObject *)self);
}

static int
handle_events(ml_transport *self)
{
    ml_stream *stream = &self->stream;
    int revents = stream->revents, rc = 0;

    stream->revents = 0;
    if (!self->made) {
        self->made = true;
        return start(self);
    }
    if (stream->refused) {
        int error = stream->refused;
        stream->refused = 0;
        return stream->sink->write_failed(stream, error);
    }
    int gone = ml_transport_check_owned(self);
    if (gone) {
        return gone < 0 ? -1 : 0;
    }
    if ((revents & (EV_READ | EV_ERROR)) && stream->reading && stream->fd >= 0) {
        rc = stream->sink->readable(stream);
    }
    if (rc == 0 && (revents & (EV_WRITE | EV_ERROR)) && stream->blocked && stream->fd >= 0) {
        rc = ml_stream_flush(stream);
    }
    return rc;
}

static int
run_events(ml_ready *ready)
{
    ml_transport *self = ML_CONTAINER_OF(ready, ml_transport, stream.ready);
    PyObject *context = ml_context_enter(self->loop, &self->context);

    if (context == NULL) {
        return ml_base_handle_error(self->loop, "cannot enter the context of a transport",
                                    (PyObject *)self, self->protocol);
    }
    int rc = handle_events(self);
    ml_context_leave(self->loop, &self->context, context);
    return rc;
}

/* ---- making ------------------------------------------------------------------------------ */

static PyObject *
none_is_null(PyObject *object)
{
    return object == Py_None ? NULL : object;
}

/* What has no connection_made() is no protocol: to be told now, not by the loop when a connection
 * stands that nobody serves. */
static int
check_protocol(ml_base *loop, PyObject *protocol)
{
    PyObject *method = PyObject_GetAttr(protocol, loop->state->str.connection_made);

    Py_XDECREF(method);
    return method ? 0 : -1;
}

ml_transport *
ml_transport_alloc(ml_base *loop, PyTypeObject *type, const ml_transport_kind *kind, int fd,
                   const ml_transport_args *args)
{
    PyObject *extra = none_is_null(args->extra), *context = none_is_null(args->context);
    bool failed = false;

    if (ml_base_check_closed(loop) < 0) {
        return NULL;
    }
    if (extra != NULL && !PyDict_Check(extra)) {
        PyErr_SetString(PyExc_TypeError, "extra must be a dict or None");
        return NULL;
    }
    if (check_protocol(loop, args->protocol) < 0) {
        return NULL;
    }
    ml_transport *self = (ml_transport *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->loop = (ml_base *)Py_NewRef((PyObject *)loop);
    self->kind = kind;
    ml_stream_init(&self->stream, loop, (PyObject *)self, -1, &kind->sink, kind->calls, run_events);
    self->lost = (ml_ready){.run = run_lost, .owner = (PyObject *)self};
    self->waiter = Py_XNewRef(none_is_null(args->waiter));
    self->extra = extra ? PyDict_Copy(extra) : NULL;
    self->context = context ? Py_NewRef(context) : ml_context_capture(&failed);
    if (failed || (extra != NULL && self->extra == NULL) ||
        ml_transport_set_protocol(self, args->protocol) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    /* Last: what fails before closes nothing. */
    self->sock = Py_XNewRef(none_is_null(args->sock));
    self->server = Py_XNewRef(none_is_null(args->server));
    self->stream.fd = self->stream.held.fdw.ev.fd = fd;
    return self;
}

void
ml_transport_claim(ml_base *loop, int fd)
{
    PyObject *stale = ml_base_transport_of(loop, fd);

    if (stale != NULL) {  /* its socket was closed behind its back: the number is ours now */
        Py_INCREF(stale); /* which may be all that keeps it */
        ml_stream_detach(&((ml_transport *)stale)->stream);
        ml_base_unset_transport(loop, fd, stale);
        Py_DECREF(stale);
    }
}

static int
know_descriptor(ml_transport *self)
{
    if (!self->kind->is_socket) {
        return 0;
    }
    ml_transport_claim(self->loop, self->stream.fd);
    return ml_base_set_transport(self->loop, self->stream.fd, (PyObject *)self);
}

PyObject *
ml_transport_begin(ml_transport *self)
{
    ml_base *loop = self->loop;

    if (know_descriptor(self) == 0 && attach_server(self) == 0) {
        if (ml_base_push_ready(loop, &self->stream.ready) == 0) {
            return (PyObject *)self;
        }
        PyObject *exc = ml_take_exception();
        if (detach_server(self) < 0) {
            ml_unraisable((PyObject *)self);
        }
        ml_raise(exc);
    }
    ml_base_unset_transport(loop, self->stream.fd, (PyObject *)self);
    ml_transport_forgo(self);
    return NULL;
}

void
ml_transport_forgo(ml_transport *self)
{
    self->stream.fd = -1;
    Py_DECREF(self);
}

PyObject *
ml_transport_new(ml_base *loop, int fd, const ml_transport_args *args, const struct sockaddr *peer,
                 socklen_t peer_len)
{
    ml_transport *self =
        ml_transport_alloc(loop, loop->state->StreamTransport, &ml_stream_kind, fd, args);

    if (self == NULL) {
        return NULL;
    }
    if (peer != NULL && peer_len <= sizeof(self->addr[ADDR_PEER])) {
        memcpy(&self->addr[ADDR_PEER], peer, peer_len);
        self->addr_len[ADDR_PEER] = (unsigned char)peer_len;
    }
    else {
        ml_transport_remember_addr(self, ADDR_PEER);
    }
    ml_sock_nodelay(fd);
    return ml_transport_begin(self);
}

PyObject *
ml_make_socket_transport(ml_base *loop, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"sock", "protocol", "waiter", "extra", "server", "context", NULL};
    ml_transport_args made = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O$OOO:_make_socket_transport", keywords,
                                     &made.sock, &made.protocol, &made.waiter, &made.extra,
                                     &made.server, &made.context)) {
        return NULL;
    }
    int fd = ml_fd_from_object(made.sock);
    if (fd < 0 || ml_base_check_fd(loop, made.sock, fd) < 0) {
        return NULL;
    }
    if (!ml_sock_is_open(fd)) {
        return ml_os_error(EBADF);
    }
    return ml_transport_new(loop, fd, &made, NULL, 0);
}

int
ml_transport_traverse(ml_transport *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->extra);
    Py_VISIT(self->dict);
    Py_VISIT(self->protocol);
    Py_VISIT(self->sock);
    Py_VISIT(self->fileno);
    Py_VISIT(self->server);
    Py_VISIT(self->waiter);
    Py_VISIT(self->context);
    Py_VISIT(self->empty_waiter);
    Py_VISIT(self->lost_exc);
    Py_VISIT(self->loop);
    return ml_stream_traverse(&self->stream, visit, arg);
}

int
ml_transport_clear(ml_transport *self)
{
    Py_CLEAR(self->extra);
    Py_CLEAR(self->dict);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->server);
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->context);
    Py_CLEAR(self->empty_waiter);
    Py_CLEAR(self->lost_exc);
    return 0;
}

static void
close_abandoned(ml_transport *self)
{
    PyObject *exc = ml_take_exception();
    if (PyErr_ResourceWarning((PyObject *)self, 1, "unclosed transport %R", (PyObject *)self) < 0) {
        ml_unraisable((PyObject *)self);
    }
    close_descriptor(self);
    if (detach_server(self) < 0) {
        ml_unraisable((PyObject *)self);
    }
    if (exc != NULL) {
        ml_raise(exc);
    }
}

void
ml_transport_finalize(ml_transport *self)
{
    if (self->loop != NULL && self->stream.fd >= 0) {
        close_abandoned(self);
    }
    ml_clients_remove(self); /* the collector clears it next, and nobody is to find it then */
}

void
ml_transport_dealloc(ml_transport *self)
{
    PyTypeObject *type = Py_TYPE(self);

    if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    if (self->weaklist != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    ml_transport_clear(self);
    Py_CLEAR(self->fileno);
    Py_CLEAR(self->sock);
    if (self->loop != NULL) {
        ml_stream_discard(&self->stream);
    }
    Py_CLEAR(self->loop);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot transport_slots[] = {
    {Py_tp_doc, PyDoc_STR("The asyncio.Transport of a TCP or Unix stream connection.")},
    {Py_tp_dealloc, ml_transport_dealloc},
    {Py_tp_finalize, ml_transport_finalize},
    {Py_tp_traverse, ml_transport_traverse},
    {Py_tp_clear, ml_transport_clear},
    {Py_tp_repr, ml_transport_repr},
    {Py_tp_methods, ml_stream_methods},
    {Py_tp_getset, ml_transport_getset},
    {Py_tp_members, ml_transport_members},
    {0, NULL},
};

/* asyncio.Transport is a base, so the struct starts with its one slot, `_extra`: ml_aio_init()
 * checks that this is still its layout. */
PyType_Spec ml_streamtransport_spec = {
    .name = "moodloop._core.StreamTransport",
    .basicsize = sizeof(ml_transport),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = transport_slots,
};
