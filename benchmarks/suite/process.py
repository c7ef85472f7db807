"""Processes of a benchmark: run to their one result, or served from until they are ended."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

START_TIMEOUT = 60.0  # seconds until a server, under valgrind too, must tell where it listens


class Failed(Exception):
    """A process of the benchmark ended with an error or gave no result.

    `reason` is one line, without paths: it is kept in results. The text has all that is known.
    """

    def __init__(self, reason: str, details: str = "") -> None:
        super().__init__(f"{reason}\n{details}".rstrip())
        self.reason = reason


def failure(what: str, command: Sequence[str], errors: str = "") -> Failed:
    """What to raise when a command has failed, with the end of what it wrote on stderr."""
    lines = errors.strip().splitlines()
    reason = f"{what}: {lines[-1].strip()}" if lines else what
    return Failed(reason[:200], "\n".join([shlex.join(command), *lines[-6:]]))


def run_json(command: Sequence[str], timeout: float) -> Any:
    """Run a command that prints one JSON value, and return it.

    Its descendants end with it: they are killed when it took longer than `timeout` seconds.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise failure(f"no result within {timeout:g} s", command) from None
    finally:
        kill_group(process)
        process.communicate()
    if process.returncode != 0:
        raise failure(ending(process.returncode), command, errors)
    try:
        return json.loads(output)
    except ValueError:
        raise failure(f"not JSON: {output[:100]!r}", command) from None


def ending(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"ended by {signal.Signals(-status).name}"
    return f"ended by signal {-status}"


def kill_group(process: subprocess.Popen[str]) -> None:
    """Kill what is left of the session that a process leads."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def server(
    command: Sequence[str], core: int | None, patience: float = START_TIMEOUT
) -> Iterator[tuple[int, str]]:
    """Run a server that prints where it listens; gives its process id and that line."""
    with tempfile.TemporaryFile("w+") as errors:  # which, unlike a pipe, is never full
        with pinned(core):
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        assert process.stdout is not None
        try:
            ready, _, _ = select.select([process.stdout], [], [], patience)
            if not ready:
                raise failure(f"no server within {patience:g} s", command)
            line = process.stdout.readline().strip()
            if not line:
                status = process.wait(10)
                errors.seek(0)
                raise failure(ending(status), command, errors.read())
            yield process.pid, line
            if process.poll() is not None:
                raise failure(f"the server ended: {ending(process.returncode)}", command)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            kill_group(process)
            process.wait()
            process.stdout.close()


# Cores


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
