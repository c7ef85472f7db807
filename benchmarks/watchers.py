"""What direct use of the watchers costs above the same in C on libev.

    python benchmarks/watchers.py [--quick] [--rounds N] [--python PYTHON] [--markdown]

Three arms, in processes of their own that take turns: C (benchmarks/c/watchers.c), moodloop.event,
and the bare Python call that nothing written in Python can be without: two calls of a method for
start and stop, one call of a function with two arguments for a callback.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from suite import options as opts
from suite.cprogram import build_c
from suite.loops import find_loops, use_this_tree
from suite.process import run_json
from suite.progress import Progress
from suite.results import RESULTS, describe, environment, report_failures, summary, write
from suite.table import number, table

MEASUREMENTS = 9


@dataclass(frozen=True)
class Row:
    """An operation, and how much above C plus the bare call it may take."""

    name: str
    about: str
    limit: Callable[[float, float], float]  # (C, bare call) in ns -> ns
    limit_text: str
    quick: bool = True


ROWS = (
    Row(
        "timer_start_stop",
        "Timer.start() and stop()",
        lambda c, call: call + 60,
        "two method calls + 60 ns",
    ),
    Row(
        "io_dispatch_1",
        "an Io event, 1 descriptor ready in each iteration",
        lambda c, call: 1.25 * c + call,
        "1.25 C + one call",
    ),
    Row(
        "io_dispatch_100",
        "an Io event, 100 descriptors ready in each iteration",
        lambda c, call: 1.25 * c + call,
        "1.25 C + one call",
    ),
)


# Within the measured process


def median_ns(measure: Callable[[], float]) -> float:
    """The median of some measurements, each in seconds for one operation, in nanoseconds."""
    return statistics.median(measure() for _ in range(MEASUREMENTS)) * 1e9


def start_stop(count: int) -> float:
    """Seconds for one start() and stop() of a Timer."""
    from moodloop import event

    with event.Loop(event.EVBACKEND_EPOLL | event.EVFLAG_NOENV) as loop:
        timer = loop.timer(3600, 0, lambda watcher, revents: None)
        begin = time.perf_counter()
        for _ in repeat(None, count):
            timer.start()
            timer.stop()
        return (time.perf_counter() - begin) / count


def two_methods(count: int) -> float:
    """Seconds for two calls of a method in C that does next to nothing."""
    from moodloop import event

    loop = event.Loop(event.EVBACKEND_EPOLL | event.EVFLAG_NOENV)
    timer = loop.timer(3600, 0, lambda watcher, revents: None)
    begin = time.perf_counter()
    for _ in repeat(None, count):
        timer.stop()
        timer.stop()
    took = (time.perf_counter() - begin) / count
    loop.close()
    return took


def dispatch(ready: int, seconds: float) -> float:
    """Seconds for one event of an Io watcher with an empty callback."""
    from moodloop import event

    def nothing(watcher: Any, revents: int) -> None:
        pass

    fds = [os.eventfd(0) for _ in range(ready)]
    with event.Loop(event.EVBACKEND_EPOLL | event.EVFLAG_NOENV) as loop:
        watchers = [loop.io(fd, event.EV_WRITE, nothing) for fd in fds]
        for watcher in watchers:
            watcher.start()
        loop.update()
        timer = loop.timer(seconds, 0, lambda watcher, revents: loop.stop())
        timer.start()
        before = loop.iteration
        begin = time.perf_counter()
        loop.start()
        took = (time.perf_counter() - begin) / ((loop.iteration - before) * ready)
    for fd in fds:
        os.close(fd)
    return took


def one_call(count: int) -> float:
    """Seconds for one call of an empty function with two arguments, as C code makes it."""

    def nothing(watcher: Any, revents: int) -> None:
        pass

    # map() calls by the same protocol, without the interpreter's loop around it
    watchers, revents = repeat(None, count), repeat(2)
    begin = time.perf_counter()
    collections.deque(map(nothing, watchers, revents), maxlen=0)
    return (time.perf_counter() - begin) / count


def measure(row: str, seconds: float) -> dict[str, float]:
    """What the measured process prints: this row in nanoseconds, and the bare call's."""
    count = max(1000, int(seconds * 5e6))
    if row == "timer_start_stop":
        mine, bare = lambda: start_stop(count), lambda: two_methods(count)
    else:
        ready = int(row.rpartition("_")[2])
        mine, bare = lambda: dispatch(ready, seconds), lambda: one_call(count)
    return {"moodloop": median_ns(mine), "bare call": median_ns(bare)}


# The driver


def run(row: Row, seconds: float, python: str) -> dict[str, float]:
    """One round of a row: C, then Python."""
    program = build_c("watchers")
    c = run_json([str(program), row.name, str(seconds)], timeout=60)
    found = run_json(
        [python, __file__, "--measure", row.name, "--seconds", str(seconds)], timeout=60
    )
    return {"C": c, **found}


def options() -> argparse.Namespace:
    parser = opts.option_parser(__doc__, rounds=5)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0.05, help="of one measurement")
    return parser.parse_args()


def main() -> int:
    """Measure, print the table, keep the results; status 1 if a limit is exceeded."""
    args = options()
    if args.measure:
        use_this_tree()
        print(json.dumps(measure(args.measure, args.seconds)))
        return 0
    rows = opts.select_rows(ROWS, args.rows, args.quick)
    if args.list:
        print("\n".join(f"{row.name:18} {row.about}" for row in rows))
        return 0
    rounds = opts.rounds_of(args)
    progress = Progress(rounds * len(rows))
    samples: dict[str, list[dict[str, float]]] = {row.name: [] for row in rows}
    for _ in range(rounds):
        for row in rows:
            progress.step(row.name)
            samples[row.name].append(run(row, args.seconds, args.python))
    progress.end()
    return report(args, rows, samples)


def report(
    args: argparse.Namespace, rows: list[Row], samples: dict[str, list[dict[str, float]]]
) -> int:
    """The table, and the file of results."""
    lines, results = [], []
    for row in rows:
        arms = {
            arm: summary([sample[arm] for sample in samples[row.name]])
            for arm in ("C", "bare call", "moodloop")
        }
        c, call, mine = (arms[arm]["median"] for arm in ("C", "bare call", "moodloop"))
        limit = row.limit(c, call)
        results.append({"row": row.name, "about": row.about, "limit": limit, "arms": arms})
        lines.append([row.name, *map(number, (c, call, mine, limit)), row.limit_text])
    headers = ["ns", "C", "bare call", "moodloop", "limit", "which is"]
    print(table(headers, lines, args.markdown))
    loops = {"moodloop": find_loops(args.python, ["moodloop"])["moodloop"]}
    result = {**environment(args.python, loops), "unit": "ns", "rows": results}
    print(f"\n{describe(result)}")
    path = None if args.rows or args.quick else RESULTS / "watchers.json"
    write(result, args.json or path)
    return report_failures(result)


if __name__ == "__main__":
    sys.exit(main())
