/* What libev's watchers cost in C: the floor under benchmarks/watchers.py.
 *
 *     watchers ROW SECONDS
 *
 * Prints the nanoseconds of one operation: the median of 9 measurements. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wstrict-aliasing"
#include <ev.h>

#define MEASUREMENTS 9
#define MOST 100

static void
die(const char *what)
{
    fprintf(stderr, "watchers: %s\n", what);
    exit(1);
}

static double
now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec * 1e-9;
}

static void
nothing(struct ev_loop *loop, ev_timer *timer, int revents)
{
    (void)loop;
    (void)timer;
    (void)revents;
}

static double
start_stop(struct ev_loop *loop, long count)
{
    ev_timer timer;

    ev_timer_init(&timer, nothing, 3600., 0.);
    double begin = now();
    for (long i = 0; i < count; i++) {
        ev_timer_start(loop, &timer);
        ev_timer_stop(loop, &timer);
    }
    return (now() - begin) / count;
}

static void
no_event(struct ev_loop *loop, ev_io *io, int revents)
{
    (void)loop;
    (void)io;
    (void)revents;
}

static void
stop(struct ev_loop *loop, ev_timer *timer, int revents)
{
    (void)timer;
    (void)revents;
    ev_break(loop, EVBREAK_ALL);
}

/* Descriptors that are always writable: each iteration is one epoll_wait and `ready` callbacks. */
static double
dispatch(struct ev_loop *loop, int ready, double seconds)
{
    static ev_io ios[MOST];
    ev_timer timer;

    for (int i = 0; i < ready; i++) {
        int fd = eventfd(0, EFD_CLOEXEC);
        if (fd < 0) {
            die("eventfd");
        }
        ev_io_init(&ios[i], no_event, fd, EV_WRITE);
        ev_io_start(loop, &ios[i]);
    }
    ev_now_update(loop);
    ev_timer_init(&timer, stop, seconds, 0.);
    ev_timer_start(loop, &timer);
    unsigned int before = ev_iteration(loop);
    double begin = now();
    ev_run(loop, 0);
    double took = (now() - begin) / ((double)(ev_iteration(loop) - before) * ready);
    for (int i = 0; i < ready; i++) {
        int fd = ios[i].fd;
        ev_io_stop(loop, &ios[i]);
        close(fd);
    }
    return took;
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int
main(int argc, char **argv)
{
    double samples[MEASUREMENTS];
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);

    if (argc != 3 || loop == NULL) {
        die(argc != 3 ? "usage: watchers ROW SECONDS" : "libev has no epoll backend here");
    }
    double seconds = atof(argv[2]);
    for (int i = 0; i < MEASUREMENTS; i++) {
        if (strcmp(argv[1], "timer_start_stop") == 0) {
            samples[i] = start_stop(loop, (long)(seconds * 5e7));
        }
        else if (strcmp(argv[1], "io_dispatch_1") == 0) {
            samples[i] = dispatch(loop, 1, seconds);
        }
        else if (strcmp(argv[1], "io_dispatch_100") == 0) {
            samples[i] = dispatch(loop, MOST, seconds);
        }
        else {
            die("no such row");
        }
    }
    qsort(samples, MEASUREMENTS, sizeof samples[0], compare);
    printf("%.2f\n", samples[MEASUREMENTS / 2] * 1e9);
    return 0;
}
