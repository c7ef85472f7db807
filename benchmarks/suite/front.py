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


def draw_row(drawing: Drawing, row: Bars, x: float, y: float) -> None:
    """A label, a bar for each loop, and a line where a server in C is; in the column at x."""
    drawing.text(x + LEFT, y, row.label)
    start, most = x + LEFT + 76, max(row.costs.values())
    wide = x + RIGHT - 66 - start
    for i, (arm, cost) in enumerate(row.costs.items()):
        top = y + 7 + 16 * i
        drawing.text(start - 6, top + 11, arm, "end", arm == "moodloop", "faint")
        tip = f"{row.label}, {arm}: {row.shown(cost)}"
        drawing.bar(start, top, wide * cost / most, 13, arm, tip)
        drawing.text(start + wide * cost / most + 5, top + 11, row.shown(cost))
    if row.limit:
        at = start + wide * row.limit / most
        drawing.line([(at, y + 3), (at, y + 55)], LIMIT, 2)
        drawing.text(at + 5, y, f"in C: {row.shown(row.limit)}", color="faint")


def front_chart(result: dict[str, Any], theme: Theme, narrow: bool) -> str:
    """Bars for each row, the longest as wide as its column. ValueError where one is missing.

    The sections are beside each other or, in a narrow picture, below.
    """
    step, above, head = 72, 78, 26
    heights = [head + step * len(section.rows) + 8 for section in SECTIONS]
    places = [(0, above + sum(heights[:i])) for i in range(len(heights))]
    if not narrow:
        places = [(i * WIDTH, above) for i in range(len(heights))]
    bottom = above - 12 + (sum(heights) if narrow else max(heights)) - 8
    drawing = Drawing(places[-1][0] + WIDTH, bottom, TITLE, theme)
    drawing.text(LEFT, 24, f"{TITLE}: less is better", bold=True)
    drawing.line([(LEFT + 2, 34), (LEFT + 2, 50)], LIMIT, 2)
    drawing.text(LEFT + 10, 46, "the limit: the same server in C, on epoll", color="faint")
    for section, (x, y) in zip(SECTIONS, places, strict=True):
        drawing.text(x + LEFT, y, section.heading, bold=True)
        for i, row in enumerate(bars(result, section)):
            draw_row(drawing, row, x, y + head + step * i)
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
    """The picture for light pages and for dark ones, wide and narrow, by the names of its files."""
    themes: tuple[Theme, ...] = ("light", "dark")
    wide = {f"front-{theme}.svg": front_chart(result, theme, False) for theme in themes}
    narrow = {f"front-narrow-{theme}.svg": front_chart(result, theme, True) for theme in themes}
    return wide | narrow


def caption(result: dict[str, Any]) -> str:
    """Where the figures come from, in a line."""
    versions = f"uvloop {result['loops']['uvloop']}, {result['python']}"
    return f"{versions}, Linux, {result['cores']} cores, {result['date']}"


NARROW = f"(max-width: {2 * WIDTH - 220}px)"  # of a page, where a wide picture is hard to read


def readme_block(result: dict[str, Any]) -> str:
    """The picture in a README, which follows what the reader's system prefers."""
    words = html.escape(in_words(result), quote=True)
    sources = (
        (f"{NARROW} and (prefers-color-scheme: dark)", "narrow-dark"),
        (NARROW, "narrow-light"),
        ("(prefers-color-scheme: dark)", "dark"),
    )
    lines = [
        f'  <source media="{media}" srcset="docs/charts/front-{name}.svg">'
        for media, name in sources
    ]
    return "\n".join(
        (
            "<picture>",
            *lines,
            f'  <img src="docs/charts/front-light.svg" alt="{words}">',
            "</picture>\n",
            f"<sub>{caption(result)}. [How it is measured, and all rows](docs/performance.md)."
            "</sub>",
        )
    )


def home_block(result: dict[str, Any]) -> str:
    """The same on the first page of the documentation, whose reader can choose light or dark."""
    words = html.escape(in_words(result), quote=True)
    pictures = "\n".join(
        f'<picture><source media="{NARROW}" srcset="charts/front-narrow-{theme}.svg">'
        f'<img src="charts/front-{theme}.svg#only-{theme}" alt="{words}"></picture>'
        for theme in ("light", "dark")
    )
    return f"<p>\n{pictures}\n</p>\n\n<small>{caption(result)}.</small>"


def page_block(result: dict[str, Any]) -> str:
    """The narrow one on another page, beside charts that are as narrow."""
    words = in_words(result)
    pictures = "\n".join(
        f"![{words}](charts/front-narrow-{theme}.svg#only-{theme})" for theme in ("light", "dark")
    )
    return f"{pictures}\n\n<small>{caption(result)}.</small>"


def little_block(result: dict[str, Any]) -> str:
    """The figures themselves of the rows in which a loop changes little."""
    by_name = {row["row"]: row for row in result["rows"]}
    rows = [by_name[name] for name in LITTLE if name in by_name]
    arms = ARMS[::-1]
    lines = [[row["about"], *(with_unit(row, arm) for arm in arms)] for row in rows]
    return f"{table(['row', *arms], lines, markdown=True)}\n\n{caption(result)}."
