"""How the cost of an operation grows with what else is there: a series of rows for each chart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from .callbacks import batches
from .echo import beside_idle, echo
from .row import Operation, Row
from .timers import due_batches, later_cancel, others

FLAT = 1.5  # a cost that grows by no more than this counts as flat


@dataclass(frozen=True)
class Series:
    """Rows that differ in one number."""

    name: str
    about: str
    axis: str
    rows: tuple[tuple[int, Row], ...]


def timers(name: str, about: str, run: object, batch: int) -> Series:
    """An operation beside 10, 10,000 and 1,000,000 timers."""
    return Series(
        name,
        about,
        "other timers",
        tuple(
            (
                count,
                Operation(
                    name=f"{name}/{count}",
                    about=f"{about}, {count:,} timers",
                    run=run,  # type: ignore[arg-type]
                    batch=batch,
                    set_up=others(count),
                    rounds=3,
                ),
            )
            for count in (10, 10_000, 1_000_000)
        ),
    )


def all_busy(count: int) -> Row:
    """So many connections, all of them busy."""
    return replace(
        echo("proto", count, 64), name=f"busy/{count}", rounds=3, seconds=2.0, quick=False
    )


def mostly_idle(count: int) -> Row:
    """So many connections, but for ten idle."""
    return replace(beside_idle(count), rounds=3)


def connections(name: str, about: str, rows: Iterable[tuple[int, Row]]) -> Series:
    """Rows by their number of connections."""
    return Series(name, about, "connections", tuple(rows))


COUNTS = (10, 1_000, 15_000)

SERIES = (
    timers("later_cancel", "call_later + cancel", batches(1000, later_cancel), 1000),
    timers("due", "a timer that comes due", due_batches(1000), 1000),
    connections("busy", "64 B echo, all busy", ((n, all_busy(n)) for n in COUNTS)),
    connections("beside_idle", "64 B echo on 10 of them", ((n, mostly_idle(n)) for n in COUNTS)),
)

ROWS = tuple(row for series in SERIES for _, row in series.rows)
