"""Results: how samples are summed up, compared and kept."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .loops import BASELINES, OURS, ROOT
from .process import cores

RESULTS = Path(__file__).resolve().parent.parent / "results"
EARLY = 0.01  # with more of its timers early, a loop is wrong and not fast


def spread(samples: Sequence[float]) -> float:
    """Half the distance between the extremes, as a share of the median."""
    middle = statistics.median(samples)
    return abs((max(samples) - min(samples)) / 2 / middle) if middle else 0.0


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Median, spread and the samples themselves, as they are kept in results."""
    return {
        "median": statistics.median(samples),
        "spread": round(spread(samples), 4),
        "samples": list(samples),
    }


def merge(samples: Sequence[dict[str, float]], error: str | None) -> dict[str, Any]:
    """The summaries of an arm's figures, or the error that ended it."""
    if error is not None:
        return {"error": error}
    return {key: summary([s[key] for s in samples if key in s]) for key in samples[0]}


def median(arm: dict[str, Any] | None, key: str) -> float | None:
    """A median of an arm; None without one, and where timers were early."""
    if not arm or key not in arm or was_early(arm):
        return None
    value: float = arm[key]["median"]
    return value


def was_early(arm: dict[str, Any]) -> bool:
    """Whether timers came before their time: such a figure counts as wrong."""
    return "early" in arm and bool(arm["early"]["median"] > EARLY)


def ratio(row: dict[str, Any], arm: str, base: str, key: str | None = None) -> float | None:
    """How many times better an arm is than another by the row's figure, or by another one.

    None where one of them has none. Requests and turns per second are better when there are
    more, all else when there is less.
    """
    mine, other = (median(row["arms"].get(name), key or row["figure"]) for name in (arm, base))
    if not mine or not other:
        return None
    more_is_better = (key or row["figure"]).endswith("per_second")
    return mine / other if more_is_better else other / mine


def add_ratios(row: dict[str, Any]) -> dict[str, Any]:
    """Note in each arm of a row its ratios to the baselines."""
    for name, arm in row["arms"].items():
        if "error" not in arm:
            arm["ratios"] = {base: ratio(row, name, base) for base in BASELINES}
    return row


# Where they come from


def environment(python: str, loops: dict[str, str]) -> dict[str, Any]:
    """What a reader of results must know of where they were measured."""
    version = subprocess.run(
        [
            python,
            "-c",
            "import platform as p; print(p.python_implementation(), p.python_version())",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "python": version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": len(cores()) or os.cpu_count(),
        "commit": commit(),
        "loops": loops,
    }


def cpu_model() -> str | None:
    """What the processor calls itself, where the system tells."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return None


def commit() -> str | None:
    """The commit of this tree, with a + if it was changed since; None outside of git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    with contextlib.suppress(OSError):
        done = subprocess.run(command, capture_output=True, text=True)
        return done.stdout.strip() or None
    return None


def describe(result: dict[str, Any]) -> str:
    """The line below a table that says where it was measured."""
    loops = ", ".join(f"{name} {version}" for name, version in result["loops"].items())
    cpu = f", {result['cpu']}" if result.get("cpu") else ""
    where = f"{result['python']}, {result['system']}{cpu}, {result['cores']} cores"
    return f"{where}, {result['date']}; {loops}."


# Keeping them


def failures(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Row, arm and reason of all that failed."""
    return [
        (row["row"], name, arm["error"])
        for row in result["rows"]
        for name, arm in row["arms"].items()
        if "error" in arm
    ]


def report_failures(result: dict[str, Any]) -> int:
    """Tell what failed; 1 if it is an arm that must not.

    That a loop which is compared with cannot do a row is a result; for the others it is an error.
    """
    status = 0
    for row, arm, reason in failures(result):
        print(f"{row}, {arm}: {reason}", file=sys.stderr)
        status |= arm in OURS
    return status


def write(result: dict[str, Any], path: Path | None) -> None:
    """Write results to a file, if there is one to write to, and tell so."""
    if path is None:
        print("\nnot written: no --json", file=sys.stderr)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nwritten: {path}", file=sys.stderr)
