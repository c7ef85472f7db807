"""Which faults each call can have."""

import errno
import sys
from typing import NamedTuple

from .shim import AFTER, FAIL, OPTION, SHORT


class Fault(NamedTuple):
    call: str
    kind: int
    value: int
    times: int = 1
    # The program may notice: one connection may end early, and the error must be told to somebody.
    hard: bool = False
    # ... but need not be told.
    quiet: bool = False

    @property
    def label(self):
        what = f"short{self.value}" if self.kind == SHORT else errno.errorcode[self.value]
        return what if self.times == 1 else f"{what}x{self.times}"


def soft(call, *names, times=1, kind=FAIL):
    return [Fault(call, kind, getattr(errno, n), times) for n in names]


def hard(call, *names, times=1, kind=FAIL, quiet=False):
    return [Fault(call, kind, getattr(errno, n), times, True, quiet) for n in names]


def short(call, *sizes, times=1):
    return [Fault(call, SHORT, size, times) for size in sizes]


RECEIVE = ("recv", "recvmsg", "read", "readv")
SEND = ("send", "sendmsg", "write", "writev")

FAULTS = [
    *[f for call in RECEIVE for f in soft(call, "EINTR", "EAGAIN")],
    *[f for call in RECEIVE for f in soft(call, "EINTR", "EAGAIN", times=3)],
    *[f for call in RECEIVE for f in short(call, 1, 1000)],
    *[f for call in ("recv", "recvmsg") for f in hard(call, "ECONNRESET", "ENOMEM")],
    *[f for call in ("read", "readv") for f in hard(call, "EIO")],
    *[f for call in SEND for f in soft(call, "EINTR", "EAGAIN")],
    *[f for call in SEND for f in soft(call, "EINTR", "EAGAIN", times=3)],
    *[f for call in SEND for f in short(call, 1, 1000)],
    *[f for call in SEND for f in hard(call, "EPIPE")],
    *[f for call in ("send", "sendmsg") for f in hard(call, "ECONNRESET", "ENOBUFS", "ENOMEM")],
    *soft("recvfrom", "EINTR", "EAGAIN"),
    *soft("sendto", "EINTR", "EAGAIN"),
    *hard("recvfrom", "ECONNREFUSED", "ENOMEM"),
    *hard("sendto", "ECONNREFUSED", "ENOBUFS", "EPERM"),
    *soft("recvmmsg", "EINTR", "EAGAIN"),
    *short("recvmmsg", 1),
    *hard("recvmmsg", "ECONNREFUSED", "ENOMEM"),
    *soft("sendmmsg", "EINTR", "EAGAIN"),
    *short("sendmmsg", 1),
    *hard("sendmmsg", "ECONNREFUSED", "ENOBUFS", "EPERM"),
    *soft("sendfile", "EINTR", "EAGAIN"),
    *short("sendfile", 1, 1000),
    *hard("sendfile", "EIO", "ECONNRESET"),
    *soft("accept4", "EINTR", "EAGAIN"),
    # A connection that was reset before accept(): a server just takes the next one.
    *hard("accept4", "ECONNABORTED", quiet=True),
    *soft("accept4", "EAGAIN", times=3),
    *hard("accept4", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPERM"),
    *hard("accept4", "EMFILE", times=3),
    *soft("connect", "EINTR", kind=AFTER),
    *hard("connect", "ECONNREFUSED", "ENETUNREACH", "EADDRNOTAVAIL"),
    Fault("getsockopt", OPTION, errno.ECONNREFUSED, hard=True),
    *hard("socket", "EMFILE", "ENOBUFS", "ENOMEM"),
    *hard("socketpair", "EMFILE", "ENFILE"),
    *hard("pipe2", "EMFILE", "ENFILE"),
    *hard("dup", "EMFILE"),
    *hard("fcntl", "EMFILE"),
    *hard("epoll_create1", "EMFILE", "ENOMEM"),
    # libev takes a pipe for its own if it cannot have an eventfd.
    *hard("eventfd", "EMFILE", "ENFILE", "ENOMEM", quiet=True),
    *soft("epoll_wait", "EINTR"),
    *soft("epoll_wait", "EINTR", times=3),
    *short("epoll_wait", 1),
    *short("epoll_wait", 1, times=1000),
    *hard("epoll_wait", "EINVAL", "EFAULT"),
    # Tried again at once; if that fails too the connection ends, or the loop tells and tries later.
    *hard("epoll_ctl", "ENOMEM", "ENOSPC", quiet=True),
    *hard("epoll_ctl", "ENOSPC", times=4, quiet=True),
    *soft("read_event", "EINTR", "EAGAIN"),
    # Both ends are closed all the same: Linux has freed the number by then.
    *hard("close", "EINTR", "EIO", kind=AFTER, quiet=True),
    *hard("shutdown", "ENOTCONN", "ENOBUFS"),
]

# Not injected: a write to libev's eventfd, which with a count far from 2**64 cannot fail; EBADF,
# EINVAL and ELOOP of epoll_ctl, which libev asserts on, as the descriptors are looked at before.


# Hard faults that tell of the standard library only: Popen closes again what could not be closed,
# though Linux has; and the thread that waits for a child process whose loop has failed waits on.
EXCLUDED = {("process", "close"), ("process", "epoll_wait")}
if sys.version_info < (3, 11, 5):  # Popen left pipes open when it could not have another one
    EXCLUDED.add(("process", "pipe2"))

# A child whose pidfd cannot be watched is waited for in a thread, and nobody need know. Nor if
# there is no second set of epoll's for connections that are not read: the next write tells.
QUIET = {("process", "epoll_create1"), ("tcp", "epoll_create1")}


def faults_of(scenario, call):
    found = [f for f in FAULTS if f.call == call]
    if (scenario, call) in QUIET:
        found = [f._replace(quiet=True) for f in found]
    return [f for f in found if not f.hard] if (scenario, call) in EXCLUDED else found


def spread(count, limit):
    """`limit` of the first `count` indices, the early ones all: there the states change most."""
    if limit is None or count <= limit:
        return list(range(count))
    head = limit // 2
    step = (count - head) / (limit - head)
    return [*range(head), *(head + int(i * step) for i in range(limit - head))]
