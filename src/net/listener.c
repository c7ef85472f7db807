/* Listener: accepts on a listening socket. Its accept() is what add_reader() calls. */
#include "plain.h"
#include "transport.h"

#include <errno.h>
#include <unistd.h>

/* Seconds. A connection with TLS is a tenth of a millisecond's work before its first byte. */
#define ACCEPTING_IN_A_TURN 0.001

typedef struct ml_listener {
    PyObject_HEAD
    ml_aioloop *loop;
    PyObject *sock, *factory, *server;
    PyObject *context;   /* connections run in copies of it; NULL: of the current one */
    PyObject *by_object; /* called instead of all that where methods have to be: see plain.h */
    int fd, backlog;
    bool plain; /* what is accepted is what the program gets, as it is not with TLS */
} ml_listener;

static PyObject *
listener_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"loop",    "sock",  "protocol_factory", "server", "backlog",
                               "context", "plain", "by_object",        NULL};
    PyObject *loop, *sock, *factory, *server, *context, *by_object;
    int plain;
    int backlog;
    ml_state *state = ml_state_of_type(type);

    if (state == NULL || !PyArg_ParseTupleAndKeywords(
                             args, kwargs, "O!OOOiOpO:Listener", keywords, state->LoopBase, &loop,
                             &sock, &factory, &server, &backlog, &context, &plain, &by_object)) {
        return NULL;
    }
    int fd = ml_fd_from_object(sock);
    if (fd < 0) {
        return NULL;
    }
    ml_listener *self = (ml_listener *)type->tp_alloc(type, 0);
    if (self != NULL) {
        self->loop = (ml_aioloop *)Py_NewRef(loop);
        self->sock = Py_NewRef(sock);
        self->factory = Py_NewRef(factory);
        self->server = server == Py_None ? NULL : Py_NewRef(server);
        self->context = context == Py_None ? NULL : Py_NewRef(context);
        self->plain = plain;
        self->fd = fd;
        self->backlog = backlog;
        self->by_object = Py_NewRef(by_object);
    }
    return (PyObject *)self;
}

static int
listener_traverse(ml_listener *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->sock);
    Py_VISIT(self->factory);
    Py_VISIT(self->server);
    Py_VISIT(self->context);
    Py_VISIT(self->by_object);
    return 0;
}

static int
listener_clear(ml_listener *self)
{
    Py_CLEAR(self->loop);
    Py_CLEAR(self->sock);
    Py_CLEAR(self->factory);
    Py_CLEAR(self->server);
    Py_CLEAR(self->context);
    Py_CLEAR(self->by_object);
    return 0;
}

