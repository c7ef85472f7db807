/* Receiving into a bytes object of the right size. */
#ifndef ML_RECV_H
#define ML_RECV_H

#include "../aio/aio.h"

/* What there is, or the first message, up to `limit` bytes, as an exact bytes object; `expected`
 * says how many may come, `later` is as for ml_recv_stream(). NULL with *error set to an errno
 * value, or with an exception. */
PyObject *ml_recv_bytes(ml_aioloop *loop, const ml_calls *calls, int fd, size_t limit,
                        size_t expected, int *later, int *error);
/* The same for a call of the program's on a socket of any kind: up to `limit` bytes, of which a
 * stream may give less than there are. */
PyObject *ml_recv_once(ml_aioloop *loop, int fd, size_t limit, int *error);
/* Room for so many bytes: the scratch block, or if that is too small a new bytes object, which
 * *block becomes. NULL with MemoryError. */
char *ml_recv_room(ml_aioloop *loop, size_t size, PyObject **block);
/* Reads. Where data comes as fast as it is read, there is more when a read is done: then it goes on
 * until the buffer is full or nothing is left, which saves the polls and the protocol's calls in
 * between, a tenth of what receiving costs. *later becomes the errno value, if any, that follows
 * what was read; NULL reads once, as what is not a stream socket must. Bytes, or -errno. */
ssize_t ml_recv_stream(const ml_calls *calls, int fd, char *buffer, size_t size, size_t expected,
                       int *later);
/* What is to be expected after a read that brought `got`: not less at once. */
void ml_recv_expect(size_t *expected, size_t got);

#endif
