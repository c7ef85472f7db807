"""python -m conformance run|list|table (from the directory tests): see `make conformance`."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from . import catalogue, driver, exclusions, loops, report


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="conformance", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the tests on a loop")
    run.add_argument("--loop", default="moodloop", help="asyncio, uvloop, module:callable")
    run.add_argument("--json", type=Path, metavar="FILE", help="write the result of each test")
    run.add_argument("--jobs", "-j", type=int, default=0, help="processes at a time; 0: the CPUs")
    run.add_argument("--timeout", type=float, default=60, help="seconds that one test may take")
    run.add_argument("--verbose", "-v", action="store_true", help="a line for each class")
    listing = commands.add_parser("list", help="list the classes and what is left out")
    for command in (run, listing):
        command.add_argument("--tiers", default=",".join(catalogue.TIERS), help="default: all")
        command.add_argument("patterns", nargs="*", help="regular expressions: module.Class.test")
    table = commands.add_parser("table", help="the Markdown table of several results")
    table.add_argument("files", nargs="+", type=Path, metavar="FILE", help="JSON files of `run`")
    table.add_argument("--write", type=Path, metavar="DOCUMENT", help="between its two markers")
    return top


def select(tiers: str, patterns: list[str]) -> list[catalogue.Case]:
    """The classes of the tiers, with the tests that a pattern is found in."""
    names = tiers.split(",")
    unknown = [name for name in names if name not in catalogue.TIERS]
    if unknown:
        raise SystemExit(f"no tier {', '.join(unknown)}; there are {', '.join(catalogue.TIERS)}")
    try:
        found = catalogue.discover(names)
    except ModuleNotFoundError as exc:
        raise SystemExit(
            f"{sys.executable} has no tests ({exc}): install Debian's libpython3.x-testsuite, or "
            "use a Python built from source"
        ) from None
    if not patterns:
        return found
    chosen = []
    for case in found:
        tests = [t for t in case.tests if any(re.search(p, f"{case.id}.{t}") for p in patterns)]
        if tests:
            chosen.append(case._replace(tests=tuple(tests)))
    return chosen


def run(args: argparse.Namespace) -> int:
    try:
        loops.resolve(args.loop)
    except (ImportError, AttributeError) as exc:
        raise SystemExit(f"no loop {args.loop!r}: {exc}") from None
    cases = select(args.tiers, args.patterns)
    if not cases:
        raise SystemExit("no test matches")

    def progress(case: catalogue.Case, results: dict[str, Any]) -> None:
        bad = [test for test, record in results.items() if record["outcome"] in driver.BAD]
        if args.verbose or bad:
            print(f"{case.id}: {len(results)} tests, {len(bad)} bad", flush=True)

    jobs = args.jobs or len(os.sched_getaffinity(0))
    result = driver.run(args.loop, cases, jobs=jobs, timeout=args.timeout, progress=progress)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    failures = report.failures(result)
    for test, record in failures:
        log = record.get("log", "") or record.get("message", "")
        print(f"\n---- {test}: {record['outcome']}, {record.get('message', '')[:200]}\n{log}")
    print(report.text_table(result))
    for test, record in failures:
        last = (record.get("message", "").strip().splitlines() or [""])[-1]
        print(f"{record['outcome']}: {test}: {last}")
    return 1 if failures else 0


def show(args: argparse.Namespace) -> int:
    for case in select(args.tiers, args.patterns):
        print(f"{case.tier:8} {len(case.tests):5} {case.id}")
        for test in case.tests:
            exclusion = exclusions.find(f"{case.id}.{test}")
            if exclusion is not None:
                print(f"{'':14} not {test}: {exclusion.reason}")
    return 0


def table(args: argparse.Namespace) -> int:
    text = report.markdown_table([json.loads(path.read_text("utf-8")) for path in args.files])
    if args.write is None:
        print(text)
    else:
        report.write_between_markers(args.write, text)
    return 0


def main() -> int:
    args = parser().parse_args()
    return {"run": run, "list": show, "table": table}[args.command](args)


if __name__ == "__main__":
    sys.exit(main())
