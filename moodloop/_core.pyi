"""The C core: libev's loop and watchers, and the C half of moodloop.EventLoop.

Use it through `moodloop.event` and `moodloop.EventLoop`. Sections named are those of `man 3 ev`.
"""

import asyncio
import os
import sys
from asyncio import Future, Task
from collections.abc import Callable, Coroutine, Generator, Iterable
from contextvars import Context
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias, TypeVar, final, overload

from _typeshed import structseq
from typing_extensions import disjoint_base

_T = TypeVar("_T")
_AnyLoop = TypeVar("_AnyLoop", bound=Loop)

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

_FileLike: TypeAlias = int | _HasFileno
_Callback: TypeAlias = Callable[[Any, int], object]
_Reschedule: TypeAlias = Callable[[Any, float], float]

build_flags: str
"""The compiler flags the core was built with."""
libev_compiled_in: bool
"""Whether libev is part of the core, as in the wheels, or the system's library."""

EVFLAG_AUTO: int
EVFLAG_NOENV: int
EVFLAG_FORKCHECK: int
EVFLAG_SIGNALFD: int
EVFLAG_NOSIGMASK: int
EVFLAG_NOINOTIFY: int
EVFLAG_NOTIMERFD: int
EVBACKEND_SELECT: int
EVBACKEND_POLL: int
EVBACKEND_EPOLL: int
EVBACKEND_KQUEUE: int
EVBACKEND_DEVPOLL: int
EVBACKEND_PORT: int
EVBACKEND_LINUXAIO: int
EVBACKEND_IOURING: int
EVBACKEND_ALL: int
EVBACKEND_MASK: int
EVRUN_NOWAIT: int
EVRUN_ONCE: int
EVBREAK_CANCEL: int
EVBREAK_ONE: int
EVBREAK_ALL: int
EV_UNDEF: int
EV_NONE: int
EV_READ: int
EV_WRITE: int
EV_IO: int
EV_TIMER: int
EV_PERIODIC: int
EV_SIGNAL: int
EV_CHILD: int
EV_STAT: int
EV_IDLE: int
EV_PREPARE: int
EV_CHECK: int
EV_EMBED: int
EV_FORK: int
EV_CLEANUP: int
EV_ASYNC: int
EV_CUSTOM: int
EV_ERROR: int
EV_MINPRI: int
EV_MAXPRI: int

class Error(Exception):
    """A misuse of the watcher API; TypeError, ValueError and OSError have their usual meaning."""

EventError = Error

def default_loop(
    flags: int = 0,
    callback: Callable[[Loop], object] | None = None,
    data: object = None,
    io_interval: float = 0.0,
    timeout_interval: float = 0.0,
    *,
    debug: bool = False,
) -> Loop:
    """The process-wide default loop (ev_default_loop), made at the first call.

    A later call returns the same object, with a RuntimeWarning if it has arguments. Raises Error
    if libev refuses `flags`.
    """

def loop(
    flags: int = 0,
    callback: Callable[[Loop], object] | None = None,
    data: object = None,
    io_interval: float = 0.0,
    timeout_interval: float = 0.0,
    *,
    debug: bool = False,
) -> Loop:
    """Another name of default_loop()."""

def time() -> float:
    """Seconds since the epoch (ev_time)."""

def sleep(interval: float, /) -> None:
    """Sleep for `interval` seconds (ev_sleep); returns at once if it is not positive.

    Warns (RuntimeWarning) beyond a day. Raises what a Python signal handler raises afterwards.
    """

def abi_version() -> tuple[int, int]:
    """(major, minor) of the libev that runs."""

def header_version() -> tuple[int, int]:
    """(major, minor) of the libev compiled against."""

def supported_backends() -> int:
    """EVBACKEND_* bits of what this libev has, and what works on this Linux (see Loop)."""

def recommended_backends() -> int:
    """EVBACKEND_* bits of what works well here."""

def embeddable_backends() -> int:
    """EVBACKEND_* bits of what another loop can embed."""

def feed_signal(signum: int, /) -> None:
    """As if the process had got the signal (ev_feed_signal). ValueError if out of range."""

def _default_loop_as(cls: type[_AnyLoop], /, *args: Any, **kwargs: Any) -> _AnyLoop: ...
def _before_fork() -> None: ...
def _after_fork() -> None: ...
def _at_exit() -> None: ...
def _page_layout() -> dict[str, Any]: ...
def _page_fd() -> int: ...
def _gc_event(phase: str, info: dict[str, Any], /) -> None: ...

