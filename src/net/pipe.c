/* ReadPipeTransport and WritePipeTransport: a pipe, FIFO, terminal or socket that is used in one
 * direction through the file object that was handed in. */
#include "transport.h"
#include "transport_api.h"

#include <errno.h>
#include <sys/stat.h>

/* ---- reading ------------------------------------------------------------------------------- */

static int
read_eof(ml_transport *self)
{
    if (ml_transport_log(self, "closed_by_peer") < 0 || ml_transport_close(self) < 0) {
        return -1;
    }
    PyObject *result = ml_transport_call(self, self->loop->state->str.eof_received, NULL);
    if (result == NULL) {
        return ml_aioloop_handle_error(self->loop, "Exception in callback eof_received()",
                                       (PyObject *)self, self->protocol);
    }
    Py_DECREF(result);
    return 0;
}

/* Unlike a connection, a pipe goes on after the protocol raised. */
static int
receiver_failed(ml_transport *self, const char *message)
{
    return ml_aioloop_handle_error(self->loop, message, (PyObject *)self, self->protocol);
}

/* EIO is how a terminal says that its other end is gone, and no byte is lost: the end, as of a
 * pipe. */
static int
read_failed(ml_transport *self, int error)
{
    if (error == EIO && ml_file_type(self->stream.fd) == S_IFCHR) {
        return read_eof(self);
    }
    ml_os_error(error);
    return ml_transport_fail(self, self->kind->read_failed, error != EIO);
}

static const ml_transport_kind read_kind = {
    .sink =
        {
            .readable = ml_transport_readable,
            ML_PROTOCOL_SINK,
        },
    .calls = &ml_pipe_calls,
    .read_error = read_failed,
    .read_failed = "Fatal read error on pipe transport",
    .eof = read_eof,
    .receiver_failed = receiver_failed,
};

/* ---- writing ------------------------------------------------------------------------------- */

/* The write end of a pipe is readable when all its readers are gone. */
static int
peer_closed(ml_stream *stream)
{
    ml_transport *self = ML_CONTAINER_OF(stream, ml_transport, stream);
    PyObject *exc = NULL;

    if (ml_transport_log(self, "closed_by_peer") < 0) {
        return -1;
    }
    if (stream->queued > 0 && (exc = PyObject_CallNoArgs(PyExc_BrokenPipeError)) == NULL) {
        return ml_transport_fatal(self, self->kind->write_failed);
    }
    int rc = ml_transport_force_close(self, exc);
    Py_XDECREF(exc);
    return rc;
}

static const ml_transport_kind write_kind = {
    .sink =
        {
            .readable = peer_closed,
            ML_PROTOCOL_SINK,
        },
    .calls = &ml_pipe_calls,
    .write_only = true,
    .write_failed = "Fatal write error on pipe transport",
    .lost_write = "pipe closed by peer or os.write(pipe, data) raised exception.",
};

/* ---- making -------------------------------------------------------------------------------- */

/* A transport for the file object, or NULL; *type is its file type. */
static ml_transport *
make(ml_aioloop *loop, PyTypeObject *class, const ml_transport_kind *kind, const char *refused,
     PyObject *args, PyObject *kwargs, int *type)
{
    static char *keywords[] = {"pipe", "protocol", "waiter", "extra", NULL};
    ml_transport_args made = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OO:pipe transport", keywords, &made.sock,
                                     &made.protocol, &made.waiter, &made.extra)) {
        return NULL;
    }
    PyObject *number = PyObject_CallMethodNoArgs(made.sock, loop->state->str.fileno);
    int fd = number ? ml_fd_from_object(number) : -1;
    Py_XDECREF(number);
    if (fd < 0) {
        return NULL;
    }
    *type = ml_file_type(fd);
    if (*type < 0) {
        ml_os_error(-*type);
        return NULL;
    }
    if (*type != S_IFIFO && *type != S_IFSOCK && *type != S_IFCHR) {
        PyErr_SetString(PyExc_ValueError, refused);
        return NULL;
    }
    int rc = ml_file_set_nonblocking(fd);
    if (rc < 0) {
        ml_os_error(-rc);
        return NULL;
    }
    ml_transport *self = ml_transport_alloc(loop, class, kind, fd, &made);
    if (self != NULL && (*type == S_IFSOCK  ? ml_sock_type(fd) != SOCK_STREAM
                         : *type == S_IFIFO ? ml_pipe_keeps_packets(fd)
                                            : false)) {
        self->stream.calls = &ml_message_calls;
    }
    return self;
}

