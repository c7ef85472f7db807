"""How a program comes to use the loop: run(), install(), the event loop policy."""

from __future__ import annotations

import asyncio
from asyncio import events, unix_events
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, TypeVar

from . import streams as _streams
from .loop import EventLoop

_T = TypeVar("_T")


def new_event_loop() -> EventLoop:
    """Return a new loop; what `loop_factory=` arguments want."""
    return EventLoop()


def run(
    main: Coroutine[Any, Any, _T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    watchdog: float | None = None,
    streams: bool = False,
) -> _T:
    """asyncio.run() on a moodloop.EventLoop, or on what `loop_factory` returns.

    `watchdog` is the threshold of a `loop.watchdog()`, in seconds: TypeError if the loop has none.
    `streams` is as in install(), for as long as it runs.
    Raises RuntimeError if called from a running loop, ValueError (TypeError from 3.14 on) if
    `main` is no coroutine, and whatever `main` raises.
    """
    if events._get_running_loop() is not None:
        # asyncio.run()'s own check, before a runner of ours would make its own loop.
        raise RuntimeError("moodloop.run() cannot be called from a running event loop")
    undo = streams and not _streams.installed()
    if streams:
        _streams.install()
    try:
        with asyncio.Runner(debug=debug, loop_factory=loop_factory or new_event_loop) as runner:
            if watchdog is not None:
                loop = runner.get_loop()
                if not isinstance(loop, EventLoop):
                    main.close()
                    raise TypeError(
                        f"watchdog= is for loops of moodloop, not {type(loop).__name__}"
                    )
                loop.watchdog(watchdog)
            return runner.run(main)
    finally:
        if undo:
            _streams.uninstall()


def _base_policy() -> Any:
    """asyncio's default policy class, or None on a Python without policies."""
    # vars(): from 3.14 on the public name warns when it is looked up.
    names = vars(unix_events)
    return names.get("_UnixDefaultEventLoopPolicy") or names.get("DefaultEventLoopPolicy")


@cache
def event_loop_policy() -> Any:
    """The class moodloop.Policy. RuntimeError on a Python that has no event loop policies."""
    base = _base_policy()
    if base is None:
        raise RuntimeError(
            "this Python has no event loop policies: use moodloop.run(), "
            "asyncio.run(..., loop_factory=moodloop.new_event_loop) or moodloop.install()"
        )

    class Policy(base):  # type: ignore[misc, valid-type]
        """asyncio's default policy, with moodloop.EventLoop as the loop it makes."""

        _loop_factory = EventLoop

    Policy.__module__ = "moodloop"
    Policy.__qualname__ = "Policy"
    return Policy


# What uninstall() puts back: asyncio's new_event_loop, or the policy, if install() was called.
_before: list[Any] = []


def install(*, streams: bool = False) -> None:
    """Make asyncio.new_event_loop(), and so asyncio.run() and runners, give moodloop's loop.

    Sets the event loop policy; on a Python without policies it replaces
    `asyncio.new_event_loop`. With `streams`, asyncio.open_connection(), start_server(), the same
    for Unix sockets, create_subprocess_exec() and _shell() give moodloop's streams on its loops,
    and what they always gave on others; so they do in a process with MOODLOOP_STREAMS=1 in its
    environment. uninstall() undoes it.
    """
    if streams:
        _streams.install()
    had = vars(events).get("_event_loop_policy") if _base_policy() else events.new_event_loop
    if not _before:
        _before.append(had)
    if _base_policy() is None:
        asyncio.new_event_loop = events.new_event_loop = new_event_loop
        return
    _set_policy(event_loop_policy()())


def uninstall() -> None:
    """Undo install(): asyncio's loops, policy and streams are what they were. Idempotent.

    A loop that runs or was set stays, as do connections. A policy that the program has set since
    stays, too.
    """
    _streams.uninstall()
    if not _before:
        return
    before = _before.pop()
    if _base_policy() is None:
        if events.new_event_loop is new_event_loop:
            asyncio.new_event_loop = events.new_event_loop = before
    elif type(vars(events).get("_event_loop_policy")) is event_loop_policy():
        _set_policy(before)


def _set_policy(policy: Any) -> None:
    # The public function warns from 3.14 on; the private one is what it calls.
    namespace = vars(events)
    setter = namespace.get("_set_event_loop_policy") or namespace["set_event_loop_policy"]
    setter(policy)


def __getattr__(name: str) -> Any:
    if name in ("Policy", "EventLoopPolicy"):
        return event_loop_policy()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