@disjoint_base
class Loop:
    """A libev event loop ("FUNCTIONS CONTROLLING EVENT LOOPS").

    Loop(flags=EVFLAG_AUTO, callback=None, data=None, io_interval=0.0, timeout_interval=0.0, *,
    debug=False). Intervals are in seconds. Raises TypeError (flags no int, callback not callable),
    ValueError (an interval negative or NaN), Error (libev refuses the flags), OSError (no
    descriptors left). The environment variable LIBEV_FLAGS overrides the backend unless flags has
    EVFLAG_NOENV. EVBACKEND_IOURING is refused (Error), or the next backend of those asked for
    taken, as libev 4.33's aborts the process.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(
        self,
        flags: int = 0,
        callback: Callable[[Loop], object] | None = None,
        data: object = None,
        io_interval: float = 0.0,
        timeout_interval: float = 0.0,
        *,
        debug: bool = False,
    ) -> None: ...
    callback: Callable[[Loop], object] | None
    """Called as callback(loop) when events are pending; it is to call invoke()."""
    data: Any
    """Any object."""
    debug: bool
    """True: every exception of a callback ends start()."""
    io_interval: float
    """Seconds for which I/O events are collected (ev_set_io_collect_interval)."""
    timeout_interval: float
    """Seconds for which timers are collected (ev_set_timeout_collect_interval)."""
    @property
    def closed(self) -> bool:
        """True after close()."""
    @property
    def default(self) -> bool:
        """True for the default loop."""
    @property
    def backend(self) -> int:
        """The EVBACKEND_* in use."""
    @property
    def backend_name(self) -> str:
        """Its name, "epoll" for example."""
    @property
    def pending(self) -> int:
        """Events that wait for their callback."""
    @property
    def iteration(self) -> int:
        """How often the loop has polled (ev_iteration)."""
    @property
    def depth(self) -> int:
        """Nested start() calls (ev_depth)."""
    def start(self, flags: int = 0) -> bool:
        """Run until stop() or until no watcher is active (ev_run); False if none is.

        flags: EVRUN_NOWAIT, EVRUN_ONCE or 0. Raises what a fatal callback raised, OSError if the
        backend failed, Error if another thread runs the loop.
        """
    def stop(self, how: int = 1) -> None:
        """Make start() return (ev_break); from any thread.

        how is EVBREAK_ONE, EVBREAK_ALL or EVBREAK_CANCEL, else ValueError.
        """
    def invoke(self) -> None:
        """Call the callbacks of all pending events (ev_invoke_pending)."""
    def reset(self) -> None:
        """Make the loop usable after a fork (ev_loop_fork); forked children do it by themselves.

        Raises Error inside a Prepare callback.
        """
    def now(self, update: bool = False) -> float:
        """The time of the last poll, in seconds since the epoch (ev_now)."""
    def update(self) -> None:
        """Read the clock anew (ev_now_update)."""
    def suspend(self) -> None:
        """Let timers stand still (ev_suspend). Error if suspended already."""
    def resume(self) -> None:
        """End a suspend(). Error without one."""
    def ref(self) -> None:
        """One more reason for start() not to return (ev_ref)."""
    def incref(self) -> None:
        """Another name of ref()."""
    def unref(self) -> None:
        """One reason less (ev_unref). Error if there is none left."""
    def decref(self) -> None:
        """Another name of unref()."""
    def feed_fd_event(self, fd: _FileLike, revents: int, /) -> None:
        """As if the descriptor had these events (ev_feed_fd_event)."""
    def feed_signal_event(self, signum: int, /) -> None:
        """As if this loop's watchers got the signal. ValueError if out of range."""
    def once(
        self,
        fd: _FileLike | None,
        events: int,
        timeout: float | None,
        callback: Callable[[Loop, int], object],
    ) -> None:
        """Call callback(loop, revents) once: descriptor ready, or `timeout` seconds over.

        fd None or -1: timeout only; timeout None or negative: none. Raises OSError (EBADF).
        """
    def verify(self) -> None:
        """libev's self-check (ev_verify)."""
    def close(self) -> None:
        """Call the Cleanup watchers, stop all watchers and free the loop. Idempotent.

        Raises Error inside a callback, and for a loop that an asyncio loop runs on.
        """
    def watchers(self) -> list[Watcher]:
        """The active watchers."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> None: ...
    def io(self, *args: Any, **kwargs: Any) -> Io:
        """Io(loop, ...)."""
    def __io__(self, *args: Any, **kwargs: Any) -> Io:
        """Io(loop, ...)."""
    def timer(self, *args: Any, **kwargs: Any) -> Timer:
        """Timer(loop, ...)."""
    def __timer__(self, *args: Any, **kwargs: Any) -> Timer:
        """Timer(loop, ...)."""
    def periodic(self, *args: Any, **kwargs: Any) -> Periodic:
        """Periodic(loop, ...)."""
    def __periodic__(self, *args: Any, **kwargs: Any) -> Periodic:
        """Periodic(loop, ...)."""
    def scheduler(self, *args: Any, **kwargs: Any) -> Scheduler:
        """Scheduler(loop, ...)."""
    def __scheduler__(self, *args: Any, **kwargs: Any) -> Scheduler:
        """Scheduler(loop, ...)."""
    def signal(self, *args: Any, **kwargs: Any) -> Signal:
        """Signal(loop, ...)."""
    def __signal__(self, *args: Any, **kwargs: Any) -> Signal:
        """Signal(loop, ...)."""
    def stat(self, *args: Any, **kwargs: Any) -> Stat:
        """Stat(loop, ...)."""
    def __stat__(self, *args: Any, **kwargs: Any) -> Stat:
        """Stat(loop, ...)."""
    def idle(self, *args: Any, **kwargs: Any) -> Idle:
        """Idle(loop, ...)."""
    def __idle__(self, *args: Any, **kwargs: Any) -> Idle:
        """Idle(loop, ...)."""
    def prepare(self, *args: Any, **kwargs: Any) -> Prepare:
        """Prepare(loop, ...)."""
    def __prepare__(self, *args: Any, **kwargs: Any) -> Prepare:
        """Prepare(loop, ...)."""
    def check(self, *args: Any, **kwargs: Any) -> Check:
        """Check(loop, ...)."""
    def __check__(self, *args: Any, **kwargs: Any) -> Check:
        """Check(loop, ...)."""
    def async_(self, *args: Any, **kwargs: Any) -> Async:
        """Async(loop, ...)."""
    def __async__(self, *args: Any, **kwargs: Any) -> Async:
        """Async(loop, ...)."""
    def embed(self, *args: Any, **kwargs: Any) -> Embed:
        """Embed(loop, ...)."""
    def __embed__(self, *args: Any, **kwargs: Any) -> Embed:
        """Embed(loop, ...)."""
    def child(self, *args: Any, **kwargs: Any) -> Child:
        """Child(loop, ...)."""
    def __child__(self, *args: Any, **kwargs: Any) -> Child:
        """Child(loop, ...)."""
    def fork(self, *args: Any, **kwargs: Any) -> Fork:
        """Fork(loop, ...)."""
    def __fork__(self, *args: Any, **kwargs: Any) -> Fork:
        """Fork(loop, ...)."""
    def cleanup(self, *args: Any, **kwargs: Any) -> Cleanup:
        """Cleanup(loop, ...)."""
    def __cleanup__(self, *args: Any, **kwargs: Any) -> Cleanup:
        """Cleanup(loop, ...)."""
    def __reduce__(self) -> Any: ...

@disjoint_base
class Watcher:
    """The base of all watchers ("WATCHER ARCHITECTURE"); not instantiable.

    An active or pending watcher is kept alive by its loop. Deleting an attribute raises
    AttributeError, pickling TypeError; every use before __init__() or after the loop was closed
    raises Error.
    """

    callback: Any
    """Called as callback(watcher, revents); TypeError if set to what is not callable."""
    data: Any
    """Any object."""
    priority: int
    """EV_MINPRI to EV_MAXPRI, clamped; Error if set while active or pending."""
    ref: bool
    """False: while active, it does not keep start() from returning."""
    @property
    def loop(self) -> Loop:
        """The loop; None before __init__()."""
    @property
    def active(self) -> bool:
        """True between start() and stop()."""
    @property
    def pending(self) -> bool:
        """True if an event waits for the callback."""
    def start(self) -> None:
        """Activate it; nothing if it is active."""
    def stop(self) -> None:
        """Deactivate it and drop a pending event; nothing if it is not active."""
    def invoke(self, revents: int, /) -> None:
        """Call the callback now."""
    def feed(self, revents: int, /) -> None:
        """Queue an event (ev_feed_event)."""
    def clear(self) -> int:
        """Take back a pending event: its revents, or 0 (ev_clear_pending)."""
    def __reduce__(self) -> Any: ...

@disjoint_base
class Io(Watcher):
    """A descriptor can be read or written ("ev_io").

    Raises ValueError (negative fd), Error (events beyond EV_READ and EV_WRITE); start() raises
    OSError (EBADF) if the descriptor is not open.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    @overload
    def __init__(
        self,
        loop: Loop,
        fd: _FileLike,
        events: int,
        callback: _Callback,
        data: object = None,
        priority: int = 0,
    ) -> None:
        """Io(loop, fd, events, callback, data=None, priority=0).

        The loop may also stand after the kind's own arguments, as in mood.event 1.x.
        """
    @overload
    def __init__(
        self,
        fd: _FileLike,
        events: int,
        loop: Loop,
        /,
        callback: _Callback,
        data: object = None,
        priority: int = 0,
    ) -> None: ...
    events: int
    """EV_READ, EV_WRITE or both; Error if set while active."""
    @property
    def fd(self) -> int:
        """The descriptor."""
    def set(self, fd: _FileLike, events: int) -> None:
        """Replace the arguments; Error while active."""
    def modify(self, events: int, /) -> None:
        """Change the events, also while active (ev_io_modify)."""

