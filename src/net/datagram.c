/* DatagramTransport: an asyncio.DatagramTransport over a UDP, Unix or other datagram socket.
 *
 * Each datagram is sent at once; only those that the socket does not take now are queued. */
#include "transport.h"
#include "transport_api.h"

#include <assert.h>
#include <errno.h>

/* One readiness brings at most this many datagrams, so that a flood does not starve others. */
#define MAX_BURST 32

/* After a call that found nothing, this many readinesses go without another try for more. */
#define PATIENCE 8

/* What a datagram costs besides its bytes, for the water marks. Before 3.13 asyncio counted none,
 * and sent no empty datagrams. */
#if PY_VERSION_HEX >= 0x030D0000
#define HEADER_SIZE 8
#define SENDS_EMPTY true
#else
#define HEADER_SIZE 0
#define SENDS_EMPTY false
#endif

typedef struct ml_datagram {
    ml_transport transport;
    PyObject *address;      /* the only one that sendto() takes, NULL: any */
    ml_addr_cache *senders; /* made with the first datagram */
    int family;
    bool connected, named; /* to an address that is not empty */
    int burst;             /* datagrams that one readiness may bring, see readable() */
    int patience;          /* full bursts to wait for before it grows again */
} ml_datagram;

static ml_datagram *
datagram_of(ml_stream *stream)
{
    return ML_CONTAINER_OF(stream, ml_datagram, transport.stream);
}

/* ---- errors -------------------------------------------------------------------------------- */

