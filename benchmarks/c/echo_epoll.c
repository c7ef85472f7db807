/* An echo server on raw epoll: the least work that a correct server can do per request. */
#define _GNU_SOURCE
#include "echo_common.h"

#include <sys/epoll.h>

enum { EVENTS = 256 };

static void
watch(int epoll, int op, int fd, uint32_t events, void *data)
{
    struct epoll_event ev = {.events = events, .data.ptr = data};
    if (epoll_ctl(epoll, op, fd, &ev) < 0)
        die("epoll_ctl");
}

static void
accept_all(int epoll, int listener)
{
    int fd;
    while ((fd = echo_accept(listener)) >= 0) {
        struct echo *c = calloc(1, sizeof *c);
        if (c == NULL)
            die("calloc");
        c->fd = fd;
        watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}

static void
serve(int epoll, struct echo *c)
{
    int was_writing = c->pending != NULL;
    enum echo_state state = was_writing ? echo_flush(c) : echo_turn(c);
    if (state == ECHO_CLOSED) {
        echo_close(c);
        free(c);
    }
    else if (was_writing != (state == ECHO_WRITING)) {
        watch(epoll, EPOLL_CTL_MOD, c->fd, was_writing ? EPOLLIN : EPOLLOUT, c);
    }
}

int
main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    int listener = echo_listen(argc, argv);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll_create1");
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        int n = epoll_wait(epoll, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                accept_all(epoll, listener);
            else
                serve(epoll, events[i].data.ptr);
        }
    }
}
