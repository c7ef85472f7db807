/* The echo server of echo_epoll.c on libev: what libev itself costs above raw epoll. */
#define _GNU_SOURCE
#include "echo_common.h"

/* The macros that set watchers up cast their pointers in a way that strict aliasing warns of. */
#pragma GCC diagnostic ignored "-Wstrict-aliasing"
#include <ev.h>

struct client {
    ev_io io;
    struct echo echo;
};

static void
on_client(struct ev_loop *loop, ev_io *io, int revents)
{
    struct client *c = io->data;
    int was_writing = c->echo.pending != NULL;
    enum echo_state state = was_writing ? echo_flush(&c->echo) : echo_turn(&c->echo);
    (void)revents;
    if (state == ECHO_CLOSED) {
        ev_io_stop(loop, io);
        echo_close(&c->echo);
        free(c);
    }
    else if (was_writing != (state == ECHO_WRITING)) {
        ev_io_stop(loop, io);
        ev_io_set(io, c->echo.fd, was_writing ? EV_READ : EV_WRITE);
        ev_io_start(loop, io);
    }
}

static void
on_listener(struct ev_loop *loop, ev_io *io, int revents)
{
    int fd;
    (void)revents;
    while ((fd = echo_accept(io->fd)) >= 0) {
        struct client *c = calloc(1, sizeof *c);
        if (c == NULL)
            die("calloc");
        c->echo.fd = fd;
        c->io.data = c;
        ev_io_init(&c->io, on_client, fd, EV_READ);
        ev_io_start(loop, &c->io);
    }
}

int
main(int argc, char **argv)
{
    ev_io listener;
    int fd = echo_listen(argc, argv);
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (loop == NULL) {
        fprintf(stderr, "libev has no epoll backend here\n");
        return 1;
    }
    ev_io_init(&listener, on_listener, fd, EV_READ);
    ev_io_start(loop, &listener);
    ev_run(loop, 0);
    return 0;
}
