"""The charts of the results: how the loops compare in each group, and how costs grow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rows.growth import FLAT, SERIES, Series

from .results import median, ratio
from .svg import Drawing
from .table import number
from .tables import ABSOLUTE, UNITS

COLORS = {
    "moodloop": "#00796b",
    "uvloop": "#ef6c00",
    "asyncio": "#757575",
    "rloop": "#c62828",
    "zuvloop": "#6a1b9a",
    "rsloop": "#1565c0",
    "blazio": "#ad1457",
    "aiofastnet": "#9e9d24",
    "C epoll": "#000000",
    "C libev": "#5d4037",
}
OTHER = "#00acc1"  # a loop that was named on the command line
GRID = "#ddd"


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
    return COLORS.get(arm, OTHER)


def legend(drawing: Drawing, arms: Sequence[str], x: float, y: float) -> None:
    """What the colors mean."""
    for arm in arms:
        drawing.dot(x, y - 4, 5, color_of(arm), arm)
        drawing.text(x + 9, y, arm)
        x += 26 + 7 * len(arm)


def ordered(arms: Iterable[str]) -> list[str]:
    """In the order of COLORS, loops that it lacks at last."""
    known = list(COLORS)
    return sorted(dict.fromkeys(arms), key=lambda a: known.index(a) if a in known else len(known))


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
    left = 24 + 6.6 * max(len(about) for about, _ in found)
    scale = Scale(min(0.5, *everything) / 1.1, max(2.0, *everything) * 1.1, left, left + 480)
    arms = ordered(arm for _, values in found for arm in values)
    top, step = 66, 24
    bottom = top + step * len(found)
    drawing = Drawing(left + 500, bottom + 30, title)
    drawing.text(12, 20, f"{title}: times as good as uvloop (logarithmic)", bold=True)
    legend(drawing, arms, 18, 44)
    for tick in scale.ticks():
        x = scale.at(tick)
        drawing.line([(x, top - 8), (x, bottom)], "#ef6c00" if tick == 1 else GRID)
        drawing.text(x, bottom + 16, f"{tick:g}", "middle")
    for i, (about, known) in enumerate(found):
        y = top + step * i + 6
        drawing.text(left - 10, y + 4, about, "end")
        drawing.line([(left, y), (left + 480, y)], "#eee")
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
    xs = Scale(min(p[0] for p in points) / 1.2, max(p[0] for p in points) * 1.2, 70, 620)
    low, high = min(p[1] for p in points) / 1.3, max(p[1] for p in points) * 1.3
    ys = Scale(low, high, 330, 70)
    row = next(r for r in result["rows"] if r["row"] == series.rows[0][1].name)
    title = f"{series.about}: {UNITS[row['figure']]} by the number of {series.axis}"
    drawing = Drawing(640, 370, title)
    drawing.text(12, 20, title, bold=True)
    arms = ordered(found)
    legend(drawing, arms, 18, 44)
    for tick in ys.ticks():
        drawing.line([(70, ys.at(tick)), (620, ys.at(tick))], GRID)
        drawing.text(62, ys.at(tick) + 4, f"{tick:,g}", "end")
    for count in sorted({p[0] for p in points}):
        drawing.line([(xs.at(count), 70), (xs.at(count), 330)], GRID)
        drawing.text(xs.at(count), 350, f"{count:,}", "middle")
    for arm in reversed(arms):
        line = [(xs.at(count), ys.at(value)) for count, value in found[arm]]
        drawing.line(line, color_of(arm), 3 if arm == "moodloop" else 1.5)
        for (x, y), (count, value) in zip(line, found[arm], strict=True):
            drawing.dot(x, y, 4, color_of(arm), f"{arm}, {count:,}: {number(value)}")
    return str(drawing)