/* Hands the OSError that is set to error_received(). -1 with what that raised. */
static int
call_error_received(ml_datagram *self)
{
    ml_transport *base = &self->transport;
    PyObject *exc = ml_take_exception(), *result = NULL;

    if (base->protocol != NULL) {
        PyObject *protocol = Py_NewRef(base->protocol);
        result = PyObject_CallMethodOneArg(protocol, base->loop->state->str.error_received, exc);
        Py_DECREF(protocol);
    }
    else { /* connection_lost() was called: nobody to tell */
        result = Py_NewRef(Py_None);
    }
    Py_DECREF(exc);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* In a callback of the loop: deals with the exception that is set. -1: must leave. */
static int
handle_failure(ml_datagram *self, const char *message)
{
    ml_transport *base = &self->transport;

    if (!PyErr_ExceptionMatches(PyExc_OSError)) {
        return ml_transport_fail(base, message, true);
    }
    if (call_error_received(self) == 0) {
        return 0;
    }
    return ml_aioloop_handle_error(base->loop, "Exception in callback error_received()",
                                   (PyObject *)self, base->protocol);
}

/* ---- receiving ----------------------------------------------------------------------------- */

static size_t
most(const ml_datagram *self)
{
    size_t size = self->transport.max_size;

    return size < ML_SCRATCH_SIZE ? size : ML_SCRATCH_SIZE;
}

/* 1 and a datagram, 0 if there is none, -1 with an exception. */
static int
receive(ml_datagram *self, PyObject **data, PyObject **address)
{
    ml_aioloop *loop = self->transport.loop;
    struct sockaddr_storage from;
    socklen_t from_len = sizeof(from);
    char *scratch = ml_aioloop_scratch(loop);

    if (scratch == NULL ||
        (self->senders == NULL && (self->senders = ml_addr_cache_new()) == NULL)) {
        return -1;
    }
    ssize_t got = ml_sock_recvfrom(self->transport.stream.fd, scratch, most(self),
                                   (struct sockaddr *)&from, &from_len);
    if (got == -EAGAIN) {
        return 0;
    }
    if (got < 0) {
        ml_os_error((int)-got);
        return -1;
    }
    loop->meter->bytes_in += (size_t)got;
    *data = PyBytes_FromStringAndSize(scratch, got);
    *address = *data ? ml_addr_cached(self->senders, (struct sockaddr *)&from, from_len) : NULL;
    if (*address == NULL) {
        Py_CLEAR(*data);
        return -1;
    }
    return 1;
}

/* The same by way of the socket object, which knows how to show addresses of any family. */
static int
receive_other(ml_datagram *self, PyObject **data, PyObject **address)
{
    PyObject *size = PyLong_FromSize_t(most(self));
    PyObject *pair =
        size ? PyObject_CallMethodOneArg(self->transport.sock,
                                         self->transport.loop->state->str.recvfrom, size)
             : NULL;

    Py_XDECREF(size);
    if (pair == NULL) {
        return ml_clear_would_block() ? 0 : -1;
    }
    int rc = 1;
    if (!PyArg_ParseTuple(pair, "OO", data, address)) {
        rc = -1;
    }
    else {
        Py_INCREF(*data);
        Py_INCREF(*address);
    }
    Py_DECREF(pair);
    return rc;
}

/* Receives one datagram and hands it over. 1, 0 if there is none, -1: must leave. */
static int
receive_one(ml_datagram *self)
{
    ml_transport *base = &self->transport;
    PyObject *data, *address;
    int got = ml_addr_is_known(self->family) ? receive(self, &data, &address)
                                             : receive_other(self, &data, &address);

    if (got <= 0) {
        return got < 0 ? handle_failure(self, base->kind->read_failed) : 0;
    }
    assert(base->protocol != NULL);
    PyObject *protocol = Py_NewRef(base->protocol);
    PyObject *stack[] = {protocol, data, address};
    PyObject *result =
        PyObject_VectorcallMethod(base->loop->state->str.datagram_received, stack, 3, NULL);
    Py_DECREF(data);
    Py_DECREF(address);
    if (result == NULL) {
        got = ml_aioloop_handle_error(base->loop, "Exception in callback datagram_received()",
                                      (PyObject *)self, protocol) < 0
                  ? -1
                  : 1;
    }
    Py_XDECREF(result);
    Py_DECREF(protocol);
    return got;
}

/* As many as came before, twice as many if there are more, and half as many if there are not: so a
 * burst costs no poll for each datagram, and lone ones mostly no second call that finds nothing.
 * recvmmsg() would not pay: 0.22 us each of 8 and more, but 0.2 more than recvfrom() for one. */
static int
readable(ml_stream *stream)
{
    ml_datagram *self = datagram_of(stream);
    ml_transport *base = &self->transport;
    int limit = self->burst;

    for (int count = 0; count < limit; count++) {
        int gone = count > 0 ? ml_transport_check_owned(base) : 0;
        if (gone || !stream->reading || ml_transport_is_lost(base)) {
            return gone < 0 ? -1 : 0;
        }
        int got = receive_one(self);
        if (got <= 0) {
            self->burst = count > limit / 2 ? count : limit > 1 ? limit / 2 : 1;
            self->patience = PATIENCE;
            return got;
        }
    }
    if (self->patience > 0) {
        self->patience--;
    }
    else if (limit < MAX_BURST) {
        self->burst = limit * 2 < MAX_BURST ? limit * 2 : MAX_BURST;
    }
    return 0;
}

/* ---- sending ------------------------------------------------------------------------------- */

/* The system call. 1: sent, 0: would block, -1 with an exception. `object` is data's owner, for the
 * socket module, which is left to judge addresses that are not plain. */
static int
send_one(ml_datagram *self, PyObject *object, const void *data, size_t size, PyObject *address)
{
    ml_transport *base = &self->transport;
    ml_small_addr to;
    socklen_t to_len;
    ssize_t sent;

    ml_aioloop_touch(base->loop); /* who answers may do so at once */
    if (self->connected && (self->named || address == Py_None)) {
        sent = ml_sock_send(base->stream.fd, data, size);
    }
    else if ((self->senders != NULL && ml_addr_last(self->senders, address, &to, &to_len)) ||
             ml_addr_parse(self->family, address, &to, &to_len)) {
        if (PySys_Audit("socket.sendto", "OO", base->sock, address) < 0) {
            return -1;
        }
        sent = ml_sock_sendto(base->stream.fd, data, size, &to.any, to_len);
    }
    else {
        PyObject *stack[] = {base->sock, object, address};
        PyObject *result = PyObject_VectorcallMethod(base->loop->state->str.sendto, stack, 3, NULL);
        if (result == NULL && ml_clear_would_block()) {
            return 0;
        }
        Py_XDECREF(result);
        return result ? 1 : -1;
    }
    if (sent == -EAGAIN) {
        return 0;
    }
    if (sent < 0) {
        ml_os_error((int)-sent);
        return -1;
    }
    base->loop->meter->bytes_out += (size_t)sent;
    return 1;
}

/* Where a queued datagram goes: the queue keeps its bytes, or a pair of bytes and address. */
static PyObject *
queued_address(PyObject *object)
{
    return PyTuple_CheckExact(object) ? PyTuple_GET_ITEM(object, 1) : Py_None;
}

/* Of the queue, until it is empty or the socket full. After an error the rest waits for the next
 * turn, as in stock asyncio. */
static int
send_queue(ml_stream *stream)
{
    ml_datagram *self = datagram_of(stream);

    while (stream->len > 0) {
        ml_chunk chunk = stream->queue[stream->head];
        PyObject *object = Py_NewRef(chunk.object);
        PyObject *bytes = PyTuple_CheckExact(object) ? PyTuple_GET_ITEM(object, 0) : object;
        int sent = send_one(self, bytes, chunk.data, chunk.size, queued_address(object));
        /* The socket module may have run Python code: it may be another queue by now. */
        bool first = stream->len > 0 && stream->queue[stream->head].object == object;
        if (sent != 0 && first) {
            ml_stream_pop(stream);
        }
        Py_DECREF(object);
        if (sent < 0) {
            return handle_failure(self, self->transport.kind->write_failed);
        }
        if (sent == 0 || stream->fd < 0) {
            return 0;
        }
    }
    return 0;
}

static int
queue_one(ml_datagram *self, PyObject *data, PyObject *address)
{
    PyObject *bytes = PyBytes_CheckExact(data) ? Py_NewRef(data) : PyBytes_FromObject(data);

    if (bytes == NULL) {
        return -1;
    }
    const char *start = PyBytes_AS_STRING(bytes);
    size_t size = (size_t)PyBytes_GET_SIZE(bytes);
    PyObject *object = address == Py_None ? Py_NewRef(bytes) : PyTuple_Pack(2, bytes, address);
    int rc = object ? ml_stream_queue(&self->transport.stream, object, start, size) : -1;
    Py_XDECREF(object);
    Py_DECREF(bytes);
    return rc < 0 ? rc : ml_stream_block(&self->transport.stream);
}

/* 1: sent, or its failure was told; 0: would block; -1 with an exception. */
static int
try_sending(ml_datagram *self, PyObject *data, PyObject *address)
{
    ml_transport *base = &self->transport;
    int sent;

    if (PyBytes_CheckExact(data)) {
        sent =
            send_one(self, data, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data), address);
    }
    else {
        Py_buffer view;
        if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
            return ml_transport_fatal(base, base->kind->write_failed) < 0 ? -1 : 1;
        }
        sent = send_one(self, data, view.buf, (size_t)view.len, address);
        PyBuffer_Release(&view);
    }
    if (sent >= 0) {
        return sent;
    }
    if (PyErr_ExceptionMatches(PyExc_OSError)) {
        return call_error_received(self) < 0 ? -1 : 1;
    }
    return ml_transport_fail(base, base->kind->write_failed, true) < 0 ? -1 : 1;
}

