"""Runs the worker processes: several at a time, each watched, none trusted."""

from __future__ import annotations

import concurrent.futures
import json
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import exclusions, loops
from .catalogue import Case

PACKAGE_PARENT = Path(__file__).resolve().parent.parent
LOG = 4000  # characters of a worker's output that are kept
ABORT_SECONDS = 5  # for a hanging worker to write its tracebacks

# Outcomes of a test. `excluded`: it fails, and exclusions.py says why.
GOOD = ("passed", "skipped", "excluded")
BAD = ("failed", "hung", "crashed", "not run", "passes")

Record = dict[str, Any]


class Worker:
    """One worker process and the pipe it writes to."""

    def __init__(self, loop: str, case: Case, tests: list[str], directory: str) -> None:
        self.log = open(Path(directory) / f"{case.id}.log", "wb+")
        self.pipe, write = os.pipe()
        paths = [str(PACKAGE_PARENT), *filter(None, [os.environ.get("PYTHONPATH")])]
        code = (
            f"from conformance import worker; worker.run({loop!r}, {case.id!r}, {tests!r}, {write})"
        )
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": directory},
                pass_fds=(write,),
                start_new_session=True,
            )
        finally:
            os.close(write)
        self.rest = b""
        self.open = True

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill(signal.SIGKILL)
        self.process.wait()
        os.close(self.pipe)
        self.log.close()

    def kill(self, signum: int) -> None:
        """Signal the worker and whatever it has started."""
        try:
            os.killpg(self.process.pid, signum)
        except ProcessLookupError:
            pass

    def read(self, timeout: float) -> list[Record]:
        """What the worker says within so many seconds; [] also when it has ended."""
        deadline = time.monotonic() + timeout
        while self.open:
            left = min(0.5, deadline - time.monotonic())
            ready = select.select([self.pipe], [], [], max(left, 0))[0]
            if ready:
                data = os.read(self.pipe, 65536)
                self.open = bool(data)
                *lines, self.rest = (self.rest + data).split(b"\n")
                if lines:
                    return [json.loads(line) for line in lines]
            elif left <= 0:
                return []
            elif self.process.poll() is not None:  # a child of it may hold the pipe
                self.open = bool(select.select([self.pipe], [], [], 0)[0])
        return []

    def output(self) -> str:
        """The end of what it wrote."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-LOG:]


def watch(worker: Worker, timeout: float) -> tuple[dict[str, Record], str | None, str]:
    """Follow a worker to its end: results, the test it did not finish, and why not."""
    results: dict[str, Record] = {}
    current = None
    while True:
        records = worker.read(timeout)
        for record in records:
            if "end" in record:
                return results, None, ""
            if "start" in record:
                current = record["start"]
            else:
                current = None
                results[record.pop("test")] = record
        if records:
            continue
        if worker.open:
            worker.kill(signal.SIGABRT)  # faulthandler writes where each thread is
            try:
                worker.process.wait(ABORT_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill(signal.SIGKILL)
            return results, current, "hung"
        return results, current, "crashed"


def how_it_ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def run_case(
    loop: str, engine: str, case: Case, timeout: float, directory: str
) -> dict[str, Record]:
    """All tests of a class; after a hang or a crash a new process takes up the rest."""
    done: dict[str, Record] = {}
    for test in case.tests:
        exclusion = exclusions.find(f"{case.id}.{test}", engine)
        if exclusion is not None and exclusion.hangs:
            done[test] = {"outcome": "hung", "message": "not run"}
    left = [test for test in case.tests if test not in done]
    while left:
        with Worker(loop, case, left, directory) as worker:
            results, lost, why = watch(worker, timeout)
            if why == "crashed":
                message = how_it_ended(worker.process.wait())
            else:
                message = f"no end after {timeout:g} s"
            if why:
                # Between tests, in a fixture of the class, it is put down to the last that ran.
                blame = [lost] if lost else list(results)[-1:] or left
                record = {"outcome": why, "message": message, "log": worker.output()}
                results.update({test: dict(record) for test in blame})
            for record in results.values():
                if record["outcome"] == "failed":
                    record["log"] = worker.output()
        done.update(results)
        if not why:
            break
        left = [test for test in left if test not in results]
    for test in case.tests:
        # A fixture of the class that is skipped or fails takes all its tests with it.
        fixture = next((r for name, r in done.items() if name not in case.tests), None)
        outcome = fixture["outcome"] if fixture else "not run"
        done.setdefault(test, {"outcome": outcome, "message": (fixture or {}).get("message", "")})
    return {test: done[test] for test in case.tests}


def judge(loop: str, engine: str, case: Case, results: dict[str, Record]) -> None:
    """Set failures that are known apart; a known one that passes is a mistake in the list."""
    for test, record in results.items():
        exclusion = exclusions.find(f"{case.id}.{test}", engine)
        if exclusion is None:
            continue
        if loop in exclusions.LOOPS and record["outcome"] == "passed":
            record["outcome"] = "passes"
            record["message"] = f"it is excluded, but passes: {exclusion.reason}"
        else:
            record.update(outcome="excluded", message=exclusion.reason)
            record.pop("log", None)


def run(
    loop: str,
    cases: list[Case],
    *,
    jobs: int,
    timeout: float,
    progress: Callable[[Case, dict[str, Record]], None],
) -> Record:
    """Run the classes on a loop: the report, as it is written to the JSON file."""
    begin = time.monotonic()
    engine = loops.choose_tls(loop)
    tiers: dict[str, Any] = {}

    def one(case: Case, directory: str) -> tuple[Case, dict[str, Record]]:
        with tempfile.TemporaryDirectory(dir=directory, ignore_cleanup_errors=True) as own:
            return case, run_case(loop, engine, case, timeout, own)

    # The longest first, so that none is left alone at the end.
    order = sorted(cases, key=lambda case: -len(case.tests))
    with (
        tempfile.TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True) as directory,
        concurrent.futures.ThreadPoolExecutor(jobs) as pool,
    ):
        futures = [pool.submit(one, case, directory) for case in order]
        for future in concurrent.futures.as_completed(futures):
            case, results = future.result()
            judge(loop, engine, case, results)
            progress(case, results)
            tiers.setdefault(case.tier, {})[case.id] = results
    return {
        "loop": loop,
        "version": loops.version(loop),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": round(time.monotonic() - begin, 1),
        "tiers": {tier: dict(sorted(found.items())) for tier, found in sorted(tiers.items())},
    }
