"""The report: as --json writes it, and as it is shown."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TextIO

from .bar import can_show_blocks
from .chart import chart
from .measure import Samples, Settings
from .results import results_of, speed_of
from .table import table
from .workloads import CONNECTIONS, WORKLOADS


def report_of(loops: dict[str, str], settings: Settings, samples: Samples) -> dict[str, Any]:
    """All of it, as --json writes it."""
    return {
        "schema": 1,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": os.cpu_count(),
        "loops": loops,
        "settings": {**asdict(settings), "connections": CONNECTIONS},
        "results": results_of(samples),
    }


# Half the range of the rounds, as a share of the median. Rounds of a quiet machine differ by less.
UNSTEADY = 0.25


def conclusion(results: Sequence[dict[str, Any]]) -> str:
    """moodloop against each other loop in one sentence, by geometric means; "" without it."""
    loops = list(dict.fromkeys(entry["loop"] for entry in results))
    if "moodloop" not in loops:
        return ""
    speeds = {(entry["workload"], entry["loop"]): speed_of(entry) for entry in results}
    told = []
    for other in loops:
        if other != "moodloop":
            times = [speeds[w.name, "moodloop"] / speeds[w.name, other] for w in WORKLOADS]
            told.append(f"{statistics.geometric_mean(times):.2f} times the requests of {other}")
    return "moodloop serves " + " and ".join(told) + "." if told else ""


def caution(results: Sequence[dict[str, Any]]) -> str:
    """What to think of the figures where the rounds differ by much; "" where they do not."""
    spread = max(entry["requests_per_second"]["spread"] for entry in results)
    if spread <= UNSTEADY:
        return ""
    return (
        f"The rounds differ by up to +/- {spread:.0%}: the machine does something else as well. "
        "Go by the server's CPU time, or measure again when it is quiet."
    )


def show(report: dict[str, Any], out: TextIO) -> None:
    """Print the table, the chart and what follows from them."""
    results = report["results"]
    width = shutil.get_terminal_size().columns
    parts = [table(results), chart(results, width, can_show_blocks(out))]
    parts += [conclusion(results), caution(results)]
    out.write("\n" + "\n\n".join(part for part in parts if part) + "\n")
