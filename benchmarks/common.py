"""What the benchmark drivers share: loops by name, processes, statistics, tables, results.

Only the standard library is used, and nothing of moodloop is imported: a driver runs on any
Python, and what it measures runs in processes of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import importlib
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


# Loops


@dataclass(frozen=True)
class LoopInfo:
    """An event loop by name: the module that has it, and how it is made."""

    name: str
    module: str
    make: Callable[[Any], LoopFactory] = lambda module: module.new_event_loop
    distribution: str = ""  # what to ask for the version, if it is not called like the module

    def factory(self) -> LoopFactory:
        """Import the module and return the callable that makes loops; ImportError if absent."""
        return self.make(importlib.import_module(self.module))


def _fastnet_on_uvloop(module: Any) -> LoopFactory:
    uvloop: Any = importlib.import_module("uvloop")
    return cast(LoopFactory, module.loop_factory(uvloop.new_event_loop))


# A new loop to compare with is one line here.
LOOPS = {
    info.name: info
    for info in (
        LoopInfo("asyncio", "asyncio"),
        LoopInfo("uvloop", "uvloop"),
        LoopInfo("moodloop", "moodloop"),
        LoopInfo("rloop", "rloop"),
        LoopInfo("zuvloop", "zuvloop"),
        LoopInfo("rsloop", "rsloop"),
        LoopInfo("blazio", "blazio"),
        LoopInfo("aiofastnet", "aiofastnet", _fastnet_on_uvloop),
    )
}

BASELINES = ("uvloop", "asyncio")
OURS = ("moodloop", "asyncio", "C epoll", "C libev")  # arms that have no excuse to fail


def loop_factory(name: str) -> LoopFactory:
    """The factory of a loop of the table, or of "module:callable"."""
    if name in LOOPS:
        return LOOPS[name].factory()
    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute or "new_event_loop")
    return cast(LoopFactory, found)


def use_this_tree() -> None:
    """Let a child import moodloop from this tree if it is not installed (built in place)."""
    root = str(HERE.parent)
    if root not in sys.path:
        sys.path.append(root)


_PROBE = """
import importlib.metadata, json, sys
sys.path.insert(0, sys.argv[1])
import common
common.use_this_tree()
found = {}
for name in sys.argv[2:]:
    try:
        common.loop_factory(name)().close()
    except ImportError as exc:
        found[name] = [None, str(exc)]
    except Exception as exc:
        found[name] = [None, f"{type(exc).__name__}: {exc}"]
    else:
        module = name.partition(":")[0]
        try:
            version = importlib.metadata.version(module)
        except importlib.metadata.PackageNotFoundError:
            version = getattr(sys.modules.get(module), "__version__", None)
        found[name] = [version or sys.version.split()[0], None]
print(json.dumps(found))
"""


def find_loops(python: str, names: Sequence[str] | None) -> dict[str, str]:
    """The versions of the loops that start under `python`.

    Asked for by name, each must start, or the program ends saying why it does not; without
    names, those of the table that are not there are left out.
    """
    wanted = list(names or LOOPS)
    answer = run_json([python, "-c", _PROBE, str(HERE), *wanted], timeout=60)
    missing = {name: reason for name, (version, reason) in answer.items() if version is None}
    if names and missing:
        sys.exit("\n".join(f"no loop {name!r}: {reason}" for name, reason in missing.items()))
    return {name: version for name, (version, _) in answer.items() if version is not None}


# Processes


class Failed(Exception):
    """A process of the benchmark ended with an error or gave no result."""


def run_json(command: Sequence[str], timeout: float) -> Any:
    """Run a command that prints one JSON value, and return it."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"no result within {timeout:g} s: {shlex.join(command)}") from None
    if done.returncode != 0:
        last = "\n".join(done.stderr.strip().splitlines()[-6:])
        raise Failed(f"exit status {done.returncode}: {shlex.join(command)}\n{last}")
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise Failed(f"not JSON: {done.stdout[:200]!r} from {shlex.join(command)}") from None


def cores() -> list[int]:
    """The CPU cores this process may use; empty where the system does not tell."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    else:
        return []


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Processes started within are tied to one core (None: they are not)."""
    if sys.platform == "linux" and core is not None:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {core})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)
    else:
        yield


def core_pair() -> tuple[int | None, int | None]:
    """One core for the server and another for its client; None, None if there is but one."""
    found = cores()
    return (found[0], found[1]) if len(found) > 1 else (None, None)


@contextlib.contextmanager
def server(command: Sequence[str], core: int | None) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a server that prints where it listens; gives the process and that line."""
    with pinned(core):
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise Failed(f"exit status {process.wait(10)}: {shlex.join(command)}")
        yield process, line
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


# C programs

_C_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra")
_C_LIBRARIES = {"echo_libev": ("-lev",), "watchers": ("-lev",)}


def _cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    directory = (Path(base) if base else Path.home() / ".cache") / "moodloop-benchmarks"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return directory
    except OSError:
        return Path(tempfile.mkdtemp(prefix="moodloop-benchmarks-"))


def build_c(name: str) -> Path:
    """Compile benchmarks/c/NAME.c if its text has changed since, and return the program."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    sources = [HERE / "c" / f"{name}.c", HERE / "c" / "echo_common.h"]
    command = [*compiler, *_C_FLAGS, str(sources[0]), *_C_LIBRARIES.get(name, ())]
    digest = hashlib.sha256(" ".join(command).encode())
    for source in sources:
        digest.update(source.read_bytes())
    program = _cache_dir() / f"{name}-{digest.hexdigest()[:16]}"
    if not program.exists():
        unfinished = program.with_suffix(f".{os.getpid()}")
        try:
            done = subprocess.run([*command, "-o", str(unfinished)], capture_output=True, text=True)
        except OSError as exc:
            raise Failed(f"{name}.c was not compiled: {exc}") from None
        if done.returncode != 0:
            raise Failed(f"{name}.c was not compiled:\n{done.stderr}")
        unfinished.rename(program)
    return program


