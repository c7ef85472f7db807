"""Timers: what they cost, and how late they are."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import repeat

from .callbacks import batches, noop
from .row import NewLoop, Operation, Probe

Loop = asyncio.AbstractEventLoop


def later_cancel(loop: Loop, n: int) -> None:
    call_later = loop.call_later
    for _ in repeat(None, n):
        call_later(60.0, noop).cancel()


def others(count: int) -> Callable[[Loop], contextlib.AbstractContextManager[None]]:
    """Has so many timers beside those that are measured, none of which comes due."""

    @contextlib.contextmanager
    def set_up(loop: Loop) -> Iterator[None]:
        timers = [loop.call_later(3600.0 + i / 1000, noop) for i in range(count)]
        yield
        for timer in timers:
            timer.cancel()

    return set_up


def due_batch(loop: Loop, n: int) -> float:
    """So many timers, which all come due before the loop looks. The wait does not count."""
    delay = 0.001 + n * 2e-6  # none is due before all are there
    when, start = loop.time() + delay, time.monotonic()
    for _ in repeat(None, n - 1):
        loop.call_at(when, noop)
    loop.call_at(when + 1e-6, loop.stop)
    rest = max(0.0, start + delay + 0.002 - time.monotonic())
    before = time.perf_counter()
    time.sleep(rest)
    waited = time.perf_counter() - before
    loop.run_forever()
    return waited


def due_batches(batch: int) -> Callable[[Loop, int], float]:
    """An operation that has `batch` timers come due at a time."""

    def run(loop: Loop, n: int) -> float:
        return sum(due_batch(loop, batch) for _ in range(n // batch))

    return run


def timer_chain(loop: Loop, n: int) -> None:
    left = n

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_later(0, step)
        else:
            loop.stop()

    loop.call_later(0, step)
    loop.run_forever()


def lateness(new_loop: NewLoop, seconds: float) -> dict[str, float]:
    """By how much timers of 300 us are late, and the share of those that were early."""
    late: list[float] = []

    async def main() -> None:
        loop, end = asyncio.get_running_loop(), time.perf_counter() + seconds
        while time.perf_counter() < end or len(late) < 60:
            fired = loop.create_future()
            due = time.perf_counter() + 300e-6
            loop.call_later(300e-6, fired.set_result, None)
            await fired
            late.append(time.perf_counter() - due)

    with contextlib.closing(new_loop()) as loop:
        loop.run_until_complete(main())
    del late[:10]
    return {
        "late_us": statistics.median(late) * 1e6,
        "late_p99_us": sorted(late)[int(len(late) * 0.99)] * 1e6,
        "early": sum(x < 0 for x in late) / len(late),
    }


ROWS = (
    Operation(
        name="later_cancel",
        about="call_later + cancel",
        run=batches(1000, later_cancel),
        batch=1000,
        quick=True,
    ),
    Operation(
        name="later_cancel_100k",
        about="call_later + cancel beside 100,000",
        run=batches(1000, later_cancel),
        batch=1000,
        set_up=others(100_000),
    ),
    Operation(
        name="due_batch",
        about="100,000 timers due at once",
        run=due_batches(100_000),
        batch=100_000,
    ),
    Operation(name="timer_chain", about="chain of call_later(0)", run=timer_chain, quick=True),
    Probe(
        name="timer_300us",
        about="lateness of a 300 us timer",
        figure="late_us",
        also={"late_p99_us": "... of the latest in a hundred"},
        run=lateness,
        quick=True,
    ),
)
