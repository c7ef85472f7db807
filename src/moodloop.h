/* What every file of the core shares: Python, libev, the module state and the lists of types.
 *
 * Layers, each including only those before it:
 *   moodloop.h -> util.h -> inspect/ (meters) -> watcher/ (libev for Python) -> aio/ (asyncio) ->
 * net/ (transports) sys/ (system calls) includes none of them; each may include it.
 */
#ifndef MOODLOOP_H
#define MOODLOOP_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#ifdef EV_STANDALONE
#include "ev.h"
#else
#include <ev.h>
#endif

#include <stdbool.h>
#include <stdint.h>

/* One line for each kind of watcher: X(Name, lower). `src/watcher/<lower>.c` defines
 * its ml_kind and `PyType_Spec ml_<lower>_spec`; the type, the factories `loop.<lower>()` and
 * `loop.__<lower>__()` and the name in the module follow from this line. */
#define ML_WATCHER_KINDS(X) \
    X(Io, io)               \
    X(Timer, timer)         \
    X(Periodic, periodic)   \
    X(Scheduler, scheduler) \
    X(Signal, signal)       \
    X(Stat, stat)           \
    X(Idle, idle)           \
    X(Prepare, prepare)     \
    X(Check, check)         \
    X(Async, async)         \
    X(Embed, embed)         \
    X(Fork, fork)           \
    X(Child, child)         \
    X(Cleanup, cleanup)

/* The other types: X(Name, lower); `PyType_Spec ml_<lower>_spec` makes each. */
#define ML_CORE_TYPES(X)    \
    X(Loop, loop)           \
    X(Watcher, watcher)     \
    X(Histogram, histogram) \
    X(Watch, watch)

/* The asyncio side's, made by ml_add_aio_types(). */
#define ML_AIO_TYPES(X)                       \
    X(LoopBase, loopbase)                     \
    X(Handle, handle)                         \
    X(TimerHandle, timerhandle)               \
    X(SockOp, sockop)                         \
    X(StreamTransport, streamtransport)       \
    X(DatagramTransport, datagramtransport)   \
    X(ReadPipeTransport, readpipetransport)   \
    X(WritePipeTransport, writepipetransport) \
    X(TLSTransport, tlstransport)             \
    X(Listener, listener)                     \
    X(StreamReaderBase, streamreaderbase)     \
    X(StreamWriterBase, streamwriterbase)     \
    X(StreamProtocolBase, streamprotocolbase) \
    X(StreamOp, streamop)

/* Names that the C code looks up on Python objects, interned once: state->str.<name>. */
#define ML_NAMES(X)           \
    X(Future)                 \
    X(Task)                   \
    X(buffer_updated)         \
    X(call_exception_handler) \
    X(cancel)                 \
    X(cancelled)              \
    X(close)                  \
    X(connection_lost)        \
    X(connection_made)        \
    X(context)                \
    X(create_future)          \
    X(create_task)            \
    X(data_received)          \
    X(datagram_received)      \
    X(done)                   \
    X(eof_received)           \
    X(error_received)         \
    X(exception)              \
    X(feed_data)              \
    X(fileno)                 \
    X(get_buffer)             \
    X(is_closing)             \
    X(loop)                   \
    X(pause_reading)          \
    X(pause_writing)          \
    X(protocol)               \
    X(read)                   \
    X(readline)               \
    X(readuntil)              \
    X(recvfrom)               \
    X(resume_reading)         \
    X(resume_writing)         \
    X(sendto)                 \
    X(set_exception)          \
    X(set_result)             \
    X(socket)                 \
    X(time)                   \
    X(transport)              \
    X(write)                  \
    X(writelines)             \
    X(_attach)                \
    X(_detach)                \
    X(_drain_helper)

typedef struct ml_state {
    PyObject *Error; /* moodloop.event.Error */
#define X(Name, lower) PyTypeObject *Name;
    ML_CORE_TYPES(X)
    ML_WATCHER_KINDS(X)
    ML_AIO_TYPES(X)
#undef X
    PyTypeObject *Statdata; /* a struct sequence */
    struct {
#define X(name) PyObject *name;
        ML_NAMES(X)
#undef X
    } str;
    struct ml_loop *loops;        /* every open event.Loop, for the at-fork hook; borrowed */
    struct ml_loop *default_loop; /* the wrapper of libev's default loop, owned, or NULL */
    struct ml_aio *aio;           /* what aio/ keeps in the state, see aio/aio.h */
} ml_state;

extern struct PyModuleDef ml_module;

/* types.c: the types of the asyncio side. */
int ml_add_aio_types(PyObject *module, ml_state *state);
/* aio/imports.c: what it keeps in the state. */
int ml_aio_init(ml_state *state);
int ml_aio_traverse(ml_state *state, visitproc visit, void *arg);
void ml_aio_clear(ml_state *state);

static inline ml_state *
ml_state_of_module(PyObject *module)
{
    return (ml_state *)PyModule_GetState(module);
}

/* The state by way of any type of ours or a subclass of one; NULL with an exception set. */
static inline ml_state *
ml_state_of_type(PyTypeObject *type)
{
    PyObject *module = PyType_GetModuleByDef(type, &ml_module);
    return module ? ml_state_of_module(module) : NULL;
}

#endif
