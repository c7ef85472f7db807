"""What moodloop aims at, row by row, beside the best that was measured when it was set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .results import median, ratio
from .table import number, table
from .tables import ABSOLUTE, UNITS, with_unit


@dataclass(frozen=True)
class Target:
    """A ratio to uvloop of at least `aim`; of a row with absolute figures, at most that."""

    row: str
    aim: float

    def value(self, row: dict[str, Any], arm: str) -> float | None:
        """What counts of an arm: a ratio, or the figure itself."""
        if row["figure"] in ABSOLUTE:
            return median(row["arms"].get(arm), row["figure"])
        return ratio(row, arm, "uvloop")

    def better(self, row: dict[str, Any], value: float, than: float) -> bool:
        """Whether one value is as good as another."""
        return value <= than if row["figure"] in ABSOLUTE else value >= than

    def rival(self, row: dict[str, Any]) -> tuple[str, float] | None:
        """The best loop but moodloop."""
        best: tuple[str, float] | None = None
        for arm in row["arms"]:
            value = self.value(row, arm)
            if arm == "moodloop" or arm.startswith("C ") or value is None:
                continue
            if best is None or not self.better(row, best[1], value):
                best = arm, value
        return best


TARGETS = (
    Target("call_soon", 2.5),
    Target("call_soon_200k", 3.0),
    Target("call_soon_3args", 2.2),
    Target("call_soon_context", 2.3),
    Target("chain", 3.3),
    Target("chain_250_idle", 3.0),
    Target("sleep_0", 2.1),
    Target("threadsafe_1", 2.6),
    Target("threadsafe_4", 2.4),
    Target("thread_pingpong", 1.5),
    Target("later_cancel", 4.5),
    Target("later_cancel_100k", 9),
    Target("due_batch", 2.4),
    Target("timer_chain", 3.0),
    Target("timer_300us", 15),
    Target("create_task", 1.4),
    Target("future_wake", 2.3),
    Target("queue_pingpong", 1.6),
    Target("run_in_executor", 2.2),
    Target("reader_churn", 3.2),
    Target("reader_dispatch", 2.0),
    Target("sock_pingpong", 2.3),
    Target("getaddrinfo", 3.2),
    Target("connect_close", 1.5),
    Target("spawn", 5),
    Target("cat", 1.5),
    Target("create_close", 3.6),
    Target("idle_memory", 450),
    Target("idle_wakeups", 1),
    Target("proto/1/64", 1.22),
    Target("proto/10/64", 1.50),
    Target("proto/10/1024", 1.45),
    Target("proto/10/10240", 1.42),
    Target("proto/10/102400", 1.28),
    Target("proto/200/64", 1.60),
    Target("proto/10/64/16", 1.35),
    Target("proto/10/1024/16", 1.20),
    Target("buffered/10/1024", 1.5),
    Target("buffered/10/102400", 1.2),
    Target("stream/10/1024", 1.4),
    Target("udp/10/64", 1.6),
    Target("bulk_in", 1.8),
    Target("bulk_out", 1.8),
    Target("tls/10/256", 0.95),
    Target("tls/10/8192", 0.95),
    Target("tls/10/32768", 0.95),
    Target("tls/10/102400", 0.95),
    Target("uvicorn", 1.2),
)


def cells(target: Target, row: dict[str, Any] | None) -> list[str]:
    """The best rival and moodloop, in bold if it is there."""
    if row is None:
        return ["", ""]
    rival, mine = target.rival(row), target.value(row, "moodloop")
    unit = f" {UNITS[row['figure']]}" if row["figure"] in ABSOLUTE else ""
    other = f"{rival[0]} {number(rival[1], unit)}" if rival else "-"
    if mine is None:
        return [other, with_unit(row, "moodloop") if "moodloop" in row["arms"] else "-"]
    shown = number(mine, unit)
    return [other, f"**{shown}**" if target.better(row, mine, target.aim) else shown]


def targets_table(results: Sequence[dict[str, Any]]) -> str:
    """One line for each target that any of the results has a row for."""
    by_name = [{row["row"]: row for row in result["rows"]} for result in results]
    headers = ["row", "target"]
    for result in results:
        version = result["python"].split()[-1]
        headers += [f"best other loop, {version}", f"moodloop, {version}"]
    lines = []
    for target in TARGETS:
        rows = [rows.get(target.row) for rows in by_name]
        known = next((row for row in rows if row), None)
        if known is None:
            continue
        absolute = known["figure"] in ABSOLUTE
        aim = number(target.aim, f" {UNITS[known['figure']]}" if absolute else "")
        lines.append([known["about"], aim, *(c for row in rows for c in cells(target, row))])
    return table(headers, lines, markdown=True)
