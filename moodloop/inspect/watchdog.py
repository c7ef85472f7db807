"""`loop.watchdog()`: who blocks the loop, told while it does.

A thread of the core looks at the loop's meter (`src/inspect/watch.c`); the thread here puts what
it has seen into words, with the task and the stack, and hands it to the logger or a callback.
"""

from __future__ import annotations

import asyncio
import dataclasses
import faulthandler
import fcntl
import gc
import logging
import os
import re
import signal
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

from .. import _core
from .calls import name_of_call

logger = logging.getLogger("moodloop.watchdog")

_PATHS = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
_STANDARD = tuple(os.path.join(path, "") for path in _PATHS)
_OURS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "")


class Frame(NamedTuple):
    """One line of a stack."""

    file: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line} {self.name}"


@dataclasses.dataclass(frozen=True)
class Stall:
    """A callback that keeps its loop from going on, or has kept it. `str()` says it in a line."""

    seconds: float
    """How long it lasts so far, or lasted."""
    ended: bool
    cause: str
    """`cpu`, `syscall`, `gc`, `gil`, `starved` or `page-faults`."""
    task: str | None
    """The task's name; None if a callback runs, or the GIL was not to be had."""
    stack: tuple[Frame, ...]
    """Of the loop's thread, the outermost call first; what runs the loop is left out."""
    syscall: str | None
    """The system call that the thread is in, by its name or number."""
    cpu: float
    """The part of the time in which the thread had a CPU, 0 to 1."""
    generation: int | None
    """Of the collection, if that is the cause."""
    holder: tuple[Frame, ...]
    """The stack of the thread that may have the GIL, if that is the cause."""
    thread: int
    """The loop's thread, as the kernel numbers it."""

    @property
    def line(self) -> Frame | None:
        """The innermost line that is not the standard library's."""
        return _own_line(self.stack)

    def __str__(self) -> str:
        text = f"stall {self.seconds:.1f} s"
        text += f" in Task {self.task!r}" if self.task else ""
        if self.stack:
            first, last = self.stack[0], self.stack[-1]
            text += f" ({first}" + (f" -> {last})" if last is not first else ")")
        return f"{text}{' is over' if self.ended else ''}: {self._why()}, {self.cpu:.0%} CPU"

    def _why(self) -> str:
        if self.cause == "syscall":
            return f"waiting in {self.syscall}"
        if self.cause == "gc":
            return f"collecting garbage, generation {self.generation}"
        if self.cause == "gil":
            line = _own_line(self.holder)
            return "waiting for the GIL" + (f", which {line} may have" if line else "")
        return {
            "cpu": "computing",
            "starved": "the machine has no CPU for it",
            "page-faults": "waiting for memory",
        }[self.cause]


def _own_line(stack: tuple[Frame, ...]) -> Frame | None:
    own = [
        frame for frame in stack if not frame.file.startswith(_STANDARD) and frame.file[:1] != "<"
    ]
    return own[-1] if own else stack[-1] if stack else None


def cause_of(seen: dict[str, Any], holder: bool) -> str:
    """Why the thread did not go on, from how the kernel counts its time."""
    sample = seen["sample"]
    took = sample["took"] or 1e-9
    ran, waited = sample["ran"] / took, sample["waited"] / took
    if seen["gc"] > seen["seconds"] / 2:
        return "gc"
    if waited > 0.5:
        return "starved"
    if sample["major"] and ran < 0.5 and sample["state"] != "S":
        return "page-faults"
    if ran > 0.2 and sample["minor"] > 5000 * took and sample["system"] > sample["user"]:
        return "page-faults"
    if ran + waited > 0.5:
        return "cpu" if ran >= waited else "starved"
    if seen["late"] and holder and name_of_call(sample["call"]) == "futex(2)":
        return "gil"
    return "syscall"


# ---- stacks ----------------------------------------------------------------------------------

_LINE = re.compile(r'^  File "(.*)", line (\d+|\?\?\?) in (.*)$', re.MULTILINE)


def _stack_of(frame: FrameType | None) -> list[Frame]:
    found = []
    while frame is not None:
        code = frame.f_code
        found.append(Frame(code.co_filename, frame.f_lineno or code.co_firstlineno, code.co_name))
        frame = frame.f_back
    return found[::-1]


def _in_loop(stack: list[Frame]) -> tuple[Frame, ...]:
    """What the loop runs: without who runs the loop."""
    for place in range(len(stack) - 1, -1, -1):
        file = stack[place].file
        if stack[place].name == "run_forever" and file.startswith(_OURS):
            return tuple(stack[place + 1 :])
    return tuple(stack)


