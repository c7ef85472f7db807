"""Who blocks a loop: a stall for each cause, with its line."""

import asyncio
import ctypes
import gc
import itertools
import logging
import mmap
import os
import signal
import socket
import threading
import time

import pytest
from support.loops import drive, run_turns

import moodloop
from moodloop.inspect import calls, watchdog

pytestmark = pytest.mark.moodloop_only

PATIENCE = 10  # seconds, until a cause is seen: a busy machine has others of its own


class Seen:
    """The stalls of a loop, and whether one of a cause is among them, in a function."""

    def __init__(self, cause=None, where=None):
        self.cause = cause
        self.where = where
        self.stalls = []
        self.found = threading.Event()
        self.over = threading.Event()

    def __call__(self, stall):
        self.stalls.append(stall)
        if self.wants(stall):
            (self.over if stall.ended else self.found).set()

    def wants(self, stall):
        names = [frame.name for frame in stall.stack]
        return self.cause in (None, stall.cause) and (self.where is None or self.where in names)

    @property
    def first(self):
        return next(s for s in self.stalls if self.wants(s) and not s.ended)


def blocked(loop, cause, block, threshold=0.05):
    """Block the loop, again and again, until a stall is told to have this cause."""
    seen = Seen(cause, block.__name__)

    async def main():
        end = time.monotonic() + PATIENCE
        while not seen.found.is_set() and time.monotonic() < end:
            await asyncio.sleep(0)
            block(seen.found)
            await asyncio.sleep(0.001)

    with loop.watchdog(threshold, seen):
        drive(loop, asyncio.wait_for(main(), PATIENCE * 2))
    if not seen.found.is_set() and any(stall.cause == "starved" for stall in seen.stalls):
        pytest.skip("the machine has no CPU for this test")
    assert seen.found.is_set(), seen.stalls
    return seen


def line_of(function):
    code = function.__code__
    return range(code.co_firstlineno, max(n for *_, n in code.co_lines() if n) + 1)


def check_line(stall, function):
    assert stall.line.file == __file__
    assert stall.line.name == function.__name__
    assert stall.line.line in line_of(function)
    if stall.stack[-1] == stall.line:  # it may be in a method of found's
        assert f"{os.path.basename(__file__)}:{stall.line.line} {function.__name__}" in str(stall)


class TestCauses:
    def test_cpu(self, loop):
        def compute(found):
            end = time.monotonic() + 1
            while not found.is_set() and time.monotonic() < end:
                pass

        seen = blocked(loop, "cpu", compute)
        check_line(seen.first, compute)
        assert seen.first.task is not None
        assert "computing" in str(seen.first)

    def test_sleep(self, loop):
        def sleep(found):
            time.sleep(0.2)

        stall = blocked(loop, "syscall", sleep).first
        check_line(stall, sleep)
        assert "nanosleep(2)" in stall.syscall
        assert f"Task {stall.task!r}" in str(stall)

    def test_read(self, loop):
        def read(found):
            left, right = socket.socketpair()
            with left, right:
                timer = threading.Timer(0.2, right.send, (b"x",))
                timer.start()
                left.recv(1)
                timer.join()

        stall = blocked(loop, "syscall", read).first
        assert stall.line.name == "read"
        assert stall.syscall in ("recvfrom(2)", "futex(2)")

    def test_collection(self, loop):
        objects = [[] for _ in range(300_000)]

        def collect(found):
            end = time.monotonic() + 1
            while not found.is_set() and time.monotonic() < end:
                gc.collect()

        stall = blocked(loop, "gc", collect).first
        assert stall.line.name == "collect"
        assert stall.generation == 2
        assert "generation 2" in str(stall)
        del objects

    def test_gil(self, loop, capfd):
        def hold():
            return sum(itertools.repeat(1, 150_000_000))

        def wait(found):
            thread = threading.Thread(target=hold)
            thread.start()
            thread.join()

        for _ in range(10):  # who may have it is a guess
            stall = blocked(loop, "gil", wait).first
            assert any(frame.name == "wait" for frame in stall.stack)
            if [f.name for f in stall.holder][-1:] == ["hold"]:
                break
        else:
            pytest.fail(str(stall.holder))
        assert "hold" in str(stall)
        assert "the GIL is not to be had" in capfd.readouterr().err

    def test_the_loop_itself_keeps_the_gil(self, loop, capfd):
        def hold(found):
            sum(itertools.repeat(1, 150_000_000))

        err = ""
        for _ in range(10):  # on a busy machine it may be over before anybody looks
            check_line(blocked(loop, "cpu", hold).first, hold)
            err += capfd.readouterr().err
            if "in hold" in err:
                break
        assert "the GIL is not to be had" in err
        assert "in hold" in err

    def test_page_faults(self, loop):
        size = 32 << 20

        def fault(found):
            end = time.monotonic() + 1
            while not found.is_set() and time.monotonic() < end:
                with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as room:
                    room.madvise(mmap.MADV_NOHUGEPAGE)
                    place = (ctypes.c_char * size).from_buffer(room)
                    ctypes.memset(place, 1, size)
                    del place

        stall = blocked(loop, "page-faults", fault, threshold=0.2).first
        assert stall.line.name == "fault"


