"""The API of pyev 0.8 over moodloop.event: ``import moodloop.pyev as pyev``.

What differs from moodloop.event: the loop comes after a watcher's own arguments (in the first place
it is taken, too), `debug` is the fourth argument of a loop, `Timer.remaining` and `at` can be
called, and the names of pyev 0.6 are there: `Loop.loop()`, `Loop.unloop()`, `EVLOOP_*` and
`EVUNLOOP_*`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import _core, event
from ._version import __version__
from .event import *  # noqa: F403

__all__ = [
    "EVLOOP_NONBLOCK",
    "EVLOOP_ONESHOT",
    "EVUNLOOP_ALL",
    "EVUNLOOP_CANCEL",
    "EVUNLOOP_ONE",
    "version",
]
__all__ += event.__all__

EVLOOP_NONBLOCK = event.EVRUN_NOWAIT
EVLOOP_ONESHOT = event.EVRUN_ONCE
EVUNLOOP_CANCEL = event.EVBREAK_CANCEL
EVUNLOOP_ONE = event.EVBREAK_ONE
EVUNLOOP_ALL = event.EVBREAK_ALL

_Hook = Callable[[Any], object]


def version() -> tuple[str, str]:
    """The versions of moodloop and of the libev that runs."""
    return __version__, ".".join(map(str, event.abi_version()))


class _Number(float):
    """A float that gives itself when it is called: pyev had methods where there are attributes."""

    def __call__(self) -> float:
        return float(self)


class Timer(event.Timer):  # type: ignore[no-redef]
    __doc__ = event.Timer.__doc__

    @property
    def remaining(self) -> _Number:
        """Seconds until the event; `timer.remaining` and `timer.remaining()`."""
        return _Number(super().remaining)

    @property
    def at(self) -> _Number:
        """When, on libev's monotonic clock; also `timer.at()`."""
        return _Number(super().at)


class Periodic(event.Periodic):  # type: ignore[no-redef]
    __doc__ = event.Periodic.__doc__

    @property
    def at(self) -> _Number:
        """The next time, in seconds since the epoch; `periodic.at` and `periodic.at()`."""
        return _Number(super().at)


class Scheduler(event.Scheduler):  # type: ignore[no-redef]
    __doc__ = event.Scheduler.__doc__

    @property
    def at(self) -> _Number:
        """The next time, in seconds since the epoch; `scheduler.at` and `scheduler.at()`."""
        return _Number(super().at)


class Embed(event.Embed):  # type: ignore[no-redef]
    """Embed(other, loop, callback=None, data=None, priority=0): `other` runs inside of `loop`."""

    def __init__(
        self,
        other: event.Loop,
        loop: event.Loop,
        callback: Callable[[Any, int], object] | None = None,
        data: object = None,
        priority: int = 0,
    ) -> None:
        super().__init__(loop, other, callback, data, priority)


class Loop(event.Loop):  # type: ignore[no-redef]
    """A loop of pyev: an event.Loop with `debug` in fourth place and the names of pyev 0.6."""

    def __init__(
        self,
        flags: int = event.EVFLAG_AUTO,
        callback: _Hook | None = None,
        data: object = None,
        debug: bool = False,
        io_interval: float = 0.0,
        timeout_interval: float = 0.0,
    ) -> None:
        super().__init__(flags, callback, data, io_interval, timeout_interval, debug=debug)

    def loop(self, flags: int = 0) -> bool:
        """start()"""
        return self.start(flags)

    def unloop(self, how: int = event.EVBREAK_ONE) -> None:
        """stop()"""
        self.stop(how)

    def timer(self, *args: Any, **kwargs: Any) -> Timer:
        """Timer(after, repeat, self, callback, data=None, priority=0)"""
        return Timer(self, *args, **kwargs)

    def periodic(self, *args: Any, **kwargs: Any) -> Periodic:
        """Periodic(offset, interval, self, callback, data=None, priority=0)"""
        return Periodic(self, *args, **kwargs)

    def scheduler(self, *args: Any, **kwargs: Any) -> Scheduler:
        """Scheduler(reschedule, self, callback, data=None, priority=0)"""
        return Scheduler(self, *args, **kwargs)

    def embed(self, other: event.Loop, *args: Any, **kwargs: Any) -> Embed:
        """Embed(other, self, callback=None, data=None, priority=0)"""
        return Embed(other, self, *args, **kwargs)


def default_loop(*args: Any, **kwargs: Any) -> Loop:  # type: ignore[no-redef]
    """default_loop(flags=EVFLAG_AUTO, callback=None, data=None, debug=False, io_interval=0.0,
    timeout_interval=0.0)

    The process-wide default loop, made at the first call; see moodloop.event.default_loop(). If
    that made it, it is an event.Loop without what Loop adds.
    """
    if len(args) > 3:
        if "debug" in kwargs:
            raise TypeError("default_loop() got multiple values for argument 'debug'")
        kwargs["debug"] = args[3]
        args = args[:3] + args[4:]
    return _core._default_loop_as(Loop, *args, **kwargs)


loop = default_loop
