#include "stream.h"

#include <assert.h>
#include <errno.h>

/* One sendmsg takes at most this many chunks; more gain nothing measurable. */
#define MAX_PARTS 64

/* ---- events ------------------------------------------------------------------------------ */

static bool
is_open(const ml_stream *stream)
{
    return stream->fd >= 0 || stream->calls == NULL;
}

static int
wanted(const ml_stream *stream)
{
    return (stream->reading ? EV_READ : 0) | (stream->blocked ? EV_WRITE : 0);
}

/* A stream that stops for good does not come here. */
static int
watch(ml_stream *stream, int events)
{
    if (events == 0 && stream->sink->unwatched != NULL) {
        stream->sink->unwatched(stream);
    }
    return ml_held_watch(&stream->held, stream->loop, events);
}

static void
stream_event(struct ev_loop *Py_UNUSED(loop), ev_io *ev, int revents)
{
    ml_stream *stream = ML_CONTAINER_OF(ev, ml_stream, held.fdw.ev);
    int events = wanted(stream), unwanted = revents & (EV_READ | EV_WRITE) & ~events;

    if (revents & EV_ERROR) { /* somebody closed the descriptor, or no memory to watch it */
        int error = ml_fdw_error(stream->loop->ev, &stream->held.fdw);
        stream->refused = error ? error : EIO;
        ml_aioloop_got_ready(stream->loop, &stream->ready);
        return;
    }
    /* While data comes all the time there is a poll between a pause and its end. */
    if (unwanted == EV_READ && !stream->passed_over) {
        stream->passed_over = true;
    }
    else if (unwanted && watch(stream, events) < 0) {
        PyErr_Clear(); /* the next poll tells the same */
    }
    if (revents & events) {
        stream->revents |= revents;
        ml_aioloop_got_ready(stream->loop, &stream->ready);
    }
}

static int
stream_after(ml_after *after)
{
    return ml_stream_flush(ML_CONTAINER_OF(after, ml_stream, after));
}

void
ml_stream_init(ml_stream *stream, ml_aioloop *loop, PyObject *owner, int fd, const ml_sink *sink,
               const ml_calls *calls, int (*run)(ml_ready *))
{
    *stream = (ml_stream){.loop = loop,
                          .sink = sink,
                          .calls = calls,
                          .fd = fd,
                          .high = 65536,
                          .low = 16384,
                          .cap = 1};
    stream->ready = (ml_ready){.run = run, .owner = owner};
    stream->after = (ml_after){.run = stream_after, .owner = owner};
    stream->queue = &stream->first;
    ml_held_init(&stream->held, owner, stream_event, fd);
}

/* Brings the ev_io in line with `reading` and `blocked`: see ml_stream_stop_reading(). */
static int
update_events(ml_stream *stream)
{
    int events = wanted(stream), armed = ml_held_events(&stream->held);

    if (stream->fd < 0) {
        assert(armed == 0);
        return 0;
    }
    if (armed == events || armed == (events | EV_READ)) {
        ml_held_keep(&stream->held, stream->loop, events != 0);
        return 0;
    }
    return watch(stream, events);
}

int
ml_stream_read(ml_stream *stream)
{
    if (stream->reading) {
        return 0;
    }
    stream->reading = true;
    stream->passed_over = false;
    if (update_events(stream) < 0) {
        stream->reading = false;
        return -1;
    }
    return 0;
}

void
ml_stream_stop_reading(ml_stream *stream)
{
    if (stream->reading) {
        stream->reading = false;
        ml_held_keep(&stream->held, stream->loop, stream->blocked);
    }
}

void
ml_stream_stop(ml_stream *stream)
{
    stream->reading = stream->blocked = false;
    if (stream->fd >= 0) {
        ml_held_watch(&stream->held, stream->loop, 0);
    }
}

/* Wants to write, or does not. What cannot be watched is of no use: -1 must leave. */
static int
set_blocked(ml_stream *stream, bool blocked)
{
    if (stream->blocked == blocked) {
        return 0;
    }
    stream->blocked = blocked;
    if (update_events(stream) == 0) {
        return 0;
    }
    PyErr_Clear();
    return blocked ? stream->sink->write_failed(stream, ENOMEM) : 0; /* the poll tells it again */
}

