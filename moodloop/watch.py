"""libev's watchers as `async for` loops: file changes, ticks, cron times, signals, processes.

    async for stat in watch.path("settings.toml"):
        reload()

Each call watches from then on, on the running moodloop.EventLoop, and stops when the loop over it
is left, cancelled or garbage collected, or by its `close()`. Raises RuntimeError where no loop
runs, TypeError where one of another kind does.
"""

from __future__ import annotations

import asyncio
import collections
import datetime
import os
import signal
import sys
import weakref
import zoneinfo
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from . import event as _event
from . import pidfd
from .loop import EventLoop
from .process import TRACED_SECONDS

__all__ = ["Watch", "cron", "every", "path", "process", "signals"]

T = TypeVar("T")

_NEVER = 1e9  # seconds from now on: some thirty years


class Watch(Generic[T]):
    """An asynchronous iterator over events, for one task at a time.

    Events that come while the body of the loop runs are kept for the next round; path(), every()
    and cron() keep one, the newest.
    """

    def __init__(self, keep: int | None) -> None:
        self._watchers: list[_event.Watcher] = []
        self._loop = _running_loop()
        self._events: collections.deque[T] = collections.deque(maxlen=keep)
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self._error: Exception | None = None

    def __aiter__(self) -> Watch[T]:
        return self

    async def __anext__(self) -> T:
        while not self._events:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._closed:
                raise StopAsyncIteration
            if self._waiter is not None:
                raise RuntimeError("another task is waiting for this watch")
            waiter = self._loop.create_future()
            self._set_waiter(waiter)
            try:
                await waiter
            finally:
                self._set_waiter(None)
        return self._events.popleft()

    def close(self) -> None:
        """Stop watching: the loop over it ends. Idempotent."""
        self._closed = True
        self._events.clear()
        self._stop()
        self._wake()

    def __del__(self) -> None:
        self._stop()

    def _end(self) -> None:
        """Nothing comes any more: the loop over it ends after what is kept."""
        self._closed = True
        self._stop()

    def _fail(self, error: Exception) -> None:
        """It cannot go on: the loop over it raises that, after what is kept."""
        self._error = error
        self._end()
        self._wake()

    def _stop(self) -> None:
        for watcher in self._watchers:
            if watcher.active:
                watcher.stop()
        self._watchers.clear()

    def _set_waiter(self, waiter: asyncio.Future[None] | None) -> None:
        """The loop keeps who waits, by its watchers, as it keeps a task that sleeps."""
        self._waiter = waiter
        for watcher in self._watchers:
            watcher.data = waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _start(self, watcher: _event.Watcher) -> None:
        self._watchers.append(watcher)
        self._loop.ev.update()  # times count from now, not from when this callback began
        watcher.start()

    def _put(self, item: T) -> None:
        self._events.append(item)
        self._wake()

    def _on(self, convert: Callable[[Watch[T], Any], T]) -> Callable[[Any, int], None]:
        """A watcher's callback. The loop keeps an active watcher alive, but not what watches."""
        reference = weakref.ref(self)

        def callback(watcher: Any, revents: int) -> None:
            watch = reference()
            if watch is None:
                return
            try:
                event = convert(watch, watcher)
            except Exception as exc:
                watch._fail(exc)
            else:
                watch._put(event)

        return callback


def _running_loop() -> EventLoop:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, EventLoop):
        raise TypeError(
            f"moodloop.watch needs a moodloop.EventLoop to run, not {type(loop).__name__}: "
            f"start the program with moodloop.run()"
        )
    return loop


def path(file: str | bytes | os.PathLike[Any], interval: float = 0.0) -> Watch[_event.Statdata]:
    """Changes of a file or directory, each as the Statdata after it; `nlink` is 0 if it is gone.

    Of symbolic links it is what they lead to that counts, and it may be led elsewhere: by links and
    directories on the way that are replaced. The file need not exist. Changes come at once where
    the system reports them (inotify), else when it is looked at every `interval` seconds (0: every
    5 s). Raises as event.Stat().
    """
    watch: Watch[_event.Statdata] = Watch(keep=1)
    changed = watch._on(lambda _, watcher: watcher.current)
    stat = _event.Stat(watch._loop.ev, file, interval, changed)
    stat.follow = True
    watch._start(stat)
    return watch


def every(seconds: float) -> Watch[int]:
    """Ticks of a repeating timer: how many there were since the last round, mostly 1.

    The first comes after `seconds`, which must be positive and finite: else ValueError.
    """
    if not 0 < seconds < float("inf"):
        raise ValueError(f"seconds must be positive and finite, not {seconds!r}")
    seconds = float(seconds)
    watch: Watch[int] = Watch(keep=1)
    told = watch._loop.time()

    def count(watch: Any, _: Any) -> int:
        # libev leaves out ticks while the loop is held up, so by the clock
        nonlocal told
        now = watch._loop.time()
        ticks = max(1, int(min((now - told) / seconds + 0.5, sys.maxsize)))
        told += ticks * seconds
        return ticks + (watch._events[0] if watch._events else 0)

    tick = watch._on(count)
    watch._start(_event.Timer(watch._loop.ev, seconds, seconds, tick))
    return watch


