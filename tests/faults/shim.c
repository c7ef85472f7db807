/* System calls that fail on demand: an LD_PRELOAD library for the fault injection tests.
 *
 * Each wrapper counts the calls that the watching thread makes of it. One planned fault strikes
 * the calls from `index` to `index + times - 1` of one wrapper; a storm strikes soft ones anywhere,
 * by chance. Sockets and pipes that are closed keep their number, with a file behind it that
 * nothing can be done with: whoever uses or closes such a number again has been caught. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* What can be made to fail. The `event` ones are read() and write() on an eventfd. */
#define CALLS(X)     \
    X(accept4)       \
    X(close)         \
    X(connect)       \
    X(dup)           \
    X(epoll_create1) \
    X(epoll_ctl)     \
    X(epoll_wait)    \
    X(eventfd)       \
    X(fcntl)         \
    X(getsockopt)    \
    X(ioctl)         \
    X(pipe2)         \
    X(read)          \
    X(read_event)    \
    X(readv)         \
    X(recv)          \
    X(recvfrom)      \
    X(recvmmsg)      \
    X(recvmsg)       \
    X(send)          \
    X(sendfile)      \
    X(sendmmsg)      \
    X(sendmsg)       \
    X(sendto)        \
    X(shutdown)      \
    X(socket)        \
    X(socketpair)    \
    X(write)         \
    X(write_event)   \
    X(writev)

enum {
#define X(name) CALL_##name,
    CALLS(X)
#undef X
        CALL_COUNT
};

static const char *const call_names[] = {
#define X(name) #name,
    CALLS(X)
#undef X
};

/* FAIL: -1 with errno `value`, nothing done. AFTER: the same, but done. SHORT: at most `value`
 * bytes, messages or events. RESULT: returns `value`, nothing done. OPTION: getsockopt() yields
 * `value`. */
enum kind { NONE, FAIL, AFTER, SHORT, RESULT, OPTION };

typedef struct fault {
    enum kind kind;
    int value;
} fault;

#define EXPORT __attribute__((visibility("default")))
#define MAX_FDS 65536

static struct {
    int call;
    long index, times;
    fault fault;
} plan;
static struct {
    unsigned long state;
    unsigned int permille;
} storm;
static _Thread_local bool watching;
static bool quarantine;
static pid_t owner; /* the process that began: one that it starts by vfork() has our memory */
static long counts[CALL_COUNT];
static int struck, struck_fd = -1;
static bool dead[MAX_FDS];
static int tombstone = -1;
static char abuse[512];

