"""The loop itself: made and closed, and idle."""

from __future__ import annotations

import time
from itertools import repeat

from .row import Load, NewLoop, Probe, Served


def create_close(new_loop: NewLoop, seconds: float) -> dict[str, float]:
    """Make a loop and close it, which has not run."""
    for _ in range(20):
        new_loop().close()
    count, start = 0, time.perf_counter()
    while (took := time.perf_counter() - start) < seconds:
        for _ in repeat(None, 20):
            new_loop().close()
        count += 20
    return {"us": took / count * 1e6}


ROWS = (
    Probe(
        name="create_close", about="loop create + close", figure="us", run=create_close, quick=True
    ),
    Served(
        name="idle_memory",
        about="memory for each of 15,000 idle connections",
        figure="rss_bytes",
        mode="idle",
        also={"idle_cpu_ms": "... and CPU time while they are idle"},
        load=Load(mode="idle", connections=15_000),
        rounds=2,
    ),
    Served(
        name="idle_wakeups",
        about="wake-ups of an idle loop in a minute",
        figure="wakeups_per_minute",
        mode="idle",
        load=Load(mode="wakeups"),
        rounds=1,
        seconds=20.0,
        transports=False,
    ),
)
