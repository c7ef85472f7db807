/* Every ev_io of the project is started and stopped here; see watcher.h for why. */
#include "watcher.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <string.h>
#include <unistd.h>

void
ml_fdw_init(ml_fdw *fdw, ml_io_cb cb, int fd, int events)
{
    void *data = fdw->ev.data;

    assert(!ev_is_active(&fdw->ev));
    ev_io_init(&fdw->ev, cb, fd, events);
    fdw->ev.data = data;
    fdw->next = NULL;
    fdw->error = 0;
    fdw->heard = 0;
}

/* Notes a descriptor for ml_fdw_check(). */
static int
note_changed(ml_loop *loop, int fd)
{
    loop->stale = true;
    if (loop->changed_len > 0 && loop->changed[loop->changed_len - 1] == fd) {
        return 0;
    }
    if (loop->changed_len == loop->changed_cap &&
        ml_grow(&loop->changed, &loop->changed_cap, (size_t)loop->changed_len + 1,
                sizeof(*loop->changed)) < 0) {
        return -1;
    }
    loop->changed[loop->changed_len++] = fd;
    return 0;
}

/* What is left on the descriptor is told to the kernel at the next poll; if this cannot be noted
 * for want of memory, the entry before it mostly covers it. */
static void
note_stopped(ml_loop *loop, int fd)
{
    if (note_changed(loop, fd) < 0) {
        PyErr_Clear();
    }
}

static int
reserve_fd(ml_loop *loop, int fd)
{
    return fd < loop->fds_cap
               ? 0
               : ml_grow(&loop->fds, &loop->fds_cap, (size_t)fd + 1, sizeof(*loop->fds));
}

static bool
rests(const ml_loop *loop, const ml_fdw *fdw)
{
    return fdw->hosts && loop->resting;
}

static int
begin(ml_loop *loop, ml_fdw *fdw)
{
    if (note_changed(loop, fdw->ev.fd) < 0) {
        return -1;
    }
    /* ev_io_set, unlike ev_io_modify, marks the descriptor as possibly another open file. */
    ev_io_set(&fdw->ev, fdw->ev.fd, fdw->ev.events & (EV_READ | EV_WRITE));
    ev_io_start(loop->ev, &fdw->ev);
    return 0;
}

int
ml_fdw_start(ml_loop *loop, ml_fdw *fdw)
{
    int fd = fdw->ev.fd;

    assert(fd >= 0);
    if (ev_is_active(&fdw->ev)) {
        return 0;
    }
    ml_fdw_unlink(loop, fdw);
    if (reserve_fd(loop, fd) < 0 || (!rests(loop, fdw) && begin(loop, fdw) < 0)) {
        return -1;
    }
    fdw->next = loop->fds[fd];
    loop->fds[fd] = fdw;
    return 0;
}

/* Also for one that is not linked. */
void
ml_fdw_unlink(ml_loop *loop, ml_fdw *fdw)
{
    int fd = fdw->ev.fd;
    ml_fdw **place = fd >= 0 && fd < loop->fds_cap ? &loop->fds[fd] : NULL;

    assert(!ev_is_active(&fdw->ev));
    while (place != NULL && *place != NULL && *place != fdw) {
        place = &(*place)->next;
    }
    if (place != NULL && *place == fdw) {
        *place = fdw->next;
    }
    fdw->next = NULL;
}

void
ml_fdw_stop(ml_loop *loop, ml_fdw *fdw)
{
    if (loop->ev == NULL) {
        return; /* closing the loop stopped it */
    }
    if (!ev_is_active(&fdw->ev)) {
        ev_clear_pending(loop->ev, &fdw->ev);
        ml_fdw_unlink(loop, fdw);
        return;
    }
    int fd = fdw->ev.fd;
    ev_io_stop(loop->ev, &fdw->ev);
    ml_fdw_unlink(loop, fdw);
    loop->stale = true;
    if (ev_backend(loop->ev) == EVBACKEND_EPOLL && loop->fds[fd] == NULL) {
        return; /* of the last one on a descriptor epoll is told nothing: libev leaves it there */
    }
    note_stopped(loop, fd);
}

int
ml_fdw_modify(ml_loop *loop, ml_fdw *fdw, int events)
{
    if (events == 0) {
        ml_fdw_stop(loop, fdw);
        ev_io_modify(&fdw->ev, 0);
        return 0;
    }
    if (!ev_is_active(&fdw->ev)) {
        ev_io_modify(&fdw->ev, events);
        return ml_fdw_start(loop, fdw);
    }
    if ((fdw->ev.events & (EV_READ | EV_WRITE)) == events) {
        return 0;
    }
    if (note_changed(loop, fdw->ev.fd) < 0) {
        return -1;
    }
    int pending = ev_clear_pending(loop->ev, &fdw->ev) & events;
    ev_io_stop(loop->ev, &fdw->ev);
    ev_io_modify(&fdw->ev, events);
    ev_io_start(loop->ev, &fdw->ev);
    if (pending) {
        ev_feed_event(loop->ev, &fdw->ev, pending);
    }
    return 0;
}