/* ---- the queue --------------------------------------------------------------------------- */

static int
make_room(ml_stream *stream)
{
    if (stream->head > 0 && stream->head >= stream->cap / 2) {
        memmove(stream->queue, stream->queue + stream->head, stream->len * sizeof(ml_chunk));
        stream->head = 0;
        return 0;
    }
    assert(stream->head + stream->len == stream->cap);
    uint32_t cap = stream->cap < 8 ? 8 : stream->cap * 2;
    ml_chunk *queue = cap > stream->cap ? PyMem_RawMalloc(cap * sizeof(*queue)) : NULL;
    if (queue == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(queue, stream->queue + stream->head, stream->len * sizeof(*queue));
    if (stream->queue != &stream->first) {
        PyMem_RawFree(stream->queue);
    }
    stream->queue = queue;
    stream->head = 0;
    stream->cap = cap;
    return 0;
}

int
ml_stream_queue(ml_stream *stream, PyObject *object, const char *data, size_t size)
{
    if (stream->head + stream->len == stream->cap && make_room(stream) < 0) {
        return -1;
    }
    stream->queue[stream->head + stream->len++] = (ml_chunk){Py_NewRef(object), data, size};
    stream->queued += size + stream->sink->overhead;
    return 0;
}

void
ml_stream_unqueue(ml_stream *stream, uint32_t len)
{
    while (stream->len > len) {
        ml_chunk chunk = stream->queue[stream->head + --stream->len];
        stream->queued -= chunk.size + stream->sink->overhead;
        Py_DECREF(chunk.object);
    }
}

void
ml_stream_pop(ml_stream *stream)
{
    assert(stream->len > 0);
    ml_chunk chunk = stream->queue[stream->head++];

    stream->queued -= chunk.size + stream->sink->overhead;
    if (--stream->len == 0) {
        assert(stream->queued == 0);
        stream->head = 0;
        if (stream->cap > MAX_PARTS) { /* a burst's array is not kept for an idle connection */
            PyMem_RawFree(stream->queue);
            stream->queue = &stream->first;
            stream->cap = 1;
        }
    }
    Py_DECREF(chunk.object); /* last: a datagram's address may be of any type */
}

void
ml_stream_consume(ml_stream *stream, size_t sent)
{
    while (stream->len > 0 && sent >= stream->queue[stream->head].size) {
        sent -= stream->queue[stream->head].size;
        ml_stream_pop(stream);
    }
    assert(sent == 0 || stream->len > 0);
    if (sent > 0) {
        stream->queue[stream->head].data += sent;
        stream->queue[stream->head].size -= sent;
        stream->queued -= sent;
    }
}

void
ml_stream_discard(ml_stream *stream)
{
    while (stream->len > 0) {
        ml_stream_pop(stream);
    }
    if (stream->queue != NULL && stream->queue != &stream->first) {
        PyMem_RawFree(stream->queue);
        stream->queue = &stream->first;
        stream->cap = 1;
    }
}

/* ---- sending ----------------------------------------------------------------------------- */

static ssize_t
send_queue(ml_stream *stream)
{
    ml_chunk *chunk = &stream->queue[stream->head];

    if (stream->len == 1) {
        return stream->calls->send(stream->fd, chunk->data, chunk->size);
    }
    struct iovec parts[MAX_PARTS];
    size_t count = stream->len < MAX_PARTS ? stream->len : MAX_PARTS;
    for (size_t i = 0; i < count; i++) {
        parts[i] = (struct iovec){(void *)chunk[i].data, chunk[i].size};
    }
    return stream->calls->sendv(stream->fd, parts, count);
}

static size_t
offered(ml_stream *stream)
{
    size_t size = 0;

    for (size_t i = 0; i < stream->len && i < MAX_PARTS; i++) {
        size += stream->queue[stream->head + i].size;
    }
    return size;
}

/* Who answers may do so at once. */
static void
note_sending(ml_stream *stream)
{
    stream->step = stream->loop->step;
    ml_aioloop_touch(stream->loop);
}

/* Sends until the queue is empty or the socket takes no more; an errno value on failure. */
static int
send_all(ml_stream *stream)
{
    while (stream->len > 0) {
        size_t given = offered(stream);
        ssize_t sent = send_queue(stream);
        if (sent < 0) {
            return sent == -EAGAIN ? 0 : (int)-sent;
        }
        stream->loop->meter->bytes_out += (size_t)sent;
        ml_stream_consume(stream, (size_t)sent);
        if ((size_t)sent < given) {
            return 0; /* a short write means full: no second call to see EAGAIN */
        }
    }
    return 0;
}

int
ml_stream_check_marks(ml_stream *stream)
{
    size_t high = stream->high, unsent = stream->queued + stream->below;

    if (!stream->paused && (unsent > high || (unsent == high && stream->sink->pauses_at_mark))) {
        stream->paused = true;
        return stream->sink->tell(stream, stream->loop->state->str.pause_writing,
                                  "protocol.pause_writing() failed");
    }
    if (stream->paused && unsent <= stream->low) {
        stream->paused = false;
        return stream->sink->tell(stream, stream->loop->state->str.resume_writing,
                                  "protocol.resume_writing() failed");
    }
    return 0;
}

/* After sending. The end of what is queued is told whatever the marks' methods raise: a transport
 * that is closing waits for it. */
static int
tell_progress(ml_stream *stream)
{
    int rc = ml_stream_check_marks(stream);
    PyObject *exc = rc < 0 ? ml_take_exception() : NULL;

    rc = stream->queued == 0 && is_open(stream) ? stream->sink->drained(stream) : 0;
    return ml_raise_again(exc, rc, stream->ready.owner);
}

int
ml_stream_flush(ml_stream *stream)
{
    PyObject *owner = Py_NewRef(stream->ready.owner);
    int rc = 0;

    ml_after_remove(&stream->after);
    if (stream->queued > 0 && is_open(stream) && (rc = stream->sink->gone(stream)) == 0) {
        note_sending(stream);
        int error = stream->sink->send ? stream->sink->send(stream) : send_all(stream);
        PyObject *exc = error < 0 ? ml_take_exception() : NULL;
        rc = set_blocked(stream, stream->queued > 0 && error <= 0);
        if (error > 0) {
            rc = stream->sink->write_failed(stream, error);
        }
        else if (rc == 0) {
            rc = tell_progress(stream);
        }
        rc = ml_raise_again(exc, rc, owner);
    }
    Py_DECREF(owner);
    return rc < 0 ? -1 : 0;
}

/* Outside of callbacks there is no end to wait for; and whether the high mark is reached only shows
 * when the socket had its share. */
static bool
goes_now(const ml_stream *stream, size_t size)
{
    return !stream->loop->in_batch || stream->step != stream->loop->step || size > stream->high;
}

bool
ml_stream_sends(const ml_stream *stream, size_t size)
{
    return stream->len == 0 && goes_now(stream, size);
}

ssize_t
ml_stream_send(ml_stream *stream, const char *data, size_t size)
{
    assert(stream->len == 0 && stream->fd >= 0);
    note_sending(stream);
    ssize_t sent = stream->calls->send(stream->fd, data, size);
    stream->loop->meter->bytes_out += sent > 0 ? (size_t)sent : 0;
    return sent;
}

int
ml_stream_block(ml_stream *stream)
{
    int rc = set_blocked(stream, true);

    return rc < 0 ? rc : ml_stream_check_marks(stream);
}

int
ml_stream_queued(ml_stream *stream)
{
    if (stream->blocked) {
        return ml_stream_check_marks(stream);
    }
    if (goes_now(stream, stream->queued)) {
        int rc = ml_stream_flush(stream);
        return rc < 0 ? rc : ml_stream_check_marks(stream);
    }
    ml_after_add(stream->loop, &stream->after);
    return 0;
}

void
ml_stream_detach(ml_stream *stream)
{
    ml_after_remove(&stream->after);
    stream->reading = stream->blocked = false;
    if (stream->fd >= 0) {
        stream->fd = -1;
        ml_held_watch(&stream->held, stream->loop, 0);
    }
}

int
ml_stream_traverse(ml_stream *stream, visitproc visit, void *arg)
{
    for (size_t i = 0; i < stream->len; i++) {
        Py_VISIT(stream->queue[stream->head + i].object);
    }
    return 0;
}
