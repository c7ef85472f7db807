"""Tasks and futures."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from itertools import repeat

from .callbacks import batches
from .row import Operation

Loop = asyncio.AbstractEventLoop


def sleep_0(loop: Loop, n: int) -> None:
    async def main() -> None:
        sleep = asyncio.sleep
        for _ in repeat(None, n):
            await sleep(0)

    loop.run_until_complete(main())


async def nothing() -> None:
    """The coroutine that does nothing."""


def tasks(loop: Loop, n: int) -> None:
    create_task = loop.create_task
    kept = [create_task(nothing()) for _ in repeat(None, n)]
    loop.call_soon(kept.clear)


@contextlib.contextmanager
def eager(loop: Loop) -> Iterator[None]:
    """asyncio's own factory of eager tasks."""
    loop.set_task_factory(asyncio.eager_task_factory)
    yield
    loop.set_task_factory(None)


def future_wake(loop: Loop, n: int) -> None:
    """A task that waits, each time, for a future that the next callback resolves."""

    async def main() -> None:
        create_future, call_soon = loop.create_future, loop.call_soon
        for _ in repeat(None, n):
            future = create_future()
            call_soon(future.set_result, None)
            await future

    loop.run_until_complete(main())


def queue_pingpong(loop: Loop, n: int) -> None:
    """Two tasks that hand an item to and fro through two queues."""

    async def play(source: asyncio.Queue[None], target: asyncio.Queue[None]) -> None:
        for _ in repeat(None, n):
            await source.get()
            target.put_nowait(None)

    async def main() -> None:
        a: asyncio.Queue[None] = asyncio.Queue()
        b: asyncio.Queue[None] = asyncio.Queue()
        a.put_nowait(None)
        await asyncio.gather(play(a, b), play(b, a))

    loop.run_until_complete(main())


ROWS = (
    Operation(name="sleep_0", about="sleep(0)", run=sleep_0, quick=True),
    Operation(
        name="create_task",
        about="create_task",
        run=batches(1000, tasks),
        batch=1000,
        quick=True,
    ),
    Operation(
        name="eager_task",
        about="create_task, eager",
        run=batches(1000, tasks),
        batch=1000,
        set_up=eager,
        python=(3, 12),
    ),
    Operation(name="future_wake", about="a future wakes a task", run=future_wake, quick=True),
    Operation(name="queue_pingpong", about="queue ping-pong", run=queue_pingpong),
)
