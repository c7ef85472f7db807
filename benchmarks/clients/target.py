"""The server under load, and what its process spends."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Window:
    """What was done in the time that counts."""

    end: float
    limit: int = 0  # requests after which it is over, too
    count: float = 0
    latencies: list[float] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def open(self) -> bool:
        """Whether there is time left, and more to be done."""
        return time.perf_counter() < self.end and not 0 < self.limit <= self.count


@dataclass(frozen=True)
class Target:
    """A server on 127.0.0.1, and how to load it."""

    port: int
    pid: int
    connections: int
    size: int
    seconds: float
    warmup: float
    requests: int = 0  # so many in place of the seconds, if this is not 0

    def connect(self) -> socket.socket:
        """A new connection."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def cpu_seconds(self) -> float:
        """What the server has spent: user and system, all threads, ended ones too."""
        if not self.pid:
            return 0.0
        stat = Path(f"/proc/{self.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def warming(self) -> Window:
        """The time before the one that counts."""
        return Window(time.perf_counter() + self.warmup)

    @contextmanager
    def measured(self) -> Iterator[Window]:
        """Count within, and find the figures in the window's `figures` afterwards."""
        cpu, start = self.cpu_seconds(), time.perf_counter()
        window = Window(start + self.seconds, self.requests)
        yield window
        elapsed, spent = time.perf_counter() - start, self.cpu_seconds() - cpu
        if not window.count:
            raise RuntimeError("nothing was done in time")
        window.figures["requests_per_second"] = window.count / elapsed
        window.figures["cpu_us"] = spent / window.count * 1e6
        if self.requests:
            window.figures["requests"] = window.count
        if window.latencies:
            window.latencies.sort()
            for share in (50, 99):
                at = int(len(window.latencies) * share / 100)
                window.figures[f"p{share}_us"] = window.latencies[at] * 1e6
