"""Whole programs, run as a user runs them, but with every warning an error."""

import re
import subprocess
import sys

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
