"""The process that measures one row on one loop, and prints its figures as JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import resource
import statistics
import sys
import time
import traceback
from asyncio import AbstractEventLoop
from typing import Any

from rows import ROWS, Operation, Probe
from suite import loops


def fail_loudly(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """End the process when a callback has raised: the row would wait for it without end."""
    exception = context.get("exception")
    if exception is not None:
        print("".join(traceback.format_exception(exception)), file=sys.stderr, flush=True)
        os._exit(1)
    loop.default_exception_handler(context)


def timed(row: Operation, loop: AbstractEventLoop, n: int) -> float:
    """Seconds that n operations take."""
    start = time.perf_counter()
    waited = row.run(loop, n) or 0.0
    return time.perf_counter() - start - waited


def rounded(n: float, batch: int) -> int:
    """At least n, and a multiple of the batch."""
    return max(1, math.ceil(n / batch)) * batch


def calibrate(row: Operation, loop: AbstractEventLoop, seconds: float) -> int:
    """How many operations take about so long. Warms the loop up, too."""
    n = row.batch
    while (took := timed(row, loop, n)) < seconds / 2:
        n = rounded(n * min(10.0, 1.2 * seconds / max(took, 1e-9)), row.batch)
    return n


def cost(row: Operation, loop: AbstractEventLoop, seconds: float) -> dict[str, float]:
    """Nanoseconds for one operation: the median of several measurements."""
    n = calibrate(row, loop, min(0.03, seconds / 8))
    end = time.perf_counter() + seconds
    samples: list[float] = []
    while len(samples) < 3 or time.perf_counter() < end:
        samples.append(timed(row, loop, n) / n * 1e9)
    return {"ns": statistics.median(samples), "operations": n * len(samples)}


def measure(
    row: Operation | Probe, new_loop: loops.LoopFactory, seconds: float
) -> dict[str, float]:
    """The figures of a row."""
    if isinstance(row, Probe):
        return row.run(new_loop, seconds)
    loop = new_loop()
    loop.set_exception_handler(fail_loudly)
    with row.set_up(loop) if row.set_up else contextlib.nullcontext():
        figures = cost(row, loop, seconds)
    loop.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loop", help="a name, or module:callable")
    parser.add_argument("row")
    parser.add_argument("seconds", type=float)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loops.use_this_tree()
    row = ROWS[options.row]
    assert isinstance(row, Operation | Probe), row
    figures = measure(row, loops.loop_factory(options.loop), options.seconds)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