static int
check_address(ml_datagram *self, PyObject *address)
{
    if (address == Py_None || address == self->address) {
        return 0;
    }
    int same = PyObject_RichCompareBool(address, self->address, Py_EQ);
    if (same == 0) {
        PyErr_Format(PyExc_ValueError, "Invalid address: must be None or %S", self->address);
    }
    return same > 0 ? 0 : -1;
}

static int
send_or_queue(ml_datagram *self, PyObject *data, PyObject *address)
{
    ml_transport *base = &self->transport;

    Py_ssize_t size = SENDS_EMPTY ? 1 : ml_transport_data_size(data);

    if (size <= 0) {
        return (int)size;
    }
    if (self->address != NULL) {
        if (check_address(self, address) < 0) {
            return -1;
        }
        address = self->address;
    }
    if ((ml_transport_is_lost(base) && self->address != NULL) || base->stream.fd < 0) {
        return ml_transport_count_lost_write(base);
    }
    int gone = ml_transport_check_owned(base);
    if (gone) {
        return gone < 0 ? -1 : 0;
    }
    if (base->stream.len == 0) {
        int sent = try_sending(self, data, address);
        if (sent != 0 || base->stream.fd < 0) {
            return sent < 0 ? -1 : 0;
        }
    }
    return queue_one(self, data, address);
}

static PyObject *
datagram_sendto(ml_datagram *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    static const ml_params params = {"sendto", {"data", "addr"}, .places = 2, .needed = 1};
    PyObject *values[2] = {NULL};

    if (ml_take_args(&params, args, nargs, kwnames, values) < 0) {
        return NULL;
    }
    if (!ml_transport_is_data(values[0])) {
        return ml_none_or_error(ml_transport_type_error(values[0]));
    }
    PyObject *data = ml_transport_plain_data(values[0]);
    int rc = data ? send_or_queue(self, data, values[1] ? values[1] : Py_None)
                  : ml_transport_fatal(&self->transport, self->transport.kind->write_failed);
    Py_XDECREF(data);
    return ml_none_or_error(rc);
}