# Statistics


def spread(samples: Sequence[float]) -> float:
    """Half the distance between the extremes, as a share of the median."""
    middle = statistics.median(samples)
    return abs((max(samples) - min(samples)) / 2 / middle) if middle else 0.0


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Median, spread and the samples themselves, as they are kept in results."""
    return {
        "median": statistics.median(samples),
        "spread": round(spread(samples), 4),
        "samples": list(samples),
    }


def ratio(base: float | None, value: float | None) -> float | None:
    """How many times less `value` is than `base`: above 1 is better for a cost."""
    return base / value if base and value else None


# Rows and options


class Row(Protocol):
    """What the drivers' tables of rows have in common."""

    @property
    def name(self) -> str:
        """What the row is called in --rows, tables and results."""

    @property
    def quick(self) -> bool:
        """Whether --quick measures it."""


AnyRow = TypeVar("AnyRow", bound=Row)


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
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=positive_int, help=f"{rounds}, with --quick 3")
    parser.add_argument("--rows", metavar="REGEX", help="only rows with a match of this")
    parser.add_argument("--loops", help="comma-separated; default: all that are installed")
    parser.add_argument("--quick", action="store_true", help="fewer rows, shorter")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="where results go; of a whole run also by default: results/NAME.json",
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--list", action="store_true", help="list the rows, then end")
    parser.set_defaults(default_rounds=rounds)
    return parser


def positive_int(text: str) -> int:
    """An argument that is a whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def rounds_of(options: argparse.Namespace) -> int:
    """How many rounds the options ask for."""
    return options.rounds or (3 if options.quick else options.default_rounds)


def loops_of(options: argparse.Namespace) -> dict[str, str]:
    """The loops to measure and their versions."""
    names = options.loops.split(",") if options.loops else None
    return find_loops(options.python, names)


# Progress


class Progress:
    """A line on stderr that tells what is running: redrawn on a terminal, else every tenth."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._start = time.monotonic()
        self._shown = -1
        self._tty = sys.stderr.isatty()

    def step(self, what: str) -> None:
        """Tell that `what` starts now."""
        tenth = 10 * self._done // self._steps
        if self._tty or tenth != self._shown:
            self._shown = tenth
            text = f"{self._done:4d}/{self._steps} {time.monotonic() - self._start:5.0f} s  {what}"
            print(
                f"\r\x1b[K{text}" if self._tty else text,
                end="" if self._tty else "\n",
                file=sys.stderr,
                flush=True,
            )
        self._done += 1

    def end(self) -> None:
        """Leave the line clean."""
        if self._tty:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


# Tables


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], markdown: bool = False) -> str:
    """Align a table: the first column to the left, the others to the right."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    cells = [
        [
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    if markdown:
        rule = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
        cells.insert(1, rule)
        return "\n".join("| " + " | ".join(line) + " |" for line in cells)
    cells.insert(1, ["-" * w for w in widths])
    return "\n".join("  ".join(line).rstrip() for line in cells)


def figure(value: float | None, unit: str = "") -> str:
    """A number at the precision that means something, or "-"."""
    if value is None:
        return "-"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}{unit}"


# Results


def environment(python: str, loops: dict[str, str]) -> dict[str, Any]:
    """What a reader of results must know of where they were measured."""
    version = subprocess.run(
        [
            python,
            "-c",
            "import platform as p; print(p.python_implementation(), p.python_version())",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "python": version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": len(cores()) or os.cpu_count(),
        "loops": loops,
    }


def describe(result: dict[str, Any]) -> str:
    """The line below a table that says where it was measured."""
    loops = ", ".join(f"{name} {version}" for name, version in result["loops"].items())
    where = f"{result['python']}, {result['system']}, {result['cores']} cores, {result['date']}"
    return f"{where}; {loops}."


def finish(name: str, options: argparse.Namespace, result: dict[str, Any]) -> int:
    """Save the results, report the arms that failed, and return the exit status.

    That a loop which is compared with cannot do a row is a result; for the others it is an error.
    """
    status = 0
    path = save(name, options, result)
    print(f"\nwritten: {path}" if path else "\nnot written: no --json", file=sys.stderr)
    for row in result["rows"]:
        for arm, figures in row["arms"].items():
            if "error" in figures:
                print(f"{row['row']}, {arm}: {figures['error']}", file=sys.stderr)
                if arm in OURS:
                    status = 1
    return status


def save(name: str, options: argparse.Namespace, result: dict[str, Any]) -> Path | None:
    """Write the results where the options say, or those of all rows as results/NAME.json."""
    path: Path | None = options.json
    if path is None:
        if options.rows or options.quick or options.loops:
            return None  # a part is no substitute for the whole that lies there
        path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path
