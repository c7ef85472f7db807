"""All benchmarks of the loops: single operations, servers under load, growth.

    python benchmarks/run.py [--quick] [--rows REGEX] [--loops uvloop,moodloop] [--markdown]

Each loop, row and round has processes of its own. The loops take turns in each row of a round,
every other round in the opposite order. Single operations go by time, servers by the CPU time
that their process spent per request, ended threads too, with requests per second beside it.
A loop that cannot do a row is shown as such, and is not tried again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rows import GROUPS, ROWS, Row, Served
from suite import options as opts
from suite import serve
from suite.loops import HERE, LOOPS, ROOT, find_loops, find_modules
from suite.process import Failed, run_json
from suite.progress import Progress
from suite.report import write_report
from suite.results import (
    RESULTS,
    add_ratios,
    describe,
    environment,
    merge,
    report_failures,
    write,
)
from suite.tables import show
from suite.targets import TARGETS

START = 30.0  # seconds that a process may take beside measuring: imports, set-up, calibration


@dataclass
class Measured:
    """What is known of a row so far."""

    row: Row
    arms: list[str]
    samples: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def result(self, group: str) -> dict[str, Any]:
        """As it is kept in results: only arms that had their turn."""
        arms = {
            arm: merge(self.samples.get(arm, []), self.errors.get(arm))
            for arm in self.arms
            if arm in self.samples or arm in self.errors
        }
        row = self.row
        result = {"row": row.name, "group": group, "about": row.about, "figure": row.figure}
        return add_ratios({**result, "also": row.also, "arms": arms})


@dataclass(frozen=True)
class Suite:
    """How it is measured."""

    programs: serve.Programs
    loops: list[str]
    operation_seconds: float
    server_seconds: float

    def arms(self, row: Row) -> list[str]:
        """The loops that a row is of interest for, and the servers in C."""
        loops = [
            name
            for name in self.loops
            if row.transports or name not in LOOPS or not LOOPS[name].transports_only
        ]
        kind = row.in_c if isinstance(row, Served) else ""
        return [*self.programs.c_servers.get(kind, ()), *loops]

    def measure(self, row: Row, arm: str) -> dict[str, float]:
        """One sample; Failed if there is none."""
        if isinstance(row, Served):
            return serve.measure(self.programs, arm, row, self.server_seconds)
        seconds = self.operation_seconds
        command = [self.programs.python, str(HERE / "child.py"), arm, row.name, str(seconds)]
        figures: dict[str, float] = run_json(command, timeout=seconds + START)
        return figures

    def round(self, number: int, measured: Measured, progress: Progress) -> None:
        """A sample of each arm that has not failed."""
        for arm in measured.arms if number % 2 == 0 else measured.arms[::-1]:
            progress.step(f"{measured.row.name}  {arm}, round {number + 1}")
            if arm in measured.errors:
                continue
            try:
                sample = self.measure(measured.row, arm)
            except Failed as exc:
                measured.errors[arm] = exc.reason
                progress.note(f"{measured.row.name}, {arm}: {exc}")
            except OSError as exc:
                measured.errors[arm] = f"{type(exc).__name__}: {exc.strerror}"
            else:
                measured.samples.setdefault(arm, []).append(sample)


def measure_all(
    suite: Suite, rows: Sequence[Row], rounds: int, within: float | None
) -> list[Measured]:
    """Round by round. After `within` seconds, and at Ctrl-C, no more than what is there."""
    measured = [Measured(row, suite.arms(row)) for row in rows]
    progress = Progress(sum(len(m.arms) * min(rounds, m.row.rounds) for m in measured))
    try:
        for number in range(rounds):
            for one in measured:
                if number >= one.row.rounds:
                    continue
                if number and within and progress.seconds() > within:
                    return measured
                suite.round(number, one, progress)
    except KeyboardInterrupt:
        print("\ninterrupted: this is what there is", file=sys.stderr)
    finally:
        progress.end()
    return [one for one in measured if one.samples or one.errors]


def possible(rows: Sequence[Row], python: str, version: tuple[int, ...]) -> list[Row]:
    """The rows that this Python has all modules for; the others are named on stderr."""
    needed = sorted({name for row in rows if isinstance(row, Served) for name in row.needs})
    there = find_modules(python, needed) if needed else set()
    found = []
    for row in rows:
        lacking = set(row.needs) - there if isinstance(row, Served) else set()
        if lacking or row.python > version:
            reason = ", ".join(sorted(lacking)) or "Python {}.{}".format(*row.python)
            print(f"without the row {row.name}: it needs {reason}", file=sys.stderr)
        else:
            found.append(row)
    return found


def version_of(result: dict[str, Any]) -> tuple[int, ...]:
    """Major and minor version of the Python of some results."""
    return tuple(int(part) for part in result["python"].split()[-1].split(".")[:2])


def destinations(
    options: argparse.Namespace, version: tuple[int, ...]
) -> tuple[Path | None, Path | None]:
    """Where the results and the report go, by default: a whole run's results to results/, what
    else there is to build/bench/. Chosen rows or loops are not written without being asked.
    """
    if options.rows or options.loops or options.targets:
        return options.json, options.report
    name = "cpython-{}.{}".format(*version)
    report = ROOT / "build" / "bench" / (f"{name}-quick" if options.quick else name)
    results = report / "results.json" if options.quick else RESULTS / f"{name}.json"
    return options.json or results, options.report or report


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = opts.option_parser(__doc__, rounds=5)
    parser.add_argument(
        "--operation-seconds", type=opts.positive, help="of a process: 0.5, --quick 0.15"
    )
    parser.add_argument("--server-seconds", type=opts.positive, help="of a load: 1.5, --quick 0.4")
    parser.add_argument(
        "--within",
        type=opts.positive,
        metavar="SECONDS",
        help="after so long, measure no row again that was measured once",
    )
    parser.add_argument("--targets", action="store_true", help="only rows that have a target")
    parser.add_argument("--report", type=Path, metavar="DIR", help="where tables and charts go")
    options = parser.parse_args(arguments)
    options.operation_seconds = options.operation_seconds or (0.15 if options.quick else 0.5)
    options.server_seconds = options.server_seconds or (0.4 if options.quick else 1.5)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, keep the results; 1 if something failed that must not."""
    options = parse(arguments)
    if options.list:
        for group, members in GROUPS.items():
            print(group)
            print("\n".join(f"  {row.name:26} {row.about}" for row in members))
        return 0
    rows: list[Row] = opts.select_rows(ROWS.values(), options.rows, options.quick)
    if options.targets:
        rows = [row for row in rows if row.name in {target.row for target in TARGETS}]
    start = time.monotonic()
    try:
        loops = find_loops(options.python, options.loops.split(",") if options.loops else None)
        programs = serve.build(options.python)
    except Failed as exc:
        print(exc, file=sys.stderr)
        return 1
    result = {"schema": 1, **environment(options.python, loops)}
    rows = possible(rows, options.python, version_of(result))
    suite = Suite(programs, list(loops), options.operation_seconds, options.server_seconds)
    measured = measure_all(suite, rows, opts.rounds_of(options), options.within)
    groups = {row.name: group for group, members in GROUPS.items() for row in members}
    result["settings"] = {
        "rounds": opts.rounds_of(options),
        "operation_seconds": options.operation_seconds,
        "server_seconds": options.server_seconds,
        "took_seconds": round(time.monotonic() - start),
    }
    result["rows"] = [one.result(groups[one.row.name]) for one in measured]
    print(show(result, options.markdown))
    print(f"\n{describe(result)}")
    results, report = destinations(options, version_of(result))
    write(result, results)
    if report is not None:
        print(f"written: {write_report(result, report)}", file=sys.stderr)
    return report_failures(result)


if __name__ == "__main__":
    sys.exit(main())
