#include "sock.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

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
ml_sock_sendto(int fd, const void *data, size_t size, const struct sockaddr *to, socklen_t to_len)
{
    RETRY(sendto(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL, to, to_len));
}

static ssize_t
sock_sendv(int fd, struct iovec *parts, size_t count)
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
ml_sock_tcp(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);

    return fd < 0 ? -errno : fd;
}

int
ml_sock_connect(int fd, const struct sockaddr *to, socklen_t to_len)
{
    return connect(fd, to, to_len) < 0 ? -errno : 0;
}

static int
get_option(int fd, int option)
{
    int value = 0;
    socklen_t size = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? -errno : value;
}

int
ml_sock_family(int fd)
{
    return get_option(fd, SO_DOMAIN);
}

int
ml_sock_type(int fd)
{
    return get_option(fd, SO_TYPE);
}

bool
ml_sock_peer(int fd, struct sockaddr *peer, socklen_t *peer_len)
{
    return getpeername(fd, peer, peer_len) == 0;
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
    int error = get_option(fd, SO_ERROR);

    return error < 0 ? -error : error;
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

int
ml_file_type(int fd)
{
    struct stat st;

    return fstat(fd, &st) < 0 ? -errno : (int)(st.st_mode & S_IFMT);
}

/* A pipe made with O_DIRECT. */
bool
ml_pipe_keeps_packets(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && (flags & O_DIRECT) != 0;
}

int
ml_file_set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0) {
        return -errno;
    }
    return flags & O_NONBLOCK || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : -errno;
}

/* A descriptor that is no socket has no MSG_DONTWAIT: O_NONBLOCK was set. */
static ssize_t
pipe_read(int fd, void *buffer, size_t size)
{
    RETRY(read(fd, buffer, size));
}

static ssize_t
pipe_write(int fd, const void *data, size_t size)
{
    RETRY(write(fd, data, size));
}

static ssize_t
pipe_writev(int fd, struct iovec *parts, size_t count)
{
    RETRY(writev(fd, parts, (int)count));
}

static ssize_t
message_writev(int fd, struct iovec *parts, size_t count)
{
    ssize_t sent = 0, done = 0;
    bool whole = true;

    for (size_t i = 0; i < count && whole; i++) {
        done = pipe_write(fd, parts[i].iov_base, parts[i].iov_len);
        whole = done == (ssize_t)parts[i].iov_len; /* a pipe may take a part of a long one */
        sent += done < 0 ? 0 : done;
    }
    return sent > 0 ? sent : done;
}

const ml_calls ml_sock_calls = {ml_sock_recv, ml_sock_send, sock_sendv, false};
const ml_calls ml_pipe_calls = {pipe_read, pipe_write, pipe_writev, false};
const ml_calls ml_message_calls = {pipe_read, pipe_write, message_writev, true};
