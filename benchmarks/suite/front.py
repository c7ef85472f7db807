"""What the documents show first: what moodloop, uvloop and asyncio cost, and where the limit is."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

from .charts import LEFT, RIGHT, WIDTH
from .results import median
from .svg import Drawing, Theme
from .table import number, table
from .tables import UNITS, with_unit

ARMS = ("moodloop", "uvloop", "asyncio")
LIMIT = "C epoll"
TITLE = "moodloop beside uvloop and asyncio"


@dataclass(frozen=True)
class Section:
    """Rows under one heading: their names, and what the picture calls them."""

    heading: str
    rows: tuple[tuple[str, str], ...]


SECTIONS = (
    Section(
        "A server's CPU time for each request",
        (
            ("proto/10/64", "echo of 64 B"),
            ("proto/10/10240", "echo of 10 KiB"),
            ("tls/10/8192", "echo of 8 KiB over TLS"),
            ("uvicorn", "uvicorn, plain text"),
        ),
    ),
    Section(
        "The loop's own work for each operation",
        (
            ("chain", "call_soon, one after the other"),
            ("later_cancel", "call_later and cancel"),
            ("run_in_executor", "run_in_executor"),
        ),
    ),
)


# Where a loop changes little, or moodloop is behind.
LITTLE = (
    "proto/1/64",
    "uvicorn",
    "aiohttp",
    "tls/10/8192",
    "tls_handshake",
    "bulk_out",
    "spawn",
    "cat",
    "latency_beside_computation",
    "beside_computation",
)


@dataclass(frozen=True)
class Bars:
    """A row of the picture: figures in one unit, less is better."""

    label: str
    unit: str
    costs: dict[str, float]
    limit: float | None

    def shown(self, value: float) -> str:
        """A figure with its unit."""
        if self.unit == "ns" and value >= 10_000:
            return number(value / 1000, " us")
        return number(value, f" {self.unit.removesuffix(' CPU')}")


def bars(result: dict[str, Any], section: Section) -> list[Bars]:
    """The rows of a section. ValueError where the results lack one, or a loop in it."""
    by_name = {row["row"]: row for row in result["rows"]}
    found = []
    for name, label in section.rows:
        if name not in by_name:
            raise ValueError(f"the results have no row {name}, which the front page shows")
        row = by_name[name]
        figure = row["figure"]
        costs = {arm: median(row["arms"].get(arm), figure) for arm in ARMS}
        known = {arm: cost for arm, cost in costs.items() if cost}
        if len(known) < len(ARMS):
            raise ValueError(f"{name} has no figure of {', '.join(costs.keys() - known)}")
        limit = median(row["arms"].get(LIMIT), figure)
        found.append(Bars(label, UNITS[figure], known, limit))
    return found


def draw_row(drawing: Drawing, row: Bars, y: float) -> None:
    """A label, a bar for each loop, and a line where a server in C is."""
    drawing.text(LEFT, y, row.label)
    start, most = LEFT + 76, max(row.costs.values())
    wide = RIGHT - 66 - start
    for i, (arm, cost) in enumerate(row.costs.items()):
        top = y + 7 + 16 * i
        drawing.text(start - 6, top + 11, arm, "end", arm == "moodloop", "faint")
        tip = f"{row.label}, {arm}: {row.shown(cost)}"
        drawing.bar(start, top, wide * cost / most, 13, arm, tip)
        drawing.text(start + wide * cost / most + 5, top + 11, row.shown(cost))
    if row.limit:
        x = start + wide * row.limit / most
        drawing.line([(x, y + 3), (x, y + 55)], LIMIT, 2)
        drawing.text(x + 5, y, f"in C: {row.shown(row.limit)}", color="faint")


def front_chart(result: dict[str, Any], theme: Theme) -> str:
    """Bars for each row, the longest as wide as the picture. ValueError where one is missing."""
    step = 72
    height = 78 + sum(34 + step * len(section.rows) for section in SECTIONS) - 12
    drawing = Drawing(WIDTH, height, TITLE, theme)
    drawing.text(LEFT, 24, f"{TITLE}: less is better", bold=True)
    drawing.line([(LEFT + 2, 34), (LEFT + 2, 50)], LIMIT, 2)
    drawing.text(LEFT + 10, 46, "the limit: the same server in C, on epoll", color="faint")
    y = 78.0
    for section in SECTIONS:
        drawing.text(LEFT, y, section.heading, bold=True)
        y += 26
        for row in bars(result, section):
            draw_row(drawing, row, y)
            y += step
        y += 8
    return str(drawing)


def in_words(result: dict[str, Any]) -> str:
    """What the picture shows, for who does not see it."""
    parts = []
    for section in SECTIONS:
        lines = []
        for row in bars(result, section):
            costs = [f"{arm} {row.shown(cost)}" for arm, cost in row.costs.items()]
            costs += [f"in C {row.shown(row.limit)}"] if row.limit else []
            lines.append(f"{row.label}: {', '.join(costs)}")
        parts.append(f"{section.heading}. {'; '.join(lines)}.")
    return " ".join(parts)


def front_charts(result: dict[str, Any]) -> dict[str, str]:
    """The picture for light pages and for dark ones, by the names of their files."""
    return {
        "front-light.svg": front_chart(result, "light"),
        "front-dark.svg": front_chart(result, "dark"),
    }


def caption(result: dict[str, Any]) -> str:
    """Where the figures come from, in a line."""
    versions = f"uvloop {result['loops']['uvloop']}, {result['python']}"
    return f"{versions}, Linux, {result['cores']} cores, {result['date']}"


def readme_block(result: dict[str, Any]) -> str:
    """The picture in a README, which follows what the reader's system prefers."""
    words = html.escape(in_words(result), quote=True)
    return (
        "<picture>\n"
        '  <source media="(prefers-color-scheme: dark)" srcset="docs/charts/front-dark.svg">\n'
        f'  <img src="docs/charts/front-light.svg" width="{WIDTH}" alt="{words}">\n'
        "</picture>\n\n"
        f"<sub>{caption(result)}. [How it is measured, and all rows](docs/performance.md).</sub>"
    )


def page_block(result: dict[str, Any]) -> str:
    """The same in the documentation, whose reader can choose light or dark there."""
    words = in_words(result)
    pictures = "\n".join(
        f"![{words}](charts/front-{theme}.svg#only-{theme})" for theme in ("light", "dark")
    )
    return f"{pictures}\n\n<small>{caption(result)}.</small>"


def little_block(result: dict[str, Any]) -> str:
    """The figures themselves of the rows in which a loop changes little."""
    by_name = {row["row"]: row for row in result["rows"]}
    rows = [by_name[name] for name in LITTLE if name in by_name]
    arms = ARMS[::-1]
    lines = [[row["about"], *(with_unit(row, arm) for arm in arms)] for row in rows]
    return f"{table(['row', *arms], lines, markdown=True)}\n\n{caption(result)}."
