/* Handshakes that wait for their turn, first come, first served: each is a millisecond of
 * arithmetic in which connections that are there wait. One call of the loop's for all of them: to
 * ask each in each turn whether there is time would take more of it than they may have. */
#include "../aio/context.h"
#include "tls.h"

/* Seconds. What is over waits for the next turn. */
#define HANDSHAKES_OF_A_TURN 0.001

struct ml_tls_place {
    ml_tls *self; /* borrowed: it leaves the queue when it ends */
    PyObject *context;
    ml_tls_place *next, **by;
};

static bool
has_time(ml_tls_room *room, const ml_aioloop *loop)
{
    if (room->turn != loop->turns) {
        room->turn = loop->turns;
        room->shaking = 0;
    }
    return room->shaking <= HANDSHAKES_OF_A_TURN;
}

bool
ml_tls_may_shake_hands(ml_tls *self, ml_tls_room *room)
{
    if (self->place != NULL) {
        return false;
    }
    return room->called == self || (room->queue == NULL && has_time(room, self->loop));
}

/* Its place, which it has no more; NULL if it had none. */
static ml_tls_place *
take_place(ml_tls *self)
{
    ml_tls_place *place = self->place;

    if (place != NULL) {
        ml_tls_room *room = self->loop->tls_room;
        if (room->queue_end == &place->next) {
            room->queue_end = place->by;
        }
        ML_LIST_REMOVE(place);
        self->place = NULL;
    }
    return place;
}

static void
free_place(ml_tls_place *place)
{
    Py_XDECREF(place->context);
    PyMem_Free(place);
}

void
ml_tls_leave_queue(ml_tls *self)
{
    ml_tls_place *place = take_place(self);

    if (place != NULL) {
        free_place(place);
    }
}

/* While there is a queue, the call of its first one is scheduled: by whoever was called last, or by
 * the next one that comes if there was no memory for it. */
int
ml_tls_wait_for_turn(ml_tls *self, ml_tls_room *room)
{
    bool failed = false;

    if (self->place != NULL) {
        return 0;
    }
    ml_tls_place *place = PyMem_Calloc(1, sizeof(*place));
    if (place == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    place->self = self;
    place->context = ml_context_capture(&failed);
    if (failed || ml_tls_go_on_later(room->queue ? room->queue->self : self) < 0) {
        free_place(place);
        return -1;
    }
    if (room->queue == NULL) {
        room->queue_end = &room->queue;
    }
    ML_LIST_ADD(room->queue_end, place);
    room->queue_end = &place->next;
    self->place = place;
    return 0;
}

/* The first one's, in the context in which it came to wait. */
static int
call_first(ml_tls_room *room)
{
    ml_tls *self = (ml_tls *)Py_NewRef(room->queue->self);
    ml_aioloop *loop = (ml_aioloop *)Py_NewRef(self->loop);
    ml_tls_place *place = take_place(self);
    PyObject *entered = ml_context_enter(loop, &place->context);
    int rc = -1;

    if (entered != NULL) {
        room->called = self;
        rc = ml_tls_arrived_or_end(self);
        room->called = NULL;
        ml_context_leave(loop, &place->context, entered);
    }
    free_place(place);
    Py_DECREF(self);
    Py_DECREF(loop);
    return rc;
}

int
ml_tls_shake_hands(ml_aioloop *loop)
{
    ml_tls_room *room = loop->tls_room;
    int rc = 0;

    if (room == NULL || room->called != NULL) {
        return 0;
    }
    while (rc == 0 && room->queue != NULL && has_time(room, loop)) {
        rc = call_first(room);
    }
    PyObject *exc = rc < 0 ? ml_take_exception() : NULL;
    rc = room->queue != NULL ? ml_tls_go_on_later(room->queue->self) : 0;
    return ml_raise_again(exc, rc, (PyObject *)loop);
}
