"""Results of benchmarks, made up: what run.py would have written."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from rows import ROWS, SERIES
from suite.loops import ROOT
from suite.results import add_ratios, merge

BENCHMARKS = ROOT / "benchmarks"


def arm(figure: str, value: float, **more: float) -> dict:
    """An arm of a row with one sample."""
    return merge([{figure: value, **more}], None)


def row_of(name: str, figure: str, arms: dict, group: str = "Callbacks") -> dict:
    """A row of results."""
    about = ROWS[name].about if name in ROWS else name
    row = {"row": name, "group": group, "about": about, "figure": figure, "arms": arms}
    return add_ratios(row)


def result_of(*rows: dict, python: str = "CPython 3.13.0") -> dict:
    """Results, as run.py writes them."""
    return {
        "python": python,
        "system": "Linux 6 x86_64",
        "cpu": "A processor",
        "cores": 2,
        "date": "2026-01-01",
        "loops": {"asyncio": "3.13.0", "uvloop": "0.23.0", "rival": "1.0", "moodloop": "0.1.0"},
        "rows": list(rows),
    }


CHAIN = row_of(
    "chain",
    "ns",
    {
        "asyncio": arm("ns", 800.0),
        "uvloop": arm("ns", 400.0),
        "rival": arm("ns", 200.0),
        "moodloop": arm("ns", 100.0),
    },
)
ECHO = row_of(
    "proto/10/64",
    "cpu_us",
    {
        "C epoll": arm("cpu_us", 2.0, requests_per_second=200_000.0),
        "asyncio": {"error": "exit status 1"},
        "uvloop": arm("cpu_us", 4.0, requests_per_second=100_000.0),
        "rival": arm("cpu_us", 5.0, requests_per_second=120_000.0),
        "moodloop": arm("cpu_us", 3.0, requests_per_second=150_000.0),
    },
    "Echo servers",
)
LATE = row_of(
    "timer_300us",
    "late_us",
    {
        "uvloop": arm("late_us", 5.0, early=0.5),
        "rival": arm("late_us", 16.0, early=0.0),
        "moodloop": arm("late_us", 12.0, early=0.005),
    },
    "Timers",
)


def growth_rows(costs: dict[str, tuple[float, ...]]) -> list[dict]:
    """The rows of the first series, with these costs."""
    return [
        row_of(row.name, "ns", {name: arm("ns", cost[i]) for name, cost in costs.items()}, "Growth")
        for i, (_, row) in enumerate(SERIES[0].rows)
    ]
