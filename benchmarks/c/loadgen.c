/* A load generator for echo servers, and with --http for web servers.
 *
 * Keeps `pipeline` messages in flight on each connection, checks every byte that comes back (of
 * an HTTP answer the status, and that all are of the same length), and prints one JSON object:
 * requests, seconds, latencies, and with --cpu-of the CPU time (user and system, all threads, ended
 * ones too) that the server's process spent meanwhile. What is sent differs from message to
 * message, so that an answer to another one is noticed. One thread, one epoll set, bounded by
 * --seconds or --requests and by --timeout without answer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    READ_BUFFER = 256 * 1024,
    VARIANTS = 256, /* messages start at this many places of one random text */
    MAX_IOV = 64,   /* messages handed over in one system call */
    SUB_BITS = 6,   /* 64 latency buckets per power of two: 1.6 % wide */
    BUCKETS = 64 << SUB_BITS,
    SECOND = 1000000000
};

struct options {
    const char *tcp, *udp, *unix_path, *http;
    long connections, idle, size, pipeline, requests, cpu_of;
    double seconds, warmup, timeout;
    int lines;
};

struct connection {
    int fd;
    bool wants_write;
    uint64_t queued;   /* messages that may be sent: the answered ones + pipeline */
    uint64_t sent;     /* messages sent whole */
    uint64_t answered; /* messages that came back whole */
    size_t sent_bytes; /* of message `sent` */
    size_t got_bytes;  /* of the answer to message `answered` */
    uint64_t *started; /* ring of `pipeline` start times */
};

static struct options opt = {
    .connections = 10, .size = 64, .pipeline = 1, .seconds = 1.0, .warmup = 0.2, .timeout = 10.0};
static struct connection *connections;
static char *text;          /* of which the messages are parts, or the HTTP request */
static size_t variants;     /* how many different messages it has */
static size_t stride;       /* from the start of one to that of the next */
static size_t message_size; /* of what is sent; of what comes back it is opt.size */
static int epoll;
static uint64_t now;

static long silent; /* connections without any answer so far */
static bool counting;
static uint64_t done, slowest, histogram[BUCKETS];

static _Noreturn void
fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static uint64_t
clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* CPU seconds of a process, or -1 where it cannot be read. */
static double
cpu_seconds(long pid)
{
    char path[64], line[1024];
    unsigned long user, system;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return -1;
    char *got = fgets(line, sizeof line, f);
    fclose(f);
    char *rest = got == NULL ? NULL : strrchr(line, ')'); /* the name may hold anything */
    if (rest == NULL || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                               &user, &system) != 2)
        return -1;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* Latencies */

static unsigned
bucket_of(uint64_t ns)
{
    if (ns < (1u << SUB_BITS))
        return (unsigned)ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - SUB_BITS;
    return ((shift + 1) << SUB_BITS) + (unsigned)((ns >> shift) & ((1u << SUB_BITS) - 1));
}

/* The middle of a bucket. */
static double
bucket_ns(unsigned bucket)
{
    unsigned group = bucket >> SUB_BITS, sub = bucket & ((1u << SUB_BITS) - 1);
    if (group == 0)
        return sub;
    double width = (double)(UINT64_C(1) << (group - 1));
    return ((1u << SUB_BITS) + sub + 0.5) * width;
}

static void
count(uint64_t ns)
{
    done++;
    histogram[bucket_of(ns)]++;
    if (ns > slowest)
        slowest = ns;
}

static double
percentile_us(double share)
{
    uint64_t wanted = (uint64_t)(share * (double)done), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen > wanted)
            return bucket_ns(i) / 1e3;
    }
    return (double)slowest / 1e3;
}

/* Connections */

static size_t
index_of(const struct connection *c)
{
    return (size_t)(c - connections);
}

/* The text of the connection's message number `n`. */
static char *
message(const struct connection *c, uint64_t n)
{
    return text + (n * 31 + index_of(c) * 17) % variants * stride;
}

static int
connect_unix(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(opt.unix_path) >= sizeof addr.sun_path)
        fail("the socket's path is too long: %s", opt.unix_path);
    strcpy(addr.sun_path, opt.unix_path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
        fail("connect to %s: %s", opt.unix_path, strerror(errno));
    return fd;
}

