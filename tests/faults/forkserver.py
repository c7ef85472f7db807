"""Runs scenarios, each in a child of one warm process that has the shim loaded.

    python -m faults.forkserver < jobs > results

A job is a line of JSON: {"scenario", "fault": null or a Fault's fields, "index": the call that it
strikes, "storm": null or [seed, permille], "loop": whose default is moodloop}. The answer to each
is a line: {"job": its number, "problems": [...], "counts": {call: number}, "struck": number}.
"""

import asyncio
import faulthandler
import gc
import json
import os
import select
import signal
import sys
import tempfile
import time
import traceback

from support import hygiene
from support.loops import factory

from .plan import Fault
from .report import Report, collect
from .scenarios import SCENARIOS
from .shim import Shim

HANG_SECONDS = 5.0  # after which a scenario gives up by itself
KILL_SECONDS = 20.0  # after which it is killed


async def bounded(report, scenario):
    task = asyncio.ensure_future(scenario(report))
    _, late = await asyncio.wait([task], timeout=HANG_SECONDS)
    if late:
        for each in asyncio.all_tasks():
            report.problem(f"hangs: {each!r}")
        os._exit(answer(report.problems))
    await task


def run(report, scenario, new_loop):
    loop = None
    try:
        loop = new_loop()
        loop.set_exception_handler(report.handler)
        loop.run_until_complete(bounded(report, scenario))
        loop.run_until_complete(loop.shutdown_default_executor())
    except Exception as exc:
        report.aborted = True
        report.error("the program", exc)
    finally:
        if loop is not None:
            close(report, loop)


def close(report, loop):
    """What asyncio.run() does in the end."""
    try:
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=HANG_SECONDS))
        for _ in range(3):
            loop.call_soon(loop.stop)
            loop.run_forever()
    except Exception as exc:
        report.error("the end of the program", exc)
    try:
        loop.close()
    except Exception as exc:
        report.error("close()", exc)


shim = Shim()
result_pipe = None


def answer(problems):
    struck, _ = shim.struck()
    shim.end()
    with open(result_pipe, "w") as out:
        json.dump({"problems": problems, "counts": shim.counts(), "struck": struck}, out)
    return 0


def child(job):
    """One run, in the child."""
    asyncio.constants.ACCEPT_RETRY_DELAY = 0.01
    faulthandler.enable()
    fault = Fault(*job["fault"]) if job.get("fault") else None
    report = Report()
    report.watch()
    new_loop = factory(job.get("loop", "moodloop"))
    collect()
    before = hygiene.open_fds()
    if fault is not None:
        shim.plan(fault.call, job["index"], fault.times, fault.kind, fault.value)
    if job.get("storm"):
        shim.storm(*job["storm"])
    shim.begin()
    run(report, SCENARIOS[job["scenario"]], new_loop)
    struck, _ = shim.struck()
    counts = shim.counts()
    collect()
    shim.end()
    left = hygiene.new_fds(before)
    if left:
        report.problem(f"descriptors left open: {left}")
    if shim.abuse():
        report.problem(shim.abuse())
    problems = report.judge(fault if struck else None)
    with open(result_pipe, "w") as out:
        json.dump({"problems": problems, "counts": counts, "struck": struck}, out)
    return 0


class Run:
    """A child at work."""

    def __init__(self, number, job):
        global result_pipe
        self.number = number
        self.since = time.monotonic()
        self.log = tempfile.TemporaryFile()
        self.out, result_pipe = os.pipe()
        self.data = b""
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(self.log.fileno(), 2)
            os.close(self.out)
            status = 1
            try:
                status = child(job)
            except BaseException:
                traceback.print_exc()
            os._exit(status)
        os.close(result_pipe)

    def read(self):
        """False once the child is gone."""
        part = os.read(self.out, 65536)
        self.data += part
        return bool(part)

    def late(self):
        return time.monotonic() - self.since > KILL_SECONDS

    def finish(self, killed=False):
        if killed:
            os.kill(self.pid, signal.SIGABRT)  # faulthandler says where it is
        _, status = os.waitpid(self.pid, 0)
        os.close(self.out)
        self.log.seek(0)
        errors = self.log.read().decode(errors="replace")
        self.log.close()
        try:
            result = json.loads(self.data)
        except ValueError:
            result = {"problems": [], "counts": {}, "struck": 0}
        code = os.waitstatus_to_exitcode(status)
        if killed or code:
            result["problems"].append(f"{'hang' if killed else f'exit {code}'}: {errors}")
        return {"job": self.number, **result}


def warm(lines):
    """Run each scenario once here, so that a child imports nothing and collects little."""
    jobs = map(json.loads, lines)
    for scenario, loop in sorted({(j["scenario"], j.get("loop", "moodloop")) for j in jobs}):
        run(Report(), SCENARIOS[scenario], factory(loop))
    collect()
    gc.freeze()


def serve(jobs, width):
    running = {}
    for number, line in enumerate(jobs):
        while len(running) >= width:
            step(running)
        run = Run(number, json.loads(line))
        running[run.out] = run
    while running:
        step(running)


def step(running):
    ready, _, _ = select.select(list(running), [], [], 1.0)
    for out in ready:
        if not running[out].read():
            print(json.dumps(running.pop(out).finish()), flush=True)
    for out, run in list(running.items()):
        if run.late():
            print(json.dumps(running.pop(out).finish(killed=True)), flush=True)


if __name__ == "__main__":
    lines = sys.stdin.read().splitlines()
    warm(lines)
    serve(lines, min(4, os.cpu_count() or 1))
