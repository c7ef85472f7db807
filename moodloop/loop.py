"""EventLoop: the C core with asyncio.BaseEventLoop behind it.

What runs per callback, packet or accepted connection is in C (`src/aio`, `src/net`); here is what
runs per loop, per signal handler or per outgoing connection. The rest is BaseEventLoop's.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
from asyncio import events
from collections.abc import Iterator
from typing import Any

from . import (
    _core,
    _diagnostics,  # noqa: F401  (the core imports it when it may have no descriptor left)
    process,
)
from . import event as _event
from .connect import Connections
from .executor import Executors
from .inspect.stats import Stats
from .internals import Internals
from .process import Processes
from .resolver import Names, Resolver
from .sendfile import Sendfile
from .servers import Servers
from .signals import Signals
from .sockets import Sockets
from .tls import TLS


class EventLoop(  # type: ignore[misc]
    Servers,
    Connections,
    Sendfile,
    TLS,
    Processes,
    Signals,
    Sockets,
    Names,
    Executors,
    Stats,
    Internals,
    asyncio.BaseEventLoop,
):
    """An asyncio event loop on libev; see asyncio's documentation for the methods.

    `ev` hands in a moodloop.event.Loop to run on; without it the loop makes its own, with the
    epoll backend. Either is the attribute `ev`, and watchers on it run inside this loop.

    Raises OSError if no epoll descriptor can be had, RuntimeError if another asyncio loop runs on
    `ev`, TypeError if `ev` is no moodloop.event.Loop.
    """

    # What BaseEventLoop and this class set is in slots, so that a loop has no dictionary until a
    # program gives it attributes: without one CPython finds loop.call_soon and the like faster.
    __slots__ = (
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_children",
        "_clock_resolution",
        "_coroutine_origin_tracking_enabled",
        "_coroutine_origin_tracking_saved_depth",
        "_default_executor",
        "_exception_handler",
        "_executor_shutdown_called",
        "_has_own_executor",
        "_internal_fds",
        "_listeners",
        "_old_agen_hooks",
        "_resolver",
        "_timer_cancelled_count",
        "_tls_memory",
        "_unix_server_sockets",
        "_watchdogs",
        "slow_callback_duration",
    )

    def __init__(self, ev: _event.Loop | None = None) -> None:
        self._resolver = Resolver()  # first: it may refuse
        self._has_own_executor = False
        _core.LoopBase.__init__(self, ev)
        asyncio.BaseEventLoop.__init__(self)
        self._listeners: dict[socket.socket, _core.Listener] = {}
        self._unix_server_sockets: dict[socket.socket, int] = {}
        self._watchdogs: list[Any] = []
        self._children: set[process.SubprocessTransport] = set()
        self._tls_memory: tuple[bytearray, memoryview] | None = None

    # ---- life ----------------------------------------------------------------------------

    def run_forever(self) -> None:
        """Run until stop(). RuntimeError if closed, or if a loop runs in this thread."""
        hooks = self._enter()
        try:
            self._run()
        finally:
            self._leave(hooks)

    @contextlib.contextmanager
    def attached(self) -> Iterator[EventLoop]:
        """Within the block the program runs the event.Loop, and this loop runs in it as a guest.

            loop = moodloop.EventLoop(ev=ev)
            with loop.attached():
                task = loop.create_task(main())
                ev.start()

        Within the block this is the thread's running loop; its callbacks, timers, readers, signal
        handlers and transports are served by `ev.start()`, which goes on as long as a watcher is
        active or a task is not done. `stop()` ends that `start()` after the current turn. An
        exception of a watcher's callback goes to this loop's exception handler. On leaving the
        block all is as before; what is scheduled stays, for the next block or run_forever().

        Raises RuntimeError if the loop is closed or running, or if a loop runs in this thread;
        moodloop.event.Error if another thread runs `ev`. `ev.start()` in a callback of this loop,
        or in another thread, raises moodloop.event.Error.
        """
        hooks = self._enter()
        try:
            self._attach()
            try:
                yield self
            finally:
                self._detach()
        finally:
            self._leave(hooks)

    def _enter(self) -> Any:
        """Make this the thread's running loop; returns what _leave() puts back."""
        self._check_closed()
        self._check_running()
        hooks = sys.get_asyncgen_hooks()
        try:
            self._set_coroutine_origin_tracking(self._debug)
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook,
                finalizer=self._asyncgen_finalizer_hook,
            )
            events._set_running_loop(self)
            self._watchdog_from_environment()
        except BaseException:  # memory is out, say: not "running" for ever
            self._leave(hooks)
            raise
        return hooks

    def _leave(self, hooks: Any) -> None:
        """Undo _enter(): all of it, also where a part fails (memory is out, a signal came)."""
        self._stopping = False
        self._thread_id = None
        try:
            events._set_running_loop(None)
        finally:
            try:
                sys.set_asyncgen_hooks(*hooks)
            finally:
                self._set_coroutine_origin_tracking(False)

    def _has_tasks(self) -> bool:
        return bool(asyncio.all_tasks(self))

    def close(self) -> None:
        """Drop what is scheduled and free everything. RuntimeError while running. Idempotent."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        self._close_watchdogs()
        self._close_signals()
        process.abandon(self._children)
        asyncio.BaseEventLoop.close(self)
        self._resolver.close()
        self._listeners.clear()
        self._close()
