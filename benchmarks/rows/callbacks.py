"""Callbacks: call_soon, in many ways."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import socket
from collections.abc import Callable, Iterator
from itertools import repeat

from .row import Operation

Loop = asyncio.AbstractEventLoop


def noop(*args: object) -> None:
    """The callback that does nothing."""


def in_laps(loop: Loop, laps: int, lap: Callable[[], None]) -> None:
    """Run `lap` in the loop so many times, what it schedules before each next one."""
    left = laps

    def turn() -> None:
        nonlocal left
        if left == 0:
            loop.stop()
            return
        left -= 1
        lap()
        loop.call_soon(turn)

    loop.call_soon(turn)
    loop.run_forever()


def batches(batch: int, schedule: Callable[[Loop, int], None]) -> Callable[[Loop, int], None]:
    """An operation that schedules `batch` callbacks at a time and lets them run."""

    def run(loop: Loop, n: int) -> None:
        in_laps(loop, n // batch, lambda: schedule(loop, batch))

    return run


def soon(loop: Loop, n: int) -> None:
    call_soon = loop.call_soon
    for _ in repeat(None, n):
        call_soon(noop)


def soon_3args(loop: Loop, n: int) -> None:
    call_soon = loop.call_soon
    for _ in repeat(None, n):
        call_soon(noop, 1, "two", None)


def soon_context(loop: Loop, n: int) -> None:
    call_soon, context = loop.call_soon, contextvars.copy_context()
    for _ in repeat(None, n):
        call_soon(noop, context=context)


def chain(loop: Loop, n: int) -> None:
    left = n

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            loop.stop()

    loop.call_soon(step)
    loop.run_forever()


def fan_64(loop: Loop, n: int) -> None:
    """64 chains side by side."""
    left = n

    def step() -> None:
        nonlocal left
        left -= 1
        if left >= 64:
            loop.call_soon(step)
        elif left == 0:
            loop.stop()

    for _ in range(64):
        loop.call_soon(step)
    loop.run_forever()


@contextlib.contextmanager
def idle_readers(loop: Loop) -> Iterator[None]:
    """250 sockets that are watched and on which nothing happens."""
    pairs = [socket.socketpair() for _ in range(250)]
    for ours, _ in pairs:
        ours.setblocking(False)
        loop.add_reader(ours.fileno(), noop)
    try:
        yield
    finally:
        for ours, theirs in pairs:
            loop.remove_reader(ours.fileno())
            ours.close()
            theirs.close()


ROWS = (
    Operation(
        name="call_soon",
        about="call_soon, 1,000 alive",
        run=batches(1000, soon),
        batch=1000,
        quick=True,
    ),
    Operation(
        name="call_soon_200k",
        about="call_soon, 200,000 alive",
        run=batches(200_000, soon),
        batch=200_000,
        quick=True,
    ),
    Operation(
        name="call_soon_3args",
        about="call_soon, 3 arguments",
        run=batches(1000, soon_3args),
        batch=1000,
    ),
    Operation(
        name="call_soon_3args_200k",
        about="call_soon, 3 arguments, 200,000 alive",
        run=batches(200_000, soon_3args),
        batch=200_000,
    ),
    Operation(
        name="call_soon_context",
        about="call_soon, context",
        run=batches(1000, soon_context),
        batch=1000,
    ),
    Operation(
        name="call_soon_context_200k",
        about="call_soon, context, 200,000 alive",
        run=batches(200_000, soon_context),
        batch=200_000,
    ),
    Operation(name="chain", about="chain of call_soon", run=chain, quick=True),
    Operation(
        name="chain_250_idle",
        about="chain beside 250 idle sockets",
        run=chain,
        set_up=idle_readers,
        quick=True,
    ),
    Operation(name="fan_64", about="64 chains of call_soon", run=fan_64, batch=64),
)
