"""A process of the benchmark, as the one that starts it sees it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from .errors import BenchError

START_UP = 30.0  # seconds a process may take until it says its first word, or until it has ended


def child_command(role: str, name: str, *more: str) -> list[str]:
    """How to start one. -P: the directory of what it runs is no place to import from."""
    return [
        sys.executable,
        "-P",
        str(Path(__file__).resolve().with_name("__main__.py")),
        role,
        name,
        *more,
    ]


class Process:
    """A child: lines of JSON come from it, and it ends when its input does."""

    def __init__(self, command: Sequence[str], core: int | None) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        with pinned(core):
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
            )
        self.pid = self._popen.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait()
        for stream in (self._popen.stdin, self._popen.stdout, self._errors):
            if stream is not None:
                stream.close()

    def read(self, timeout: float) -> Any:
        """The next value it tells."""
        assert self._popen.stdout is not None
        ready, _, _ = select.select([self._popen.stdout], [], [], timeout)
        if not ready:
            raise BenchError(f"silent for {timeout:g} s{self.last_words()}")
        line = self._popen.stdout.readline()
        if not line:
            status = self._popen.wait(START_UP)
            raise BenchError(f"ended with status {status}{self.last_words()}")
        return json.loads(line)

    def end(self) -> None:
        """End its input, and wait until it has ended without an error."""
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        try:
            status = self._popen.wait(START_UP)
        except subprocess.TimeoutExpired:
            raise BenchError(f"does not end{self.last_words()}") from None
        if status != 0:
            raise BenchError(f"ended with status {status}{self.last_words()}")

    def died(self) -> str:
        """What to say if it has ended though it should not; else nothing."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return f"\n  the server ended with status {self._popen.wait(0.5)}{self.last_words()}"
        return ""

    def last_words(self) -> str:
        """The end of what it wrote to standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()[-12:]
        return "".join(f"\n  | {line}" for line in lines)


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


def two_cores() -> tuple[int | None, int | None]:
    """A core for the server and one for the client, if there are two to choose from."""
    if sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            return cores[0], cores[1]
    return None, None