class _Dumps:
    """Where faulthandler writes the stack of a thread that gets the signal; one for the process."""

    def __init__(self) -> None:
        self.users = 0
        self.fd = -1
        self.signum = 0
        self._lock = threading.Lock()

    def acquire(self) -> None:
        with self._lock:
            if self.users == 0:
                self.signum = _free_signal()
                self.fd = os.memfd_create("moodloop-stacks")
                fcntl.fcntl(self.fd, fcntl.F_SETFL, os.O_APPEND)
                faulthandler.register(self.signum, self.fd, all_threads=False)
            self.users += 1

    def release(self) -> None:
        with self._lock:
            self.users -= 1
            if self.users == 0:
                faulthandler.unregister(self.signum)
                os.close(self.fd)

    def read(self) -> list[tuple[Frame, ...]]:
        """The stacks that were written: the loop's, the holder's."""
        text = os.pread(self.fd, 1 << 16, 0).decode(errors="replace")
        parts = re.split(r"^.*\(most recent call first\):$", text, flags=re.MULTILINE)[1:]
        return [
            tuple(
                Frame(file, int(line) if line.isdigit() else 0, name)
                for file, line, name in reversed(_LINE.findall(part))
            )
            for part in parts
        ]


def _free_signal() -> int:
    for signum in range(signal.SIGRTMAX - 3, signal.SIGRTMIN + 3, -1):
        if signal.getsignal(signum) == signal.SIG_DFL:
            return signum
    raise RuntimeError("a watchdog needs a real-time signal, and all of them have handlers")


_dumps = _Dumps()

# ---- the watchdog ------------------------------------------------------------------------------


class Watchdog:
    """Tells of callbacks of a loop that take long. Made by `loop.watchdog()`; a context manager."""

    def __init__(
        self, loop: Any, threshold: float, callback: Callable[[Stall], object] | None
    ) -> None:
        self._loop = loop
        self._callback = callback
        self._last: Stall | None = None
        self._last_at = 0.0
        if _core._gc_event not in gc.callbacks:
            gc.callbacks.append(_core._gc_event)
        _dumps.acquire()
        try:
            self._watch = loop._watch(threshold, _dumps.signum, _dumps.fd)
        except BaseException:
            _dumps.release()
            raise
        self._pid = os.getpid()
        self._open = True
        self._thread = threading.Thread(target=self._run, name="moodloop-watchdog", daemon=True)
        self._thread.start()
        loop._watchdogs.append(self)

    def close(self) -> None:
        """End it; closing the loop does that, too. Idempotent."""
        if not self._open:
            return
        self._open = False
        self._watch.stop()
        if self in self._loop._watchdogs:
            self._loop._watchdogs.remove(self)
        if self._pid != os.getpid():
            return  # a forked child has neither of the threads
        if self._thread is not threading.current_thread():
            self._thread.join()
            if self._last is not None:  # it was over, and not seen to be
                passed = time.monotonic() - self._last_at
                seconds = self._last.seconds + passed
                self._tell_safely(dataclasses.replace(self._last, seconds=seconds, ended=True))
        _dumps.release()

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self) -> None:
        while (seen := self._watch.wait()) is not None:
            self._tell_safely(self._stall(seen))

    def _tell_safely(self, stall: Stall) -> None:
        try:
            self._tell(stall)
        except Exception:
            logger.exception("a watchdog's callback failed")

    def _tell(self, stall: Stall) -> None:
        self._last, self._last_at = None if stall.ended else stall, time.monotonic()
        if self._callback is not None:
            self._callback(stall)
        else:
            logger.log(logging.INFO if stall.ended else logging.WARNING, "%s", stall)

    def _stall(self, seen: dict[str, Any]) -> Stall:
        if seen["ended"] and self._last is not None:
            return dataclasses.replace(self._last, seconds=seen["seconds"], ended=True)
        holder: tuple[Frame, ...] = ()
        task = None
        if seen["late"]:
            stacks = [*_dumps.read(), (), ()]
            stack, holder = _in_loop(list(stacks[0])), stacks[1]
        elif seen["lasts"]:
            stack = _in_loop(_stack_of(sys._current_frames().get(self._loop._thread_id)))
            task = _name_of(asyncio.current_task(self._loop))
        else:
            stack = ()
        sample = seen["sample"]
        cause = cause_of(seen, seen["holder"] != 0)
        return Stall(
            seconds=seen["seconds"],
            ended=seen["ended"],
            cause=cause,
            task=task,
            stack=stack,
            syscall=name_of_call(sample["call"]),
            cpu=min(sample["ran"] / (sample["took"] or 1e-9), 1.0),
            generation=seen["generation"] if cause == "gc" else None,
            holder=holder if cause == "gil" else (),
            thread=seen["tid"],
        )


def _name_of(task: Any) -> str | None:
    return None if task is None else str(task.get_name())


def seconds_of(text: str) -> float:
    """`100ms`, `0.1s` or `0.1`, in seconds. ValueError."""
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(ms|s)?\s*", text)
    if not found or not float(found[1]):
        raise ValueError(f"not a time above 0, such as 100ms or 0.1: {text!r}")
    return float(found[1]) * (1e-3 if found[2] == "ms" else 1)


def from_environment() -> float | None:
    """The threshold that MOODLOOP_WATCHDOG asks for. ValueError."""
    text = os.environ.get("MOODLOOP_WATCHDOG", "")
    if text in ("", "0"):
        return None
    try:
        return seconds_of(text)
    except ValueError as exc:
        raise ValueError(f"MOODLOOP_WATCHDOG: {exc}") from None
