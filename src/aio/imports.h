/* What the asyncio side keeps in the module's state (imports.c). */
#ifndef ML_IMPORTS_H
#define ML_IMPORTS_H

#include "handle.h"

#if ML_THREADSAFE_HANDLES
#define ML_THREADSAFE_IMPORTS(X) X(ThreadSafeHandle, "asyncio.events", "_ThreadSafeHandle")
#else
#define ML_THREADSAFE_IMPORTS(X)
#endif

/* What the core uses of the standard library: X(field, module, name), NULL for the module itself.
 * Future and Task are not here: programs replace them, so they are looked up when used. */
#define ML_IMPORTS(X)                                                            \
    X(Handle, "asyncio.events", "Handle") /* __class__ and __repr__ */           \
    X(TimerHandle, "asyncio.events", "TimerHandle")                              \
    ML_THREADSAFE_IMPORTS(X)                                                     \
    X(futures, "asyncio.futures", NULL)                                          \
    X(tasks, "asyncio.tasks", NULL)                                              \
    X(BaseEventLoop, "asyncio.base_events", "BaseEventLoop")                     \
    X(BufferedProtocol, "asyncio.protocols", "BufferedProtocol")                 \
    X(Protocol, "asyncio.protocols", "Protocol")                                 \
    X(StreamReader, "asyncio.streams", "StreamReader")                           \
    X(StreamWriter, "asyncio.streams", "StreamWriter")                           \
    X(IncompleteReadError, "asyncio.exceptions", "IncompleteReadError")          \
    X(LimitOverrunError, "asyncio.exceptions", "LimitOverrunError")              \
    X(TransportSocket, "asyncio.trsock", "TransportSocket")                      \
    X(SSLTransport, "asyncio.sslproto", "_SSLProtocolTransport") /* __class__ */ \
    X(socket_module, "socket", NULL)                                             \
    X(raw_socket, "_socket", "socket")

#define ML_FREELIST_ARGS 4 /* handles with fewer arguments than this are recycled */
#define ML_FREELIST_MAX 1024

/* What aio/ and net/ keep per module. */
typedef struct ml_aio {
#define X(field, module, name) PyObject *field;
    ML_IMPORTS(X)
#undef X
    PyObject *socket_class;     /* see net/plain.h */
    unsigned int plain_version; /* of that class when it was last looked at; 0: not plain then */
    struct ml_ssl_names *ssl;   /* see tls/openssl.h; NULL until it is opened */
    const struct ml_native *native;        /* how a TLSTransport is called: see net/transport.h */
    const struct ml_native *stream_native; /* ... and a moodloop.StreamReaderProtocol */
    PyObject *stream_reader, *stream_protocol; /* the classes of moodloop.streams, once imported */
    PyObject *newline;                         /* bytes, for lines */
    PyObject *diagnostics;  /* moodloop._diagnostics, imported when first needed */
    PyObject *only_context; /* ("context",): the last tuple of keyword names that was just that */
    ml_handle *free_handles[ML_FREELIST_ARGS];
    ml_handle *free_timers[ML_FREELIST_ARGS];
    int free_handles_len[ML_FREELIST_ARGS], free_timers_len[ML_FREELIST_ARGS];
} ml_aio;

/* `module.name`, or `module` if `name` is NULL: a new reference. */
PyObject *ml_import_name(const char *module, const char *name);
/* Calls moodloop._diagnostics.<name>; `format` is Py_BuildValue's, for a tuple. */
PyObject *ml_diagnose(ml_state *state, const char *name, const char *format, ...);

#endif