@disjoint_base
class Timer(Watcher):
    """Time has passed, on the monotonic clock ("ev_timer").

    after, repeat: seconds; repeat 0.0 means once. Raises ValueError: repeat negative or NaN, after
    NaN.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    @overload
    def __init__(
        self,
        loop: Loop,
        after: float,
        repeat: float,
        callback: _Callback,
        data: object = None,
        priority: int = 0,
    ) -> None:
        """Timer(loop, after, repeat, callback, data=None, priority=0).

        The loop may also stand after the kind's own arguments, as in mood.event 1.x.
        """
    @overload
    def __init__(
        self,
        after: float,
        repeat: float,
        loop: Loop,
        /,
        callback: _Callback,
        data: object = None,
        priority: int = 0,
    ) -> None: ...
    repeat: float
    """Seconds between events; 0.0: once."""
    @property
    def remaining(self) -> float:
        """Seconds until the event (ev_timer_remaining)."""
    @property
    def at(self) -> float:
        """When, on libev's monotonic clock."""
    def set(self, after: float, repeat: float) -> None:
        """Replace the arguments; Error while active."""
    def reset(self) -> None:
        """Start anew with `repeat`, or stop if that is 0.0 (ev_timer_again)."""

@disjoint_base
class Periodic(Watcher):
    """A point in time has come, on the wall clock ("ev_periodic").

    With interval 0.0: once, at `offset`, in seconds since the epoch. Else whenever the time is
    `offset` modulo `interval` seconds; it follows the clock when that is set. Raises ValueError:
    offset or interval NaN or infinite, interval negative or between 0 and 1/8192, and with an
    interval an offset that is negative or above it.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    @overload
    def __init__(
        self,
        loop: Loop,
        offset: float,
        interval: float,
        callback: _Callback,
        data: object = None,
        priority: int = 0,
    ) -> None:
        """Periodic(loop, offset, interval, callback, data=None, priority=0).

        The loop may also stand after the kind's own arguments, as in mood.event 1.x.
        """
    @overload
    def __init__(
        self,
        offset: float,
        interval: float,
        loop: Loop,
        /,
        callback: _Callback,
        data: object = None,
        priority: int = 0,
    ) -> None: ...
    offset: float
    """May be set while active, and counts from the next event or reset() on. ValueError."""
    interval: float
    """May be set while active, and counts from the next event or reset() on. ValueError."""
    @property
    def at(self) -> float:
        """When, in seconds since the epoch; 0.0 before the first start()."""
    def set(self, offset: float, interval: float) -> None:
        """Replace the arguments; Error while active."""
    def reset(self) -> None:
        """Start anew, with the offset and interval of now (ev_periodic_again)."""

@disjoint_base
class Scheduler(Watcher):
    """A point in time has come that a callable computes ("ev_periodic", reschedule callback).

    reschedule(watcher, now) returns the next time, at or after `now`; both are in seconds since the
    epoch. It is asked by start() and reset(), at each event just before the callbacks, and after
    the clock was set, also by Loop.resume(). Raises TypeError (reschedule is not callable).

    When it raises, or returns what is no number, not finite or in the past (TypeError, Error), the
    watcher is stopped with a RuntimeWarning and the exception goes where those of callbacks go:
    one that is fatal ends the run, and is raised by a start() or reset() that asked; any other is
    reported, and start() returns with the watcher stopped. The event of the time that has come
    is still told.

    It cannot change the loop or its watchers, but for their `data`: attempts raise Error.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    @overload
    def __init__(
        self,
        loop: Loop,
        reschedule: _Reschedule,
        callback: _Callback,
        data: object = None,
        priority: int = 0,
    ) -> None:
        """Scheduler(loop, reschedule, callback, data=None, priority=0).

        The loop may also stand after the kind's own arguments, as in mood.event 1.x, and the
        keyword of reschedule may be `scheduler`.
        """
    @overload
    def __init__(
        self,
        reschedule: _Reschedule,
        loop: Loop,
        /,
        callback: _Callback,
        data: object = None,
        priority: int = 0,
    ) -> None: ...
    reschedule: Any
    """Called as reschedule(watcher, now); a new one is asked at the next event."""
    scheduler: Any
    """Another name of reschedule."""
    @property
    def at(self) -> float:
        """When, in seconds since the epoch; 0.0 before the first start()."""
    def set(self, reschedule: _Reschedule) -> None:
        """Replace the callable; Error while active."""
    def reset(self) -> None:
        """Ask again and start anew (ev_periodic_again)."""