static int
connect_inet(const char *target, int type)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    char host[64];
    int port, one = 1;
    if (sscanf(target, "%63[0-9.]:%d", host, &port) != 2 || port < 1 || port > 65535 ||
        inet_pton(AF_INET, host, &addr.sin_addr) != 1)
        fail("not an address and a port: %s", target);
    addr.sin_port = htons((uint16_t)port);
    int fd = socket(AF_INET, type, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
        fail("connect to %s: %s", target, strerror(errno));
    if (type == SOCK_STREAM && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
        fail("TCP_NODELAY: %s", strerror(errno));
    return fd;
}

static int
connect_target(void)
{
    if (opt.udp != NULL)
        return connect_inet(opt.udp, SOCK_DGRAM);
    return opt.tcp != NULL ? connect_inet(opt.tcp, SOCK_STREAM) : connect_unix();
}

static void
watch(struct connection *c, int op, bool write)
{
    struct epoll_event ev = {.events = EPOLLIN | (write ? EPOLLOUT : 0u), .data.ptr = c};
    if (epoll_ctl(epoll, op, c->fd, &ev) < 0)
        fail("epoll_ctl: %s", strerror(errno));
    c->wants_write = write;
}

static void
open_connection(struct connection *c)
{
    c->fd = connect_target();
    c->queued = (uint64_t)opt.pipeline;
    c->started = calloc((size_t)opt.pipeline, sizeof *c->started);
    if (c->started == NULL || fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0)
        fail("a connection: %s", strerror(errno));
    watch(c, EPOLL_CTL_ADD, false);
    silent++;
}

/* Notes that `bytes` more were sent, from message `sent` on. */
static void
advance_sent(struct connection *c, size_t bytes)
{
    c->sent_bytes += bytes;
    c->sent += c->sent_bytes / message_size;
    c->sent_bytes %= message_size;
}

/* Sends all that may be sent, as far as the socket takes it. */
static void
send_queued(struct connection *c)
{
    struct iovec iov[MAX_IOV];
    int max = opt.udp != NULL ? 1 : MAX_IOV; /* all of one call is one datagram */
    while (c->sent < c->queued) {
        int n = 0;
        size_t total = 0;
        for (uint64_t m = c->sent; m < c->queued && n < max; m++, n++) {
            size_t skip = m == c->sent ? c->sent_bytes : 0;
            iov[n].iov_base = message(c, m) + skip;
            iov[n].iov_len = message_size - skip;
            total += iov[n].iov_len;
            if (skip == 0)
                c->started[m % (uint64_t)opt.pipeline] = now;
        }
        ssize_t sent = writev(c->fd, iov, n);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            fail("connection %zu: write: %s", index_of(c), strerror(errno));
        if (sent > 0)
            advance_sent(c, (size_t)sent);
        if (sent < (ssize_t)total)
            break;
    }
    if (c->wants_write != (c->sent < c->queued))
        watch(c, EPOLL_CTL_MOD, !c->wants_write);
}

static _Noreturn void
fail_mismatch(const struct connection *c, const char *got, const char *expected, size_t n)
{
    size_t i = 0;
    while (i < n && got[i] == expected[i])
        i++;
    fail("wrong answer: connection %zu, message %" PRIu64 ", byte %zu: expected 0x%02x, got 0x%02x",
         index_of(c), c->answered, c->got_bytes + i, (unsigned char)expected[i],
         (unsigned char)got[i]);
}

/* Compares a part of an answer with what it has to be. */
static void
compare(const struct connection *c, const char *got, size_t n)
{
    static const char status[] = "HTTP/1.1 200 ";
    const char *expected = message(c, c->answered) + c->got_bytes;
    if (opt.http != NULL) {
        size_t known = sizeof status - 1;
        if (c->got_bytes >= known)
            return;
        expected = status + c->got_bytes;
        if (n > known - c->got_bytes)
            n = known - c->got_bytes;
    }
    if (memcmp(got, expected, n) != 0)
        fail_mismatch(c, got, expected, n);
}

/* Checks what came back, and counts the messages whose answers are complete. */
static void
check_answer(struct connection *c, const char *got, size_t n)
{
    while (n > 0) {
        size_t left = (size_t)opt.size - c->got_bytes, part = n < left ? n : left;
        if (c->answered > c->sent ||
            (c->answered == c->sent && (opt.http != NULL || c->got_bytes + part > c->sent_bytes)))
            fail("connection %zu: more came back than was sent", index_of(c));
        compare(c, got, part);
        got += part;
        n -= part;
        c->got_bytes += part;
        if (c->got_bytes == (size_t)opt.size) {
            c->got_bytes = 0;
            if (counting)
                count(now - c->started[c->answered % (uint64_t)opt.pipeline]);
            if (c->answered++ == 0)
                silent--;
        }
    }
}

static bool
enough(void)
{
    return counting && opt.requests > 0 && done >= (uint64_t)opt.requests;
}

static void
read_answer(struct connection *c)
{
    static char buffer[READ_BUFFER];
    ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
    if (n == 0)
        fail("connection %zu: the server closed it", index_of(c));
    if (n < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return;
        fail("connection %zu: read: %s", index_of(c), strerror(errno));
    }
    now = clock_ns();
    check_answer(c, buffer, (size_t)n);
    c->queued = c->answered + (uint64_t)opt.pipeline;
    send_queued(c);
}

/* Runs until `deadline`, or until --requests are done. */
static void
run_until(uint64_t deadline)
{
    struct epoll_event events[EVENTS];
    while ((now = clock_ns()) < deadline && !enough()) {
        int n = epoll_wait(epoll, events, EVENTS, (int)(opt.timeout * 1e3));
        if (n < 0 && errno != EINTR)
            fail("epoll_wait: %s", strerror(errno));
        if (n == 0)
            fail("no answer within %g s", opt.timeout);
        now = clock_ns();
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                send_queued(c);
            if (events[i].events & ~(uint32_t)EPOLLOUT)
                read_answer(c);
        }
    }
}

