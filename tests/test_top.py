"""`python -m moodloop top`: of a process that runs, is stuck, is stopped, or is none."""

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import time

import pytest
from support import optional

from moodloop import _core
from moodloop.inspect import page as pages
from moodloop.inspect import top

PROGRAM = """
import asyncio, ctypes, itertools, sys, time
import moodloop
async def main():
    loop = asyncio.get_running_loop()
    loop.call_later(1000, print)
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    await asyncio.sleep(0.05)
    print("ready", flush=True)
    {what}
moodloop.run(main())
"""
BUSY = """
    while True:
        await asyncio.sleep(0.001)
"""
HOLD = "sum(itertools.repeat(1))"


@contextlib.contextmanager
def program(what):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("{what}", what.strip())],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def command(*args):
    return subprocess.run(
        [sys.executable, "-m", "moodloop", "top", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def look(process):
    done = command(process.pid, "--once", "--json", "--interval", 0.2)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["pid"] == process.pid
    return row


def stuck(process):
    """A row of a program that prints "ready" just before it is stuck."""
    end = time.monotonic() + 30
    while (row := look(process))["state"] != "run" or row["turns_per_second"]:
        assert time.monotonic() < end, row
    return row


class TestState:
    def test_of_a_program_that_runs(self):
        with program(BUSY) as process:
            row = look(process)
        assert row["turns_per_second"] > 0
        assert row["callbacks_per_second"] > 0
        assert 0 < row["utilization"] < 1
        assert row["delay"]["count"] > 0
        assert 0 <= row["delay"]["p50"] <= row["delay"]["p99"] <= row["delay"]["max"]
        assert (row["timers"], row["readers"], row["transports"]) == (2, 1, 0)
        assert row["tid"] == process.pid
        assert row["totals"]["turns"] > 0
        assert row["open_files"] > 3

    @pytest.mark.parametrize("how", ["time.sleep(60)", "while True: pass", HOLD])
    def test_of_one_that_is_stuck(self, how):
        with program(how) as process:
            row = stuck(process)
        assert row["utilization"] == pytest.approx(1, abs=0.05)
        assert row["state_seconds"] > 0

    def test_of_one_that_waits(self):
        with program("await asyncio.sleep(60)") as process:
            row = look(process)
        assert row["state"] == "poll"
        assert row["utilization"] == 0
        assert row["delay"]["p99"] is None

    def test_of_one_that_is_stopped(self):
        with program(BUSY) as process:
            os.kill(process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            row = look(process)
            text = command(process.pid, "--once", "--interval", 0.1).stdout
            os.kill(process.pid, signal.SIGCONT)
        assert row["process"] == "T"
        assert row["turns_per_second"] == 0
        assert "stopped in" in text


class TestCommand:
    def test_table(self):
        with program("time.sleep(60)") as process:
            stuck(process)
            done = command(process.pid, "--once", "--interval", 0.1)
        lines = done.stdout.splitlines()
        assert lines[0].split()[:5] == ["pid", "thread", "state", "util", "turns/s"]
        assert lines[1].split()[0] == str(process.pid)
        assert "run " in lines[1]
        assert done.returncode == 0

    def test_several(self):
        with program(BUSY) as one, program(BUSY) as two:
            done = command(one.pid, two.pid, "--once", "--json", "--interval", 0.1)
            everyone = command("--once", "--json", "--interval", 0.1)
        assert [row["pid"] for row in json.loads(done.stdout)] == [one.pid, two.pid]
        assert {one.pid, two.pid} <= {row["pid"] for row in json.loads(everyone.stdout)}

    def test_ends_with_the_process(self):
        with program(BUSY) as process:
            watching = subprocess.Popen(
                [sys.executable, "-m", "moodloop", "top", str(process.pid), "--interval", "0.05"],
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "TERM": "dumb"},
            )
            assert watching.stdout.readline()
        watching.communicate(timeout=60)
        assert watching.returncode == 0

    @pytest.mark.parametrize(
        ("args", "status", "text"),
        [
            (["x"], 2, "not the number of a process: 'x'"),
            (["0"], 2, "not the number of a process: '0'"),
            (["1", "--interval", "0"], 2, "not a time above 0, in seconds: '0'"),
            (["--interval", "soon"], 2, "not a time above 0, in seconds: 'soon'"),
            (["2147483647"], 1, "there is no process 2147483647\n"),
        ],
    )
    def test_bad_input(self, args, status, text):
        done = command(*args)
        assert done.returncode == status
        assert done.stderr.endswith(f"{text}\n".replace("\n\n", "\n"))
        assert "Traceback" not in done.stderr

    def test_a_process_without_a_loop(self):
        with subprocess.Popen(["sleep", "60"]) as process:
            done = command(process.pid)
            process.kill()
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "has no loop of moodloop's" in done.stderr


@contextlib.contextmanager
def page_of(change):
    """A process with a page whose header was changed; it is this one's child."""
    with program("await asyncio.sleep(60)") as process:
        with pages.Page(process.pid) as page:
            change(page)
        yield process


def test_a_newer_page():
    def change(page):
        os.pwrite(page._fd, struct.pack("=I", 2), 8)

    with page_of(change) as process:
        done = command(process.pid, "--once")
    assert done.returncode == 1
    assert "has a page of version 2, and this moodloop reads version 1" in done.stderr


def test_another_user(monkeypatch):
    def refuse(path):
        raise PermissionError

    monkeypatch.setattr(pages.os, "listdir", refuse)
    with pytest.raises(pages.NoPage, match="another user's"):
        pages.Page(1)


def test_bounds_are_those_of_the_core():
    for seconds in (1e-9, 8e-9, 9e-9, 1e-6, 1e-3, 1, 60):
        histogram = _core.Histogram()
        histogram.record(seconds)
        ((bound, _),) = histogram.buckets()
        assert any(pages.bound_of(i) == pytest.approx(bound) for i in range(272))


def test_percentiles():
    assert pages.percentile([0, 0], 1, 50) is None
    assert pages.percentile([1, 0, 1], 1, 50) == pytest.approx(1e-9)
    assert pages.percentile([1, 0, 1], 1, 100) == pytest.approx(3e-9)
    assert pages.percentile([1, 0, 1], 2e-9, 100) == pytest.approx(2e-9)


def test_with_rich(capsys):
    """A table of rich's has the cells of the plain one."""
    optional.need("rich")
    from rich.console import Console

    with program("time.sleep(60)") as process, pages.Page(process.pid) as page:
        meters = page.meters()
        found = top.rows(page, meters, page.meters())
    console = Console(width=200)
    console.print(top._table(found))
    assert str(process.pid) in capsys.readouterr().out


def test_no_terminal(capsys):
    top._live(iter([[], []]))
    assert capsys.readouterr().out.count("turns/s") == 2


def test_without_rich(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.live", None)
    top._live(iter([[], []]))
    assert capsys.readouterr().out.count("turns/s") == 2
