"""What single operations of an event loop cost: callbacks, timers, threads, tasks, readers.

    python benchmarks/micro.py [--quick] [--rows REGEX] [--loops uvloop,moodloop] [--markdown]

One process for each loop, row and round; the loops take turns, every other round in the opposite
order. A process finds how many operations take a few hundredths of a second, which warms the loop
up too, and then times as many again and again; its result is the median.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import contextvars
import json
import math
import queue
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import common

Loop = asyncio.AbstractEventLoop
Operation = Callable[[Loop, int], None]


@dataclass(frozen=True)
class Row:
    """One operation: `run(loop, n)` does it n times, with n a multiple of `batch`."""

    name: str
    about: str
    run: Operation
    batch: int = 1
    quick: bool = False
    set_up: Callable[[Loop], contextlib.AbstractContextManager[None]] | None = None
    lateness: bool = False  # the result is how late timers were, not what they cost


def noop(*args: object) -> None:
    """The callback that does nothing."""


# Callbacks


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


def batches(batch: int, schedule: Callable[[Loop, int], None]) -> Operation:
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


# Timers


def later_cancel(loop: Loop, n: int) -> None:
    call_later = loop.call_later
    for _ in repeat(None, n):
        call_later(60.0, noop).cancel()


@contextlib.contextmanager
def other_timers(loop: Loop) -> Iterator[None]:
    """100,000 timers that do not come due."""
    timers = [loop.call_later(3600.0 + i / 1000, noop) for i in range(100_000)]
    yield
    for timer in timers:
        timer.cancel()


def due_batch(loop: Loop, n: int) -> None:
    """So many timers, which all come due before the loop looks."""
    when = loop.time()
    for _ in repeat(None, n - 1):
        loop.call_at(when, noop)
    loop.call_at(when + 1e-6, loop.stop)
    time.sleep(0.002)
    loop.run_forever()


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


def lateness_of_300us(loop: Loop, n: int) -> list[float]:
    """By how many seconds each of n timers of 300 us was late; below 0 it was early."""
    late: list[float] = []

    async def main() -> None:
        for _ in range(n):
            fired = loop.create_future()
            due = time.perf_counter() + 300e-6
            loop.call_later(300e-6, fired.set_result, None)
            await fired
            late.append(time.perf_counter() - due)

    loop.run_until_complete(main())
    return late


def sleep_300us(loop: Loop, n: int) -> None:
    lateness_of_300us(loop, n)


# Threads


def from_threads(threads: int) -> Operation:
    """An operation in which so many threads hand callbacks over while the loop runs them."""

    def run(loop: Loop, n: int) -> None:
        left = n

        def count() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                loop.stop()

        def send() -> None:
            call = loop.call_soon_threadsafe
            for _ in repeat(None, n // threads):
                call(count)

        senders = [threading.Thread(target=send) for _ in range(threads)]
        for sender in senders:
            loop.call_soon(sender.start)
        loop.run_forever()
        for sender in senders:
            sender.join()

    return run


def thread_pingpong(loop: Loop, n: int) -> None:
    """A thread waits for the loop's answer to each callback it hands over."""
    answers: queue.SimpleQueue[None] = queue.SimpleQueue()

    def send() -> None:
        for _ in repeat(None, n):
            loop.call_soon_threadsafe(answers.put, None)
            answers.get()
        loop.call_soon_threadsafe(loop.stop)

    sender = threading.Thread(target=send)
    loop.call_soon(sender.start)
    loop.run_forever()
    sender.join()


def in_executor(loop: Loop, n: int) -> None:
    async def main() -> None:
        for _ in repeat(None, n):
            await loop.run_in_executor(executor, noop)

    with ThreadPoolExecutor(1) as executor:
        loop.run_until_complete(main())


# Tasks and futures


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


# Descriptors


