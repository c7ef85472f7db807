/* Socket system calls, without Python: non-blocking, EINTR retried, failures as -errno. */
#ifndef ML_SOCK_H
#define ML_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

ssize_t ml_sock_recv(int fd, void *buffer, size_t size);
ssize_t ml_sock_recvfrom(int fd, void *buffer, size_t size, struct sockaddr *from,
                         socklen_t *from_len);
ssize_t ml_sock_send(int fd, const void *data, size_t size);
ssize_t ml_sock_sendto(int fd, const void *data, size_t size, const struct sockaddr *to,
                       socklen_t to_len);
/* A new descriptor, non-blocking and close-on-exec. `peer` may be NULL. */
int ml_sock_accept(int fd, struct sockaddr *peer, socklen_t *peer_len);
/* A TCP socket of a family, non-blocking and close-on-exec, or -errno. */
int ml_sock_tcp(int family);
/* 0 or -errno: -EINPROGRESS while it goes on, as it also does after -EINTR. */
int ml_sock_connect(int fd, const struct sockaddr *to, socklen_t to_len);
/* The address family; SOCK_STREAM and the like; or -errno. */
int ml_sock_family(int fd);
int ml_sock_type(int fd);
/* Whether it is connected, and to whom. */
bool ml_sock_peer(int fd, struct sockaddr *peer, socklen_t *peer_len);
/* Bytes that can be read now; of a pipe too. */
int ml_sock_available(int fd);
/* SO_ERROR, as a positive errno value, 0 for none. */
int ml_sock_error(int fd);
int ml_sock_shutdown_write(int fd);
/* TCP_NODELAY for a TCP socket; nothing for others. */
void ml_sock_nodelay(int fd);
bool ml_sock_is_open(int fd);

/* The file type bits of st_mode, or -errno. */
int ml_file_type(int fd);
int ml_file_set_nonblocking(int fd);
/* Whether each write to a pipe is read by itself. */
bool ml_pipe_keeps_packets(int fd);

/* The calls of a stream socket; of a pipe, FIFO or terminal; and of a socket or pipe that keeps
 * the bounds of messages. */
typedef struct ml_calls {
    ssize_t (*recv)(int fd, void *buffer, size_t size);
    ssize_t (*send)(int fd, const void *data, size_t size);
    ssize_t (*sendv)(int fd, struct iovec *parts, size_t count);
    bool
        messages; /* what a read has no room for is lost, and each part that is sent is by itself */
} ml_calls;

extern const ml_calls ml_sock_calls, ml_pipe_calls, ml_message_calls;

#endif
