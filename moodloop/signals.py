"""add_signal_handler(): what of it is Python. Who has a signal is the core's, in sigtable.c."""

from __future__ import annotations

import inspect
import sys
import threading
import warnings
from asyncio import unix_events
from typing import Any

from . import event
from .base import Base

_Unix: Any = unix_events._UnixSelectorEventLoop


class Signals(Base):
    """The methods of EventLoop for signal handlers."""

    __slots__ = ()

    _check_signal = _Unix._check_signal

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Any, *args: Any
    ) -> None:
        """Call callback(*args) in the loop when the signal arrives.

        Raises TypeError (sig is no int, callback is a coroutine), ValueError (no such signal),
        RuntimeError (cannot be caught; watched on another event.Loop; not in the main thread of
        the main interpreter; loop closed), and then all is as before.
        """
        if inspect.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)
        self._check_closed()
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "add_signal_handler() only works in main thread of the main interpreter"
            )
        try:
            self._signal_start(sig, callback, args)
        except (event.Error, ValueError) as exc:
            raise RuntimeError(str(exc)) from None

    def remove_signal_handler(self, sig: int) -> bool:
        """Undo add_signal_handler(); True if there was a handler.

        The default action is in force then, or who else wants the signal has it.
        """
        self._check_signal(sig)
        return self._signal_stop(sig)

    def _close_signals(self) -> None:
        if sys.is_finalizing():
            if self._signal_map():
                warnings.warn(
                    f"Closing the loop {self!r} on interpreter shutdown stage, "
                    f"skipping signal handlers removal",
                    ResourceWarning,
                    source=self,
                    stacklevel=2,
                )
            return
        for signum in self._signal_map():
            self.remove_signal_handler(signum)