def cron(expression: str, *, tz: datetime.tzinfo | None = None) -> Watch[datetime.datetime]:
    """The times of a cron expression, as aware datetimes, when they are reached.

    They are wall-clock times in the zone `tz` (None: the system's), and follow the clock when it is
    set. The loop over it ends with the last one, if the expression has years. Needs the package
    croniter (ImportError); raises its ValueErrors for an expression it does not understand.
    """
    try:
        import croniter
    except ImportError:
        raise ImportError("moodloop.watch.cron() needs the package croniter: pip install croniter")
    zone = tz if tz is not None else _local_zone()
    croniter.croniter(expression).get_next()  # raises what reschedule() would

    over = False

    def reschedule(watcher: Any, now: float) -> float:
        nonlocal over
        try:
            start = datetime.datetime.fromtimestamp(now, zone)
            times = croniter.croniter(expression, start)
            time = float(times.get_next(datetime.datetime).timestamp())
            over = False
        except croniter.CroniterBadDateError:
            time = now + _NEVER
            over = True
        except Exception as exc:
            time = now + _NEVER
            watch = reference()
            if watch is not None:  # not at once: nothing can be stopped in here
                watch._loop.call_soon(watch._fail, exc)
        return time

    def due(watch: Any, watcher: Any) -> datetime.datetime:
        # the watcher has its next time already
        if over:
            watch._end()
        now = datetime.datetime.fromtimestamp(watcher.loop.now() + 0.001, zone)
        time: datetime.datetime = croniter.croniter(expression, now).get_prev(datetime.datetime)
        return time

    watch: Watch[datetime.datetime] = Watch(keep=1)
    reference = weakref.ref(watch)
    watch._start(_event.Scheduler(watch._loop.ev, reschedule, watch._on(due)))
    return watch


def _local_zone() -> datetime.tzinfo:
    """The system's zone with its rules, which datetime.astimezone() would leave out."""
    name = os.environ.get("TZ")
    if name:
        try:
            return zoneinfo.ZoneInfo(name.removeprefix(":"))
        except (ValueError, zoneinfo.ZoneInfoNotFoundError):
            raise ValueError(f"TZ={name!r} names no time zone: pass one as tz=") from None
    try:
        with open("/etc/localtime", "rb") as file:
            return zoneinfo.ZoneInfo.from_file(file)
    except FileNotFoundError:
        return datetime.UTC


def signals(*signums: int) -> Watch[signal.Signals | int]:
    """The signals that arrive, as signal.Signals or, for a real-time signal, which has no name
    there, as its number. Raises as event.Signal(), ValueError for none.
    """
    if not signums:
        raise ValueError("signals() needs at least one signal")
    watch: Watch[signal.Signals | int] = Watch(keep=None)
    arrived = watch._on(lambda _, watcher: _signal(watcher.signum))
    try:
        for signum in signums:
            watch._start(_event.Signal(watch._loop.ev, signum, arrived))
    except BaseException:  # those of before would stay for as long as the traceback does
        watch.close()
        raise
    return watch


def _signal(signum: int) -> signal.Signals | int:
    try:
        return signal.Signals(signum)
    except ValueError:
        return signum


async def process(pid: int, *, reap: bool = False) -> int | None:
    """Wait for a process to end; its return code as subprocess has it, None if it is no child.

    Any process can be waited for. The exit status of a child stays for Popen.wait(), os.waitpid()
    and the like, unless `reap` is true. One that somebody else has reaped meanwhile has a return
    code where the kernel tells it, from Linux 6.15 on, and None elsewhere. Raises
    ProcessLookupError if there is no such process.
    """
    loop = _running_loop()
    fd = os.pidfd_open(pid)
    ended: asyncio.Future[None] = loop.create_future()

    def readable(watcher: Any, revents: int) -> None:
        watcher.stop()
        if not ended.done():
            ended.set_result(None)

    watcher = _event.Io(loop.ev, fd, _event.EV_READ, readable)
    try:
        child = _is_child(fd)
        watcher.start()
        await ended
        return await _return_code(fd, reap, child)
    finally:
        if watcher.active:
            watcher.stop()
        os.close(fd)


def _is_child(fd: int) -> bool:
    try:
        os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except ChildProcessError:
        return False
    return True


async def _return_code(fd: int, reap: bool, child: bool) -> int | None:
    options = os.WEXITED | os.WNOHANG | (0 if reap else os.WNOWAIT)
    try:
        while (status := os.waitid(os.P_PIDFD, fd, options)) is None:
            await asyncio.sleep(TRACED_SECONDS)  # dead, but a debugger is told first
    except ChildProcessError:  # somebody else has reaped it, perhaps the kernel
        code = pidfd.exit_status(fd) if child else None
        return None if code is None else os.waitstatus_to_exitcode(code)
    return status.si_status if status.si_code == os.CLD_EXITED else -status.si_status
