#define _GNU_SOURCE
#include "sock.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

/* MSG_DONTWAIT everywhere: a socket that the user left blocking must not stop the loop. */
#define RETRY(call)                         \
    ssize_t result;                         \
    do {                                    \
        result = (call);                    \
    } while (result < 0 && errno == EINTR); \
    return result < 0 ? -errno : result

ssize_t
ml_sock_recv(int fd, void *buffer, size_t size)
{
    RETRY(recv(fd, buffer, size, MSG_DONTWAIT));
}

ssize_t
ml_sock_recvfrom(int fd, void *buffer, size_t size, struct sockaddr *from, socklen_t *from_len)
{
    RETRY(recvfrom(fd, buffer, size, MSG_DONTWAIT, from, from_len));
}

ssize_t
ml_sock_send(int fd, const void *data, size_t size)
{
    RETRY(send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL));
}

ssize_t
ml_sock_sendv(int fd, struct iovec *parts, size_t count)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    RETRY(sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

int
ml_sock_accept(int fd, struct sockaddr *peer, socklen_t *peer_len)
{
    RETRY(accept4(fd, peer, peer_len, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

int
ml_sock_family(int fd)
{
    int family = 0;
    socklen_t size = sizeof(family);

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 ? -errno : family;
}

int
ml_sock_available(int fd)
{
    int available = 0;

    return ioctl(fd, FIONREAD, &available) < 0 ? -errno : available;
}

int
ml_sock_error(int fd)
{
    int error = 0;
    socklen_t size = sizeof(error);

    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? errno : error;
}

int
ml_sock_shutdown_write(int fd)
{
    return shutdown(fd, SHUT_WR) < 0 ? -errno : 0;
}

void
ml_sock_nodelay(int fd)
{
    int on = 1;

    /* Fails on what is not TCP, and that is all right. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

bool
ml_sock_is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}