/* The real function, looked up once. */
#define REAL(name)                                 \
    static __typeof__(&name) real;                 \
    if (real == NULL) {                            \
        *(void **)&real = dlsym(RTLD_NEXT, #name); \
    }

/* ---- what the tests call ------------------------------------------------------------------ */

EXPORT const char *
fault_name(int call)
{
    return call >= 0 && call < CALL_COUNT ? call_names[call] : NULL;
}

EXPORT void
fault_plan(int call, long index, long times, int kind, int value)
{
    plan.call = call;
    plan.index = index;
    plan.times = times;
    plan.fault = (fault){(enum kind)kind, value};
}

EXPORT void
fault_storm(unsigned long seed, unsigned int permille)
{
    storm.state = seed * 2654435761u + 1;
    storm.permille = permille;
}

/* From here on the calls of this thread count; closed numbers stay out of use. */
EXPORT int
fault_begin(void)
{
    if (tombstone < 0) {
        tombstone = open("/", O_PATH | O_CLOEXEC); /* every operation on it is EBADF */
    }
    memset(counts, 0, sizeof(counts));
    owner = getpid();
    watching = quarantine = tombstone >= 0;
    return watching ? 0 : -1;
}

EXPORT void
fault_end(void)
{
    watching = quarantine = false;
    for (int fd = 0; fd < MAX_FDS; fd++) {
        if (dead[fd]) {
            dead[fd] = false;
            close(fd);
        }
    }
    close(tombstone);
    tombstone = -1;
}

EXPORT long
fault_count(int call)
{
    return counts[call];
}

/* How often a fault struck, and the descriptor that the last one was about. */
EXPORT int
fault_struck(int *fd)
{
    *fd = struck_fd;
    return struck;
}

/* Empty, or how a closed descriptor was used. */
EXPORT const char *
fault_abuse(void)
{
    return abuse;
}

/* ---- deciding ----------------------------------------------------------------------------- */

static void
caught(const char *what, int fd, const void *caller)
{
    Dl_info info;
    const char *file = dladdr(caller, &info) && info.dli_fname ? info.dli_fname : "?";
    size_t used = strlen(abuse);
    const char *slash = strrchr(file, '/');

    snprintf(abuse + used, sizeof(abuse) - used, "%s(%d) after close, from %s; ", what, fd,
             slash ? slash + 1 : file);
}

static bool
is_dead(int fd)
{
    return fd >= 0 && fd < MAX_FDS && dead[fd];
}

static void
check_alive(int call, int fd, const void *caller)
{
    if (is_dead(fd)) {
        caught(call_names[call], fd, caller);
    }
}

#define CHECK_ALIVE(name, fd) check_alive(CALL_##name, fd, __builtin_return_address(0))

static unsigned int
chance(unsigned int limit)
{
    storm.state = storm.state * 6364136223846793005ul + 1442695040888963407ul;
    return (unsigned int)(storm.state >> 33) % limit;
}

/* Faults after which nothing may differ, for the calls that can have them. */
static fault
soft_fault(int call)
{
    switch (call) {
    case CALL_recv:
    case CALL_send:
    case CALL_sendmsg:
    case CALL_recvmsg:
    case CALL_read:
    case CALL_write:
    case CALL_writev:
    case CALL_readv:
        switch (chance(3)) {
        case 0:
            return (fault){FAIL, EINTR};
        case 1:
            return (fault){FAIL, EAGAIN};
        default:
            return (fault){SHORT, 1 + (int)chance(5000)};
        }
    case CALL_accept4:
    case CALL_recvfrom:
    case CALL_sendto:
    case CALL_recvmmsg:
    case CALL_sendmmsg:
        return (fault){FAIL, chance(2) ? EINTR : EAGAIN};
    case CALL_epoll_wait:
        return chance(2) ? (fault){FAIL, EINTR} : (fault){SHORT, 1};
    default:
        return (fault){NONE, 0};
    }
}

/* A datagram is sent whole. */
static bool
is_datagram(int fd)
{
    int type = 0;
    socklen_t size = sizeof(type);

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_DGRAM;
}

/* read() and write() of it wait. */
static bool
is_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && !(flags & O_NONBLOCK);
}

/* False for what the kernel would not do to this descriptor. */
static bool
is_possible(fault chosen, int call, int fd)
{
    switch (call) {
    case CALL_read:
    case CALL_readv:
    case CALL_write:
    case CALL_writev:
        return chosen.kind != FAIL || chosen.value != EAGAIN || !is_blocking(fd);
    case CALL_recv:
    case CALL_recvmsg:
    case CALL_send:
    case CALL_sendmsg:
        return chosen.kind != SHORT || !is_datagram(fd);
    default:
        return true;
    }
}

static fault
decide(int call, int fd)
{
    fault none = {NONE, 0}, chosen = none;

    if (!watching || getpid() != owner) {
        return none;
    }
    long index = counts[call]++;
    if (storm.permille > 0 && chance(1000) < storm.permille) {
        chosen = soft_fault(call);
    }
    else if (plan.fault.kind != NONE && call == plan.call && index >= plan.index &&
             index < plan.index + plan.times) {
        chosen = plan.fault;
    }
    if (chosen.kind == NONE || !is_possible(chosen, call, fd)) {
        return none;
    }
    struck++;
    struck_fd = fd;
    return chosen;
}