static const ml_transport_kind datagram_kind = {
    .sink =
        {
            .readable = readable,
            .send = send_queue,
            .overhead = HEADER_SIZE,
            ML_PROTOCOL_SINK,
        },
    .calls = &ml_sock_calls,
    .is_socket = true,
    .read_failed = "Fatal read error on datagram transport",
    .write_failed = "Fatal write error on datagram transport",
    .lost_write = "socket.send() raised exception.",
};

/* ---- making -------------------------------------------------------------------------------- */

static void
find_peer(ml_datagram *self)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    ml_transport *base = &self->transport;

    self->connected = ml_sock_peer(base->stream.fd, (struct sockaddr *)&peer, &len);
    self->named = self->connected && len > sizeof(peer.ss_family);
    if (self->connected && len <= sizeof(base->addr[ADDR_PEER])) {
        memcpy(&base->addr[ADDR_PEER], &peer, len);
        base->addr_len[ADDR_PEER] = (unsigned char)len;
    }
}

PyObject *
ml_make_datagram_transport(ml_aioloop *loop, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"sock", "protocol", "address", "waiter", "extra", NULL};
    ml_transport_args made = {0};
    PyObject *address = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OOO:_make_datagram_transport", keywords,
                                     &made.sock, &made.protocol, &address, &made.waiter,
                                     &made.extra)) {
        return NULL;
    }
    int has_address = PyObject_IsTrue(address);
    int fd = has_address < 0 ? -1 : ml_fd_from_object(made.sock);
    if (fd < 0 || ml_aioloop_check_fd(loop, made.sock, fd) < 0) {
        return NULL;
    }
    int family = ml_sock_family(fd);
    if (family < 0) {
        return ml_os_error(-family);
    }
    ml_datagram *self = (ml_datagram *)ml_transport_alloc(loop, loop->state->DatagramTransport,
                                                          &datagram_kind, fd, &made);
    if (self == NULL) {
        return NULL;
    }
    self->address = has_address ? Py_NewRef(address) : NULL;
    self->family = family;
    self->burst = 1;
    find_peer(self);
    return ml_transport_begin(&self->transport);
}

static int
datagram_traverse(ml_datagram *self, visitproc visit, void *arg)
{
    Py_VISIT(self->address);
    return ml_transport_traverse(&self->transport, visit, arg);
}

static int
datagram_clear(ml_datagram *self)
{
    Py_CLEAR(self->address);
    return ml_transport_clear(&self->transport);
}

static void
datagram_dealloc(ml_datagram *self)
{
    if (PyObject_CallFinalizerFromDealloc((PyObject *)self) < 0) {
        return;
    }
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->address);
    ml_addr_cache_free(self->senders);
    ml_transport_dealloc(&self->transport);
}

static PyMethodDef datagram_methods[] = {
    ML_TRANSPORT_METHODS,
    ML_READ_METHODS,
    ML_FLOW_METHODS,
    {"sendto", ML_FUNCTION(datagram_sendto), ML_FAST_KEYWORDS,
     PyDoc_STR("sendto($self, /, data, addr=None)\n--\n\n"
               "Sends a datagram to addr, or to where the socket is connected; never blocks.")},
    ML_NOARGS("close", ml_transport_py_close,
              "Sends what is queued, then calls connection_lost(None)."),
    ML_NOARGS("abort", ml_transport_py_abort,
              "Drops what is queued and calls connection_lost(None)."),
    {NULL},
};

static PyType_Slot datagram_slots[] = {
    {Py_tp_doc, PyDoc_STR("The asyncio.DatagramTransport of a UDP or Unix datagram socket.")},
    {Py_tp_dealloc, datagram_dealloc},
    {Py_tp_finalize, ml_transport_finalize},
    {Py_tp_traverse, datagram_traverse},
    {Py_tp_clear, datagram_clear},
    {Py_tp_repr, ml_transport_repr},
    {Py_tp_methods, datagram_methods},
    {Py_tp_getset, ml_transport_getset},
    {Py_tp_members, ml_transport_members},
    {0, NULL},
};

PyType_Spec ml_datagramtransport_spec = {
    .name = "moodloop._core.DatagramTransport",
    .basicsize = sizeof(ml_datagram),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = datagram_slots,
};
