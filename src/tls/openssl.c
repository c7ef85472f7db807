/* How OpenSSL is found, and the SSL* of an ssl.SSLObject.
 *
 * Symbols are looked up in the library that `_ssl` is, and in what that depends on, so that it is
 * always the OpenSSL that `_ssl` calls: another one may be in the process. Nothing of the layout of
 * CPython's objects is used: OpenSSL itself tells of each SSL* that it makes, to who has asked for
 * a place of his own in all of them; and `_ssl` notes in each whose it is. */
#include "openssl.h"

#include <dlfcn.h>

ml_openssl ml_ssl;

#define EX_INDEX_SSL 0 /* CRYPTO_EX_INDEX_SSL */
#define APP_DATA 0     /* the place that SSL_set_app_data() has */

/* ---- the hook ---------------------------------------------------------------------------- */

/* The last that was made in this thread. OpenSSL calls these without the GIL. */
static __thread SSL *born;

static void
on_made(void *parent, void *Py_UNUSED(ptr), void *Py_UNUSED(data), int Py_UNUSED(index),
        long Py_UNUSED(argl), void *Py_UNUSED(argp))
{
    born = parent;
}

static void
on_freed(void *parent, void *Py_UNUSED(ptr), void *Py_UNUSED(data), int Py_UNUSED(index),
         long Py_UNUSED(argl), void *Py_UNUSED(argp))
{
    if (born == parent) {
        born = NULL;
    }
}

/* ---- finding it -------------------------------------------------------------------------- */

static const char *
find_symbols(const char *path)
{
    ml_openssl found;
    /* The handle is kept for ever: what it leads to is never unloaded. */
    void *library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);

    if (library == NULL) {
        return "the _ssl module is no shared library";
    }
#define X(result, name, arguments)                             \
    found.name = (result(*) arguments)dlsym(library, #name);   \
    if (found.name == NULL) {                                  \
        return "the _ssl module hides its OpenSSL: no " #name; \
    }
    ML_OPENSSL(X)
#undef X
    if (found.CRYPTO_get_ex_new_index(EX_INDEX_SSL, 0, NULL, on_made, NULL, on_freed) < 0) {
        return "OpenSSL has no place for data of ours";
    }
    ml_ssl = found;
    return NULL;
}

static ml_ssl_names *
names_of(PyObject *module)
{
    ml_ssl_names *names = PyMem_RawCalloc(1, sizeof(*names));

    if (names == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    names->SSLObject = PyObject_GetAttrString(module, "SSLObject");
    names->Error = names->SSLObject ? PyObject_GetAttrString(module, "SSLError") : NULL;
    names->CertificateError =
        names->Error ? PyObject_GetAttrString(module, "CertificateError") : NULL;
    PyObject *want =
        names->CertificateError ? PyObject_GetAttrString(module, "SSLWantReadError") : NULL;
    PyObject *call = want ? PyObject_GetAttrString(module, "SSLSyscallError") : NULL;
    names->again = call ? PyTuple_Pack(2, want, call) : NULL;
    names->incoming = names->again ? PyObject_CallMethod(module, "MemoryBIO", NULL) : NULL;
    names->outgoing = names->incoming ? PyObject_CallMethod(module, "MemoryBIO", NULL) : NULL;
    Py_XDECREF(want);
    Py_XDECREF(call);
    return names;
}

const char *
ml_openssl_open(ml_state *state, const char *path, PyObject *module)
{
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        return "it is for the main interpreter alone";
    }
    if (ml_ssl.SSL_read_ex == NULL) {
        const char *reason = find_symbols(path);
        if (reason != NULL) {
            return reason;
        }
    }
    if (state->aio->ssl == NULL) {
        state->aio->ssl = names_of(module);
        if (state->aio->ssl != NULL && state->aio->ssl->outgoing == NULL) {
            ml_openssl_clear(state);
        }
    }
    return NULL;
}