def sample(**changed):
    return {
        "took": 1.0, "ran": 0.0, "waited": 0.0, "user": 0.0, "system": 0.0, "minor": 0,
        "major": 0, "call": -1, "state": "S", **changed,
    }  # fmt: skip


FUTEX = next(number for number, name in calls._NAMES.items() if name == "futex")


@pytest.mark.parametrize(
    ("changed", "late", "gc", "cause"),
    [
        ({"ran": 0.9, "state": "R"}, False, 0, "cpu"),
        ({"ran": 0.1, "waited": 0.9, "state": "R"}, False, 0, "starved"),
        ({"ran": 0.45, "waited": 0.5, "state": "R"}, False, 0, "starved"),
        ({"call": 0}, False, 0, "syscall"),
        ({"call": FUTEX}, False, 0, "syscall"),
        ({"call": FUTEX}, True, 0, "gil"),
        ({"major": 3, "state": "D"}, False, 0, "page-faults"),
        ({"ran": 0.9, "minor": 90000, "system": 0.8, "user": 0.1}, False, 0, "page-faults"),
        ({"ran": 0.9, "minor": 90000, "system": 0.1, "user": 0.8}, False, 0, "cpu"),
        ({"ran": 0.9}, False, 0.9, "gc"),
        ({"waited": 0.9}, False, 0.9, "gc"),
    ],
)
def test_cause(changed, late, gc, cause):
    seen = {"seconds": 1.0, "gc": gc, "late": late, "sample": sample(**changed)}
    assert watchdog.cause_of(seen, holder=True) == cause


class TestReports:
    def test_once_when_it_begins_and_once_when_it_is_over(self, loop):
        seen = Seen()
        before = loop.stats()
        with loop.watchdog(0.03, seen):
            loop.call_soon(seen.found.wait, PATIENCE)
            run_turns(loop)
            while not seen.over.wait(0.001):
                run_turns(loop)
        begin, end = seen.stalls[:2]
        assert (begin.ended, end.ended) == (False, True)
        assert begin.seconds >= 0.03
        assert end.cause == begin.cause and end.stack == begin.stack
        assert begin.task is None  # no task ran
        assert "is over" in str(end)
        assert (loop.stats() - before).stalls >= 1

    def test_closed_before_the_end_is_seen(self, loop):
        seen = Seen()
        with loop.watchdog(0.03, seen):
            loop.call_soon(seen.found.wait, PATIENCE)
            run_turns(loop)
        assert seen.over.is_set()

    def test_a_logger(self, loop, caplog):
        with caplog.at_level(logging.INFO, "moodloop.watchdog"):
            with loop.watchdog(0.03):
                loop.call_soon(time.sleep, 0.3)
                run_turns(loop)
        levels = [record.levelno for record in caplog.records]
        assert levels[:1] == [logging.WARNING]
        assert logging.INFO in levels
        assert "stall" in caplog.text

    def test_none_while_the_loop_waits(self, loop):
        seen = Seen()
        with loop.watchdog(10, seen):
            drive(loop, asyncio.sleep(0.05))
        assert seen.stalls == []

    def test_a_callback_that_raises(self, loop, caplog):
        told = threading.Event()

        def fail(stall):
            told.set()
            raise ZeroDivisionError

        with loop.watchdog(0.03, fail):
            loop.call_soon(told.wait, PATIENCE)
            run_turns(loop)
        assert "a watchdog's callback failed" in caplog.text


