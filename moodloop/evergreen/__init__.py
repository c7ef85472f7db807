"""The event loop of the package `evergreen`, on libev's watchers.

    from moodloop import evergreen

    loop = evergreen.current.loop
    loop.call_later(0.5, print, "hello", end="!\\n")
    loop.run()

Callbacks take keyword arguments, each thread has one loop, a signal can have any number of
handlers, and with the package greenlet (``pip install moodloop[evergreen]``) greenlets switch to
the loop and back.
"""

from __future__ import annotations

from .handler import Handler
from .loop import EventLoop

__all__ = ["EventLoop", "Handler", "current"]


class _Current:
    """What belongs to the thread that asks."""

    __slots__ = ()

    @property
    def loop(self) -> EventLoop:
        """EventLoop.current()."""
        return EventLoop.current()


current = _Current()
