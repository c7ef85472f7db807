/* asyncio's streams: the C halves of moodloop.StreamReader, StreamWriter and StreamReaderProtocol,
 * behind which asyncio's own classes are. */
#ifndef ML_STREAMS_H
#define ML_STREAMS_H

#include "../net/transport.h"

/* What a reader has and nobody has read: a part of one bytes object, to which more is added in
 * place as long as nobody else has seen it. Once a program has asked for `_buffer` it is in that
 * bytearray for good, as in asyncio. */
typedef struct ml_buffer {
    PyObject *block; /* bytes, NULL: nothing is there */
    size_t start, end;
    bool own;           /* made here, with room to its end: nobody else has it */
    PyObject *array;    /* bytearray, NULL: nobody has asked */
    PyObject *searched; /* bytes that do not begin in the first `searched_to`, NULL */
    size_t searched_to;
} ml_buffer;

size_t ml_buffer_size(const ml_buffer *self);
const char *ml_buffer_data(const ml_buffer *self);
/* Adds bytes; `object`, if not NULL, is the bytes object that they are all of. `wanted`: bytes that
 * somebody waits for. -1 with an exception. */
int ml_buffer_add(ml_buffer *self, const char *data, size_t size, PyObject *object, size_t wanted);
/* The first `size` bytes, which are gone from it then. NULL with an exception. */
PyObject *ml_buffer_take(ml_buffer *self, size_t size);
/* Without them being needed. -1 with BufferError: somebody has a view of the bytearray. */
int ml_buffer_drop(ml_buffer *self, size_t size);
/* As a bytearray from now on; borrowed. */
PyObject *ml_buffer_expose(ml_buffer *self);
/* Another bytearray in its place. -1 with TypeError. */
int ml_buffer_replace(ml_buffer *self, PyObject *array);
int ml_buffer_traverse(ml_buffer *self, visitproc visit, void *arg);
void ml_buffer_clear(ml_buffer *self);

typedef struct ml_streamprotocol ml_streamprotocol;

typedef struct ml_reader {
    PyObject_HEAD
    ml_state *state;
    PyObject *loop;
    ml_buffer buffer;
    PyObject *limit_object;      /* as it was given */
    size_t limit;                /* bytes */
    size_t wanted;               /* bytes that readexactly() waits for, 0 */
    PyObject *waiter;            /* future, NULL: nobody waits */
    PyObject *exception;         /* NULL: none */
    PyObject *transport;         /* NULL: none */
    ml_streamprotocol *protocol; /* that feeds it, NULL: somebody else does */
    bool eof, paused;
} ml_reader;

/* The protocol's side: asyncio's refers to its reader weakly. */
struct ml_streamprotocol {
    PyObject_HEAD
    PyObject *reader;  /* weak reference, NULL */
    PyObject *kept;    /* the reader itself, while somebody waits for it */
    bool paused, lost; /* writing; the connection */
};

typedef struct ml_writer {
    PyObject_HEAD
    ml_state *state;
    PyObject *loop, *transport, *protocol, *reader;
    PyObject *complete; /* asyncio's `_complete_fut`, NULL until somebody asks */
} ml_writer;

/* False for NULL and None. */
static inline bool
ml_is_there(const PyObject *object)
{
    return object != NULL && object != Py_None;
}

/* For what a program may have deleted, or never set: the error is then that None lacks a method. */
static inline PyObject *
ml_or_none(PyObject *object)
{
    return object ? object : Py_None;
}

/* ---- reader.c ---------------------------------------------------------------------------- */

/* As feed_data(): `object` as in ml_buffer_add(). -1 with an exception. */
int ml_reader_feed(ml_reader *self, const char *data, size_t size, PyObject *object);
int ml_reader_feed_eof(ml_reader *self);
int ml_reader_feed_object(ml_reader *self, PyObject *data);
/* Calls waiter.<name>(arg) if somebody waits. -1 with an exception. */
int ml_reader_wake(ml_reader *self, PyObject *name, PyObject *arg);
/* Sets or clears `_waiter`: while there is one the protocol keeps the reader. */
void ml_reader_set_waiter(ml_reader *self, PyObject *waiter);
/* Reads on, if that was paused and less than the limit is left. -1 with an exception. */
int ml_reader_maybe_resume(ml_reader *self);
int ml_reader_resume(ml_reader *self);
/* The first `size` bytes, for who has asked. NULL with an exception. */
PyObject *ml_reader_take(ml_reader *self, size_t size);
/* Calls asyncio's method, behind ours. */
PyObject *ml_reader_stock(PyObject *self, const char *name, PyObject *arg);

/* As `raise exc`. */
void ml_reader_raise(PyObject *exc);

/* ---- reads.c: the methods ----------------------------------------------------------------- */

PyObject *ml_reader_read(ml_reader *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_reader_readexactly(ml_reader *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_reader_readuntil(ml_reader *, PyObject *const *, Py_ssize_t, PyObject *);
PyObject *ml_reader_readline(ml_reader *, PyObject *);
PyObject *ml_reader_anext(ml_reader *);

/* ---- search.c ---------------------------------------------------------------------------- */

typedef enum ml_found { ML_MISSING, ML_FOUND, ML_FAR, ML_OVERRUN } ml_found;

/* A search for separators: bytes, or from 3.13 on a tuple of bytes, the shortest first. */
typedef struct ml_search {
    PyObject *separators;
    size_t shortest, longest;
    size_t offset; /* there is none before that */
    size_t start, end;
} ml_search;

/* -1 with an exception; 1 if asyncio's own method is to be asked. */
int ml_search_init(ml_search *self, PyObject *separator);
/* -1 with ValueError if that is nothing to look for. */
int ml_search_check(const ml_search *self);
/* ML_FOUND, with its place, or the same too far behind (ML_FAR); ML_OVERRUN: not in what is over
 * the limit. */
ml_found ml_search_go_on(ml_search *self, ml_reader *reader);

/* ---- op.c: what is awaited ---------------------------------------------------------------- */

typedef enum ml_asked {
    ML_READ,
    ML_READ_ALL,
    ML_EXACTLY,
    ML_UNTIL,
    ML_LINE,
    ML_NEXT_LINE,
    ML_DRAIN,
} ml_asked;

typedef struct ml_streamop {
    PyObject_HEAD
    PyObject *stream;  /* reader or writer; NULL once it is over */
    PyObject *future;  /* the reader's waiter, if it is ours */
    PyObject *waiting; /* iterator of what is waited for */
    PyObject *blocks;  /* list of what read(-1) has so far */
    ml_search search;
    Py_ssize_t size;
    ml_asked asked;
    bool started, woken;
} ml_streamop;

typedef enum ml_step { ML_FAILED = -1, ML_WAITS, ML_DONE, ML_YIELDS } ml_step;

ml_streamop *ml_streamop_new(ml_state *state, PyObject *stream, ml_asked asked, Py_ssize_t size);
/* readops.c and writer.c: goes on as far as it can. */
ml_step ml_readop_step(ml_streamop *self, PyObject **result);
ml_step ml_drain_step(ml_streamop *self, PyObject **result);

/* sink.c */
extern const ml_native ml_stream_native;

#endif