class TestLife:
    def test_close(self, loop):
        before = signal.getsignal(signal.SIGRTMAX - 3), threading.active_count()
        dog = loop.watchdog()
        assert threading.active_count() == before[1] + 1
        dog.close()
        dog.close()
        assert (signal.getsignal(signal.SIGRTMAX - 3), threading.active_count()) == before

    def test_closing_the_loop_ends_it(self, new_loop):
        before = threading.active_count()
        loop = new_loop()
        loop.watchdog()
        loop.watchdog()
        loop.close()
        assert threading.active_count() == before

    @pytest.mark.parametrize("wrong", [0, -1, float("nan"), 1e10])
    def test_bad_threshold(self, loop, wrong):
        with pytest.raises(ValueError, match="threshold"):
            loop.watchdog(wrong)

    def test_closed_loop(self, new_loop):
        loop = new_loop()
        loop.close()
        with pytest.raises(RuntimeError, match="closed"):
            loop.watchdog()

    def test_run(self):
        async def main():
            return len(asyncio.get_running_loop()._watchdogs)

        assert moodloop.run(main(), watchdog=5) == 1
        with pytest.raises(TypeError, match="watchdog="):
            moodloop.run(main(), watchdog=5, loop_factory=asyncio.SelectorEventLoop)

    def test_environment(self, loop, monkeypatch):
        monkeypatch.setenv("MOODLOOP_WATCHDOG", "5s")
        run_turns(loop)
        run_turns(loop)
        assert len(loop._watchdogs) == 1

    def test_bad_environment(self, loop, monkeypatch):
        monkeypatch.setenv("MOODLOOP_WATCHDOG", "soon")
        with pytest.raises(ValueError, match="MOODLOOP_WATCHDOG"):
            run_turns(loop)
        monkeypatch.setenv("MOODLOOP_WATCHDOG", "0")
        run_turns(loop)
        assert loop._watchdogs == []

    def test_fork(self, snippet):
        done = snippet(
            """
import warnings, moodloop, time
warnings.simplefilter("ignore", DeprecationWarning)
loop = moodloop.new_event_loop()
loop.watchdog(0.05, print)
pid = os.fork()
if pid == 0:
    loop.call_soon(time.sleep, 0.1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
loop.close()
print("fine")
"""
        )
        assert (done.rc, done.out) == (0, "fine\n"), done.err

    def test_left_open_at_exit(self, snippet):
        done = snippet(
            """
import moodloop
loop = moodloop.new_event_loop()
loop.watchdog(0.05)
print("fine")
"""
        )
        assert (done.rc, done.out) == (0, "fine\n"), done.err


@pytest.mark.parametrize(
    ("text", "seconds"), [("100ms", 0.1), ("0.1", 0.1), ("2s", 2), (" .5 s ", 0.5)]
)
def test_seconds(text, seconds):
    assert watchdog.seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "1m", "0ms"])
def test_no_seconds(text):
    with pytest.raises(ValueError, match="not a time"):
        watchdog.seconds_of(text)