void
ml_fdw_recheck(ml_loop *loop, ml_fdw *fdw)
{
    if (ev_is_active(&fdw->ev) && note_changed(loop, fdw->ev.fd) < 0) {
        PyErr_Clear(); /* as in ml_fdw_stop() */
    }
}

void
ml_fdw_rest(ml_loop *loop)
{
    loop->resting = true;
    for (int fd = 0; fd < loop->fds_cap; fd++) {
        for (ml_fdw *fdw = loop->fds[fd]; fdw != NULL; fdw = fdw->next) {
            if (fdw->hosts && ev_is_active(&fdw->ev)) {
                ev_io_stop(loop->ev, &fdw->ev);
                note_stopped(loop, fd);
            }
        }
    }
}

int
ml_fdw_resume(ml_loop *loop)
{
    if (!loop->resting) {
        return 0;
    }
    bool failed = ml_reserve_check() < 0;
    for (int fd = 0; !failed && fd < loop->fds_cap; fd++) {
        for (ml_fdw *fdw = loop->fds[fd]; !failed && fdw != NULL; fdw = fdw->next) {
            failed = rests(loop, fdw) && !ev_is_active(&fdw->ev) && begin(loop, fdw) < 0;
        }
    }
    loop->resting = false;
    if (failed) {
        ml_fdw_rest(loop);
    }
    return failed ? -1 : 0;
}

/* 0, or the errno for which libev would abort(): a closed descriptor; the loop's own epoll
 * descriptor or one that contains it. The latter are epoll descriptors too, which as all anonymous
 * inodes have no file type: those are tried. */
static int
examine(ml_loop *loop, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0 && errno == EBADF) {
        return EBADF;
    }
    if (fd == loop->backend_fd) {
        return EINVAL;
    }
    if ((st.st_mode & S_IFMT) != 0 || loop->backend_fd < 0 || loop->reset_due) {
        return 0;
    }
    struct epoll_event event = {.events = 0};
    if (epoll_ctl(loop->backend_fd, EPOLL_CTL_ADD, fd, &event) == 0) {
        epoll_ctl(loop->backend_fd, EPOLL_CTL_DEL, fd, &event);
        return 0;
    }
    return errno == EINVAL || errno == ELOOP ? errno : 0;
}

/* libev's own epoll descriptor is in no API. It takes the lowest number that is free, which `guess`
 * was before; see whether it is one: another thread may have been quicker. */
static int
find(int guess, const char *kind)
{
    char path[64], target[64];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", guess);
    ssize_t len = readlink(path, target, sizeof(target) - 1);
    if (len < 0) {
        return -1;
    }
    target[len] = 0;
    return strstr(target, kind) ? guess : -1;
}

int
ml_find_backend_fd(int guess)
{
    return find(guess, "eventpoll");
}

int
ml_find_pipe_fd(int guess)
{
    return find(guess, "eventfd");
}

bool
ml_fd_is_lost(int fd)
{
    struct stat st;

    return fstat(fd, &st) < 0 || (st.st_mode & S_IFMT) != 0;
}

/* libev replaces its epoll descriptor right after this: the kernel gives the lowest number. */
static void
foresee_backend_fd(ml_loop *loop)
{
    int fd = eventfd(0, EFD_CLOEXEC);

    if (fd >= 0) {
        close(fd);
        loop->backend_fd = fd < loop->backend_fd ? fd : loop->backend_fd;
    }
}

/* Takes all watchers off a descriptor, and tells them why. That runs no callback of Python's, but
 * destructors of what the loop alone kept: they can do anything. */
static void
drop_all(ml_loop *loop, int fd, int error)
{
    loop->drops++;
    /* One at a time: a callback can free others of the chain, and the chain itself. */
    while (loop->ev != NULL && fd < loop->fds_cap && loop->fds[fd] != NULL) {
        ml_fdw *fdw = loop->fds[fd];
        loop->fds[fd] = fdw->next;
        fdw->next = NULL;
        ev_io_stop(loop->ev, &fdw->ev);
        fdw->error = error;
        ev_cb (&fdw->ev)(loop->ev, &fdw->ev, EV_ERROR);
    }
}

int
ml_fdw_error(ml_loop *loop, ml_fdw *fdw)
{
    int error = fdw->error;

    fdw->error = 0;
    if (!ev_is_active(&fdw->ev)) { /* else a program has fed it, and libev knows nothing of it */
        ml_fdw_unlink(loop, fdw);  /* if it comes from libev, which with select() gives no reason */
    }
    return error ? error : fcntl(fdw->ev.fd, F_GETFD) < 0 ? errno : 0;
}

bool
ml_fdw_drop_closed(ml_loop *loop, ml_fdw *fdw)
{
    int fd = fdw->ev.fd;

    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) {
        return false;
    }
    drop_all(loop, fd, EBADF);
    return true;
}

