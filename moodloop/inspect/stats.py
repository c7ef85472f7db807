"""`loop.stats()`, `loop.load` and `loop.monitor_delay()`: what a loop counts of itself."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .. import _core
from ..base import Base

if TYPE_CHECKING:
    from .values import DelayMonitor, LoopStats
    from .watchdog import Stall, Watchdog

_NAMES: list[str] = _core._page_layout()["stats"]
_make: Any = None


def _maker() -> Any:
    """What makes a LoopStats, whose module need not be there for a loop to run."""
    global _make
    from . import values

    _make = values.make
    return _make


class Stats(Base):
    """The methods of EventLoop that tell what it does."""

    __slots__ = ()

    _listeners: dict[Any, Any]
    _watchdogs: list[Any]

    def stats(self, *, tasks: bool = False) -> LoopStats:
        """What the loop has counted; from any thread, also while it is stuck.

        `tasks=True` counts the tasks that are not done, too: that looks at each task of the
        process. RuntimeError if the loop is closed.
        """
        if _core._gc_event not in gc.callbacks:
            gc.callbacks.append(_core._gc_event)
        values: dict[str, Any] = dict(zip(_NAMES, self._meter_stats(), strict=True))
        values["polls_skipped"] = max(values["turns"] - values["polls"], 0)
        values["servers"] = len(self._listeners)
        values["executor_waiting"] = _waiting(self._default_executor)
        values["tasks"] = len(asyncio.all_tasks(self)) if tasks else None
        made: LoopStats = (_make or _maker())(values)
        return made

    @contextlib.contextmanager
    def monitor_delay(self) -> Iterator[DelayMonitor]:
        """Within the block, record how late callbacks start. RuntimeError if closed.

        with loop.monitor_delay() as delay:
            ...
            print(delay.percentile(99))
        """
        from .values import DelayMonitor

        monitor = DelayMonitor()
        self._record_delays(monitor._histogram)
        try:
            yield monitor
        finally:
            self._stop_delays(monitor._histogram)

    def watchdog(
        self, threshold: float = 0.1, callback: Callable[[Stall], object] | None = None
    ) -> Watchdog:
        """From now on tell of each callback that takes longer than `threshold` seconds.

        Once while it lasts and once when it is over: to callback(stall), which is called in
        another thread, or to the logger `moodloop.watchdog`. The object has `close()`.
        ValueError: the threshold is not above 0. RuntimeError: the loop is closed, or all
        real-time signals have handlers, of which one is needed.
        """
        if not 0 < threshold < 1e9:
            raise ValueError(f"threshold must be above 0, not {threshold!r}")
        from .watchdog import Watchdog

        return Watchdog(self, threshold, callback)

    def _watchdog_from_environment(self) -> None:
        if os.environ.get("MOODLOOP_WATCHDOG"):
            from .watchdog import from_environment

            threshold = from_environment()
            if threshold is not None and not self._watchdogs:
                self.watchdog(threshold)

    def _close_watchdogs(self) -> None:
        for dog in list(self._watchdogs):
            dog.close()


def _waiting(executor: Any) -> int:
    queue = getattr(executor, "_work_queue", None)
    return queue.qsize() if queue is not None else 0
