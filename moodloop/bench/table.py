"""The table of the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .results import median

HEADERS = (
    ("", "", "requests", "", "latency", "latency", "server CPU", "requests/s", "server CPU"),
    (
        "workload",
        "loop",
        "per second",
        "+/-",
        "p50 us",
        "p99 us",
        "us/request",
        "to asyncio",
        "to asyncio",
    ),
)


def number(value: float | None, suffix: str = "") -> str:
    """A figure with as many digits as mean something, or "-"."""
    if value is None:
        return "-"
    digits = 2 if value < 10 else 1 if value < 1000 else 0
    return f"{value:,.{digits}f}{suffix}"


def line_of(entry: dict[str, Any]) -> list[str]:
    """The table's line for one workload and loop."""
    speed = entry["requests_per_second"]
    ratio = entry["ratio_to_asyncio"] or {"requests_per_second": None, "server_cpu": None}
    return [
        entry["workload"],
        entry["loop"],
        f"{speed['median']:,.0f}",
        f"{speed['spread']:.0%}",
        number(median(entry, "p50_us")),
        number(median(entry, "p99_us")),
        number(median(entry, "server_cpu_us")),
        number(ratio["requests_per_second"], "x"),
        number(ratio["server_cpu"], "x"),
    ]


def table(results: Sequence[dict[str, Any]]) -> str:
    """The table, its numbers to the right, with a space between workloads."""
    lines = [list(header) for header in HEADERS] + [line_of(entry) for entry in results]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text, previous = [], ""
    for at, line in enumerate(lines):
        if at >= len(HEADERS) and line[0] != previous:
            previous = line[0]
            text.append("")
        cells = [
            c.ljust(w) if i < 2 else c.rjust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)
