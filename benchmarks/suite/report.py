"""The report of a run or several: tables and charts, as Markdown and SVG files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rows import SERIES

from .charts import group_chart, growth_chart, growth_lines
from .results import describe, failures
from .table import table
from .tables import show
from .targets import targets_table

Charts = dict[str, str]  # the text of each by the name of its file


def version_of(result: dict[str, Any]) -> str:
    """3.13 of "CPython 3.13.0"."""
    return ".".join(result["python"].split()[-1].split(".")[:2])


def slug(text: str) -> str:
    """A name for a file."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


def rows_block(results: Sequence[dict[str, Any]]) -> str:
    """All tables, and what failed."""
    parts = []
    for result in results:
        parts += [f"### {result['python']}", show(result, True, "####"), describe(result)]
        failed = failures(result)
        if failed:
            lines = [f"- {row}, {arm}: {reason}" for row, arm, reason in failed]
            parts += ["Failed:", "\n".join(lines).replace("<", "&lt;")]
    return "\n\n".join(parts)


def growth_block(results: Sequence[dict[str, Any]], charts: Charts) -> str:
    """The factors, and a chart for each series. Enters the charts by their names."""
    parts = []
    for result in results:
        headers, *lines = growth_lines(result)
        if lines:
            parts += [f"{result['python']}:", table(headers, lines, markdown=True)]
        for series in SERIES:
            name = f"growth-{slug(series.name)}-{version_of(result)}.svg"
            drawn = growth_chart(series, result)
            if drawn:
                charts[name] = drawn
                parts.append(f"![{series.about}](charts/{name})")
    return "\n\n".join(parts) or "No results of growth."


def charts_block(results: Sequence[dict[str, Any]], charts: Charts) -> str:
    """A chart for each group, of all but the first results folded. Enters the charts by name."""
    parts = []
    for result in results:
        folded = result is not results[0]
        about = f"<summary>{result['python']}</summary>"
        parts.append(f"<details markdown>\n{about}" if folded else f"{result['python']}:")
        for group in dict.fromkeys(row["group"] for row in result["rows"]):
            if group == "Growth":
                continue
            rows = [row for row in result["rows"] if row["group"] == group]
            name = f"{slug(group)}-{version_of(result)}.svg"
            drawn = group_chart(group, rows)
            if drawn:
                charts[name] = drawn
                parts.append(f"![{group}](charts/{name})")
        parts += ["</details>"] if folded else []
    return "\n\n".join(parts)


def blocks(results: Sequence[dict[str, Any]]) -> tuple[dict[str, str], Charts]:
    """All parts of the report by their names, and the charts that they show."""
    charts: Charts = {}
    parts = {
        "targets": targets_table(results),
        "charts": charts_block(results, charts),
        "growth": growth_block(results, charts),
        "rows": rows_block(results),
    }
    return parts, charts


def write_charts(charts: Charts, directory: Path) -> list[Path]:
    """Replace all charts of a directory; the files that were written."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.svg"):
        old.unlink()
    for name, text in charts.items():
        (directory / name).write_text(text)
    return [directory / name for name in charts]


def write_report(result: dict[str, Any], directory: Path) -> Path:
    """Write report.md and its charts; the path of the former."""
    parts, charts = blocks([result])
    write_charts(charts, directory / "charts")
    path = directory / "report.md"
    text = "\n\n".join(f"## {name.capitalize()}\n\n{part}" for name, part in parts.items())
    path.write_text(f"# Benchmarks\n\n{text}\n")
    return path
