/* A byte stream: a descriptor, its ev_io, a write queue and the water marks. Knows nothing of
 * asyncio's protocols: what arrives and what happens goes to a sink.
 *
 * The first write of a callback, with nothing queued, goes out in the call: its end may be far
 * away, or never come. What follows in the same callback is joined and goes out in one system call,
 * when the callback ends (run.c) or somebody asks. EV_WRITE is only armed after a short write. */
#ifndef ML_STREAM_H
#define ML_STREAM_H

#include "../aio/aio.h"

typedef struct ml_stream ml_stream;

/* What a stream tells. All return -1 for an exception that must leave run_forever(). */
typedef struct ml_sink {
    int (*readable)(ml_stream *stream); /* read once */
    /* Before a write: 0, 1 if the descriptor is not ours any more (all is done then), -1: must
     * leave. */
    int (*gone)(ml_stream *stream);
    /* Sends what it can of the queue: 0, or an errno value. NULL: the queue is bytes in a row.
     * -1: must leave. */
    int (*send)(ml_stream *stream);
    /* The queue went over the high mark, or is at the low one or below: calls the protocol's
     * pause_writing() or resume_writing(). `failed`: what is said where it raises. */
    int (*tell)(ml_stream *stream, PyObject *method, const char *failed);
    int (*drained)(ml_stream *stream);                 /* the queue is empty again */
    int (*write_failed)(ml_stream *stream, int error); /* errno value */
    /* Neither reading nor writing, it may have been reset. NULL: nobody wants to know. */
    int (*hung_up)(ml_stream *stream);
    void (*unwatched)(ml_stream *stream); /* in the poll, too: see that hung_up() is called */
    bool pauses_at_mark;                  /* not only over the high mark */
    size_t overhead; /* bytes that each chunk counts for beside its own, against the marks */
} ml_sink;

typedef struct ml_chunk {
    PyObject *object; /* kept by reference: where the data is */
    const char *data;
    size_t size;
} ml_chunk;

struct ml_stream {
    ml_held held; /* while it is watched the loop keeps its owner */
    ml_ready ready;
    ml_aioloop *loop; /* borrowed from the owner */
    const ml_sink *sink;
    const ml_calls *calls; /* NULL: over another stream, and has no descriptor */
    ml_chunk *queue; /* a ring would save moves that do not happen: it is mostly emptied whole */
    uint32_t head, len, cap;
    int fd;           /* -1 once closed */
    ml_chunk first;   /* the queue while one chunk is enough */
    size_t queued;    /* bytes, and the sink's `overhead` for each chunk */
    size_t below;     /* what the stream below has not sent: it counts against the marks, too */
    size_t high, low; /* water marks, bytes */
    size_t expected;  /* how many bytes a read may bring */
    uint64_t step;    /* the loop's, in which it was last sent to */
    ml_after after;   /* sends what was queued in this callback */
    int revents;      /* arrived, not handled yet */
    int refused;      /* errno with which the kernel refused to watch it, 0 */
    int read_error;   /* errno that follows what was read last, 0 */
    bool reading;     /* EV_READ wanted */
    bool blocked;     /* EV_WRITE wanted: the socket took less than it was given */
    bool passed_over; /* what arrives while it does not read was told once */
    bool in_hangups;  /* hangups.c was told of it */
    bool hung_up;     /* ... and tells something */
    bool paused;      /* pause_writing() was told */
};

void ml_stream_init(ml_stream *stream, ml_aioloop *loop, PyObject *owner, int fd,
                    const ml_sink *sink, const ml_calls *calls, int (*run)(ml_ready *));
/* Wants to read. -1 with MemoryError. */
int ml_stream_read(ml_stream *stream);
/* Does not want to. The kernel is told when something arrives a second time: who pauses resumes
 * before that as often as not, and a stream that was closed is gone before. */
void ml_stream_stop_reading(ml_stream *stream);
/* Neither reads nor writes any more. */
void ml_stream_stop(ml_stream *stream);
/* Queues data, which `object` keeps in its place. -1 with an exception: MemoryError. */
int ml_stream_queue(ml_stream *stream, PyObject *object, const char *data, size_t size);
/* Drops what was queued last, until `len` chunks are left. */
void ml_stream_unqueue(ml_stream *stream, uint32_t len);
/* Takes `size` bytes off the front. */
void ml_stream_consume(ml_stream *stream, size_t size);
/* Takes the first chunk off the queue. */
void ml_stream_pop(ml_stream *stream);
/* Whether `size` bytes go to the socket now, with ml_stream_send(); else they are queued. */
bool ml_stream_sends(const ml_stream *stream, size_t size);
/* The system call, for what is not queued: bytes, or -errno. */
ssize_t ml_stream_send(ml_stream *stream, const char *data, size_t size);
/* After queueing what the socket does not take now: waits until it does. -1: must leave. */
int ml_stream_block(ml_stream *stream);
/* After queueing: sees to it that it is sent, now or when the callback ends, and that the sink
 * hears of the high mark. -1: must leave. */
int ml_stream_queued(ml_stream *stream);
/* Sends what it can now. -1: must leave. */
int ml_stream_flush(ml_stream *stream);
/* Tells the sink of the high and the low mark: the only place that does. */
int ml_stream_check_marks(ml_stream *stream);
/* Forgets what was not sent. */
void ml_stream_discard(ml_stream *stream);
/* Stops watching the descriptor; the caller closes it afterwards. */
void ml_stream_detach(ml_stream *stream);
int ml_stream_traverse(ml_stream *stream, visitproc visit, void *arg);

/* True while what is queued is only waiting for the end of the callback. */
static inline bool
ml_stream_untried(const ml_stream *stream)
{
    return ml_after_is_due(&stream->after);
}

#endif