@disjoint_base
class Signal(Watcher):
    """The process got a signal ("ev_signal").

    Raises ValueError (out of range, SIGKILL, SIGSTOP); start() raises Error if another loop watches
    the signal. The last watcher to stop puts the former disposition back.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    @overload
    def __init__(
        self, loop: Loop, signum: int, callback: _Callback, data: object = None, priority: int = 0
    ) -> None:
        """Signal(loop, signum, callback, data=None, priority=0).

        The loop may also stand after the kind's own arguments, as in mood.event 1.x.
        """
    @overload
    def __init__(
        self,
        signum: int,
        loop: Loop,
        /,
        callback: _Callback,
        data: object = None,
        priority: int = 0,
    ) -> None: ...
    @property
    def signum(self) -> int:
        """The signal's number."""
    def set(self, signum: int) -> None:
        """Replace the signal; Error while active."""

@final
class Statdata(
    structseq[float], tuple[int, int, int, int, int, int, int, int, float, float, float]
):
    """What lstat() says about the path of a Stat watcher: a struct sequence of 11 fields."""

    __match_args__ = (
        "dev",
        "rdev",
        "ino",
        "size",
        "nlink",
        "mode",
        "uid",
        "gid",
        "atime",
        "mtime",
        "ctime",
    )
    @property
    def dev(self) -> int:
        """Device of the file."""
    @property
    def rdev(self) -> int:
        """Device that a special file is."""
    @property
    def ino(self) -> int:
        """Inode number."""
    @property
    def size(self) -> int:
        """In bytes."""
    @property
    def nlink(self) -> int:
        """Number of hard links; 0: there is no such file, and the other fields are of no use."""
    @property
    def mode(self) -> int:
        """Type and permissions, as the module stat knows them."""
    @property
    def uid(self) -> int:
        """Owner."""
    @property
    def gid(self) -> int:
        """Group."""
    @property
    def atime(self) -> float:
        """Last access, in seconds since the epoch."""
    @property
    def mtime(self) -> float:
        """Last change of the content, in seconds since the epoch."""
    @property
    def ctime(self) -> float:
        """Last change of the content or of these, in seconds since the epoch."""

@disjoint_base
class Stat(Watcher):
    """What lstat() says about a path has changed ("ev_stat").

    The path need not exist: it appears, changes and goes, and a symbolic link or directory that it
    leads through is replaced. Where the system tells of changes (inotify on local file systems)
    `interval` does not matter; else the path is looked at every `interval` seconds, 0.0 being
    libev's choice of about 5. The time of the last access does not count. Raises TypeError (path neither str, bytes nor os.PathLike), ValueError (a NUL in
    it, interval negative or NaN).
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    @overload
    def __init__(
        self,
        loop: Loop,
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
        interval: float,
        callback: _Callback,
        data: object = None,
        priority: int = 0,
    ) -> None:
        """Stat(loop, path, interval, callback, data=None, priority=0).

        The loop may also stand after the kind's own arguments, as in mood.event 1.x.
        """
    @overload
    def __init__(
        self,
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
        interval: float,
        loop: Loop,
        /,
        callback: _Callback,
        data: object = None,
        priority: int = 0,
    ) -> None: ...
    @property
    def path(self) -> str | bytes:
        """The path: str for str and os.PathLike, bytes for bytes."""
    @property
    def interval(self) -> float:
        """In seconds; start() raises what is above 0 but below 0.1074891 to that."""
    follow: bool
    """Whether a symbolic link at the end of the path stands for what it leads to; False.

    Settable; Error while active.
    """
    @property
    def current(self) -> Statdata | None:
        """What is known; None before start() or stat()."""
    @property
    def attr(self) -> Statdata | None:
        """Another name of current."""
    @property
    def previous(self) -> Statdata | None:
        """What was known before the newest change; None before the first one."""
    @property
    def prev(self) -> Statdata | None:
        """Another name of previous."""
    def set(
        self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes], interval: float
    ) -> None:
        """Replace the arguments, and forget what is known; Error while active."""
    def stat(self) -> None:
        """Look at the path now; a change found so is not told to the callback (ev_stat_stat)."""

@disjoint_base
class Idle(Watcher):
    """Nothing of its priority or above is pending ("ev_idle").

    Without a callback it only keeps the loop from waiting.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(
        self, loop: Loop, callback: _Callback | None = None, data: object = None, priority: int = 0
    ) -> None:
        """Idle(loop, callback=None, data=None, priority=0)."""

