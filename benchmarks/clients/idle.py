"""Nothing: what connections cost on which nothing happens, and how often the server wakes up."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path

from .target import Target

PAGE = os.sysconf("SC_PAGE_SIZE")


def rss(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def descriptors(pid: int) -> int:
    """How many a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def settled(pid: int, at_least: int = 0) -> int:
    """The number of descriptors of the server, once it has those and has kept it for a while."""
    end = time.monotonic() + 20
    count, since = descriptors(pid), time.monotonic()
    while count < at_least or time.monotonic() - since < 0.3:
        if time.monotonic() > end:
            raise TimeoutError(f"the server has {count} descriptors, and not yet {at_least}")
        time.sleep(0.02)
        if (now := descriptors(pid)) != count:
            count, since = now, time.monotonic()
    return count


def connections(target: Target) -> dict[str, float]:
    """Memory for each connection, and CPU time while all of them are idle."""
    return measure(target, target.connect)


def measure(target: Target, connect: Callable[[], socket.socket]) -> dict[str, float]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for sock in [connect() for _ in range(100)]:
        sock.close()
    before = settled(target.pid)
    memory = rss(target.pid)
    socks = [connect() for _ in range(target.connections)]
    settled(target.pid, before + len(socks))
    per_connection = (rss(target.pid) - memory) / len(socks)
    cpu, start = target.cpu_seconds(), time.monotonic()
    time.sleep(target.seconds)
    spent = (target.cpu_seconds() - cpu) / (time.monotonic() - start)
    for sock in socks:
        sock.close()
    return {"rss_bytes": per_connection, "idle_cpu_ms": spent * 1e3}


def switches(pid: int) -> int:
    """How often the threads of a process have gone to sleep of their own accord."""
    count = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                count += int(line.split()[1])
    return count


def wakeups(target: Target) -> dict[str, float]:
    """Wake-ups of a server without connections."""
    time.sleep(max(1.0, target.warmup))
    before, start = switches(target.pid), time.monotonic()
    time.sleep(target.seconds)
    count = switches(target.pid) - before
    return {"wakeups_per_minute": count / (time.monotonic() - start) * 60}
