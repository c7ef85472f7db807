"""What `loop.stats()` and `loop.monitor_delay()` give. Imported when first asked for."""

from __future__ import annotations

import dataclasses
from typing import Any

from .. import _core

# What is a sum since the loop was made; all else but `longest` and `tasks` is as it is now.
COUNTERS = (
    "turns",
    "polls",
    "polls_skipped",
    "callbacks",
    "io_events",
    "timers_fired",
    "wakeups",
    "accepted",
    "connected",
    "bytes_in",
    "bytes_out",
    "stalls",
    "idle",
    "busy",
    "gc",
)


@dataclasses.dataclass(frozen=True)
class LoopStats:
    """What a loop has done and has now. `b - a` is what it did between the two.

    Counters only grow. Seconds: `idle` in polls, `busy` outside of them, `gc` in collections,
    `longest` the longest turn. The others are gauges, and as in `b` in a difference, as is
    `longest`.
    """

    turns: int
    """Rounds: a poll or none, and the callbacks that were ready."""
    polls: int
    """Turns that asked the kernel for events."""
    polls_skipped: int
    """Turns that did not, as callbacks were ready and the last poll was not long ago."""
    callbacks: int
    """What ran: handles, and events of transports. Counted at the end of a turn."""
    io_events: int
    """What polls brought of descriptors."""
    timers_fired: int
    wakeups: int
    """Polls that another thread ended."""
    accepted: int
    """Connections that servers accepted."""
    connected: int
    """Connections that `create_connection()` and its like made or took over."""
    bytes_in: int
    """Received by transports and by the `sock_*` methods."""
    bytes_out: int
    """Sent by them, but for `sendfile()`."""
    stalls: int
    """Turns that a watchdog reported."""
    idle: float
    busy: float
    gc: float
    """Collections in the loop's thread, from the first `stats()` in the process on."""
    longest: float
    ready: int
    """Callbacks that were ready when the turn began."""
    timers: int
    """Timers that were scheduled when the turn began."""
    readers: int
    """Descriptors of `add_reader()`, servers' among them."""
    writers: int
    transports: int
    """Transports that have not come to `connection_lost()`."""
    servers: int
    """Sockets that accept connections."""
    executor_waiting: int
    """Calls that wait for a thread of the default executor."""
    tasks: int | None = None
    """Tasks that are not done; None: not counted, see `stats()`."""

    @property
    def utilization(self) -> float:
        """The part of the time in which the loop was busy, 0 to 1."""
        whole = self.idle + self.busy
        return self.busy / whole if whole > 0 else 0.0

    def __sub__(self, earlier: LoopStats) -> LoopStats:
        if not isinstance(earlier, LoopStats):
            return NotImplemented
        ours, theirs = vars(self), vars(earlier)
        return make(ours | {name: ours[name] - theirs[name] for name in COUNTERS})


def make(values: dict[str, Any]) -> LoopStats:
    """A LoopStats in a fifth of the time that __init__() of a frozen class takes."""
    made = object.__new__(LoopStats)
    made.__dict__.update(values)
    return made


class DelayMonitor:
    """How late callbacks of a loop start: seconds from the end of the poll to each one's start.

    Made by `loop.monitor_delay()`. Its buckets are an eighth of a power of two wide, so that a
    percentile is at most an eighth too high.
    """

    def __init__(self) -> None:
        self._histogram = _core.Histogram()

    count = property(lambda self: self._histogram.count, doc="How many callbacks started.")
    min = property(lambda self: self._histogram.min, doc="The least, in seconds; 0 for none.")
    max = property(lambda self: self._histogram.max, doc="The most, in seconds.")
    mean = property(lambda self: self._histogram.mean, doc="In seconds; 0 for none.")
    stddev = property(
        lambda self: self._histogram.stddev, doc="The standard deviation, in seconds."
    )

    def percentile(self, p: float) -> float:
        """Seconds that p percent of the callbacks were late at most. ValueError: no percentage."""
        return self._histogram.percentile(p)

    def buckets(self) -> list[tuple[float, int]]:
        """(upper bound in seconds, how many) of each bucket that has some, in order."""
        return self._histogram.buckets()

    def reset(self) -> None:
        """Forget all that was recorded."""
        self._histogram.reset()

    def __repr__(self) -> str:
        return (
            f"<DelayMonitor: {self.count} callbacks, mean {self.mean * 1e3:.3f} ms, "
            f"99% {self.percentile(99) * 1e3:.3f} ms, max {self.max * 1e3:.3f} ms>"
        )
