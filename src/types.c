/* The types of the asyncio side: from their specs, with asyncio's own classes as bases where
 * programs expect those. */
#include "aio/aio.h"
#include "net/plain.h"
#include "net/transport.h"
#include "streams/streams.h"
#include "tls/tls.h"

#define X(Name, lower) extern PyType_Spec ml_##lower##_spec;
ML_AIO_TYPES(X)
#undef X

static const struct {
    PyType_Spec *spec;
    const char *bases[2]; /* in asyncio: those of stock asyncio's own transports */
} transport_bases[] = {
    {&ml_streamtransport_spec, {"Transport"}},
    {&ml_datagramtransport_spec, {"DatagramTransport", "Transport"}},
    {&ml_readpipetransport_spec, {"ReadTransport"}},
    {&ml_writepipetransport_spec, {"Transport"}},
    {&ml_tlstransport_spec, {"Transport", "BufferedProtocol"}},
};

/* One of asyncio's transports, or protocols, whose layout a struct of ours can begin with. */
static PyObject *
transport_base(const char *name)
{
    Py_ssize_t size = strcmp(name, "BufferedProtocol") ? (Py_ssize_t)offsetof(ml_transport, dict)
                                                       : (Py_ssize_t)sizeof(PyObject);
    PyObject *base = ml_import_name("asyncio", name);

    if (base != NULL && ((PyTypeObject *)base)->tp_basicsize != size) {
        PyErr_Format(PyExc_ImportError,
                     "this Python's asyncio.%s has another layout than moodloop was written for; "
                     "a newer moodloop is needed",
                     name);
        Py_CLEAR(base);
    }
    return base;
}

/* The base of a type, or a tuple of them. */
static PyObject *
bases_of(PyType_Spec *spec)
{
    size_t i = 0;

    while (i < Py_ARRAY_LENGTH(transport_bases) && transport_bases[i].spec != spec) {
        i++;
    }
    if (i == Py_ARRAY_LENGTH(transport_bases)) {
        return Py_NewRef((PyObject *)&PyBaseObject_Type);
    }
    const char *second = transport_bases[i].bases[1];
    PyObject *one = transport_base(transport_bases[i].bases[0]);
    PyObject *two = one && second ? transport_base(second) : NULL;
    if (one == NULL || second == NULL) {
        return one;
    }
    PyObject *both = two ? PyTuple_Pack(2, one, two) : NULL;
    Py_XDECREF(two);
    Py_DECREF(one);
    return both;
}

/* What loop.start_tls() and loop.sendfile() ask of a transport. */
static int
mark_transport(PyTypeObject *transport, const char *sendfile)
{
    PyObject *type = (PyObject *)transport;
    PyObject *modes = ml_import_name("asyncio.constants", "_SendfileMode");
    PyObject *mode = modes ? PyObject_GetAttrString(modes, sendfile) : NULL;
    int rc = mode == NULL || PyObject_SetAttrString(type, "_sendfile_compatible", mode) < 0 ||
                     PyObject_SetAttrString(type, "_start_tls_compatible", Py_True) < 0
                 ? -1
                 : 0;

    Py_XDECREF(mode);
    Py_XDECREF(modes);
    return rc;
}

int
ml_add_aio_types(PyObject *module, ml_state *state)
{
    if (ml_plain_init(state->aio) < 0) {
        return -1;
    }
#define X(Name, lower)                                                                             \
    {                                                                                              \
        PyObject *bases = bases_of(&ml_##lower##_spec);                                            \
        if (bases == NULL) {                                                                       \
            return -1;                                                                             \
        }                                                                                          \
        state->Name = (PyTypeObject *)PyType_FromModuleAndSpec(module, &ml_##lower##_spec, bases); \
        Py_DECREF(bases);                                                                          \
        if (state->Name == NULL || PyModule_AddType(module, state->Name) < 0) {                    \
            return -1;                                                                             \
        }                                                                                          \
    }
    ML_AIO_TYPES(X)
#undef X
    state->aio->native = &ml_tls_native;
    state->aio->stream_native = &ml_stream_native;
    return mark_transport(state->StreamTransport, "TRY_NATIVE") < 0
               ? -1
               : mark_transport(state->TLSTransport, "FALLBACK");
}
