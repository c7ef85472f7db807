/* What the two echo servers in C share: the listening socket and one connection.
 *
 * Both servers do the least a correct echo server can: one recv and one send per readiness,
 * and what the socket does not take at once is kept and sent when it is writable again.
 */
#ifndef ECHO_COMMON_H
#define ECHO_COMMON_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { READ_BUFFER = 256 * 1024, BACKLOG = 4096 };

enum echo_state {
    ECHO_CLOSED,  /* the peer has gone: close the connection */
    ECHO_READING, /* wait for input */
    ECHO_WRITING  /* the peer does not read: wait until it does, read nothing meanwhile */
};

struct echo {
    int fd;
    char *pending; /* what was read and not yet sent back, or NULL */
    size_t start, end;
};

static inline void
die(const char *what)
{
    perror(what);
    exit(1);
}

static inline void
set_nonblocking(int fd)
{
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
        die("fcntl");
}

/* Lifts the soft limit of open files to the hard one; rows have up to thousands of sockets. */
static inline void
lift_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static inline int
listen_unix(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof addr.sun_path) {
        fprintf(stderr, "the socket's path is too long: %s\n", path);
        exit(2);
    }
    strcpy(addr.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(fd, BACKLOG) < 0)
        die("listen");
    printf("%s\n", path);
    return fd;
}

static inline int
listen_tcp(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof addr;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
        die("listen");
    printf("%d\n", ntohs(addr.sin_port));
    return fd;
}

/* Listens on a free TCP port of 127.0.0.1, or with "--unix PATH" on that path, and prints
 * which. Ends the program on any error. */
static inline int
echo_listen(int argc, char **argv)
{
    int fd;
    signal(SIGPIPE, SIG_IGN);
    lift_file_limit();
    if (argc == 1) {
        fd = listen_tcp();
    }
    else if (argc == 3 && strcmp(argv[1], "--unix") == 0) {
        fd = listen_unix(argv[2]);
    }
    else {
        fprintf(stderr, "usage: %s [--unix PATH]\n", argv[0]);
        exit(2);
    }
    fflush(stdout);
    set_nonblocking(fd);
    return fd;
}

/* Accepts one connection; -1 if none waits. */
static inline int
echo_accept(int listener)
{
    int one = 1, fd = accept(listener, NULL, NULL);
    if (fd < 0)
        return -1;
    set_nonblocking(fd);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* fails on AF_UNIX */
    return fd;
}

/* Sends what is pending. */
static inline enum echo_state
echo_flush(struct echo *c)
{
    while (c->start < c->end) {
        ssize_t n = send(c->fd, c->pending + c->start, c->end - c->start, 0);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? ECHO_WRITING : ECHO_CLOSED;
        c->start += (size_t)n;
    }
    free(c->pending);
    c->pending = NULL;
    return ECHO_READING;
}

/* Reads once and sends it back. */
static inline enum echo_state
echo_turn(struct echo *c)
{
    static char buffer[READ_BUFFER];
    ssize_t got = recv(c->fd, buffer, sizeof buffer, 0);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? ECHO_READING : ECHO_CLOSED;
    if (got == 0)
        return ECHO_CLOSED;
    ssize_t sent = send(c->fd, buffer, (size_t)got, 0);
    if (sent == got)
        return ECHO_READING;
    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return ECHO_CLOSED;
        sent = 0;
    }
    c->start = 0;
    c->end = (size_t)(got - sent);
    c->pending = malloc(c->end);
    if (c->pending == NULL)
        return ECHO_CLOSED;
    memcpy(c->pending, buffer + sent, c->end);
    return ECHO_WRITING;
}

static inline void
echo_close(struct echo *c)
{
    close(c->fd);
    free(c->pending);
}

#endif