/* Runs for --warmup, and on until each connection has had an answer. */
static void
warm_up(void)
{
    uint64_t start = clock_ns(), limit = start + (uint64_t)((opt.warmup + opt.timeout) * SECOND);
    run_until(start + (uint64_t)(opt.warmup * SECOND));
    while (silent > 0 && now < limit)
        run_until(now + SECOND / 100);
    if (silent > 0)
        fail("%ld connections have had no answer", silent);
}

static void
measure(void)
{
    warm_up();
    double cpu = opt.cpu_of > 0 ? cpu_seconds(opt.cpu_of) : -1;
    uint64_t start = clock_ns();
    counting = true;
    run_until(opt.requests > 0 ? UINT64_MAX : start + (uint64_t)(opt.seconds * SECOND));
    double seconds = (double)(clock_ns() - start) / SECOND;
    double cpu_after = opt.cpu_of > 0 ? cpu_seconds(opt.cpu_of) : -1;
    if (done == 0)
        fail("not one request was answered");
    printf("{\"connections\": %ld, \"size\": %ld, \"pipeline\": %ld, \"requests\": %" PRIu64
           ", \"seconds\": %.6f, \"requests_per_second\": %.1f, ",
           opt.connections, opt.size, opt.pipeline, done, seconds, (double)done / seconds);
    if (cpu >= 0 && cpu_after >= 0)
        printf("\"cpu_seconds\": %.3f, ", cpu_after - cpu);
    else
        printf("\"cpu_seconds\": null, ");
    printf("\"latency_us\": {\"p50\": %.2f, \"p90\": %.2f, \"p99\": %.2f, \"max\": %.2f}}\n",
           percentile_us(0.50), percentile_us(0.90), percentile_us(0.99), (double)slowest / 1e3);
}

/* The command line */

static _Noreturn void
usage(void)
{
    fputs("usage: loadgen --tcp ADDRESS:PORT | --udp ADDRESS:PORT | --unix PATH\n"
          "  --connections N  --size BYTES  --pipeline N   the load (10, 64, 1)\n"
          "  --seconds S | --requests N                    how much of it (1 s)\n"
          "  --lines          each message is one line\n"
          "  --http PATH      each is a GET of it, whose answer has --size bytes\n"
          "  --idle N         so many connections more, on which nothing happens\n"
          "  --warmup S       not counted before it (0.2)\n"
          "  --timeout S      without any answer is an error (10)\n"
          "  --cpu-of PID     also tell this process's CPU time\n",
          stderr);
    exit(2);
}

