"""The tables of the results: ratios to uvloop, group by group."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .loops import BASELINES
from .results import median, ratio, was_early
from .table import number, table

UNITS = {
    "ns": "ns",
    "us": "us",
    "late_us": "us",
    "cpu_us": "us CPU",
    "rss_bytes": "B",
    "wakeups_per_minute": "a minute",
    "late_p99_us": "us",
    "p50_us": "us",
    "p99_us": "us",
    "most_us": "us",
    "ahead_us": "us",
    "idle_cpu_ms": "ms/s",
    "thread_steps_per_second": "/s",
    "turns_per_second": "/s",
    "steps_per_second": "/s",
}
ABSOLUTE = {"late_us", "rss_bytes", "wakeups_per_minute"}  # of which a ratio says too little

INTRODUCTION = (
    "What {base} takes, and how many times better the others are. Single operations by time; "
    "servers by the CPU time of their process per request, in brackets by requests per second."
)


def with_unit(row: dict[str, Any], arm: str) -> str:
    """A figure itself."""
    found = row["arms"][arm]
    if "error" in found:
        return "failed"
    if was_early(found):
        return "early"
    return number(median(found, row["figure"]), f" {UNITS[row['figure']]}")


def cell(row: dict[str, Any], arm: str, base: str) -> str:
    """What the table says of an arm: its ratio, or why there is none."""
    found = row["arms"].get(arm)
    if found is None:
        return ""
    if row["figure"] in ABSOLUTE or "error" in found or was_early(found):
        return with_unit(row, arm)
    by_figure = ratio(row, arm, base)
    if by_figure is None:
        return with_unit(row, arm)
    if row["figure"] != "cpu_us":
        return number(by_figure)
    return f"{number(by_figure)} ({number(ratio(row, arm, base, 'requests_per_second'))})"


def base_cells(row: dict[str, Any], base: str) -> list[str]:
    """The baseline's figure and its spread."""
    found = row["arms"].get(base)
    if found is None:
        return ["", ""]
    if median(found, row["figure"]) is None:
        return [with_unit(row, base), "-"]
    return [with_unit(row, base), f"{found[row['figure']]['spread']:.0%}"]


def also_lines(row: dict[str, Any], base: str, others: list[str]) -> list[list[str]]:
    """Lines for the other figures of a row, as they were measured."""
    lines = []
    for key, about in row.get("also", {}).items():
        values = (median(row["arms"].get(arm), key) for arm in (base, *others))
        first, *rest = (number(value, f" {UNITS[key]}") for value in values)
        lines.append([about, first, "", *rest])
    return lines


def arms_of(rows: Iterable[dict[str, Any]]) -> list[str]:
    """The arms that some rows have, moodloop at last."""
    seen = dict.fromkeys(arm for row in rows for arm in row["arms"])
    return sorted(seen, key=lambda arm: (arm == "moodloop", not arm.startswith("C ")))


def group_table(rows: list[dict[str, Any]], markdown: bool) -> str:
    """One table."""
    arms = arms_of(rows)
    base = next((b for b in BASELINES if b in arms), arms[0])
    others = [arm for arm in arms if arm != base]
    compared = "moodloop" in arms and "asyncio" in others
    headers = ["row", base, "+-", *others, *(["moodloop to asyncio"] if compared else [])]
    lines: list[list[str]] = []
    for row in rows:
        cells = [*base_cells(row, base), *(cell(row, arm, base) for arm in others)]
        last = [number(ratio(row, "moodloop", "asyncio"))] if compared else []
        lines.append([row["about"], *cells, *last])
        lines += [[*line, ""] if compared else line for line in also_lines(row, base, others)]
    return table(headers, lines, markdown)


def show(result: dict[str, Any], markdown: bool, heading: str = "###") -> str:
    """All tables."""
    by_group: dict[str, list[dict[str, Any]]] = {}
    for row in result["rows"]:
        if row["arms"]:
            by_group.setdefault(row["group"], []).append(row)
    base = next((b for b in BASELINES if b in result["loops"]), "the first")
    parts = [INTRODUCTION.format(base=base)]
    for group, rows in by_group.items():
        parts.append(f"{heading} {group}" if markdown else group.upper())
        parts.append(group_table(rows, markdown))
    return "\n\n".join(parts)
