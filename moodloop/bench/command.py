"""The command line of ``python -m moodloop bench``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import BenchError
from .measure import Settings, find_loops, measure_all
from .progress import Progress
from .report import report_of, show
from .workloads import WORKLOADS

LOOPS = ("asyncio", "uvloop", "moodloop")


def positive(text: str) -> float:
    """An argument that is a finite number above 0."""
    value = float(text)
    if not (0 < value <= 3600):
        raise argparse.ArgumentTypeError("must be above 0 and at most 3600")
    return value


def rounds(text: str) -> int:
    """An argument that is a whole number from 1 to 1000."""
    value = int(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError("must be from 1 to 1000")
    return value


def parser(prog: str) -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog=prog,
        description="Run the same asyncio servers and clients on each event loop and compare.",
    )
    result.add_argument(
        "--all",
        action="store_true",
        help="the whole suite in a source tree's benchmarks/, which takes the options that follow",
    )
    result.add_argument("--quick", action="store_true", help="about 8 seconds rather than 35")
    result.add_argument("--rounds", type=rounds, help="default: 4, with --quick 2")
    result.add_argument("--seconds", type=positive, help="for each workload: 0.7, with --quick 0.2")
    result.add_argument("--silence", type=positive, default=10.0, help=argparse.SUPPRESS)
    result.add_argument(
        "--loops",
        metavar="NAMES",
        help=f"comma-separated, also module:callable; default: {', '.join(LOOPS)} if installed",
    )
    result.add_argument("--json", type=Path, metavar="FILE", help="also write the results there")
    return result


def settings_of(options: argparse.Namespace) -> Settings:
    """How much the command line asks for."""
    seconds = options.seconds or (0.2 if options.quick else 0.7)
    count = options.rounds or (2 if options.quick else 4)
    return Settings(count, seconds, min(0.1, seconds), options.silence)


def run_suite(arguments: Sequence[str]) -> int:
    """Run benchmarks/run.py of the source tree that this package lies in."""
    suite = Path(__file__).resolve().parents[2] / "benchmarks" / "run.py"
    if not suite.is_file():
        print(
            "--all needs moodloop's source tree, and this moodloop is installed without it: "
            "run `make bench` there, or leave --all out",
            file=sys.stderr,
        )
        return 2
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, str(suite), *arguments])


def run(loops: dict[str, str], settings: Settings) -> dict[str, Any]:
    """Measure, with the progress on standard error."""
    progress = Progress(settings.rounds * len(loops) * len(WORKLOADS), sys.stderr)
    try:
        return report_of(loops, settings, measure_all(list(loops), settings, progress))
    finally:
        progress.end()


def main(argv: Sequence[str] | None = None, prog: str = "python -m moodloop bench") -> int:
    """Run the benchmark; 0 if every answer was right."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "--all" in arguments:
        arguments.remove("--all")
        return run_suite(arguments)
    options = parser(prog).parse_args(arguments)
    names = options.loops.split(",") if options.loops else LOOPS
    loops, missing = find_loops(list(dict.fromkeys(names)))
    for name, reason in missing.items():
        print(f"without {name}: {reason}", file=sys.stderr)
    if not loops or (options.loops and missing):
        return 2
    print(", ".join(f"{name} {version}" for name, version in loops.items()), flush=True)
    try:
        report = run(loops, settings_of(options))
    except BenchError as exc:
        print(f"\nFAILED: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    show(report, sys.stdout)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0
