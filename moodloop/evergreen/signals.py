"""Signals for the loops of all threads.

libev has a signal on one loop only. If that were one of the threads' loops, the handlers of the
others would depend on it: on whether it runs, is blocked in a callback, or is still there. So the
watchers are on a loop of their own, in a thread that does nothing but pass signals on. Both exist
while there are handlers; the last one to go puts the former dispositions back.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import TypeAlias

from .. import event

Listener: TypeAlias = Callable[[int], object]
"""Called with the signal's number in the dispatcher's thread; only notes it and wakes a loop."""


class Dispatcher:
    """Which listeners want which signal; process-wide, as signals are. See `dispatcher` below."""

    def __init__(self) -> None:
        # Reentrant: a Python signal handler or a destructor may come in between.
        self._lock = threading.RLock()
        self._listeners: dict[int, dict[Listener, int]] = {}  # with the thread that added it
        self._watchers: dict[int, event.Signal] = {}
        self._ev: event.Loop | None = None
        self._ended: threading.Event | None = None  # set when the thread has; None without one
        os.register_at_fork(
            before=self._lock.acquire,
            after_in_parent=self._lock.release,
            after_in_child=self._after_fork,
        )
        # A daemon thread must not be inside the poll while the interpreter goes away.
        atexit.register(self.clear)

    def add(self, signum: int, listener: Listener) -> None:
        """Tell a listener about a signal from now on.

        Raises ValueError (no such signal, or it cannot be caught), event.Error (a watcher has it
        already), OSError, RuntimeError (no descriptor or thread to be had).
        """
        with self._lock:
            others = self._listeners.get(signum, {})
            self._listeners[signum] = {**others, listener: threading.get_ident()}
            try:
                if signum not in self._watchers:
                    self._watch(signum)
                self._run()
            except BaseException:
                if listener not in others:
                    self.remove(signum, listener)
                raise

    def remove(self, signum: int, listener: Listener) -> None:
        """Undo add(); nothing if there is nothing to undo."""
        with self._lock:
            self._listeners.get(signum, {}).pop(listener, None)
            self._tidy()

    def clear(self) -> None:
        """Undo all that was added."""
        with self._lock:
            self._listeners.clear()
            self._tidy()

    # ---- inside --------------------------------------------------------------------------

    def _watch(self, signum: int) -> None:
        if self._ev is None:
            self._ev = event.Loop(event.EVFLAG_NOENV)
        watcher = event.Signal(self._ev, signum, self._caught)
        watcher.start()
        self._watchers[signum] = watcher

    def _run(self) -> None:
        if self._ended is None and self._ev is not None:
            # The first poll takes the last descriptors that a loop needs: that fails here or never.
            self._ev.start(event.EVRUN_NOWAIT)
            ended = threading.Event()
            threading.Thread(
                target=_serve,
                args=(self._ev, ended),
                name="moodloop.evergreen signals",
                daemon=True,
            ).start()
            self._ended = ended

    def _caught(self, watcher: event.Signal, revents: int) -> None:
        # Without the lock, which _tidy() is called with, and waits for this thread to end.
        for listener in list(self._listeners.get(watcher.signum, ())):
            listener(watcher.signum)

    def _tidy(self) -> None:
        """Stop the watchers that have no listeners, and all else when none is left."""
        for signum in [s for s, listeners in self._listeners.items() if not listeners]:
            del self._listeners[signum]
        for signum in [s for s in self._watchers if s not in self._listeners]:
            self._watchers.pop(signum).stop()
        if self._watchers or self._ev is None:
            return
        ev, ended = self._ev, self._ended
        self._ev = self._ended = None
        if ended is not None:
            # Not Thread.join(): in a thread that is about to go, where this may be, it would leave
            # an entry in threading.enumerate() behind.
            ended.wait()
        ev.close()

    def _after_fork(self) -> None:
        """Of the threads, and so of the listeners, only those of this one are in the child."""
        try:
            this = threading.get_ident()
            for signum, listeners in self._listeners.items():
                self._listeners[signum] = {k: v for k, v in listeners.items() if v == this}
            self._ended = None
            self._tidy()
            self._run()
        finally:
            self._lock.release()


def _serve(ev: event.Loop, ended: threading.Event) -> None:
    try:
        ev.start()  # until the last watcher has stopped
    finally:
        ended.set()


dispatcher = Dispatcher()
