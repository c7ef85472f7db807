"""The options that the benchmark programs have in common, and the choice of rows."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, TypeVar


class Named(Protocol):
    """What rows of any program have in common."""

    @property
    def name(self) -> str:
        """What the row is called in --rows, tables and results."""

    @property
    def quick(self) -> bool:
        """Whether --quick measures it."""


AnyRow = TypeVar("AnyRow", bound=Named)


def select_rows(rows: Iterable[AnyRow], pattern: str | None, quick: bool) -> list[AnyRow]:
    """The rows whose name has a match of the pattern; without one all, or the quick ones."""
    if pattern is None:
        return [row for row in rows if row.quick or not quick]
    try:
        chosen = [row for row in rows if re.search(pattern, row.name)]
    except re.error as exc:
        sys.exit(f"--rows {pattern!r}: {exc}")
    if not chosen:
        sys.exit(f"no row matches {pattern!r}; --list shows them")
    return chosen


def option_parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """The options that all drivers have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=positive_int, help=f"{rounds}, with --quick 3")
    parser.add_argument("--rows", metavar="REGEX", help="only rows whose name (--list) matches")
    parser.add_argument("--loops", help="comma-separated; default: all that are installed")
    parser.add_argument("--quick", action="store_true", help="fewer rows, shorter")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where results go")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    parser.add_argument("--list", action="store_true", help="list the rows, then end")
    parser.set_defaults(default_rounds=rounds)
    return parser


def positive_int(text: str) -> int:
    """An argument that is a whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def positive(text: str) -> float:
    """An argument that is a number above 0."""
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def rounds_of(options: argparse.Namespace) -> int:
    """How many rounds the options ask for."""
    count: int = options.rounds or (3 if options.quick else options.default_rounds)
    return count