@contextlib.contextmanager
def socket_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets that do not block."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def reader_churn(loop: Loop, n: int) -> None:
    """Watch a socket and stop watching it, with a turn of the loop after every hundred."""
    with socket_pair() as (ours, _):
        fd = ours.fileno()

        def lap() -> None:
            for _ in repeat(None, 100):
                loop.add_reader(fd, noop)
                loop.remove_reader(fd)

        in_laps(loop, n // 100, lap)


def reader_dispatch(loop: Loop, n: int) -> None:
    """A socket that stays readable."""
    left = n

    def readable() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            loop.stop()

    with socket_pair() as (ours, theirs):
        theirs.send(b"x")
        loop.add_reader(ours.fileno(), readable)
        loop.run_forever()
        loop.remove_reader(ours.fileno())


def reader_pingpong(loop: Loop, n: int) -> None:
    """Readers at both ends of a socket pair hand a byte to and fro."""
    left = n

    def bounce(sock: socket.socket) -> None:
        nonlocal left
        sock.send(sock.recv(16))
        left -= 1
        if left == 0:
            loop.stop()

    with socket_pair() as (ours, theirs):
        loop.add_reader(ours.fileno(), bounce, ours)
        loop.add_reader(theirs.fileno(), bounce, theirs)
        theirs.send(b"x")
        loop.run_forever()
        loop.remove_reader(ours.fileno())
        loop.remove_reader(theirs.fileno())


def sock_pingpong(loop: Loop, n: int) -> None:
    async def play(sock: socket.socket) -> None:
        for _ in repeat(None, n):
            await loop.sock_sendall(sock, await loop.sock_recv(sock, 64))

    async def main() -> None:
        with socket_pair() as (ours, theirs):
            theirs.send(b"x")
            await asyncio.gather(play(ours), play(theirs))

    loop.run_until_complete(main())


# The loop itself


new_loop: common.LoopFactory = asyncio.new_event_loop  # the measured one's, set by `child`


def create_close(loop: Loop, n: int) -> None:
    for _ in repeat(None, n):
        new_loop().close()


# A new row is one entry here, and the function that does it above.
ROWS = (
    Row("call_soon", "call_soon, 1,000 alive", batches(1000, soon), 1000, quick=True),
    Row("call_soon_200k", "call_soon, 200,000 alive", batches(200_000, soon), 200_000),
    Row("call_soon_3args", "call_soon, 3 arguments", batches(1000, soon_3args), 1000, quick=True),
    Row("call_soon_context", "call_soon, context", batches(1000, soon_context), 1000, quick=True),
    Row("chain", "chain of call_soon", chain, quick=True),
    Row("chain_250_idle", "chain beside 250 idle sockets", chain, set_up=idle_readers),
    Row("fan_64", "64 chains of call_soon", fan_64, 64),
    Row("sleep_0", "sleep(0)", sleep_0, quick=True),
    Row("threadsafe_1", "call_soon_threadsafe, 1 thread", from_threads(1), quick=True),
    Row("threadsafe_4", "call_soon_threadsafe, 4 threads", from_threads(4), 4),
    Row("thread_pingpong", "thread ping-pong", thread_pingpong),
    Row("later_cancel", "call_later + cancel", batches(1000, later_cancel), 1000, quick=True),
    Row(
        "later_cancel_100k",
        "call_later + cancel beside 100,000",
        batches(1000, later_cancel),
        1000,
        set_up=other_timers,
    ),
    Row("due_batch", "100,000 timers due at once", due_batch, 100_000),
    Row("timer_chain", "chain of call_later(0)", timer_chain),
    Row("timer_300us", "lateness of a 300 us timer", sleep_300us, lateness=True),
    Row("create_task", "create_task", batches(1000, tasks), 1000, quick=True),
    Row("future_wake", "a future wakes a task", future_wake, quick=True),
    Row("queue_pingpong", "queue ping-pong", queue_pingpong),
    Row("run_in_executor", "run_in_executor", in_executor),
    Row("reader_churn", "add_reader + remove_reader", reader_churn, 100, quick=True),
    Row("reader_dispatch", "a readable socket's callback", reader_dispatch, quick=True),
    Row("reader_pingpong", "readers hand a byte to and fro", reader_pingpong),
    Row("sock_pingpong", "sock_recv + sock_sendall", sock_pingpong),
    Row("create_close", "loop create + close", create_close),
)

# The process that measures one row on one loop


def timed(row: Row, loop: Loop, n: int) -> float:
    """Seconds that n operations take."""
    start = time.perf_counter()
    row.run(loop, n)
    return time.perf_counter() - start


def rounded(n: float, batch: int) -> int:
    """At least n, and a multiple of the batch."""
    return max(1, math.ceil(n / batch)) * batch


def calibrate(row: Row, loop: Loop, seconds: float) -> int:
    """How many operations take about so long."""
    n = row.batch
    while (took := timed(row, loop, n)) < seconds / 2:
        n = rounded(n * min(10.0, 1.2 * seconds / max(took, 1e-9)), row.batch)
    return n


def cost(row: Row, loop: Loop, budget: float) -> dict[str, float]:
    """Nanoseconds for one operation."""
    n = calibrate(row, loop, min(0.03, budget / 8))
    end = time.perf_counter() + budget
    samples: list[float] = []
    while len(samples) < 3 or time.perf_counter() < end:
        samples.append(timed(row, loop, n) / n * 1e9)
    return {"ns": statistics.median(samples), "operations": n * len(samples)}


def lateness(loop: Loop, budget: float) -> dict[str, float]:
    """Nanoseconds by which a timer is late, and the share of timers that were early."""
    late = lateness_of_300us(loop, max(50, int(budget / 600e-6)))[10:]
    return {
        "ns": statistics.median(late) * 1e9,
        "operations": len(late),
        "early": sum(seconds < 0 for seconds in late) / len(late),
    }


def child(loop_name: str, row_name: str, budget: float) -> None:
    """Measure and print the result as JSON."""
    global new_loop
    common.use_this_tree()
    row = next(row for row in ROWS if row.name == row_name)
    new_loop = common.loop_factory(loop_name)
    loop = new_loop()
    with row.set_up(loop) if row.set_up else contextlib.nullcontext():
        result = lateness(loop, budget) if row.lateness else cost(row, loop, budget)
    loop.close()
    print(json.dumps(result))


# The driver


def measure_row(
    options: argparse.Namespace, row: Row, loops: list[str], progress: common.Progress
) -> dict[str, Any]:
    """All loops on one row, by turns."""
    samples: dict[str, list[dict[str, float]]] = {loop: [] for loop in loops}
    errors: dict[str, str] = {}
    here = str(Path(__file__).resolve())
    for number in range(common.rounds_of(options)):
        for loop in loops if number % 2 == 0 else loops[::-1]:
            progress.step(f"{row.name}  {loop}, round {number + 1}")
            if loop in errors:
                continue
            command = [options.python, here, "--child", loop, row.name, str(options.budget)]
            try:
                samples[loop].append(common.run_json(command, timeout=options.budget + 60))
            except common.Failed as exc:
                errors[loop] = str(exc)
    return {
        "row": row.name,
        "about": row.about,
        "arms": {loop: merge(samples[loop], errors.get(loop)) for loop in loops},
    }


def merge(samples: list[dict[str, float]], error: str | None) -> dict[str, Any]:
    """The medians of a loop's samples, or the error that ended it."""
    if error is not None:
        return {"error": error}
    merged: dict[str, Any] = {"ns": common.summary([s["ns"] for s in samples])}
    if "early" in samples[0]:
        merged["early"] = statistics.median(s["early"] for s in samples)
    return merged


def nanoseconds(arm: dict[str, Any] | None) -> float | None:
    """The median; None without one, and for timers that were early: that is wrong, not fast."""
    if not arm or "error" in arm or arm.get("early", 0) > 0.01:
        return None
    value: float = arm["ns"]["median"]
    return value


def cell(arm: dict[str, Any], base: float | None) -> str:
    """A ratio to the baseline, or why there is none."""
    if "error" in arm:
        return "failed"
    if arm.get("early", 0) > 0.01:
        return "early"
    return common.figure(common.ratio(base, nanoseconds(arm)))


def show(result: dict[str, Any], markdown: bool) -> str:
    """Nanoseconds of the baseline that was measured, and how many times faster the others are."""
    loops = list(result["loops"])
    base = next((b for b in common.BASELINES if b in loops), loops[0])
    others = [loop for loop in loops if loop != base]
    headers = ["row", f"{base} ns", "+-", *others]
    lines = []
    for row in result["rows"]:
        arm = row["arms"][base]
        cells = ["failed", "-"]
        if "error" not in arm:
            early = "early: " if arm.get("early", 0) > 0.01 else ""
            cells = [early + common.figure(arm["ns"]["median"]), f"{arm['ns']['spread']:.0%}"]
        # Against a baseline that is early there is no ratio, so the figures themselves are shown.
        ns = nanoseconds(arm)
        lines.append(
            [
                row["about"],
                *cells,
                *(
                    cell(row["arms"][loop], ns)
                    if ns is not None
                    else common.figure(nanoseconds(row["arms"][loop]), " ns")
                    for loop in others
                ),
            ]
        )
    table = common.table(headers, lines, markdown=markdown)
    text = f"Nanoseconds for one operation on {base}; for the others how many times faster."
    return f"{text}\n\n{table}\n\n{common.describe(result)}"


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3], float(sys.argv[4]))
        return 0
    parser = common.option_parser(__doc__, rounds=5)
    parser.add_argument("--budget", type=float, help="seconds in a process: 0.5, --quick 0.25")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{row.name:20} {row.about}" for row in ROWS))
        return 0
    options.budget = options.budget or (0.25 if options.quick else 0.5)
    rows = common.select_rows(ROWS, options.rows, options.quick)
    try:
        loops = common.loops_of(options)
    except common.Failed as exc:
        print(exc, file=sys.stderr)
        return 1
    progress = common.Progress(len(rows) * len(loops) * common.rounds_of(options))
    result = {
        "benchmark": "micro",
        **common.environment(options.python, loops),
        "settings": {"rounds": common.rounds_of(options), "budget": options.budget},
        "rows": [measure_row(options, row, list(loops), progress) for row in rows],
    }
    progress.end()
    print(show(result, options.markdown))
    return common.finish("micro", options, result)


if __name__ == "__main__":
    sys.exit(main())
