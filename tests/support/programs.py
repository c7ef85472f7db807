"""Programs that a test starts, waits for and ends, and what they say meanwhile."""

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

READY_SECONDS = 60
END_SECONDS = 30

# What a program that ends as it should never prints.
TROUBLE = re.compile(
    r"Traceback|ResourceWarning(?!: Enable tracemalloc)|was destroyed but|"
    r"was never (awaited|retrieved)"
)

BIN = Path(sys.executable).parent

# asyncio's debug mode, a part of the dev mode, remarks on a machine that is slow
SLOW = re.compile(r"^Executing .* took \d+\.\d+ seconds\n", re.MULTILINE)


def run_program(path, cwd=None):
    """Run the program to its end, which must be a silent one; its standard output."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(path)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, SLOW.sub("", done.stderr)) == (0, "")
    return done.stdout


def environment(**more):
    """This process's environment, with the venv's commands, and warnings that are shown."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHON"))}
    env["PATH"] = os.pathsep.join([str(BIN), env.get("PATH", os.defpath)])
    env["PYTHONWARNINGS"] = "default::ResourceWarning,default::RuntimeWarning"
    env["PYTHONUNBUFFERED"] = "1"
    env.update(more)
    return env


def free_port():
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Program:
    """A running program. Its output goes to files, so that it never waits for a reader."""

    def __init__(self, argv, cwd, env=None, **kwargs):
        if isinstance(argv, str):
            argv = shlex.split(argv)
        self.name = " ".join(map(str, argv))
        stem = f"{Path(argv[0]).name}-{len([*Path(cwd).glob('*.err')])}"
        self._out, self._err = Path(cwd, f"{stem}.out"), Path(cwd, f"{stem}.err")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                list(map(str, argv)),
                cwd=cwd,
                env=env or environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # so that kill() ends its children too
                **kwargs,
            )

    @property
    def out(self):
        return self._out.read_text(errors="replace")

    @property
    def err(self):
        return self._err.read_text(errors="replace")

    def _fail(self, what):
        self.kill()
        raise AssertionError(f"{self.name}: {what}\nstdout:\n{self.out}\nstderr:\n{self.err}")

    def until(self, condition, what, seconds=READY_SECONDS):
        """Wait until condition() is true; its result."""
        deadline = time.monotonic() + seconds
        while not (result := condition()):
            if self.process.poll() is not None:
                self._fail(f"ended with status {self.process.returncode} before {what}")
            if time.monotonic() > deadline:
                self._fail(f"{what}: not in {seconds} s")
            time.sleep(0.02)
        return result

    def listens(self, port):
        """Wait until something listens on the port; the program itself."""

        def connected():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
                return True

        self.until(connected, f"it listened on port {port}")
        return self

    def says(self, pattern):
        """Wait until its output matches the regular expression; the match."""
        return self.until(
            lambda: re.search(pattern, self.out) or re.search(pattern, self.err),
            f"it printed {pattern!r}",
        )

    def end(self, signum=signal.SIGTERM, status=(0,), known=r"(?!)"):
        """Send a signal (or None), wait for the end, and check status and output.

        `known` is what the program itself, on any loop, says that looks like trouble.
        """
        if signum is not None:
            self.process.send_signal(signum)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._fail(f"still there {END_SECONDS} s after {signum!r}")
        if self.process.returncode not in status:
            self._fail(f"ended with status {self.process.returncode} after {signum!r}")
        for line in (self.out + self.err).splitlines():
            if TROUBLE.search(line) and not re.search(known, line):
                self._fail("did not end cleanly")
        return self.out

    def kill(self):
        """End it and its children at once, if it is there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
