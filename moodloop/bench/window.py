"""The time in which answers count, and the sample that it gives."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from .errors import BenchError


@dataclass
class Window:
    """The time in which answers count; it opens after the warm-up."""

    server: int  # the process whose CPU time is asked for
    start: float = math.inf
    end: float = math.inf
    cpu_at_start: float | None = None
    latencies: list[float] = field(default_factory=list)
    answers: int = 0  # those of the warm-up too

    def open(self, seconds: float) -> None:
        """Count from now on, for some seconds."""
        self.cpu_at_start = cpu_seconds(self.server)
        self.start = time.perf_counter()
        self.end = self.start + seconds

    def answered(self, sent: float) -> bool:
        """Note an answer to what was sent at that time; False if it was the last."""
        now = time.perf_counter()
        self.answers += 1
        if sent >= self.start:
            self.latencies.append(now - sent)
        return now < self.end


@dataclass(frozen=True)
class Sample:
    """What one run of a workload gave."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    server_cpu_us: float | None  # per request

    @property
    def requests_per_second(self) -> float:
        """The speed."""
        return self.requests / self.seconds


def sample_of(window: Window) -> Sample:
    """Sum up a window that ends now."""
    seconds = time.perf_counter() - window.start
    cpu = cpu_seconds(window.server)
    latencies = sorted(window.latencies)
    if not latencies:
        raise BenchError("not one request was answered in time")
    count = len(latencies)
    p50, p99 = (latencies[int(count * share)] * 1e6 for share in (0.50, 0.99))
    if cpu is None or window.cpu_at_start is None:
        return Sample(count, seconds, p50, p99, None)
    return Sample(count, seconds, p50, p99, (cpu - window.cpu_at_start) / count * 1e6)


def cpu_seconds(pid: int) -> float | None:
    """The CPU time of a process, user and system, of ended threads too; None if not told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