static long
positive(const char *value)
{
    char *end;
    long n = strtol(value, &end, 10);
    if (end == value || *end != '\0' || n < 1 || n > 100000000)
        usage();
    return n;
}

static double
seconds(const char *value)
{
    char *end;
    double s = strtod(value, &end);
    if (end == value || *end != '\0' || !(s >= 0 && s <= 3600))
        usage();
    return s;
}

static void
parse(int argc, char **argv)
{
    static const struct option names[] = {{"tcp", required_argument, NULL, 't'},
                                          {"udp", required_argument, NULL, 'g'},
                                          {"http", required_argument, NULL, 'h'},
                                          {"idle", required_argument, NULL, 'l'},
                                          {"lines", no_argument, &opt.lines, 1},
                                          {"unix", required_argument, NULL, 'u'},
                                          {"connections", required_argument, NULL, 'c'},
                                          {"size", required_argument, NULL, 's'},
                                          {"pipeline", required_argument, NULL, 'p'},
                                          {"seconds", required_argument, NULL, 'd'},
                                          {"requests", required_argument, NULL, 'n'},
                                          {"warmup", required_argument, NULL, 'w'},
                                          {"timeout", required_argument, NULL, 'o'},
                                          {"cpu-of", required_argument, NULL, 'i'},
                                          {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (c) {
        case 't':
            opt.tcp = optarg;
            break;
        case 'u':
            opt.unix_path = optarg;
            break;
        case 'g':
            opt.udp = optarg;
            break;
        case 'h':
            opt.http = optarg;
            break;
        case 'l':
            opt.idle = positive(optarg);
            break;
        case 0:
            break;
        case 'c':
            opt.connections = positive(optarg);
            break;
        case 's':
            opt.size = positive(optarg);
            break;
        case 'p':
            opt.pipeline = positive(optarg);
            break;
        case 'd':
            opt.seconds = seconds(optarg);
            break;
        case 'n':
            opt.requests = positive(optarg);
            break;
        case 'w':
            opt.warmup = seconds(optarg);
            break;
        case 'o':
            opt.timeout = seconds(optarg);
            break;
        case 'i':
            opt.cpu_of = positive(optarg);
            break;
        default:
            usage();
        }
    }
    if (optind != argc || (opt.tcp != NULL) + (opt.udp != NULL) + (opt.unix_path != NULL) != 1)
        usage();
    if (opt.http != NULL && (opt.udp != NULL || opt.lines))
        usage();
}

/* Makes the text of which messages are parts. Lines do not overlap: each has its end only there. */
static void
make_text(void)
{
    message_size = (size_t)opt.size;
    variants = VARIANTS;
    stride = opt.lines ? message_size : 1;
    size_t length = message_size + VARIANTS * stride;
    text = malloc(length);
    if (text == NULL)
        fail("set-up: %s", strerror(errno));
    uint64_t x = 88172645463325252u; /* xorshift: the same text every time */
    for (size_t i = 0; i < length; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        text[i] = (char)(x >> 32);
        if (opt.lines)
            text[i] = (i + 1) % stride == 0 ? '\n' : (char)('a' + (unsigned char)text[i] % 26);
    }
}

static void
make_request(void)
{
    static const char format[] = "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n";
    size_t room = sizeof format + strlen(opt.http);
    text = malloc(room);
    if (text == NULL)
        fail("set-up: %s", strerror(errno));
    message_size = (size_t)snprintf(text, room, format, opt.http);
    variants = stride = 1;
}

static void
set_up(void)
{
    struct rlimit limit;
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc((size_t)opt.connections, sizeof *connections);
    if (epoll < 0 || connections == NULL)
        fail("set-up: %s", strerror(errno));
    if (opt.http != NULL)
        make_request();
    else
        make_text();
    for (long i = 0; i < opt.idle; i++)
        (void)connect_target(); /* open until this program ends */
}

int
main(int argc, char **argv)
{
    parse(argc, argv);
    set_up();
    for (long i = 0; i < opt.connections; i++)
        open_connection(&connections[i]);
    now = clock_ns();
    for (long i = 0; i < opt.connections; i++)
        send_queued(&connections[i]);
    measure();
    for (long i = 0; i < opt.connections; i++) {
        close(connections[i].fd);
        free(connections[i].started);
    }
    free(connections);
    free(text);
    close(epoll);
    return 0;
}
