"""The programs of chaos.py, each process some of them.

MOODLOOP_CHAOS=5000 makes it that many more, from a seed of today's, half of them with threads and
alarms, which no seed brings back; without it they are the same each time.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

EACH = 25
MORE = int(os.environ.get("MOODLOOP_CHAOS", "0"))
# The same in all of the processes that collect the tests.
FIRST = int(time.time()) // 86400 * 1_000_000 if MORE else 0
SEEDS = range(FIRST, FIRST + (MORE or 100), EACH)


@pytest.mark.parametrize("seed", SEEDS)
def test_chaos(seed, tmp_path):
    threads = ["threads"] if MORE and seed // EACH % 2 else []
    # A file, not a pipe: a child that hangs would keep that open.
    with open(tmp_path / "out", "w+") as out:
        done = subprocess.run(
            [sys.executable, "-m", "watcher.chaos", str(seed), str(seed + EACH), *threads],
            cwd=Path(__file__).resolve().parents[1],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            timeout=300,
            check=False,
        )
        out.seek(0)
        assert done.returncode == 0, out.read()[-3000:]