static void
listener_dealloc(ml_listener *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    listener_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* ---- one connection ---------------------------------------------------------------------- */

/* Makes protocol and transport; owns `fd` until the transport does. */
static PyObject *
make_transport(ml_listener *self, int fd, PyObject *context, const struct sockaddr *peer,
               socklen_t peer_len)
{
    PyObject *transport = NULL;

    PyObject *protocol = PyObject_CallNoArgs(self->factory);
    if (protocol != NULL) {
        ml_transport_args made = {.protocol = protocol, .server = self->server, .context = context};
        transport = ml_transport_new(self->loop, fd, &made, peer, peer_len);
        Py_DECREF(protocol);
    }
    if (transport == NULL) {
        close(fd);
    }
    return transport;
}

/* -1: must leave run_forever(). */
static int
connected(ml_listener *self, int fd, const struct sockaddr *peer, socklen_t peer_len)
{
    PyObject *context = NULL;

    if (self->context != NULL) {
        context = PyContext_Copy(self->context);
        if (context == NULL || PyContext_Enter(context) < 0) {
            Py_XDECREF(context);
            close(fd);
            return ml_aioloop_handle_error(self->loop, "cannot enter the server's context", NULL,
                                           NULL);
        }
    }
    PyObject *transport = make_transport(self, fd, context, peer, peer_len);
    if (context != NULL) {
        PyObject *exc = transport ? NULL : ml_take_exception();
        if (PyContext_Exit(context) < 0) {
            ml_unraisable((PyObject *)self);
        }
        if (exc != NULL) {
            ml_raise(exc);
        }
        Py_DECREF(context);
    }
    if (transport == NULL) {
        return ml_aioloop_handle_error(
            self->loop, "Error on transport creation for incoming connection", NULL, NULL);
    }
    if (self->loop->debug && self->plain) {
        PyObject *done = ml_diagnose(self->loop->state, "accepted", "(OO)",
                                     self->server ? self->server : Py_None, transport);
        Py_DECREF(transport);
        Py_XDECREF(done);
        return done ? 0 : -1;
    }
    Py_DECREF(transport);
    return 0;
}

/* ---- accepting --------------------------------------------------------------------------- */

/* Out of descriptors or memory: the socket stays ready, so polling it would spin. Say so, stop, and
 * try again in a second (asyncio's ACCEPT_RETRY_DELAY). */
static PyObject *
out_of_resources(ml_listener *self, int error)
{
    ml_os_error(error);
    PyObject *exc = ml_take_exception();
    PyObject *result = ml_diagnose(self->loop->state, "accept_failed", "(OOOO)", self->loop, self,
                                   self->sock, exc);
    Py_DECREF(exc);
    return result;
}

/* The standard library's _accept_connection(), which asks the socket object. */
static PyObject *
accept_by_object(ml_listener *self)
{
    PyObject *result = PyObject_CallNoArgs(self->by_object);

    Py_XDECREF(result);
    return result ? Py_NewRef(Py_None) : NULL;
}

/* Called when the socket can be read, and again in the next turn if there is no time for all. */
static PyObject *
listener_accept(ml_listener *self, PyObject *Py_UNUSED(unused))
{
    ml_state *state = self->loop->state;
    double end = ml_monotonic() + ACCEPTING_IN_A_TURN;

    for (int left = self->backlog < 1 ? 1 : self->backlog; left > 0; left--) {
        struct sockaddr_storage peer;
        socklen_t peer_len = sizeof(peer);
        if (self->loop->closed || ml_fd_from_object(self->sock) != self->fd) {
            PyErr_Clear();
            break; /* closed, by a protocol factory say */
        }
        if (!ml_is_plain(state, self->sock) || !ml_makes_plain(state)) {
            return accept_by_object(self);
        }
        int fd = ml_sock_accept(self->fd, (struct sockaddr *)&peer, &peer_len);
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
            return out_of_resources(self, -fd);
        }
        if (fd == -EAGAIN) {
            break;
        }
        if (fd == -ECONNABORTED) {
            continue;
        }
        if (fd < 0) {
            return ml_os_error(-fd);
        }
        self->loop->meter->accepted++;
        if (connected(self, fd, (struct sockaddr *)&peer, peer_len) < 0) {
            return NULL;
        }
        if (ml_monotonic() > end) {
            break;
        }
    }
    Py_RETURN_NONE;
}

static PyMethodDef listener_methods[] = {
    {"accept", (PyCFunction)listener_accept, METH_NOARGS,
     PyDoc_STR("accept($self, /)\n--\n\nAccepts what waits.")},
    {"__reduce__", ml_no_pickle, METH_NOARGS, NULL},
    {NULL},
};

static PyType_Slot listener_slots[] = {
    {Py_tp_doc, PyDoc_STR("Accepts connections on one socket of a server.")},
    {Py_tp_new, listener_new},
    {Py_tp_dealloc, listener_dealloc},
    {Py_tp_traverse, listener_traverse},
    {Py_tp_clear, listener_clear},
    {Py_tp_methods, listener_methods},
    {0, NULL},
};

PyType_Spec ml_listener_spec = {
    .name = "moodloop._core.Listener",
    .basicsize = sizeof(ml_listener),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = listener_slots,
};