/* Leaves the wrapper if the fault says so. */
#define STRIKE(name, fd)                 \
    CHECK_ALIVE(name, fd);               \
    fault now = decide(CALL_##name, fd); \
    REAL(name)                           \
    if (now.kind == FAIL) {              \
        errno = now.value;               \
        return -1;                       \
    }                                    \
    if (now.kind == RESULT) {            \
        return now.value;                \
    }

static size_t
limited(fault now, size_t size)
{
    return now.kind == SHORT && size > (size_t)now.value ? (size_t)now.value : size;
}

/* Returns `result`, or the error for what was done all the same. */
#define DONE(result)         \
    if (now.kind == AFTER) { \
        (void)(result);      \
        errno = now.value;   \
        return -1;           \
    }                        \
    return (result)

/* The parts of an iovec up to `size` bytes in all; how many there are. */
static size_t
cut(struct iovec *to, const struct iovec *from, size_t count, size_t size)
{
    size_t used = 0;

    while (used < count && size > 0) {
        to[used] = from[used];
        if (to[used].iov_len > size) {
            to[used].iov_len = size;
        }
        size -= to[used++].iov_len;
    }
    return used;
}

/* ---- making descriptors ------------------------------------------------------------------- */

EXPORT int
socket(int domain, int type, int protocol)
{
    STRIKE(socket, -1)
    return real(domain, type, protocol);
}

EXPORT int
socketpair(int domain, int type, int protocol, int fds[2])
{
    STRIKE(socketpair, -1)
    return real(domain, type, protocol, fds);
}

EXPORT int
pipe2(int fds[2], int flags)
{
    STRIKE(pipe2, -1)
    return real(fds, flags);
}

EXPORT int
eventfd(unsigned int count, int flags)
{
    STRIKE(eventfd, -1)
    return real(count, flags);
}

EXPORT int
epoll_create1(int flags)
{
    STRIKE(epoll_create1, -1)
    return real(flags);
}

EXPORT int
dup(int fd)
{
    STRIKE(dup, fd)
    return real(fd);
}

EXPORT int
accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    STRIKE(accept4, fd)
    return real(fd, address, size, flags);
}

/* To ask whether a descriptor is open is no abuse. */
EXPORT int
fstat(int fd, struct stat *st)
{
    REAL(fstat)
    if (is_dead(fd)) {
        errno = EBADF;
        return -1;
    }
    return real(fd, st);
}

EXPORT int
fstat64(int fd, struct stat64 *st)
{
    REAL(fstat64)
    if (is_dead(fd)) {
        errno = EBADF;
        return -1;
    }
    return real(fd, st);
}

/* Only duplicating counts: the other commands cannot fail on an open descriptor. */
static int
do_fcntl(int (*real_fcntl)(int, int, ...), int fd, int command, void *argument, const void *caller)
{
    if (is_dead(fd)) {
        errno = EBADF;
        return -1;
    }
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) {
        check_alive(CALL_fcntl, fd, caller);
        fault now = decide(CALL_fcntl, fd);
        if (now.kind == FAIL) {
            errno = now.value;
            return -1;
        }
    }
    return real_fcntl(fd, command, argument);
}

EXPORT int
fcntl(int fd, int command, ...)
{
    va_list list;

    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    REAL(fcntl)
    return do_fcntl(real, fd, command, argument, __builtin_return_address(0));
}

EXPORT int
fcntl64(int fd, int command, ...)
{
    va_list list;

    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    REAL(fcntl64)
    return do_fcntl(real, fd, command, argument, __builtin_return_address(0));
}

/* ---- closing ------------------------------------------------------------------------------ */

