#include "transport.h"
#include "transport_api.h"
#include "../aio/context.h"

#include <errno.h>

/* ---- events ------------------------------------------------------------------------------ */

static int
complete_waiter(ml_transport *self)
{
    ml_aioloop *loop = self->loop;
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
    return is_done < 0 ? ml_aioloop_handle_error(loop, "a transport's waiter failed",
                                                 (PyObject *)self, NULL)
                       : 0;
}

static int
handle_events(ml_transport *self)
{
    ml_stream *stream = &self->stream;
    int revents = stream->revents, refused = stream->refused, rc = 0;
    bool hung_up = stream->hung_up && stream->sink->hung_up != NULL;

    stream->revents = stream->refused = 0;
    stream->hung_up = false;
    if (refused && stream->fd >= 0) {
        ml_os_error(refused);
        return refused == EBADF
                   ? ml_transport_forsake(self)
                   : ml_transport_fatal(self, "The kernel refused to watch a transport");
    }
    int gone = ml_transport_check_owned(self);
    if (gone) {
        return gone < 0 ? -1 : 0;
    }
    if (!stream->reading && !stream->blocked) {
        return hung_up && stream->fd >= 0 ? stream->sink->hung_up(stream) : 0;
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
in_context(ml_ready *ready, int (*work)(ml_transport *))
{
    ml_transport *self = ML_CONTAINER_OF(ready, ml_transport, stream.ready);
    PyObject *context = ml_context_enter(self->loop, &self->context);

    if (context == NULL) {
        return ml_aioloop_handle_error(self->loop, "cannot enter the context of a transport",
                                       (PyObject *)self, self->protocol);
    }
    int rc = work(self);
    ml_context_leave(self->loop, &self->context, context);
    return rc;
}

static int
run_events(ml_ready *ready)
{
    return in_context(ready, handle_events);
}

/* The first entry in the ring: connection_made(), then reading, then the waiter. The last two
 * happen even if the first raises what leaves run_forever(): the loop may be run again. */
static int
start(ml_transport *self)
{
    if (self->life == ML_GONE) { /* the collector took it and its loop, which is run all the same */
        return 0;
    }
    ml_aioloop *loop = self->loop;
    PyObject *protocol = Py_NewRef(self->protocol), *left = NULL;

    ml_transport_opened(self);
    PyObject *result =
        PyObject_CallMethodOneArg(protocol, loop->state->str.connection_made, (PyObject *)self);
    if (result == NULL && ml_aioloop_handle_error(loop, "Exception in callback connection_made()",
                                                  (PyObject *)self, protocol) < 0) {
        left = ml_take_exception();
    }
    Py_XDECREF(result);
    Py_DECREF(protocol);
    int rc = 0;
    if (self->life == ML_OPEN && self->reading_paused) {
        if (self->kind->sink.unwatched != NULL) {
            self->kind->sink.unwatched(&self->stream);
        }
    }
    else if (self->life == ML_OPEN && ml_stream_read(&self->stream) < 0) {
        PyObject *exc = left ? ml_take_exception() : NULL;
        rc = exc ? ml_transport_force_close(self, exc)
                 : ml_transport_fatal(self, self->kind->read_failed);
        Py_XDECREF(exc);
    }
    if (rc == 0) {
        rc = complete_waiter(self);
    }
    return ml_raise_again(left, rc, (PyObject *)self);
}

static int
run_start(ml_ready *ready)
{
    ready->run = run_events;
    return in_context(ready, start);
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
check_protocol(ml_aioloop *loop, PyObject *protocol)
{
    PyObject *method = PyObject_GetAttr(protocol, loop->state->str.connection_made);

    Py_XDECREF(method);
    return method ? 0 : -1;
}

ml_transport *
ml_transport_alloc(ml_aioloop *loop, PyTypeObject *type, const ml_transport_kind *kind, int fd,
                   const ml_transport_args *args)
{
    PyObject *extra = none_is_null(args->extra), *context = none_is_null(args->context);
    bool failed = false;

    if (ml_aioloop_check_closed(loop) < 0) {
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
    self->loop = (ml_aioloop *)Py_NewRef((PyObject *)loop);
    self->kind = kind;
    self->max_size = ML_SCRATCH_SIZE;
    ml_stream_init(&self->stream, loop, (PyObject *)self, -1, &kind->sink, kind->calls, run_start);
    self->lost = (ml_ready){.run = ml_transport_run_lost, .owner = (PyObject *)self};
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

static int
know_descriptor(ml_transport *self)
{
    if (!self->kind->is_socket) {
        return 0;
    }
    if (ml_transport_claim(self->loop, self->stream.fd) < 0) {
        return -1;
    }
    return ml_aioloop_set_transport(self->loop, self->stream.fd, (PyObject *)self);
}

PyObject *
ml_transport_begin(ml_transport *self)
{
    ml_aioloop *loop = self->loop;

    if (ml_aioloop_check_closed(loop) == 0 && know_descriptor(self) == 0 &&
        ml_transport_attach_server(self) == 0) {
        if (ml_aioloop_check_closed(loop) == 0 && /* the server's method may have closed it */
            ml_aioloop_push_ready(loop, &self->stream.ready) == 0) {
            self->counted = true;
            loop->meter->transports++;
            return (PyObject *)self;
        }
        PyObject *exc = ml_take_exception();
        ml_raise_again(exc, ml_transport_detach_server(self), (PyObject *)self);
    }
    ml_aioloop_unset_transport(loop, self->stream.fd, (PyObject *)self);
    ml_transport_forgo(self);
    return NULL;
}

PyObject *
ml_transport_new(ml_aioloop *loop, int fd, const ml_transport_args *args,
                 const struct sockaddr *peer, socklen_t peer_len)
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
ml_make_socket_transport(ml_aioloop *loop, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"sock", "protocol", "waiter", "extra", "server", "context", NULL};
    ml_transport_args made = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|O$OOO:_make_socket_transport", keywords,
                                     &made.sock, &made.protocol, &made.waiter, &made.extra,
                                     &made.server, &made.context)) {
        return NULL;
    }
    int fd = ml_fd_from_object(made.sock);
    if (fd < 0 || ml_aioloop_check_fd(loop, made.sock, fd) < 0) {
        return NULL;
    }
    if (!ml_sock_is_open(fd)) {
        return ml_os_error(EBADF);
    }
    PyObject *transport = ml_transport_new(loop, fd, &made, NULL, 0);
    if (transport != NULL) { /* of accept(), by way of the socket object, or not */
        *(none_is_null(made.server) ? &loop->meter->accepted : &loop->meter->connected) += 1;
    }
    return transport;
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
