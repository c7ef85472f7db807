/* One connection's TLS: the transport that the program has, and the protocol of the transport
 * below. OpenSSL belongs to an ordinary ssl.SSLObject, whose methods do all that is done seldom,
 * and tell all errors; what is done for each packet is done here. */
#ifndef ML_TLS_H
#define ML_TLS_H

#include "../net/transport.h"
#include "openssl.h"

/* The most plain text of one record (RFC 8446, 5.1). */
#define ML_TLS_RECORD 16384
/* What is encrypted for one system call. */
#define ML_TLS_BATCH (8 * ML_TLS_RECORD)

/* asyncio's marks for TLS, in bytes. */
#define ML_TLS_WRITE_HIGH (512 * 1024)
#define ML_TLS_READ_HIGH (256 * 1024)

/* How much longer a record is than its plain text, until a shorter one is seen: 5 for the header,
 * 16 for the tag, 1 for the type. */
#define ML_TLS_OVERHEAD 22

/* How many connections of a loop keep OpenSSL's two buffers, of 17 KiB each, between records: those
 * that were busy last. To allocate and free them costs a packet of 256 B a twentieth. */
#define ML_TLS_KEEPERS 64

typedef struct ml_tls ml_tls;
typedef struct ml_tls_place ml_tls_place;

/* Bytes that are on their way. */
typedef struct ml_tls_out {
    char *data;
    size_t len, cap;
} ml_tls_out;

/* What the BIO of a connection reads and writes, perhaps without the GIL. */
typedef struct ml_tls_io {
    const char *in; /* ciphertext that OpenSSL has not taken yet */
    size_t in_len;
    ml_tls_out *out; /* the loop's; NULL while the object's methods run: `own` */
    ml_tls_out own;
    size_t held;    /* bytes of a record that is not whole, which OpenSSL has */
    unsigned reads; /* since something came of them */
} ml_tls_io;

/* What all connections of a loop use, one after the other. */
typedef struct ml_tls_room {
    ml_tls *keepers[ML_TLS_KEEPERS]; /* borrowed */
    unsigned next_keeper;
    ml_tls_place *queue, **queue_end; /* of handshakes, and where the next one is linked */
    ml_tls *called;                   /* of the queue; borrowed */
    uint64_t turn; /* of the loop, in which so much time went into handshakes: seconds */
    double shaking;
    ml_tls_out out;
    bool busy;                /* OpenSSL runs for a packet, and what is here is in use */
    char join[ML_TLS_RECORD]; /* small chunks, for one record; what is read and dropped */
    char in[ML_SCRATCH_SIZE]; /* what is received: nobody else's, as user code runs before all of it
                                 is decrypted */
} ml_tls_room;

/* From one to a later one only. */
typedef enum ml_tls_stage {
    TLS_NEW,
    TLS_HANDSHAKE,
    TLS_OPEN,
    TLS_FLUSHING, /* what was written is still sent */
    TLS_SHUTDOWN, /* then TLS is ended, and the peer's answer waited for */
    TLS_OVER,
} ml_tls_stage;

/* Of the protocol. */
typedef enum ml_tls_told { TOLD_NOTHING, TOLD_MADE, TOLD_EOF, TOLD_LOST } ml_tls_told;

struct ml_tls {
    PyObject_HEAD
    PyObject *extra; /* BaseTransport's slot `_extra` */
    PyObject *dict, *weaklist;
    PyObject *protocol;       /* the program's; NULL after connection_lost() */
    PyObject *lower;          /* the transport below; NULL before and after */
    ml_transport *native;     /* the same if it is one of ours: its calls need no Python */
    PyObject *object, *inner; /* the ssl.SSLObject, and what it holds `ssl` by */
    PyObject *context;        /* the ssl.SSLContext that was given */
    PyObject *waiter;         /* future to complete after the handshake */
    PyObject *timer;          /* the handle of a timeout */
    PyObject *handshake_timeout, *shutdown_timeout;
    PyObject *peercert;        /* asked for once */
    PyObject *error;           /* for connection_lost(), while what is below is still sent */
    const ml_native *receiver; /* the protocol's, NULL: it is Python's */
    ml_aioloop *loop;
    SSL *ssl;
    BIO *bio;
    ml_stream stream; /* a queue of plain text: over another stream, so without a descriptor */
    ml_tls_io io;
    ml_tls_place *place; /* in the queue of handshakes; NULL: in none */
    ml_tls_out rest;     /* ciphertext that waits, until the program reads on say */
    size_t answers;      /* what reading has made us send since all was sent */
    size_t dropped;      /* plain text that came after close() */
    size_t read_high, read_low;
    double began;    /* the handshake, in debug mode */
    unsigned keeper; /* its place in the loop's keepers, counted from 1; 0: none */
    ml_tls_stage stage;
    ml_tls_told told;
    unsigned overhead; /* how much longer than its plain text a record is */
    int lost_writes;
    bool buffered;
    bool closed;        /* by the program: data are dropped from then on */
    bool paused;        /* ... reads nothing for now */
    bool stopped;       /* ... and so we have stopped the transport below */
    bool held_back;     /* pause_writing() of the transport below */
    bool eof;           /* of the transport below */
    bool ended;         /* the peer has ended TLS */
    bool notified;      /* our close_notify is sent */
    bool continuing;    /* a call of ml_tls_go_on() is scheduled */
    bool arriving;      /* ml_tls_arrived() runs */
    bool arrived_again; /* ... and was called from within */
    bool wants_input;   /* OpenSSL has to read before it writes */
    bool wrote_inside;  /* the program wrote while nothing could be encrypted */
    bool in_ssl;        /* OpenSSL runs, and perhaps a callback of the program's in it */
    bool upgraded;      /* by start_tls(): connection_made() was for the plain connection */
    bool failed;        /* the connection is being lost */
    bool shook_hands;   /* the handshake was a success */
    bool unneeded;      /* closed for the second time */
};

