"""The charts of the results: how the loops compare in each group, and how costs grow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rows.growth import FLAT, SERIES, Series

from .results import median, ratio
from .svg import PALETTE, Drawing
from .table import number
from .tables import ABSOLUTE, UNITS

WIDTH = 460  # of all charts: as wide as a telephone shows without making them small
LEFT, RIGHT = 16, WIDTH - 16
ARMS = [name for name in PALETTE if name not in ("page", "text", "faint", "grid", "row", "other")]


@dataclass(frozen=True)
class Scale:
    """A logarithmic axis: values from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value is."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values between the ends, at 1, 2 and 5; only 1 where that would be too many."""
        exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        steps = (1, 2, 5) if self.high / self.low < 1000 else (1,)
        values = (step * 10.0**e for e in exponents for step in steps)
        return [v for v in values if self.low <= v * 1.0001 and v <= self.high * 1.0001]


def color_of(arm: str) -> str:
    """The same loop has the same color in all charts."""
    return arm if arm in ARMS else "other"


def legend(arms: Sequence[str]) -> list[list[tuple[float, str]]]:
    """What the colors mean: lines of arms, each with its place on the line."""
    lines: list[list[tuple[float, str]]] = [[]]
    x = float(LEFT)
    for arm in arms:
        wide = 30 + 7.2 * len(arm)
        if lines[-1] and x + wide > RIGHT:
            lines.append([])
            x = float(LEFT)
        lines[-1].append((x, arm))
        x += wide
    return lines


def draw_legend(drawing: Drawing, lines: list[list[tuple[float, str]]], y: float) -> None:
    """Draw a legend, its first line at a height."""
    for i, line in enumerate(lines):
        for x, arm in line:
            drawing.dot(x + 5, y + 18 * i - 4, 5, color_of(arm), arm)
            drawing.text(x + 14, y + 18 * i, arm)


def ordered(arms: Iterable[str]) -> list[str]:
    """In the order of ARMS, loops that it lacks at last."""
    return sorted(dict.fromkeys(arms), key=lambda a: ARMS.index(a) if a in ARMS else len(ARMS))


def group_chart(title: str, rows: Sequence[dict[str, Any]]) -> str | None:
    """A line for each row, with a dot for each loop at its ratio to uvloop; None without any."""
    found: list[tuple[str, dict[str, float]]] = []
    for row in rows:
        if row["figure"] in ABSOLUTE:
            continue
        values = {arm: ratio(row, arm, "uvloop") for arm in ordered(row["arms"])}
        known = {arm: value for arm, value in values.items() if value}
        if len(known) > 1:
            found.append((row["about"], known))
    if not found:
        return None
    everything = [value for _, values in found for value in values.values()]
    scale = Scale(min(0.5, *everything) / 1.1, max(2.0, *everything) * 1.1, LEFT, RIGHT)
    lines = legend(ordered(arm for _, values in found for arm in values))
    top, step = 54 + 18 * len(lines), 36
    bottom = top + step * len(found)
    drawing = Drawing(WIDTH, bottom + 30, title)
    drawing.text(LEFT, 22, f"{title}: times as good as uvloop (logarithmic)", bold=True)
    draw_legend(drawing, lines, 46)
    for tick in scale.ticks():
        x = scale.at(tick)
        drawing.line([(x, top - 12), (x, bottom)], "uvloop" if tick == 1 else "grid")
        drawing.text(x, bottom + 16, f"{tick:g}", "middle")
    for i, (about, known) in enumerate(found):
        y = top + step * i + 18
        drawing.text(LEFT, y - 9, about, color="faint")
        drawing.line([(LEFT, y), (RIGHT, y)], "grid")
        for arm in reversed(ordered(known)):  # moodloop is drawn at last, above the others
            size = 6.0 if arm == "moodloop" else 4.0
            tip = f"{arm}: {number(known[arm])}"
            drawing.dot(scale.at(known[arm]), y, size, color_of(arm), tip)
    return str(drawing)


# Growth


def costs(series: Series, result: dict[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """For each arm the number of other things, and the cost beside them."""
    by_name = {row["row"]: row for row in result["rows"]}
    found: dict[str, list[tuple[int, float]]] = {}
    for count, row in series.rows:
        measured = by_name.get(row.name)
        for arm in measured["arms"] if measured else ():
            value = median(measured["arms"][arm], measured["figure"]) if measured else None
            if value:
                found.setdefault(arm, []).append((count, value))
    return {arm: points for arm, points in found.items() if len(points) > 1}


def growth(points: Sequence[tuple[int, float]]) -> float:
    """By how much the highest cost is above that at the fewest."""
    return max(cost for _, cost in points) / points[0][1]


def growth_lines(result: dict[str, Any]) -> list[list[str]]:
    """The table of growth: series, and a factor for each arm that has one."""
    arms = ordered(arm for series in SERIES for arm in costs(series, result))
    lines = [["highest cost / cost at the fewest", *arms]]
    for series in SERIES:
        found = costs(series, result)
        whole = {arm: line for arm, line in found.items() if len(line) == len(series.rows)}
        factors = {arm: growth(points) for arm, points in whole.items()}
        if factors:
            counts = [count for count, _ in series.rows]
            about = f"{series.about}, {counts[0]:,} to {counts[-1]:,} {series.axis}"
            shown = (
                f"**{factors[a]:.2f}**" if factors.get(a, 9) <= FLAT else number(factors.get(a))
                for a in arms
            )
            lines.append([about, *shown])
    return lines


def growth_chart(series: Series, result: dict[str, Any]) -> str | None:
    """A line for each arm: cost by the number of other things. None without any."""
    found = costs(series, result)
    if not found:
        return None
    points = [point for line in found.values() for point in line]
    arms = ordered(found)
    lines = legend(arms)
    left, right, top = 56, WIDTH - 36, 60 + 18 * len(lines)
    bottom = top + 240
    xs = Scale(min(p[0] for p in points) / 1.2, max(p[0] for p in points) * 1.2, left, right)
    low, high = min(p[1] for p in points) / 1.3, max(p[1] for p in points) * 1.3
    ys = Scale(low, high, bottom, top)
    row = next(r for r in result["rows"] if r["row"] == series.rows[0][1].name)
    title = f"{series.about}: {UNITS[row['figure']]} by the number of {series.axis}"
    drawing = Drawing(WIDTH, bottom + 36, title)
    drawing.text(LEFT, 22, title, bold=True)
    draw_legend(drawing, lines, 46)
    for tick in ys.ticks():
        drawing.line([(left, ys.at(tick)), (right, ys.at(tick))], "grid")
        drawing.text(left - 6, ys.at(tick) + 4, f"{tick:,g}", "end")
    for count in sorted({p[0] for p in points}):
        drawing.line([(xs.at(count), top), (xs.at(count), bottom)], "grid")
        drawing.text(xs.at(count), bottom + 20, f"{count:,}", "middle")
    for arm in reversed(arms):
        line = [(xs.at(count), ys.at(value)) for count, value in found[arm]]
        drawing.line(line, color_of(arm), 3 if arm == "moodloop" else 1.5)
        for (x, y), (count, value) in zip(line, found[arm], strict=True):
            drawing.dot(x, y, 4, color_of(arm), f"{arm}, {count:,}: {number(value)}")
    return str(drawing)