@disjoint_base
class Prepare(Watcher):
    """The loop is about to poll ("ev_prepare")."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(
        self, loop: Loop, callback: _Callback, data: object = None, priority: int = 0
    ) -> None:
        """Prepare(loop, callback, data=None, priority=0)."""

@disjoint_base
class Check(Watcher):
    """The loop has polled ("ev_check")."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(
        self, loop: Loop, callback: _Callback, data: object = None, priority: int = 0
    ) -> None:
        """Check(loop, callback, data=None, priority=0)."""

@disjoint_base
class Async(Watcher):
    """Another thread called send() ("ev_async")."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(
        self, loop: Loop, callback: _Callback, data: object = None, priority: int = 0
    ) -> None:
        """Async(loop, callback, data=None, priority=0)."""
    @property
    def sent(self) -> bool:
        """True if a send() waits to be noticed."""
    def send(self) -> None:
        """Wake the loop, from any thread; nothing if the watcher is not active."""

@disjoint_base
class Child(Watcher):
    """A child process has ended ("ev_child"); with `trace` also: was stopped, or continued.

    The watcher reaps its process, so nobody else can wait for it, and stays active. A child that
    ended before start() is found when the loop runs next. SIGCHLD is taken while a Child is active
    and given back then. Other than libev this reaps no child that is not watched, so the statuses
    that subprocess waits for stay true; a watcher for pid 0 gets, and reaps, all children.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    @overload
    def __init__(
        self,
        loop: Loop,
        pid: int,
        trace: object,
        callback: _Callback,
        data: object = None,
        priority: int = 0,
    ) -> None:
        """Child(loop, pid, trace, callback, data=None, priority=0).

        pid 0 is any child. Raises Error if the loop is not the default loop, ValueError for a
        negative pid, OverflowError for one that is no C int. The loop may also stand after the
        kind's own arguments, as in mood.event 1.x.
        """
    @overload
    def __init__(
        self,
        pid: int,
        trace: object,
        loop: Loop,
        /,
        callback: _Callback,
        data: object = None,
        priority: int = 0,
    ) -> None: ...
    rpid: int
    """The process of the last event; 0 before the first."""
    rstatus: int
    """Its status, for os.waitstatus_to_exitcode(), os.WIFSTOPPED() and the like; 0 before."""
    @property
    def pid(self) -> int:
        """The process watched, or 0."""
    def set(self, pid: int, trace: object) -> None:
        """Replace the arguments; Error while active."""

@disjoint_base
class Embed(Watcher):
    """Another loop has something to do, and is run within this one ("ev_embed").

    Without a callback the other loop is run by itself; with one, that calls sweep(). In time are,
    as in libev, the descriptors of the other loop, also Async.send() and what other threads start
    on it; its timers, signals and the rest when this loop wakes up for another reason.

    What ends a run of the other loop ends this one's too: start() raises that exception. If the
    other loop runs in another thread when it is to be run here, the watcher is stopped and start()
    raises Error. Closing either loop stops the watcher.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(
        self,
        loop: Loop,
        other: Loop,
        callback: _Callback | None = None,
        data: object = None,
        priority: int = 0,
    ) -> None:
        """Embed(loop, other, callback=None, data=None, priority=0).

        Raises Error if the backend of `other` cannot be embedded (on Linux, EVBACKEND_EPOLL can),
        and if `other` is `loop` or contains it, by way of any Embed watchers, active or not.
        """
    @property
    def other(self) -> Loop:
        """The embedded loop."""
    def set(self, other: Loop) -> None:
        """Replace the embedded loop; Error while active, and as the constructor."""
    def sweep(self) -> None:
        """Run the other loop once, without waiting.

        Raises what ends that run, and inside of start() of this loop ends it with the same; Error
        if the other loop is closed, or runs in another thread or for asyncio.
        """

@disjoint_base
class Fork(Watcher):
    """The process is a forked child ("ev_fork").

    Called when the loop runs there for the first time, before Prepare watchers; the descriptors of
    the loop are made anew after it. Also called after reset().
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(
        self, loop: Loop, callback: _Callback, data: object = None, priority: int = 0
    ) -> None:
        """Fork(loop, callback, data=None, priority=0)."""

