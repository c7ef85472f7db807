/* The connections of a server: what asyncio's Server has in a WeakSet, for close_clients() and
 * abort_clients() of Python 3.13. A weak reference and its place in that set are 125 B, and the set
 * is written in Python; a transport's place in this list is 24 B. Transports that are not ours,
 * which other packages may attach to a server, go to a WeakSet all the same. */
#include "transport.h"

struct ml_clients {
    PyObject_HEAD
    ml_transport *first;
    Py_ssize_t len;   /* of the list */
    PyObject *others; /* WeakSet, NULL until it is needed */
};

static void
link_client(ml_clients *self, ml_transport *transport)
{
    transport->clients = self;
    transport->client_by = &self->first;
    transport->next_client = self->first;
    if (self->first != NULL) {
        self->first->client_by = &transport->next_client;
    }
    self->first = transport;
    self->len++;
}

void
ml_clients_remove(ml_transport *transport)
{
    if (transport->clients == NULL) {
        return;
    }
    transport->clients->len--;
    transport->clients = NULL;
    *transport->client_by = transport->next_client;
    if (transport->next_client != NULL) {
        transport->next_client->client_by = transport->client_by;
    }
}

static bool
is_ours(ml_clients *self, PyObject *transport)
{
    ml_state *state = ml_state_of_type(Py_TYPE(self));

    return Py_IS_TYPE(transport, state->StreamTransport);
}

static bool
is_listed(ml_clients *self, PyObject *transport)
{
    return is_ours(self, transport) && ((ml_transport *)transport)->clients == self;
}

/* False for one in another server's list; one that was finalized, which leaves its list only then;
 * and where there is a set, which may have it. */
static bool
can_be_listed(ml_clients *self, PyObject *transport)
{
    return self->others == NULL && is_ours(self, transport) &&
           ((ml_transport *)transport)->clients == NULL && !PyObject_GC_IsFinalized(transport);
}

static PyObject *
clients_add(ml_clients *self, PyObject *transport)
{
    if (is_listed(self, transport)) {
        Py_RETURN_NONE;
    }
    if (can_be_listed(self, transport)) {
        link_client(self, (ml_transport *)transport);
        Py_RETURN_NONE;
    }
    if (self->others == NULL) {
        self->others = PyObject_CallNoArgs(ml_state_of_type(Py_TYPE(self))->aio->WeakSet);
    }
    return self->others ? PyObject_CallMethod(self->others, "add", "(O)", transport) : NULL;
}

static PyObject *
clients_discard(ml_clients *self, PyObject *transport)
{
    if (is_listed(self, transport)) {
        ml_clients_remove((ml_transport *)transport);
        Py_RETURN_NONE;
    }
    if (self->others == NULL) {
        Py_RETURN_NONE;
    }
    return PyObject_CallMethod(self->others, "discard", "(O)", transport);
}

static PyObject *
clients_copy(ml_clients *self, PyObject *Py_UNUSED(unused))
{
    PyObject *list = PyList_New(0);

    for (ml_transport *next = self->first; list != NULL && next != NULL;
         next = next->next_client) { /* appending runs no code of others */
        if (PyList_Append(list, (PyObject *)next) < 0) {
            Py_CLEAR(list);
        }
    }
    if (list == NULL || self->others == NULL) {
        return list;
    }
    PyObject *all = PySequence_InPlaceConcat(list, self->others);
    Py_DECREF(list);
    return all;
}

static PyObject *
clients_iter(ml_clients *self)
{
    PyObject *list = clients_copy(self, NULL);
    PyObject *iterator = list ? PyObject_GetIter(list) : NULL;

    Py_XDECREF(list);
    return iterator;
}

static Py_ssize_t
clients_len(ml_clients *self)
{
    Py_ssize_t others = self->others ? PyObject_Size(self->others) : 0;

    return others < 0 ? -1 : self->len + others;
}

static int
clients_traverse(ml_clients *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->others);
    return 0;
}

static int
clients_clear(ml_clients *self)
{
    Py_CLEAR(self->others);
    return 0;
}

static void
clients_dealloc(ml_clients *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    while (self->first != NULL) {
        ml_clients_remove(self->first);
    }
    clients_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef clients_methods[] = {
    {"add", (PyCFunction)clients_add, METH_O, PyDoc_STR("add($self, transport, /)\n--\n\n")},
    {"discard", (PyCFunction)clients_discard, METH_O,
     PyDoc_STR("discard($self, transport, /)\n--\n\n")},
    {"copy", (PyCFunction)clients_copy, METH_NOARGS,
     PyDoc_STR("copy($self, /)\n--\n\nA list of them.")},
    {"__reduce__", ml_no_pickle, METH_NOARGS, NULL},
    {NULL},
};

static PyType_Slot clients_slots[] = {
    {Py_tp_doc, PyDoc_STR("A server's connections, referred to weakly.")},
    {Py_tp_dealloc, clients_dealloc},
    {Py_tp_traverse, clients_traverse},
    {Py_tp_clear, clients_clear},
    {Py_tp_iter, clients_iter},
    {Py_sq_length, clients_len},
    {Py_tp_methods, clients_methods},
    {0, NULL},
};

PyType_Spec ml_clients_spec = {
    .name = "moodloop._core.Clients",
    .basicsize = sizeof(ml_clients),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = clients_slots,
};
