"""The chart of the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .bar import bar_of
from .results import speed_of


def chart(results: Sequence[dict[str, Any]], width: int, blocks: bool) -> str:
    """Bars of the requests per second, each workload on its own scale."""
    names = max(len(entry["loop"]) for entry in results)
    room = max(10, min(width, 100) - names - 24)
    lines, previous = ["Requests per second"], None
    for entry in results:
        if entry["workload"] != previous:
            previous = entry["workload"]
            lines += ["", f"  {previous}"]
            speeds = [speed_of(e) for e in results if e["workload"] == previous]
        bar = bar_of(speed_of(entry) / max(speeds), room, blocks)
        ratio = entry["ratio_to_asyncio"]
        times = f"  {ratio['requests_per_second']:.2f}x" if ratio else ""
        lines.append(f"    {entry['loop'].ljust(names)}  {bar} {speed_of(entry):,.0f}{times}")
    return "\n".join(lines)