@disjoint_base
class Cleanup(Watcher):
    """The loop is about to be destroyed ("ev_cleanup").

    Called once, and stopped before: by Loop.close(); when a loop that is open is collected as
    garbage; and at interpreter exit for loops that are still open, as a function registered with
    atexit when moodloop.event was imported. Higher priorities go first, then later starts. The
    callback may use the loop, but close() is Error in it, as in any callback, and what it starts
    is stopped again without an event. Of what it raises, close() raises what start() would, once
    the loop is closed.

    It never keeps start() from returning, whatever `ref` is.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(
        self, loop: Loop, callback: _Callback, data: object = None, priority: int = 0
    ) -> None:
        """Cleanup(loop, callback, data=None, priority=0)."""

@final
class Handle:
    """What call_soon() returns; isinstance(handle, asyncio.Handle) holds."""

    _callback: Any
    _args: Any
    _loop: Any
    _context: Any
    _cancelled: Any
    _source_traceback: Any
    _repr: Any
    def cancel(self) -> None:
        """Keep the callback from being called. Idempotent."""
    def cancelled(self) -> bool:
        """True if cancel() was called."""
    def get_context(self) -> Context:
        """The context the callback runs in."""
    def _run(self) -> None: ...
    def _repr_info(self) -> list[str]: ...
    def __reduce__(self) -> Any: ...

@final
class TimerHandle:
    """What call_later() and call_at() return; isinstance(handle, asyncio.TimerHandle) holds.

    Compares and sorts by the due time, as asyncio's.
    """

    _callback: Any
    _args: Any
    _loop: Any
    _context: Any
    _cancelled: Any
    _source_traceback: Any
    _repr: Any
    _when: Any
    _scheduled: Any
    def when(self) -> float:
        """The due time, in seconds of loop.time()."""
    def cancel(self) -> None:
        """Keep the callback from being called. Idempotent."""
    def cancelled(self) -> bool:
        """True if cancel() was called."""
    def get_context(self) -> Context:
        """The context the callback runs in."""
    def _run(self) -> None: ...
    def _repr_info(self) -> list[str]: ...
    def __reduce__(self) -> Any: ...
    def __lt__(self, other: object, /) -> bool: ...
    def __le__(self, other: object, /) -> bool: ...
    def __gt__(self, other: object, /) -> bool: ...
    def __ge__(self, other: object, /) -> bool: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class SockOp:
    """A sock_* call that waits for its socket: an awaitable that is its own iterator."""

    def close(self) -> None: ...
    def send(self, value: object, /) -> Any: ...
    def throw(self, typ: Any, val: Any = ..., tb: Any = ..., /) -> Any: ...
    def __await__(self) -> Generator[Any, None, Any]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...

@final
class StreamTransport(asyncio.Transport):
    """The asyncio.Transport of a TCP or Unix stream connection."""

    max_size: int
    _sock: Any
    _sock_fd: Any
    _protocol: Any
    _loop: Any
    _server: Any
    _closing: Any
    _paused: Any
    _eof: Any
    _conn_lost: Any
    _protocol_paused: Any
    def write(self, data: bytes | bytearray | memoryview) -> None: ...
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None: ...
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    def _force_close(self, exc: BaseException | None, /) -> None: ...
    def _fatal_error(self, exc: BaseException, message: str = ..., /) -> None: ...
    def _make_empty_waiter(self) -> Future[None]: ...
    def _make_lost_waiter(self) -> Future[None]: ...
    def _is_ours(self) -> bool: ...
    def _reset_empty_waiter(self) -> None: ...
    def __reduce__(self) -> Any: ...

@final
class TLSTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """The asyncio.Transport of a connection with TLS, and the protocol of the transport below."""

    _ssl_protocol: Any
    _app_transport: Any
    _transport: Any
    _app_protocol: Any
    _loop: Any
    _sslobj: Any
    _sslcontext: Any
    _closed: Any
    _conn_lost: Any
    _app_reading_paused: Any
    _app_writing_paused: Any
    _protocol_paused: Any
    def write(self, data: bytes | bytearray | memoryview) -> None: ...
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None: ...
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    def get_read_buffer_size(self) -> int: ...
    def get_read_buffer_limits(self) -> tuple[int, int]: ...
    def set_read_buffer_limits(
        self, high: float | None = None, low: float | None = None
    ) -> None: ...
    def connection_made(self, transport: asyncio.BaseTransport, /) -> None: ...
    def connection_lost(self, exc: BaseException | None, /) -> None: ...
    def get_buffer(self, sizehint: int, /) -> memoryview: ...
    def buffer_updated(self, nbytes: int, /) -> None: ...
    def _feed(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def _force_close(self, exc: BaseException | None, /) -> None: ...
    def _test__append_write_backlog(self, data: bytes, /) -> None: ...
    def _go_on(self) -> None: ...
    def _check_handshake_timeout(self) -> None: ...
    def _check_shutdown_timeout(self) -> None: ...
    @classmethod
    def _open(cls, path: str, ssl: Any, /) -> str | None: ...
    @classmethod
    def _wrap(
        cls,
        loop: LoopBase,
        protocol: asyncio.BaseProtocol,
        context: Any,
        waiter: Any,
        server_side: bool,
        server_hostname: str | None,
        ssl_handshake_timeout: float,
        ssl_shutdown_timeout: float,
        call_connection_made: bool,
        /,
    ) -> TLSTransport | None: ...
    def __reduce__(self) -> Any: ...

@final
class DatagramTransport(asyncio.DatagramTransport, asyncio.Transport):
    """The asyncio.DatagramTransport of a UDP, Unix or other datagram socket."""

    max_size: int
    _sock: Any
    _sock_fd: Any
    _protocol: Any
    _loop: Any
    _server: Any
    _closing: Any
    _paused: Any
    _eof: Any
    _conn_lost: Any
    _protocol_paused: Any
    def sendto(self, data: bytes | bytearray | memoryview, addr: Any = None) -> None:
        """Send a datagram to addr, or to where the socket is connected; never blocks.

        Raises TypeError (data is not bytes-like), ValueError (another address than the one the
        endpoint was made with), and what the protocol's error_received() raises.
        """
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    def __reduce__(self) -> Any: ...

@final
class ReadPipeTransport(asyncio.ReadTransport):
    """The asyncio.ReadTransport of a pipe, FIFO, terminal or socket."""

    max_size: int
    _sock: Any
    _sock_fd: Any
    _protocol: Any
    _loop: Any
    _server: Any
    _closing: Any
    _paused: Any
    _eof: Any
    _conn_lost: Any
    _protocol_paused: Any
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    def __reduce__(self) -> Any: ...

@final
class WritePipeTransport(asyncio.Transport):
    """The asyncio.Transport, to write only, of a pipe, FIFO, terminal or socket."""

    max_size: int
    _sock: Any
    _sock_fd: Any
    _protocol: Any
    _loop: Any
    _server: Any
    _closing: Any
    _paused: Any
    _eof: Any
    _conn_lost: Any
    _protocol_paused: Any
    def write(self, data: bytes | bytearray | memoryview) -> None: ...
    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None: ...
    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    def __reduce__(self) -> Any: ...

@final
class Listener:
    """Accepts the connections of one listening socket; accept() is its reader's callback."""

    def __new__(
        cls,
        loop: LoopBase,
        sock: Any,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        server: Any,
        backlog: int,
        context: Context | None,
        plain: bool,
        by_object: Callable[[], object],
    ) -> Self: ...
    def accept(self) -> None: ...
    def __reduce__(self) -> Any: ...

