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
ssize_t ml_sock_sendv(int fd, struct iovec *parts, size_t count);
/* A new descriptor, non-blocking and close-on-exec. `peer` may be NULL. */
int ml_sock_accept(int fd, struct sockaddr *peer, socklen_t *peer_len);
/* The address family, or -errno. */
int ml_sock_family(int fd);
/* Bytes that can be read now. */
int ml_sock_available(int fd);
/* SO_ERROR, as a positive errno value, 0 for none. */
int ml_sock_error(int fd);
int ml_sock_shutdown_write(int fd);
/* TCP_NODELAY for a TCP socket; nothing for others. */
void ml_sock_nodelay(int fd);
bool ml_sock_is_open(int fd);

#endif
