"""The results: medians and ratios, an entry for each workload and loop."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, cast

from .measure import Samples


def summary(values: Sequence[float | None]) -> dict[str, Any] | None:
    """Median, spread (half the range, as a share of the median) and the values."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    middle = statistics.median(known)
    spread = (max(known) - min(known)) / 2 / middle if middle else 0.0
    return {"median": middle, "spread": spread, "samples": known}


def results_of(samples: Samples) -> list[dict[str, Any]]:
    """One entry for each workload and loop."""
    results: list[dict[str, Any]] = []
    for (workload, loop), runs in samples.items():
        entry: dict[str, Any] = {"workload": workload, "loop": loop}
        for key in ("requests_per_second", "p50_us", "p99_us", "server_cpu_us"):
            entry[key] = summary([getattr(run, key) for run in runs])
        results.append(entry)
    for entry in results:
        base = next(
            (r for r in results if r["workload"] == entry["workload"] and r["loop"] == "asyncio"),
            None,
        )
        entry["ratio_to_asyncio"] = None if base is None else ratios(entry, base)
    return results


def median(entry: dict[str, Any], key: str) -> float | None:
    """A median of an entry, if it has one."""
    value = entry[key]
    return None if value is None else cast(float, value["median"])


def speed_of(entry: dict[str, Any]) -> float:
    """The median of the requests per second."""
    return cast(float, entry["requests_per_second"]["median"])


def ratios(entry: dict[str, Any], base: dict[str, Any]) -> dict[str, float | None]:
    """How much faster, and how much more is done per CPU second of the server."""
    cpu, base_cpu = median(entry, "server_cpu_us"), median(base, "server_cpu_us")
    return {
        "requests_per_second": entry["requests_per_second"]["median"]
        / base["requests_per_second"]["median"],
        "server_cpu": base_cpu / cpu if cpu and base_cpu else None,
    }