@final
@final
class Histogram:
    """Times, counted by size: each bucket is an eighth of a power of two wide."""

    def __new__(cls) -> Self: ...
    @property
    def count(self) -> int:
        """How many times were recorded."""
    @property
    def min(self) -> float:
        """The least, in seconds; 0 for none."""
    @property
    def max(self) -> float:
        """The most, in seconds."""
    @property
    def mean(self) -> float:
        """In seconds; 0 for none."""
    @property
    def stddev(self) -> float:
        """The standard deviation, in seconds; 0 for none."""
    def percentile(self, p: float, /) -> float:
        """Seconds that p percent took no longer than, 12% too many at most; 0 for none."""
    def buckets(self) -> list[tuple[float, int]]:
        """[(upper bound in seconds, count), ...] of what is not empty, counts not summed up."""
    def reset(self) -> None:
        """Forget all that was recorded."""
    def record(self, seconds: float, /) -> None:
        """Record one time. ValueError if it is negative."""
    def __reduce__(self) -> Any: ...

@final
class Watch:
    """A thread that looks at what a loop does."""

    def wait(self) -> dict[str, Any] | None:
        """The next stall, or end of one; None after stop()."""
    def stop(self) -> None:
        """End the thread that looks, and wait()."""
    def __reduce__(self) -> Any: ...

