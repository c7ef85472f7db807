"""EventLoop: evergreen's event loop on libev's watchers."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from signal import NSIG
from typing import Any, Protocol, Self, TypeAlias

from .. import event
from . import greenlets
from .handler import Handler
from .signals import dispatcher

_Callback: TypeAlias = Callable[..., object]


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


_KINDS = {event.EV_READ: "reader", event.EV_WRITE: "writer"}
_LEAVE: tuple[type[BaseException], ...] = (
    KeyboardInterrupt,
    SystemExit,
    SystemError,
    *greenlets.EXITS,
)


class _Slot:
    """A thread's place for its loop. It goes when the thread ends, and the loop with it."""

    __slots__ = ("__weakref__", "loop")

    def __init__(self, loop: EventLoop) -> None:
        self.loop = loop


class _Local(threading.local):
    slot: _Slot | None = None


_local = _Local()


class EventLoop:
    """A loop of callbacks, timers, descriptors and signals; one for each thread.

    It runs once: when run() or run_forever() has ended, destroy() it and make another. Raises
    RuntimeError if the thread has a loop; OSError if there are no descriptors left.

    Only call_from_thread() may be called from other threads. After destroy() everything but
    `running` raises RuntimeError; the end of the loop's thread destroys it, too.
    """

    def __init__(self) -> None:
        if _local.slot is not None:
            raise RuntimeError("cannot instantiate more than one event loop per thread")
        self._ev = ev = event.Loop()
        self._ready: deque[Handler] = deque()
        self._due: list[tuple[float, int, Handler]] = []  # fired, in no order yet
        self._count = itertools.count()  # timers of the same time run in the order of their calls
        self._descriptors: dict[tuple[int, int], event.Io] = {}  # by number and EV_READ or EV_WRITE
        self._signals: dict[int, list[Handler]] = {}
        self._caught: dict[int, None] = {}  # signals to be told to their handlers, in order
        self._ident = threading.get_ident()
        self._started = self._running = self._stopping = self._destroyed = False
        # Events put their handlers on `_ready`. A check watcher of the least priority, so that it
        # comes after them in the same iteration, runs what is there. (An idle watcher in its place
        # would come after the next poll, which reports what has not been read yet once more, and
        # never if there is always an event.) The idle one keeps the poll from waiting.
        self._idle = event.Idle(ev)
        self._waker = event.Async(ev, self._woken)
        check = event.Check(ev, self._run_ready, priority=event.EV_MINPRI)
        for watcher in (check, self._waker):
            watcher.ref = False
            watcher.start()
        self._task = greenlets.make(self._run_loop)
        _local.slot = slot = _Slot(self)
        self._thread_end = weakref.finalize(slot, _end_of_thread, self)
        self._thread_end.atexit = False

    @classmethod
    def current(cls) -> Self:
        """This thread's loop. The main thread's is made when first asked for.

        Raises RuntimeError in another thread that has none.
        """
        slot = _local.slot
        if slot is not None:
            return slot.loop  # type: ignore[return-value]
        if threading.get_ident() == threading.main_thread().ident:
            return cls()
        raise RuntimeError("there is no event loop created in the current thread")

    # ---- callbacks -----------------------------------------------------------------------

    def call_soon(self, callback: _Callback, *args: Any, **kw: Any) -> Handler:
        """Call callback(*args, **kw) in the next iteration, after what was queued before."""
        self._check_alive()
        handler = Handler(callback, args, kw)
        self._queue(handler)
        return handler

    def call_from_thread(self, callback: _Callback, *args: Any, **kw: Any) -> Handler:
        """call_soon() from any thread.

        A call that waits does not keep run() from ending; run_forever() goes on waiting for more.
        """
        self._check_alive()
        handler = Handler(callback, args, kw)
        self._ready.append(handler)
        if not self._wake():
            self._check_alive()
        return handler

    def call_later(self, delay: float, callback: _Callback, *args: Any, **kw: Any) -> Handler:
        """Call callback(*args, **kw) after `delay` seconds; call_soon() if that is <= 0.

        Raises ValueError if it is NaN.
        """
        self._check_alive()
        return self._call_at(self.time() + delay, Handler(callback, args, kw), delay)

    def call_at(self, when: float, callback: _Callback, *args: Any, **kw: Any) -> Handler:
        """Call callback(*args, **kw) at `when`, in seconds of time()."""
        self._check_alive()
        return self._call_at(when, Handler(callback, args, kw), when - self.time())

    def time(self) -> float:
        """Seconds on the clock of time.monotonic()."""
        self._check_alive()
        return time.monotonic()

    def _call_at(self, when: float, handler: Handler, delay: float) -> Handler:
        if delay <= 0:
            self._queue(handler)
            return handler
        entry = (when, next(self._count), handler)
        timer = event.Timer(self._ev, delay, 0.0, self._timer_due, entry)
        self._ev.update()  # the timer counts from the loop's time, that of the last poll
        timer.start()
        handler._undo = timer.stop
        return handler

    def _timer_due(self, timer: event.Timer, revents: int) -> None:
        timer.data[2]._undo = None
        self._due.append(timer.data)
        self._idle.start()

    def _queue(self, handler: Handler) -> None:
        self._ready.append(handler)
        self._idle.start()

    def _wake(self) -> bool:
        """Have _woken() called, from any thread; False if the loop was destroyed meanwhile."""
        try:
            self._waker.send()
        except event.Error:
            return False
        return True

    def _woken(self, waker: event.Async, revents: int) -> None:
        for signum in list(self._caught):
            del self._caught[signum]
            self._ready.extend(self._signals.get(signum, ()))
        self._idle.start()

    @event.fatal
    def _run_ready(self, check: event.Check, revents: int) -> None:
        """Run what is queued by now; what comes meanwhile waits for the next time."""
        ready = self._ready
        if self._due:
            self._due.sort()
            ready.extend(handler for _, _, handler in self._due)
            self._due.clear()
        for _ in range(len(ready)):
            handler = ready.popleft()
            if handler._cancelled:
                continue
            try:
                handler.func(*handler.args, **handler.keywords)
            except _LEAVE:
                raise
            except BaseException as exc:
                _report(exc)
        if self._stopping:
            self._ev.stop()
        elif not ready:
            self._idle.stop()

    # ---- descriptors ---------------------------------------------------------------------

    def add_reader(
        self, fd: int | _HasFileno, callback: _Callback, *args: Any, **kw: Any
    ) -> Handler:
        """Call callback(*args, **kw) whenever fd can be read.

        Raises RuntimeError (fd has a reader), TypeError or ValueError (no descriptor), OSError
        (EBADF). If the descriptor is found closed later, that is printed and the reader removed.
        """
        return self._add(fd, event.EV_READ, Handler(callback, args, kw))

    def add_writer(
        self, fd: int | _HasFileno, callback: _Callback, *args: Any, **kw: Any
    ) -> Handler:
        """Call callback(*args, **kw) whenever fd can be written; errors as for add_reader()."""
        return self._add(fd, event.EV_WRITE, Handler(callback, args, kw))

    def remove_reader(self, fd: int | _HasFileno) -> bool:
        """Cancel the handler of add_reader(); True if there was one.

        Raises TypeError or ValueError (no descriptor).
        """
        return self._remove(fd, event.EV_READ)

    def remove_writer(self, fd: int | _HasFileno) -> bool:
        """Cancel the handler of add_writer(); True if there was one.

        Raises TypeError or ValueError (no descriptor).
        """
        return self._remove(fd, event.EV_WRITE)

    def _add(self, fd: int | _HasFileno, events: int, handler: Handler) -> Handler:
        self._check_alive()
        number = self._number(fd)
        if (number, events) in self._descriptors:
            raise RuntimeError(f"another {_KINDS[events]} is already registered for fd {number}")
        watcher = event.Io(self._ev, number, events, self._io_ready, handler)
        watcher.start()
        self._descriptors[number, events] = watcher
        handler._undo = lambda: self._descriptors.pop((number, events)).stop()
        return handler

    def _remove(self, fd: int | _HasFileno, events: int) -> bool:
        self._check_alive()
        watcher = self._descriptors.get((self._number(fd), events))
        if watcher is None:
            return False
        watcher.data.cancel()
        return True

    def _number(self, fd: int | _HasFileno) -> int:
        return event.Io(self._ev, fd, 0, self._io_ready).fd

    def _io_ready(self, watcher: event.Io, revents: int) -> None:
        self._queue(watcher.data)

    def _drop_closed(self, exc: OSError) -> bool:
        """Give up readers and writers whose descriptor was closed; False if there are none."""
        dead = {key: io for key, io in self._descriptors.items() if not io.active}
        for (number, events), watcher in dead.items():
            del self._descriptors[number, events]
            watcher.data._undo = None
            exc.add_note(f"the {_KINDS[events]} of fd {number}, {watcher.data!r}, was removed")
        if dead:
            _report(exc)
        return bool(dead)

    # ---- signals -------------------------------------------------------------------------

    def add_signal_handler(
        self, signum: int, callback: _Callback, *args: Any, **kw: Any
    ) -> Handler:
        """Call callback(*args, **kw) in this loop's thread whenever the process gets the signal.

        A signal can have any number of handlers, on the loops of any threads; they do not keep
        run() from ending. The last one to be removed puts the former disposition back. Raises
        TypeError (no int), ValueError (no such signal), RuntimeError (it cannot be caught, or a
        watcher or an asyncio loop has it).
        """
        self._check_alive()
        _check_signum(signum)
        handler = Handler(callback, args, kw)
        try:
            dispatcher.add(signum, self._signal_caught)
        except (ValueError, event.Error) as exc:
            raise RuntimeError(f"signal {int(signum)} cannot be handled: {exc}") from exc
        self._signals.setdefault(signum, []).append(handler)
        handler._undo = lambda: self._forget_signal(signum, handler)
        return handler

    def remove_signal_handler(self, signum: int) -> bool:
        """Cancel all of this loop's handlers for the signal; True if there were any.

        Raises TypeError and ValueError as add_signal_handler().
        """
        self._check_alive()
        _check_signum(signum)
        handlers = list(self._signals.get(signum, ()))
        for handler in handlers:
            handler.cancel()
        return bool(handlers)

    def _forget_signal(self, signum: int, handler: Handler) -> None:
        handlers = self._signals[signum]
        handlers.remove(handler)
        if not handlers:
            del self._signals[signum]
            dispatcher.remove(signum, self._signal_caught)

    def _signal_caught(self, signum: int) -> None:
        """The dispatcher's call, in its thread."""
        self._caught[signum] = None
        self._wake()  # a loop that is being destroyed needs to hear of no signal

    # ---- running -------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """True from the start of run() to its end."""
        return self._running

    @property
    def task(self) -> Any:
        """The greenlet the loop runs in; callbacks run there. ImportError without greenlet."""
        self._check_alive()
        greenlets.require("task")
        return self._task

    def run(self) -> None:
        """Run until nothing is scheduled any more, or until stop().

        An exception of a callback is printed with its traceback, and the loop goes on;
        KeyboardInterrupt, SystemExit and SystemError are raised from here. Raises RuntimeError
        if the loop was started already or has ended, or outside of the main greenlet of its thread.
        """
        self._run(forever=False)

    def run_forever(self) -> None:
        """run(), but until stop() only."""
        self._run(forever=True)

    def stop(self) -> None:
        """Let run() end after the callbacks that are queued. RuntimeError if it was not started."""
        self._check_alive()
        if not self._started:
            raise RuntimeError("event loop has not been started yet")
        if self._running:
            self._stopping = True
            self._idle.start()

    def switch(self) -> Any:
        """Start the loop if it was not started, else go on in it; return when switched back.

        That is by ``greenlet.switch(value)``, from a callback for example, which makes this return
        `value`; in the main greenlet also when the loop has ended. A greenlet that calls this
        becomes a child of the loop's: what it raises is treated as a callback's exception. Raises
        ImportError without greenlet; RuntimeError as run(), or in the loop's greenlet itself.
        """
        self._check_alive()
        greenlets.require("switch()")
        if not self._started:
            self._begin(forever=False)
            return self._task.switch()
        if threading.get_ident() != self._ident:
            raise RuntimeError("switch() can only be called from the event loop's thread")
        if self._task.dead:
            raise RuntimeError("event loop has already ended")
        if greenlets.is_current(self._task):
            raise RuntimeError("switch() cannot be called from the event loop's own greenlet")
        greenlets.become_child(self._task)
        return self._task.switch()

    def destroy(self) -> None:
        """Free all that the loop has, and the thread's place for another one.

        Raises RuntimeError while it runs, when called again, or from another thread.
        """
        self._check_alive()
        if self._running:
            raise RuntimeError("destroy() cannot be called while the event loop is running")
        if threading.get_ident() != self._ident:
            raise RuntimeError("destroy() can only be called from the event loop's own thread")
        self._thread_end.detach()
        _local.slot = None
        self._free()

    def _check_alive(self) -> None:
        if self._destroyed:
            raise RuntimeError("event loop has been destroyed")

    def _begin(self, forever: bool) -> None:
        self._check_alive()
        if self._running:
            raise RuntimeError("event loop was already started")
        if self._started:
            raise RuntimeError("event loop has already ended")
        if threading.get_ident() != self._ident or not greenlets.is_main():
            raise RuntimeError("event loop must be started in the main greenlet of its thread")
        self._started = self._running = True
        self._waker.ref = forever

    def _run(self, forever: bool) -> None:
        self._begin(forever)
        try:
            if self._task is None:
                self._run_loop()
            else:
                greenlets.run_to_end(self._task)
        finally:
            self._running = False  # also if Ctrl-C came before _run_loop() had begun

    def _run_loop(self) -> None:
        """What the loop's greenlet runs."""
        try:
            while not self._stopping:
                try:
                    self._ev.start()
                    return
                except OSError as exc:
                    if not self._drop_closed(exc):
                        raise
        finally:
            self._running = False

    def _free(self) -> None:
        self._destroyed = True
        for signum in self._signals:
            dispatcher.remove(signum, self._signal_caught)
        handlers = [*self._ready, *itertools.chain.from_iterable(self._signals.values())]
        handlers += [io.data for io in self._descriptors.values()]
        handlers += [w.data[2] for w in self._ev.watchers() if isinstance(w, event.Timer)]
        for handler in handlers:
            handler._undo = None  # nothing is left to undo
        for container in (self._ready, self._due, self._descriptors, self._signals, self._caught):
            container.clear()
        self._task = None
        if not self._running:  # else its thread has ended inside of it, and it is never closed
            self._ev.close()


def _report(exc: BaseException) -> None:
    """Print an exception with its traceback; a stderr that is closed or None is no error."""
    sys.__excepthook__(type(exc), exc, exc.__traceback__)


def _check_signum(signum: int) -> None:
    if not isinstance(signum, int):
        raise TypeError(f"signum must be an int, not {signum!r}")
    if not 0 < signum < NSIG:
        raise ValueError(f"signum {signum} out of range(1, {NSIG})")


# ---- the ends of threads, and forks ----------------------------------------------------------

_pid = os.getpid()


def _end_of_thread(loop: EventLoop) -> None:
    # In a forked child the other threads are gone before its hooks have run: their loops are in the
    # state the fork found them in, and whatever they hold is left alone.
    if os.getpid() == _pid:
        loop._free()


def _after_fork() -> None:
    global _pid
    _pid = os.getpid()


os.register_at_fork(after_in_child=_after_fork)
