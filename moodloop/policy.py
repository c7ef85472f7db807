"""How a program comes to use the loop: run(), install(), the event loop policy."""

from __future__ import annotations

import asyncio
from asyncio import events, unix_events
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any, TypeVar

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
) -> _T:
    """asyncio.run() on a moodloop.EventLoop, or on what `loop_factory` returns.

    `watchdog` is the threshold of a `loop.watchdog()`, in seconds: TypeError if the loop has none.
    Raises RuntimeError if called from a running loop, ValueError (TypeError from 3.14 on) if
    `main` is no coroutine, and whatever `main` raises.
    """
    if events._get_running_loop() is not None:
        # asyncio.run()'s own check, before a runner of ours would make its own loop.
        raise RuntimeError("moodloop.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=loop_factory or new_event_loop) as runner:
        if watchdog is not None:
            loop = runner.get_loop()
            if not isinstance(loop, EventLoop):
                main.close()
                raise TypeError(f"watchdog= is for loops of moodloop, not {type(loop).__name__}")
            loop.watchdog(watchdog)
        return runner.run(main)


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


def install() -> None:
    """Make asyncio.new_event_loop(), and so asyncio.run() and runners, give moodloop's loop.

    Sets the event loop policy; on a Python without policies it replaces
    `asyncio.new_event_loop`.
    """
    if _base_policy() is None:
        asyncio.new_event_loop = events.new_event_loop = new_event_loop
        return
    # The public function warns from 3.14 on; the private one is what it calls.
    namespace = vars(events)
    setter = namespace.get("_set_event_loop_policy") or namespace["set_event_loop_policy"]
    setter(event_loop_policy()())


def __getattr__(name: str) -> Any:
    if name in ("Policy", "EventLoopPolicy"):
        return event_loop_policy()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