EXPORT int
close(int fd)
{
    struct stat st;
    REAL(close)
    bool ours = quarantine && getpid() == owner;
    bool stream = ours && fd >= 0 && fd < MAX_FDS && fstat(fd, &st) == 0 &&
                  (S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode));

    if (ours) {
        CHECK_ALIVE(close, fd);
    }
    if (ours && is_dead(fd)) {
        errno = EBADF;
        return -1;
    }
    fault now = stream ? decide(CALL_close, fd) : (fault){NONE, 0};
    int result;
    if (stream) {
        result = dup3(tombstone, fd, O_CLOEXEC) < 0 ? -1 : 0;
        dead[fd] = result == 0;
    }
    else {
        result = real(fd);
        if (ours && result < 0 && errno == EBADF) {
            caught("close", fd, __builtin_return_address(0));
        }
    }
    if (now.kind == AFTER) {
        errno = now.value;
        return -1;
    }
    return result;
}

/* ---- reading ------------------------------------------------------------------------------ */

EXPORT ssize_t
recv(int fd, void *buffer, size_t size, int flags)
{
    STRIKE(recv, fd)
    return real(fd, buffer, limited(now, size), flags);
}

EXPORT ssize_t
__recv_chk(int fd, void *buffer, size_t size, size_t room, int flags)
{
    (void)room;
    return recv(fd, buffer, size, flags);
}

EXPORT ssize_t
recvfrom(int fd, void *restrict buffer, size_t size, int flags, struct sockaddr *restrict address,
         socklen_t *restrict address_size)
{
    STRIKE(recvfrom, fd)
    return real(fd, buffer, limited(now, size), flags, address, address_size);
}

EXPORT ssize_t
__recvfrom_chk(int fd, void *restrict buffer, size_t size, size_t room, int flags,
               struct sockaddr *restrict address, socklen_t *restrict address_size)
{
    (void)room;
    return recvfrom(fd, buffer, size, flags, address, address_size);
}

EXPORT ssize_t
recvmsg(int fd, struct msghdr *message, int flags)
{
    STRIKE(recvmsg, fd)
    if (now.kind == SHORT && message->msg_iovlen <= 64) {
        struct iovec parts[64], *whole = message->msg_iov;
        size_t count = message->msg_iovlen;
        message->msg_iovlen = cut(parts, whole, count, (size_t)now.value);
        message->msg_iov = parts;
        ssize_t result = real(fd, message, flags);
        message->msg_iov = whole;
        message->msg_iovlen = count;
        return result;
    }
    return real(fd, message, flags);
}

EXPORT int
recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout)
{
    STRIKE(recvmmsg, fd)
    return real(fd, messages, (unsigned int)limited(now, count), flags, timeout);
}

enum file { OTHER, STREAM, EVENT };

/* What read() and write() are about: files of other kinds, as those of imports, do not count. */
static enum file
file_kind(int fd)
{
    struct stat st;

    if (watching && is_dead(fd)) {
        return STREAM;
    }
    if (!watching || fstat(fd, &st) < 0) {
        return OTHER;
    }
    return S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode) ? STREAM
           : (st.st_mode & S_IFMT) == 0                 ? EVENT
                                                        : OTHER;
}

EXPORT ssize_t
read(int fd, void *buffer, size_t size)
{
    enum file kind = file_kind(fd);
    int call = kind == EVENT ? CALL_read_event : CALL_read;
    REAL(read)

    if (kind == OTHER) {
        return real(fd, buffer, size);
    }
    check_alive(call, fd, __builtin_return_address(0));
    fault now = decide(call, fd);
    if (now.kind == FAIL) {
        errno = now.value;
        return -1;
    }
    return real(fd, buffer, limited(now, size));
}

EXPORT ssize_t
__read_chk(int fd, void *buffer, size_t size, size_t room)
{
    (void)room;
    return read(fd, buffer, size);
}

EXPORT ssize_t
readv(int fd, const struct iovec *parts, int count)
{
    STRIKE(readv, fd)
    struct iovec some[64];
    if (now.kind == SHORT && count <= 64) {
        return real(fd, some, (int)cut(some, parts, (size_t)count, (size_t)now.value));
    }
    return real(fd, parts, count);
}