@disjoint_base
class LoopBase:
    """The C half of moodloop.EventLoop; not for use by itself."""

    _debug: bool
    _closed: bool
    _stopping: bool
    _transports: Any
    _thread_id: int | None
    _current_handle: Any
    @property
    def ev(self) -> Loop:
        """The moodloop.event.Loop beneath: watchers on it run inside this loop."""
    @property
    def load(self) -> float:
        """How busy the loop was in the last second, 0 to 1; for any thread."""
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(self, ev: Loop | None = None) -> None: ...
    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call callback(*args) in the next turn (BaseEventLoop.call_soon)."""
    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """call_soon() for other threads and signal handlers: it wakes the loop."""
    def call_from_thread(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Another name of call_soon_threadsafe()."""
    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call callback(*args) after `delay` seconds."""
    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Call callback(*args) at `when`, in seconds of time()."""
    def time(self) -> float:
        """Seconds on the clock of time.monotonic()."""
    def is_running(self) -> bool:
        """True inside run_forever()."""
    def is_closed(self) -> bool:
        """True after close()."""
    def get_debug(self) -> bool:
        """True in debug mode."""
    def stop(self) -> None:
        """Let run_forever() return after the current turn."""
    def create_future(self) -> Future[Any]:
        """asyncio.Future(loop=self)."""
    if sys.version_info >= (3, 14):
        def create_task(self, coro: Coroutine[Any, Any, _T], **kwargs: Any) -> Task[_T]:
            """asyncio.Task(coro, loop=self, **kwargs), or what the task factory makes."""
    else:
        def create_task(
            self,
            coro: Coroutine[Any, Any, _T],
            *,
            name: str | None = None,
            context: Context | None = None,
        ) -> Task[_T]:
            """asyncio.Task(coro, loop=self, ...), or what the task factory makes."""
    def add_reader(self, fd: _FileLike, callback: Callable[..., object], *args: Any) -> None:
        """Call callback(*args) whenever fd can be read.

        Raises ValueError (no descriptor), OSError (EBADF; EPERM as PermissionError for a regular
        file), RuntimeError (a transport uses it; loop closed).
        """
    def add_writer(self, fd: _FileLike, callback: Callable[..., object], *args: Any) -> None:
        """Call callback(*args) whenever fd can be written."""
    def remove_reader(self, fd: _FileLike) -> bool:
        """True if there was a reader."""
    def remove_writer(self, fd: _FileLike) -> bool:
        """True if there was a writer."""
    def _add_reader(
        self, fd: _FileLike, callback: Any, /, *args: Any, context: Context | None = None
    ) -> asyncio.Handle: ...
    def _add_writer(
        self, fd: _FileLike, callback: Any, /, *args: Any, context: Context | None = None
    ) -> asyncio.Handle: ...
    def _remove_reader(self, fd: _FileLike, /) -> bool: ...
    def _remove_writer(self, fd: _FileLike, /) -> bool: ...
    def _signal_start(self, signum: int, callback: Any, args: tuple[Any, ...], /) -> None: ...
    def _signal_stop(self, signum: int, /) -> bool: ...
    def _rewatch(self, fd: int, /) -> None: ...
    def _signal_map(self) -> dict[int, Any]: ...
    def _check_closed(self) -> None: ...
    def _ready_handles(self) -> list[Any]: ...
    def _scheduled_handles(self) -> list[Any]: ...
    def _run(self) -> None: ...
    def _flush(self) -> None: ...
    def _attach(self) -> None: ...
    def _detach(self) -> None: ...
    def _close(self) -> None: ...
    def _make_socket_transport(
        self,
        sock: Any,
        protocol: Any,
        waiter: Any = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Context | None = None,
    ) -> Any: ...
    def _connect(self, host: Any, port: Any, /) -> Any: ...
    def _connected(self, op: Any, protocol: Any, waiter: Any, context: Any, /) -> Any: ...
    def _is_plain(self, sock: Any, /) -> bool: ...
    def _can_try(self, sock: Any, /) -> bool: ...
    def _ensure_fd_no_transport(self, fd: Any, /) -> None: ...
    def _make_datagram_transport(
        self,
        sock: Any,
        protocol: Any,
        address: Any = None,
        waiter: Any = None,
        extra: dict[str, Any] | None = None,
    ) -> Any: ...
    def _make_read_pipe_transport(
        self,
        pipe: Any,
        protocol: Any,
        waiter: Any = None,
        extra: dict[str, Any] | None = None,
    ) -> Any: ...
    def _make_write_pipe_transport(
        self,
        pipe: Any,
        protocol: Any,
        waiter: Any = None,
        extra: dict[str, Any] | None = None,
    ) -> Any: ...
    def _meter_stats(self) -> tuple[float, ...]: ...
    def _record_delays(self, histogram: Histogram, /) -> None: ...
    def _stop_delays(self, histogram: Histogram, /) -> None: ...
    def _watch(self, threshold: float, signum: int, fd: int, /) -> Watch: ...
    def _try_sock_recv(self, sock: Any, n: int, /) -> Any: ...
    def _try_sock_recv_into(self, sock: Any, buf: Any, /) -> Any: ...
    def _try_sock_recvfrom(self, sock: Any, n: int, /) -> Any: ...
    def _try_sock_recvfrom_into(self, sock: Any, buf: Any, nbytes: int, /) -> Any: ...
    def _try_sock_sendall(self, sock: Any, data: Any, /) -> Any: ...
    def _try_sock_sendto(self, sock: Any, data: Any, address: Any, /) -> Any: ...
    def _try_sock_accept(self, sock: Any, /) -> Any: ...
    def _try_sock_connect(self, sock: Any, address: Any, /) -> Any: ...
    def __reduce__(self) -> Any: ...

@final
class StreamOp:
    """A read or a drain() of a stream, to be awaited once."""

    @property
    def __name__(self) -> str: ...
    @property
    def __qualname__(self) -> str: ...
    @property
    def cr_running(self) -> bool: ...
    @property
    def cr_await(self) -> Any: ...
    def __await__(self) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any, /) -> Any: ...
    def throw(self, typ: Any, val: Any = None, tb: Any = None, /) -> Any: ...
    def close(self) -> None: ...

@disjoint_base
class StreamReaderBase:
    """The C half of moodloop.StreamReader; not for use by itself."""

    _eof: bool
    _paused: bool
    _buffer: bytearray
    _limit: Any
    _waiter: Any
    _exception: Any
    _transport: Any
    _loop: Any
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(self, limit: int = 65536, loop: Any = None) -> None: ...
    async def read(self, n: int = -1) -> bytes: ...
    async def readline(self) -> bytes: ...
    async def readexactly(self, n: int) -> bytes: ...
    async def readuntil(self, separator: Any = b"\n") -> bytes: ...
    def feed_data(self, data: Any, /) -> None: ...
    def feed_eof(self) -> None: ...
    def at_eof(self) -> bool: ...
    def set_exception(self, exc: Any, /) -> None: ...
    def exception(self) -> Any: ...
    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> bytes: ...
    def _wakeup_waiter(self) -> None: ...
    def _maybe_resume_transport(self) -> None: ...

@disjoint_base
class StreamWriterBase:
    """The C half of moodloop.StreamWriter; not for use by itself."""

    _transport: Any
    _protocol: Any
    _reader: Any
    _loop: Any
    @property
    def transport(self) -> Any: ...
    @property
    def _complete_fut(self) -> Any: ...
    def __new__(cls, *args: Any, **kwargs: Any) -> Self: ...
    def __init__(self, transport: Any, protocol: Any, reader: Any, loop: Any) -> None: ...
    def write(self, data: Any, /) -> None: ...
    def writelines(self, data: Any, /) -> None: ...
    async def drain(self) -> None: ...
    def close(self) -> None: ...
    def is_closing(self) -> bool: ...

@disjoint_base
class StreamProtocolBase:
    """The C half of moodloop.StreamReaderProtocol; not for use by itself."""

    _paused: bool
    _connection_lost: bool
    _stream_reader_wr: Any
    def data_received(self, data: Any, /) -> None: ...
    @classmethod
    def _use_classes(cls, reader: type, protocol: type, /) -> None: ...
