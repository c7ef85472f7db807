"""EventLoop: the C core with asyncio.BaseEventLoop behind it.

What runs per callback, packet or accepted connection is in C (`src/aio`, `src/net`); here is what
runs per loop, per signal handler or per outgoing connection. The rest is BaseEventLoop's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import socket
import sys
import threading
import warnings
from asyncio import constants, events
from asyncio.log import logger
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import (
    _core,
    _diagnostics,  # noqa: F401  (the core imports it when it may have no descriptor left)
    connect,
    process,
    sslprotocol,
    stdlib,
    tls,
)
from . import event as _event
from . import executor as _executor
from .internals import Internals
from .resolver import Names, Resolver
from .sockets import Sockets, SocketTransport


class EventLoop(Sockets, Names, Internals, asyncio.BaseEventLoop):  # type: ignore[misc]
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
        "slow_callback_duration",
    )

    def __init__(self, ev: _event.Loop | None = None) -> None:
        self._resolver = Resolver()  # first: it may refuse
        self._has_own_executor = False
        _core.LoopBase.__init__(self, ev)
        asyncio.BaseEventLoop.__init__(self)
        self._listeners: dict[socket.socket, _core.Listener] = {}
        self._unix_server_sockets: dict[socket.socket, int] = {}
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
        self._check_running()  # type: ignore[attr-defined]
        hooks = sys.get_asyncgen_hooks()
        try:
            self._set_coroutine_origin_tracking(self._debug)  # type: ignore[attr-defined]
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook,  # type: ignore[attr-defined]
                finalizer=self._asyncgen_finalizer_hook,  # type: ignore[attr-defined]
            )
            events._set_running_loop(self)
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
                self._set_coroutine_origin_tracking(False)  # type: ignore[attr-defined]

    def _has_tasks(self) -> bool:
        return bool(asyncio.all_tasks(self))

    def close(self) -> None:
        """Drop what is scheduled and free everything. RuntimeError while running. Idempotent."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        self._close_signals()
        process.abandon(self._children)
        asyncio.BaseEventLoop.close(self)
        self._resolver.close()
        self._listeners.clear()
        self._close()

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

    # ---- signals -------------------------------------------------------------------------

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
        except (_event.Error, ValueError) as exc:
            raise RuntimeError(str(exc)) from None

    def remove_signal_handler(self, sig: int) -> bool:
        """Undo add_signal_handler(); True if there was a handler.

        The default action is in force then, or who else wants the signal has it.
        """
        self._check_signal(sig)
        return self._signal_stop(sig)

    _check_signal = stdlib.check_signal

    # ---- threads -------------------------------------------------------------------------

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        """func(*args) in an executor, None for the default one; a future of its result.

        Raises RuntimeError if the loop is closed or the executor shut down.
        """
        pool = self._default_executor if executor is None else executor  # type: ignore[attr-defined]
        future: asyncio.Future[Any] | None = None
        if _executor.is_plain(pool) and not self._debug:
            self._check_closed()
            if executor is None:
                self._check_default_executor()  # type: ignore[attr-defined]
            future = _executor.submit(self, pool, func, args)
        if future is None:
            future = super().run_in_executor(executor, func, *args)
        return future

    _plain_submit = run_in_executor

    # ---- connections ---------------------------------------------------------------------

    if not TYPE_CHECKING:  # checkers have BaseEventLoop's, with its overloads
        create_connection = connect.create_connection
    create_unix_connection = stdlib.create_unix_connection

    # ---- servers -------------------------------------------------------------------------

    create_unix_server = stdlib.create_unix_server  # type: ignore[assignment]

    if not TYPE_CHECKING:

        @stdlib.coroutine_function
        @functools.wraps(asyncio.BaseEventLoop.create_server)
        def create_server(self, *args: Any, **kwargs: Any) -> Any:
            return stdlib.say_if_out_of_descriptors(super().create_server(*args, **kwargs))

    def _start_serving(
        self,
        protocol_factory: Any,
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: float | None = constants.SSL_SHUTDOWN_TIMEOUT,
        context: Any = None,
    ) -> None:
        wrap = None
        if sslcontext:
            wrap = tls.acceptor(
                self,
                protocol_factory,
                server,
                sslcontext,
                ssl_handshake_timeout,
                ssl_shutdown_timeout,
            )
        by_object = functools.partial(
            self._accept_connection,
            protocol_factory,
            sock,
            sslcontext,
            server,
            backlog,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            **({} if context is None else {"context": context}),
        )
        listener = _core.Listener(
            self, sock, protocol_factory, server, backlog, context, wrap, by_object
        )
        self._add_reader(sock.fileno(), listener.accept)
        self._listeners[sock] = listener

    def _stop_serving(self, sock: socket.socket) -> None:
        inode = self._unix_server_sockets.pop(sock, None)
        path = sock.getsockname() if inode is not None else None
        self._listeners.pop(sock, None)
        self._remove_reader(sock.fileno())
        sock.close()
        if path is None:
            return
        try:
            if os.stat(path).st_ino == inode:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as exc:
            logger.error("Unable to clean up listening UNIX socket %r: %r", path, exc)

    # ---- TLS -----------------------------------------------------------------------------

    start_tls = tls.start_tls

    @property
    def _tls_buffer(self) -> tuple[bytearray, memoryview]:
        if self._tls_memory is None:
            self._tls_memory = sslprotocol.shared_buffer()
        return self._tls_memory

    # ---- hooks of BaseEventLoop ------------------------------------------------------------

    _make_ssl_transport = tls.make_ssl_transport
    _make_subprocess_transport = process.make_subprocess_transport
    _sock_sendfile_native = stdlib.sock_sendfile_native
    _sock_sendfile_native_impl = stdlib.sock_sendfile_native_impl
    _sock_sendfile_update_filepos = stdlib.sock_sendfile_update_filepos
    _sock_add_cancellation_callback = stdlib.sock_add_cancellation_callback

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: Any) -> int:
        if isinstance(transp, SocketTransport):
            return int(await stdlib.sendfile_native(self, transp, file, offset, count))
        send = functools.partial(self.sock_sendfile, fallback=False)
        return await stdlib.sendfile_over(self, transp, send, file, offset, count)

    async def _sendfile_fallback(self, transp: Any, file: Any, offset: int, count: Any) -> int:
        if not isinstance(transp, _core.StreamTransport):  # TLS: the standard library's way
            send: Any = asyncio.BaseEventLoop._sendfile_fallback  # type: ignore[attr-defined]
            return int(await send(self, transp, file, offset, count))
        send = self._sock_sendfile_fallback  # type: ignore[attr-defined]
        return await stdlib.sendfile_over(self, transp, send, file, offset, count)