/* One at which libev would abort? */
static void
check_fd(ml_loop *loop, int fd)
{
    int error = fd >= loop->fds_cap || loop->fds[fd] == NULL ? 0 : examine(loop, fd);

    if (error != 0) {
        drop_all(loop, fd, error);
    }
}

void
ml_fdw_check_changed(ml_loop *loop)
{
    for (int i = 0; loop->ev != NULL && i < loop->changed_len; i++) {
        check_fd(loop, loop->changed[i]);
    }
}

static void
check_once(ml_loop *loop)
{
    if (ev_iteration(loop->ev) > 0 && loop->changed_len == 0 && !loop->check_each &&
        !loop->check_all && !loop->reset_due && !loop->backend_moved) {
        return;
    }
    if (loop->reset_due && loop->backend_fd >= 0) {
        foresee_backend_fd(loop);
    }
    else if (loop->backend_moved) {
        loop->backend_moved = false;
        loop->backend_fd = loop->backend_fd < 0 ? -1 : ml_find_backend_fd(loop->backend_fd);
    }
    else if (loop->backend_fd >= 0 && (loop->changed_len > 0 || ev_iteration(loop->ev) == 0) &&
             ml_fd_is_lost(loop->backend_fd)) {
        /* libev takes what epoll_ctl says for an error of the watcher and aborts. */
        loop->syserr = EBADF;
        return;
    }
    bool looked_at = ev_backend(loop->ev) & (EVBACKEND_POLL | EVBACKEND_SELECT);
    if ((looked_at || ev_iteration(loop->ev) == 0) && loop->pipe_fd >= 0 &&
        ml_fd_is_lost(loop->pipe_fd)) {
        /* With poll(), and when epoll is told of it, libev aborts; with select() it stops its own
         * watcher, and has counted it as none before: start() would not return any more. */
        loop->syserr = EBADF;
        return;
    }
    /* poll() finds closed descriptors in its set: there all of them matter. */
    if (loop->check_all || ev_backend(loop->ev) & ~(EVBACKEND_EPOLL | EVBACKEND_SELECT)) {
        for (int fd = 0; fd < loop->fds_cap; fd++) {
            check_fd(loop, fd);
        }
    }
    ml_fdw_check_changed(loop);
}

/* The kernel knows of all changes now. Not before: a run that ends first leaves them to the next,
 * and descriptors may be closed in between. */
void
ml_fdw_polls(ml_loop *loop)
{
    loop->changed_len = 0;
    loop->check_all = false;
}

/* Called just before libev tells the kernel what changed: descriptors that were closed meanwhile
 * lose their watchers, because libev would abort on them (EBADF). One fstat (150 ns) for each
 * descriptor that changed and still has watchers. */
bool
ml_fdw_check(ml_loop *loop)
{
    unsigned int before = loop->drops, drops;

    do { /* again after each find: a destructor may have closed others */
        drops = loop->drops;
        check_once(loop);
    } while (loop->drops != drops);
    return drops != before;
}

/* 0 if the kernel takes the descriptor now, else the errno: where select() says only that one of
 * all is closed, its own. What it may still have of it is taken out: libev, which could not change
 * that, believes that it did. */
static int
try_register(ml_loop *loop, int fd)
{
    struct epoll_event event = {.events = 0};

    if (ev_backend(loop->ev) != EVBACKEND_EPOLL || loop->backend_fd < 0) {
        return fcntl(fd, F_GETFD) < 0 ? errno : ENOMEM;
    }
    epoll_ctl(loop->backend_fd, EPOLL_CTL_DEL, fd, &event);
    if (epoll_ctl(loop->backend_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        return errno;
    }
    epoll_ctl(loop->backend_fd, EPOLL_CTL_DEL, fd, &event);
    return 0;
}

/* libev has stopped all watchers of each descriptor that it could not register, with EV_ERROR for
 * them. What can be registered now is started again, as if nothing had been; the rest is dead. */
void
ml_fdw_refused(ml_loop *loop)
{
    loop->refused = false;
    loop->unsure = true;
    for (int fd = 0; fd < loop->fds_cap; fd++) {
        ml_fdw *first = loop->fds[fd];
        while (first != NULL && rests(loop, first)) {
            first = first->next;
        }
        if (first == NULL || ev_is_active(&first->ev)) {
            continue;
        }
        int error = try_register(loop, fd);
        for (ml_fdw *fdw = loop->fds[fd]; error == 0 && fdw != NULL; fdw = fdw->next) {
            if (rests(loop, fdw)) {
                continue;
            }
            ev_clear_pending(loop->ev, &fdw->ev);
            ev_io_set(&fdw->ev, fd, fdw->ev.events & (EV_READ | EV_WRITE));
            ev_io_start(loop->ev, &fdw->ev);
        }
        if (error != 0) {
            drop_all(loop, fd, error);
        }
    }
}