EXPORT int
epoll_wait(int fd, struct epoll_event *events, int count, int timeout)
{
    STRIKE(epoll_wait, fd)
    return real(fd, events, (int)limited(now, (size_t)count), timeout);
}

/* ---- writing ------------------------------------------------------------------------------ */

EXPORT ssize_t
send(int fd, const void *data, size_t size, int flags)
{
    STRIKE(send, fd)
    return real(fd, data, limited(now, size), flags);
}

EXPORT ssize_t
sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *address,
       socklen_t address_size)
{
    STRIKE(sendto, fd)
    return real(fd, data, size, flags, address, address_size);
}

EXPORT ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
    STRIKE(sendmsg, fd)
    if (now.kind == SHORT && message->msg_iovlen <= 64) {
        struct iovec parts[64];
        struct msghdr some = *message;
        some.msg_iovlen = cut(parts, message->msg_iov, message->msg_iovlen, (size_t)now.value);
        some.msg_iov = parts;
        return real(fd, &some, flags);
    }
    return real(fd, message, flags);
}

EXPORT int
sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
    STRIKE(sendmmsg, fd)
    return real(fd, messages, (unsigned int)limited(now, count), flags);
}

EXPORT ssize_t
sendfile(int out, int in, off_t *offset, size_t count)
{
    STRIKE(sendfile, out)
    return real(out, in, offset, limited(now, count));
}

EXPORT ssize_t
write(int fd, const void *data, size_t size)
{
    enum file kind = file_kind(fd);
    int call = kind == EVENT ? CALL_write_event : CALL_write;
    REAL(write)

    if (kind == OTHER) {
        return real(fd, data, size);
    }
    check_alive(call, fd, __builtin_return_address(0));
    fault now = decide(call, fd);
    if (now.kind == FAIL) {
        errno = now.value;
        return -1;
    }
    return real(fd, data, limited(now, size));
}

EXPORT ssize_t
writev(int fd, const struct iovec *parts, int count)
{
    STRIKE(writev, fd)
    struct iovec some[64];
    if (now.kind == SHORT && count <= 64) {
        return real(fd, some, (int)cut(some, parts, (size_t)count, (size_t)now.value));
    }
    return real(fd, parts, count);
}

/* ---- everything else ---------------------------------------------------------------------- */

EXPORT int
connect(int fd, const struct sockaddr *address, socklen_t size)
{
    STRIKE(connect, fd)
    DONE(real(fd, address, size));
}

EXPORT int
epoll_ctl(int poll, int operation, int fd, struct epoll_event *event)
{
    CHECK_ALIVE(epoll_ctl, fd);
    if (operation == EPOLL_CTL_DEL) { /* needs no memory */
        REAL(epoll_ctl)
        return real(poll, operation, fd, event);
    }
    STRIKE(epoll_ctl, poll)
    if (now.kind != NONE) {
        struck_fd = fd;
    }
    return real(poll, operation, fd, event);
}

EXPORT int
shutdown(int fd, int how)
{
    STRIKE(shutdown, fd)
    DONE(real(fd, how));
}

EXPORT int
ioctl(int fd, unsigned long request, ...)
{
    va_list list;

    va_start(list, request);
    void *argument = va_arg(list, void *);
    va_end(list);
    STRIKE(ioctl, fd)
    return real(fd, request, argument);
}

/* Only the error of a connect() counts. */
EXPORT int
getsockopt(int fd, int level, int option, void *restrict value, socklen_t *restrict size)
{
    REAL(getsockopt)
    if (level != SOL_SOCKET || option != SO_ERROR) {
        return real(fd, level, option, value, size);
    }
    CHECK_ALIVE(getsockopt, fd);
    fault now = decide(CALL_getsockopt, fd);
    if (now.kind == FAIL) {
        errno = now.value;
        return -1;
    }
    int result = real(fd, level, option, value, size);
    if (now.kind == OPTION) {
        memcpy(value, &now.value, sizeof(now.value));
    }
    return result;
}
