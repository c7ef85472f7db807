"""A process that traces another one, as a debugger does."""

import contextlib
import ctypes
import subprocess
import sys

import pytest

PTRACE_TRACEME, PTRACE_SEIZE = 0, 0x4206
libc = ctypes.CDLL(None, use_errno=True)

# It looks at the end only when told, and is seen to have begun.
DEBUGGER = f"""
import ctypes, os, sys
pid = int(sys.argv[1])
if ctypes.CDLL(None).ptrace({PTRACE_SEIZE}, pid, None, None):
    sys.exit("not allowed")
print("traces", flush=True)
input()
os.waitpid(pid, 0)
"""


@contextlib.contextmanager
def traced(pid):
    """A debugger traces the process; a function that lets go of one that has ended."""
    command = [sys.executable, "-c", DEBUGGER, str(pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        if p.stdout.readline() != b"traces\n":
            pytest.skip("no process may trace another one here")
        yield lambda: (p.stdin.write(b"\n"), p.stdin.flush())