int
ml_openssl_traverse(ml_state *state, visitproc visit, void *arg)
{
    ml_ssl_names *names = state->aio ? state->aio->ssl : NULL;

    if (names != NULL) {
        Py_VISIT(names->SSLObject);
        Py_VISIT(names->Error);
        Py_VISIT(names->CertificateError);
        Py_VISIT(names->again);
        Py_VISIT(names->incoming);
        Py_VISIT(names->outgoing);
    }
    return 0;
}

void
ml_openssl_clear(ml_state *state)
{
    ml_ssl_names *names = state->aio ? state->aio->ssl : NULL;

    if (names != NULL) {
        state->aio->ssl = NULL;
        Py_CLEAR(names->SSLObject);
        Py_CLEAR(names->Error);
        Py_CLEAR(names->CertificateError);
        Py_CLEAR(names->again);
        Py_CLEAR(names->incoming);
        Py_CLEAR(names->outgoing);
        PyMem_RawFree(names);
    }
}

/* ---- the SSL* of an object --------------------------------------------------------------- */

/* Whether a class has replaced a method that is not called any more. 1, 0, or -1. */
static int
has_own_methods(ml_ssl_names *names, PyObject *object)
{
    static const char *const methods[] = {"read", "write", "pending", "do_handshake", "unwrap"};
    PyObject *type = (PyObject *)Py_TYPE(object);

    if (type == names->SSLObject) {
        return 0;
    }
    if (!PyType_IsSubtype(Py_TYPE(object), (PyTypeObject *)names->SSLObject)) {
        return 1;
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(methods); i++) {
        PyObject *theirs = PyObject_GetAttrString(type, methods[i]);
        PyObject *plain = theirs ? PyObject_GetAttrString(names->SSLObject, methods[i]) : NULL;
        bool same = theirs == plain;
        Py_XDECREF(theirs);
        Py_XDECREF(plain);
        if (plain == NULL) {
            return -1;
        }
        if (!same) {
            return 1;
        }
    }
    return 0;
}

/* A callback for messages may raise, and then only `_ssl`'s own methods know what to do. */
static int
has_message_callback(PyObject *object)
{
    PyObject *context = PyObject_GetAttrString(object, "context");
    PyObject *callback = context ? PyObject_GetAttrString(context, "_msg_callback") : NULL;
    int has = callback ? callback != Py_None : -1;

    Py_XDECREF(callback);
    Py_XDECREF(context);
    return has;
}

/* Whether `ssl` is what the object is made around. 1, 0, or -1. */
static int
is_of(ml_ssl_names *names, PyObject *object, SSL *ssl)
{
    int other = has_own_methods(names, object);

    if (other == 0) {
        other = has_message_callback(object);
    }
    if (other) {
        return other < 0 ? -1 : 0;
    }
    PyObject *inner = PyObject_GetAttrString(object, "_sslobj");
    if (inner == NULL) {
        return -1;
    }
    int is = ml_ssl.SSL_get_ex_data(ssl, APP_DATA) == (void *)inner;
    Py_DECREF(inner);
    return is;
}

PyObject *
ml_openssl_wrap(ml_state *state, PyObject *context, int server_side, PyObject *hostname, SSL **ssl)
{
    ml_ssl_names *names = state->aio->ssl;
    PyObject *method = PyObject_GetAttrString(context, "wrap_bio");
    PyObject *args = method ? PyTuple_Pack(2, names->incoming, names->outgoing) : NULL;
    PyObject *kwargs =
        args ? Py_BuildValue("{s:O,s:O}", "server_side", server_side ? Py_True : Py_False,
                             "server_hostname", hostname)
             : NULL;

    born = NULL;
    PyObject *object = kwargs ? PyObject_Call(method, args, kwargs) : NULL;
    SSL *made = born;
    born = NULL;
    Py_XDECREF(method);
    Py_XDECREF(args);
    Py_XDECREF(kwargs);
    *ssl = NULL;
    if (object != NULL && made != NULL) {
        int is = is_of(names, object, made);
        if (is < 0) {
            if (!PyErr_ExceptionMatches(PyExc_AttributeError)) {
                Py_DECREF(object);
                return NULL;
            }
            PyErr_Clear(); /* an object of the program's own kind */
        }
        *ssl = is == 1 ? made : NULL;
    }
    return object;
}
