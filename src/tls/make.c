/* TLSTransport: how one is made, and what the collector sees of it. */
#include "tls.h"

/* _open(path, ssl): None, or the reason why OpenSSL cannot be driven from here. */
PyObject *
ml_tls_open(PyObject *type, PyObject *args)
{
    ml_state *state = ml_state_of_type((PyTypeObject *)type);
    const char *path;
    PyObject *module;

    if (state == NULL || !PyArg_ParseTuple(args, "sO:_open", &path, &module)) {
        return NULL;
    }
    const char *reason = ml_openssl_open(state, path, module);
    if (PyErr_Occurred()) {
        return NULL;
    }
    return reason ? PyUnicode_FromString(reason) : Py_NewRef(Py_None);
}

static int
no_run(ml_ready *Py_UNUSED(ready))
{
    return 0; /* nothing is watched, so nothing is ever ready */
}

/* What is to be set before anything can fail. */
static ml_tls *
allocate(ml_state *state, ml_aioloop *loop)
{
    ml_tls *self = (ml_tls *)state->TLSTransport->tp_alloc(state->TLSTransport, 0);

    if (self != NULL) {
        self->loop = (ml_aioloop *)Py_NewRef((PyObject *)loop);
        ml_stream_init(&self->stream, loop, (PyObject *)self, -1, &ml_tls_sink, NULL, no_run);
        self->stream.high = ML_TLS_WRITE_HIGH;
        self->stream.low = ML_TLS_WRITE_HIGH / 4;
        self->read_high = ML_TLS_READ_HIGH;
        self->read_low = ML_TLS_READ_HIGH / 4;
        self->overhead = ML_TLS_OVERHEAD;
    }
    return self;
}

/* _wrap(loop, protocol, context, waiter, server_side, server_hostname, handshake_timeout,
 * shutdown_timeout, call_connection_made): a transport, or None if this context's connections
 * cannot be driven from here. */
PyObject *
ml_tls_wrap(PyObject *type, PyObject *args)
{
    ml_state *state = ml_state_of_type((PyTypeObject *)type);
    PyObject *loop, *protocol, *context, *waiter, *hostname, *handshake, *shutdown;
    int server_side, call_made;
    SSL *ssl;

    if (state == NULL ||
        !PyArg_ParseTuple(args, "O!OOOpOOOp:_wrap", state->LoopBase, &loop, &protocol, &context,
                          &waiter, &server_side, &hostname, &handshake, &shutdown, &call_made)) {
        return NULL;
    }
    PyObject *object = ml_openssl_wrap(state, context, server_side, hostname, &ssl);
    if (object == NULL || ssl == NULL) {
        Py_XDECREF(object);
        return object ? Py_NewRef(Py_None) : NULL;
    }
    ml_tls *self = allocate(state, (ml_aioloop *)loop);
    if (self == NULL) {
        Py_DECREF(object);
        return NULL;
    }
    self->object = object;
    self->inner = PyObject_GetAttrString(object, "_sslobj");
    self->ssl = ssl;
    self->context = Py_NewRef(context);
    self->waiter = waiter == Py_None ? NULL : Py_NewRef(waiter);
    self->handshake_timeout = Py_NewRef(handshake);
    self->shutdown_timeout = Py_NewRef(shutdown);
    self->upgraded = !call_made;
    self->told = call_made ? TOLD_NOTHING : TOLD_MADE;
    if (self->inner == NULL || ml_tls_set_protocol(self, protocol) < 0 ||
        ml_tls_bio_attach(self) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* ---- collection -------------------------------------------------------------------------- */

static int
tls_traverse(ml_tls *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->extra);
    Py_VISIT(self->dict);
    Py_VISIT(self->protocol);
    Py_VISIT(self->lower);
    Py_VISIT(self->object);
    Py_VISIT(self->inner);
    Py_VISIT(self->context);
    Py_VISIT(self->waiter);
    Py_VISIT(self->timer);
    Py_VISIT(self->handshake_timeout);
    Py_VISIT(self->shutdown_timeout);
    Py_VISIT(self->peercert);
    Py_VISIT(self->error);
    Py_VISIT(self->loop);
    return ml_stream_traverse(&self->stream, visit, arg);
}

/* The SSL is the object's, which others may have: it is not to come here again. */
static int
tls_clear(ml_tls *self)
{
    ml_tls_leave_queue(self);
    ml_tls_bio_detach(self);
    self->ssl = NULL;
    self->native = NULL;
    Py_CLEAR(self->extra);
    Py_CLEAR(self->dict);
    Py_CLEAR(self->protocol);
    Py_CLEAR(self->lower);
    Py_CLEAR(self->object);
    Py_CLEAR(self->inner);
    Py_CLEAR(self->context);
    Py_CLEAR(self->waiter);
    Py_CLEAR(self->timer);
    Py_CLEAR(self->peercert);
    Py_CLEAR(self->error);
    return 0;
}

static void
tls_dealloc(ml_tls *self)
{
    PyTypeObject *type = Py_TYPE(self);

    PyObject_GC_UnTrack(self);
    if (self->weaklist != NULL) {
        PyObject_ClearWeakRefs((PyObject *)self);
    }
    tls_clear(self);
    Py_CLEAR(self->handshake_timeout);
    Py_CLEAR(self->shutdown_timeout);
    ml_tls_out_free(&self->rest);
    ml_tls_out_free(&self->io.own);
    ml_stream_discard(&self->stream);
    Py_CLEAR(self->loop);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot tls_slots[] = {
    {Py_tp_doc, PyDoc_STR("The asyncio.Transport of a connection with TLS, and the protocol of the "
                          "transport below.")},
    {Py_tp_dealloc, tls_dealloc},
    {Py_tp_traverse, tls_traverse},
    {Py_tp_clear, tls_clear},
    {Py_tp_repr, ml_tls_repr},
    {Py_tp_methods, ml_tls_methods},
    {Py_tp_getset, ml_tls_getset},
    {Py_tp_members, ml_tls_members},
    {0, NULL},
};

PyType_Spec ml_tlstransport_spec = {
    .name = "moodloop._core.TLSTransport",
    .basicsize = sizeof(ml_tls),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = tls_slots,
};
