"""Python code run in a process of its own: crashes, limits, signals and exits stay there."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parent.parent

PRELUDE = """\
import asyncio, os, signal, socket, sys, threading
from support.loops import factory, drive, run_guarded, run_turns, turns, until
new_loop = factory({name!r})
"""


class Outcome(NamedTuple):
    rc: int
    out: str
    err: str


def run_snippet(name, code, *, timeout=30, args=(), env=None):
    """Run code, with `new_loop` (the factory of the named loop) and the helpers at hand."""
    environ = dict(os.environ)
    paths = [str(TESTS), *filter(None, [environ.get("PYTHONPATH")])]
    paths[1:1] = [p for p in sys.path if p and os.path.isdir(os.path.join(p, "moodloop"))][:1]
    environ["PYTHONPATH"] = os.pathsep.join(paths)
    environ.pop("PYTHONASYNCIODEBUG", None)
    environ.update(env or {})
    source = PRELUDE.format(name=name) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", *args, "-c", source],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environ,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
