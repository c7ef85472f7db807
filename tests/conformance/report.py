"""What came of a run: the table on the terminal, and the one in the documentation."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .catalogue import TIERS
from .driver import BAD, GOOD

OUTCOMES = (*GOOD, *BAD)
MARKER = "conformance-table"
DEFAULT_ORDER = ("moodloop", "asyncio", "uvloop")


def records(report: Any, tier: str | None = None) -> Iterator[tuple[str, Any]]:
    """(module.Class.test, record) of each test."""
    for name, cases in report["tiers"].items():
        if tier in (None, name):
            for case, tests in cases.items():
                for test, record in tests.items():
                    yield f"{case}.{test}", record


def counts(report: Any, tier: str | None = None) -> collections.Counter[str]:
    """How many tests had which outcome."""
    return collections.Counter(record["outcome"] for _, record in records(report, tier))


def failures(report: Any) -> list[tuple[str, Any]]:
    """The tests whose outcome is none of GOOD."""
    return [(test, record) for test, record in records(report) if record["outcome"] in BAD]


def text_table(report: Any) -> str:
    """One line for each tier, with the outcomes that there are."""
    tiers = [tier for tier in TIERS if tier in report["tiers"]]
    total = counts(report)
    shown = [o for o in OUTCOMES if o in ("passed", "excluded", "failed") or total[o]]
    lines = [f"{'tier':8} {'tests':>7}" + "".join(f" {o:>9}" for o in shown)]
    for tier in [*tiers, None]:
        count = counts(report, tier)
        cells = "".join(f" {count[o]:9,}" for o in shown)
        lines.append(f"{tier or 'all':8} {count.total():7,}{cells}")
    title = f"{report['loop']} {report['version']} on CPython {report['python']}"
    return "\n".join([f"{title}, {report['seconds']:g} s", *lines])


def markdown_table(reports: list[Any]) -> str:
    """Rows: Pythons; columns: tests, excluded ones, and what each loop passes of the rest."""
    by_python: dict[str, dict[str, Any]] = {}
    for report in reports:
        by_python.setdefault(report["python"], {})[report["loop"]] = report
    names = [n for n in DEFAULT_ORDER if any(n in found for found in by_python.values())]
    head = ["CPython", "tests", "excluded", "skipped", *names]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for python, found in sorted(by_python.items(), key=lambda item: natural(item[0])):
        first = counts(next(found[name] for name in names if name in found))
        row = [python, f"{first.total():,}", str(first["excluded"]), str(first["skipped"])]
        lines.append(row + [cell(found.get(name)) for name in names])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(report: Any) -> str:
    """What a loop passes, and what it does not."""
    if report is None:
        return "-"
    count = counts(report)
    bad = [f"{count[o]} {o}" for o in BAD if count[o]]
    passed = f"{count['passed']:,}"
    return f"{passed} ({', '.join(bad)})" if bad else f"**{passed}, all**"


def natural(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def write_between_markers(path: Path, text: str) -> None:
    """Replace what is between the two markers in a file. ValueError if they are not there."""
    begin, end = f"<!-- {MARKER} -->", f"<!-- /{MARKER} -->"
    old = path.read_text(encoding="utf-8")
    if old.count(begin) != 1 or old.count(end) != 1:
        raise ValueError(f"{path} must have the lines {begin} and {end} once each")
    before, _, rest = old.partition(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