PyObject *
ml_make_read_pipe_transport(ml_aioloop *loop, PyObject *args, PyObject *kwargs)
{
    int type;
    ml_transport *self = make(loop, loop->state->ReadPipeTransport, &read_kind,
                              "Pipe transport is for pipes/sockets only.", args, kwargs, &type);

    if (self != NULL && ml_aioloop_drop_reader(loop, self->stream.fd) < 0) {
        ml_transport_forgo(self);
        return NULL;
    }
    return self ? ml_transport_begin(self) : NULL;
}

PyObject *
ml_make_write_pipe_transport(ml_aioloop *loop, PyObject *args, PyObject *kwargs)
{
    int type;
    ml_transport *self = make(loop, loop->state->WritePipeTransport, &write_kind,
                              "Pipe transport is only for pipes, sockets and character devices",
                              args, kwargs, &type);

    if (self == NULL) {
        return NULL;
    }
    /* What a terminal has to read is not ours, and does not say that it was closed. */
    self->reading_paused = type == S_IFCHR;
    if (ml_aioloop_drop_writer(loop, self->stream.fd) < 0 ||
        (!self->reading_paused && ml_aioloop_drop_reader(loop, self->stream.fd) < 0)) {
        ml_transport_forgo(self);
        return NULL;
    }
    return ml_transport_begin(self);
}

/* ---- the types ----------------------------------------------------------------------------- */

static PyMethodDef read_methods[] = {
    ML_TRANSPORT_METHODS,
    ML_READ_METHODS,
    ML_NOARGS("close", ml_transport_py_close, "Stops reading and calls connection_lost(None)."),
    {NULL},
};

static PyMethodDef write_methods[] = {
    ML_TRANSPORT_METHODS,
    ML_WRITE_METHODS,
    ML_FLOW_METHODS,
    ML_NOARGS("can_write_eof", ml_transport_py_can_write_eof, "True."),
    ML_NOARGS("write_eof", ml_transport_py_close, "The same as close()."),
    ML_NOARGS("close", ml_transport_py_close,
              "Sends what is queued, then calls connection_lost(None)."),
    ML_NOARGS("abort", ml_transport_py_abort,
              "Drops what is queued and calls connection_lost(None)."),
    {NULL},
};

#define PIPE_SPEC(Name, lower, way, doc)                                                      \
    static PyType_Slot way##_slots[] = {                                                      \
        {Py_tp_doc, PyDoc_STR(doc)},                                                          \
        {Py_tp_dealloc, ml_transport_dealloc},                                                \
        {Py_tp_finalize, ml_transport_finalize},                                              \
        {Py_tp_traverse, ml_transport_traverse},                                              \
        {Py_tp_clear, ml_transport_clear},                                                    \
        {Py_tp_repr, ml_transport_repr},                                                      \
        {Py_tp_methods, way##_methods},                                                       \
        {Py_tp_getset, ml_transport_getset},                                                  \
        {Py_tp_members, ml_transport_members},                                                \
        {0, NULL},                                                                            \
    };                                                                                        \
    PyType_Spec ml_##lower##_spec = {                                                         \
        .name = "moodloop._core." #Name,                                                      \
        .basicsize = sizeof(ml_transport),                                                    \
        .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, \
        .slots = way##_slots,                                                                 \
    }

PIPE_SPEC(ReadPipeTransport, readpipetransport, read,
          "The asyncio.ReadTransport of a pipe, FIFO, terminal or socket.");
PIPE_SPEC(WritePipeTransport, writepipetransport, write,
          "The asyncio.Transport, to write only, of a pipe, FIFO, terminal or socket.");
