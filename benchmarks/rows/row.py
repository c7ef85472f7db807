"""The kinds of rows: what is measured, by which figure, and where."""

from __future__ import annotations

import contextlib
from asyncio import AbstractEventLoop
from collections.abc import Callable
from dataclasses import dataclass, field

NewLoop = Callable[[], AbstractEventLoop]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the tables. `figure` is the one that arms are compared by; a lower one is
    better, but for those that end in per_second.
    """

    name: str
    about: str
    figure: str
    quick: bool = False
    also: dict[str, str] = field(default_factory=dict)  # figures shown below, with their names
    rounds: int = 100  # at most; long rows have few
    transports: bool = False  # of interest for loops that have but transports of their own
    python: tuple[int, int] = (3, 11)  # at least


@dataclass(frozen=True, kw_only=True)
class Operation(Row):
    """`run(loop, n)` does something n times, with n a multiple of `batch`.

    It may return seconds that are not to count: time in which it waited for the clock.
    """

    run: Callable[[AbstractEventLoop, int], float | None]
    figure: str = "ns"
    batch: int = 1
    set_up: Callable[[AbstractEventLoop], contextlib.AbstractContextManager[None]] | None = None


@dataclass(frozen=True, kw_only=True)
class Probe(Row):
    """`run(new_loop, seconds)` measures for about so long, and returns its figures."""

    run: Callable[[NewLoop, float], dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is done to a server, by c/loadgen.c or by a mode of client.py."""

    mode: str = "loadgen"
    connections: int = 10
    size: int = 64
    pipeline: int = 1
    idle: int = 0  # connections more on which nothing happens
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Served(Row):
    """A server in a process of its own, by its mode in servers/, under a load."""

    mode: str
    load: Load = field(default_factory=Load)
    figure: str = "cpu_us"
    network: str = "tcp"  # or unix, udp
    warm: bytes | None = None  # an echo server is sent this at first, see `suite.serve.warm`
    in_c: str = ""  # compared with the servers in C of this kind, see `suite.serve.C_ARMS`
    needs: tuple[str, ...] = ()  # modules that are not in the standard library
    seconds: float = 1.0  # times the usual length of a measurement
    transports: bool = True
