"""What each rule of the pacer earns: rows with all rules, and with one switched off.

    python benchmarks/pacer.py [--rounds N] [--markdown]

Rounds with and without take turns in one process; the figure is the median of the ratios, above 1
where the rule pays. src/aio/pacer.h has the rules.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from rows.callbacks import chain, fan_64
from rows.row import NewLoop
from rows.threads import beside_chain, beside_native, from_threads, in_executor, thread_pingpong
from suite import loops
from suite.table import table

Measure = Callable[[NewLoop], float]  # a lower figure is better

SKIP, LINGER, YIELD, HOLD = 1, 2, 4, 8


def timed(run: Callable[[Any, int], object], n: int) -> Measure:
    """Seconds for n operations of a row."""

    def measure(new_loop: NewLoop) -> float:
        loop = new_loop()
        try:
            run(loop, n // 10)
            start = time.perf_counter()
            run(loop, n)
            return time.perf_counter() - start
        finally:
            loop.close()

    return measure


def counted(probe: Callable[[NewLoop, float], dict[str, float]], figure: str) -> Measure:
    """What a row counts a second, turned round."""
    return lambda new_loop: 1 / max(probe(new_loop, 0.5)[figure], 1e-9)


def flooded(new_loop: NewLoop) -> float:
    """By how much a sleep of 10 ms is late at worst while four threads schedule callbacks."""

    async def main() -> float:
        loop, stopped, late = asyncio.get_running_loop(), threading.Event(), []

        def flood() -> None:
            while not stopped.is_set():
                loop.call_soon_threadsafe(int)

        threads = [threading.Thread(target=flood) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            due = time.perf_counter() + 0.01
            await asyncio.sleep(0.01)
            late.append(time.perf_counter() - due)
        stopped.set()
        for thread in threads:
            thread.join()
        return max(late)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main())


ROWS: tuple[tuple[int, str, str, Measure], ...] = (
    (SKIP, "turns without a poll", "chain of call_soon", timed(chain, 200_000)),
    (SKIP, "", "64 chains", timed(fan_64, 640_000)),
    (LINGER, "staying awake", "run_in_executor", timed(in_executor, 5_000)),
    (LINGER, "", "thread ping-pong", timed(thread_pingpong, 5_000)),
    (YIELD, "giving the GIL away", "a thread's sleep(0) beside a chain",
     counted(beside_chain, "steps_per_second")),
    (YIELD, "", "... the chain meanwhile", counted(beside_chain, "turns_per_second")),
    (YIELD, "", "a chain beside a thread without the GIL",
     counted(beside_native, "turns_per_second")),
    (HOLD, "threads that wait", "call_soon_threadsafe, 4 threads", timed(from_threads(4), 200_000)),
    (HOLD, "", "lateness of a timer in a flood", flooded),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--markdown", action="store_true", help="print a table as Markdown")
    options = parser.parse_args()
    loops.use_this_tree()
    import moodloop

    def without(rule: int) -> NewLoop:
        def new_loop() -> asyncio.AbstractEventLoop:
            loop: Any = moodloop.new_event_loop()
            loop._pacer_off = rule
            return loop  # type: ignore[no-any-return]

        return new_loop

    lines = []
    for rule, name, about, measure in ROWS:
        ratios = [measure(without(rule)) / measure(without(0)) for _ in range(options.rounds)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        lines.append([name, about, f"{statistics.median(ratios):.2f}", spread])
    print(table(["rule", "row", "without / with", "range"], lines, markdown=options.markdown))


if __name__ == "__main__":
    main()