/* ---- bio.c ------------------------------------------------------------------------------- */

/* Puts a BIO of ours under self->ssl. -1 with MemoryError. */
int ml_tls_bio_attach(ml_tls *self);
/* From then on it is one at its end, whoever still has the object. */
void ml_tls_bio_detach(ml_tls *self);
bool ml_tls_out_append(ml_tls_out *out, const char *data, size_t size);
void ml_tls_out_free(ml_tls_out *out);

/* ---- engine.c ---------------------------------------------------------------------------- */

ml_tls_room *ml_tls_room_of(ml_aioloop *loop);
/* Has OpenSSL keep its buffers for this connection, in place of another's; or no more. */
void ml_tls_keep_buffers(ml_tls *self);
void ml_tls_release_buffers(ml_tls *self);
/* Whether OpenSSL is to be left alone: one of the program's callbacks runs in the midst of it. */
bool ml_tls_is_inside(const ml_tls *self);
/* Whether OpenSSL has something that was not read yet. */
bool ml_tls_has_input(const ml_tls *self);
/* Decrypts what there is until `size` bytes are full. What SSL_get_error() says of the call that
 * ended it; ML_SSL_OK if none did. */
int ml_tls_decrypt(ml_tls *self, char *data, size_t size, size_t *got);
/* Encrypts the first of the queue, as much as is sent at once. The same. */
int ml_tls_encrypt(ml_tls *self);
/* Calls a method of the object. -1 with what it raises. */
int ml_tls_call_object(ml_tls *self, const char *method);
/* The same after a call of ours that failed, to have it raise what is wrong; or, with what it gave,
 * 0. */
int ml_tls_ask_object(ml_tls *self, const char *method, PyObject *arg, PyObject **result);

/* ---- lower.c: the transport below --------------------------------------------------------- */

/* Sends what was encrypted, and empties it. -1: must leave. */
int ml_tls_put(ml_tls *self, ml_tls_out *out);
int ml_tls_put_own(ml_tls *self);
bool ml_tls_can_put(const ml_tls *self);
/* Reads, or not, as all that there is to it says. -1 with an exception. */
int ml_tls_steer(ml_tls *self);
int ml_tls_lower_close(ml_tls *self);
int ml_tls_lower_force_close(ml_tls *self, PyObject *exc);
bool ml_tls_lower_is_closing(ml_tls *self);
void ml_tls_attach(ml_tls *self, PyObject *transport);

/* ---- life.c: handshake, end, errors ------------------------------------------------------- */

int ml_tls_start_handshake(ml_tls *self);
int ml_tls_handshake(ml_tls *self);
int ml_tls_handshake_done(ml_tls *self, PyObject *exc);
int ml_tls_start_shutdown(ml_tls *self);
int ml_tls_flushing(ml_tls *self);
int ml_tls_shutdown(ml_tls *self);
int ml_tls_abort(ml_tls *self, PyObject *exc);
/* Ends it because of the exception that is set. -1: must leave. */
int ml_tls_fatal(ml_tls *self, const char *message);
void ml_tls_lost(ml_tls *self);
int ml_tls_settle(ml_tls *self, PyObject *exc);
void ml_tls_let_go(ml_tls *self);
int ml_tls_call_eof(ml_tls *self);
int ml_tls_start_timer(ml_tls *self, const char *method, PyObject *delay);
int ml_tls_cancel_timer(ml_tls *self);
int ml_tls_timed_out(ml_tls *self, bool handshake);

/* ---- queue.c: whose turn it is ------------------------------------------------------------- */

bool ml_tls_may_shake_hands(ml_tls *self, ml_tls_room *room);
/* Its handshake goes on when those before it have gone on. -1 with an exception. */
int ml_tls_wait_for_turn(ml_tls *self, ml_tls_room *room);
void ml_tls_leave_queue(ml_tls *self);
/* Goes on with those for which there is time. -1: must leave. */
int ml_tls_shake_hands(ml_aioloop *loop);

/* ---- read.c: what arrives ----------------------------------------------------------------- */

/* So much has been received, or waits. -1 with an exception: the transport below ends. */
int ml_tls_arrived(ml_tls *self, const char *data, size_t size);
/* What waits is looked at, and an exception ends the connection. -1: must leave. */
int ml_tls_arrived_or_end(ml_tls *self);
/* Goes on in the next turn. -1 with an exception. */
int ml_tls_go_on_later(ml_tls *self);
/* -1: must leave. */
int ml_tls_go_on(ml_tls *self);
/* Reads and hands over. -1: must leave. */
int ml_tls_read(ml_tls *self);
int ml_tls_set_protocol(ml_tls *self, PyObject *protocol);
extern const ml_native ml_tls_native;

/* ---- write.c ------------------------------------------------------------------------------ */

extern const ml_sink ml_tls_sink;
/* Encrypts and sends what can be. -1: must leave. */
int ml_tls_flush(ml_tls *self);
/* What waits below, for the peer to read, is counted; and the marks told. */
void ml_tls_count_below(ml_tls *self);
int ml_tls_check_marks(ml_tls *self);
void ml_tls_discard(ml_tls *self);

/* make.c */
PyObject *ml_tls_open(PyObject *type, PyObject *args);
PyObject *ml_tls_wrap(PyObject *type, PyObject *args);
/* transport.c */
extern PyMethodDef ml_tls_methods[];
extern PyGetSetDef ml_tls_getset[];
extern PyMemberDef ml_tls_members[];
PyObject *ml_tls_repr(ml_tls *self);

#endif
