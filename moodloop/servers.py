"""Servers: listening sockets, whose connections the core accepts."""

from __future__ import annotations

import asyncio
import errno
import functools
import inspect
import os
import socket
import struct
import sys
from asyncio import constants, unix_events
from asyncio.log import logger
from typing import TYPE_CHECKING, Any

from . import _core
from .connect import coroutine_function
from .sockets import Sockets
from .tls import TLS

_Unix: Any = unix_events._UnixSelectorEventLoop
_Stock: Any = asyncio.BaseEventLoop
_ARGUMENTS = inspect.signature(_Stock.create_server)


class Servers(TLS, Sockets):  # type: ignore[misc]
    """The methods of EventLoop that make servers, and those that servers call."""

    __slots__ = ()

    _listeners: dict[socket.socket, _core.Listener]
    _unix_server_sockets: dict[socket.socket, int]

    if not TYPE_CHECKING:  # checkers have BaseEventLoop's

        @coroutine_function(_Stock.create_server)
        def create_server(self, *args: Any, **kwargs: Any) -> Any:
            _ARGUMENTS.bind(self, *args, **kwargs)  # as of any coroutine function
            return self._create_server(*args, **kwargs)

        async def _create_server(self, *args: Any, **kwargs: Any) -> Any:
            return await _say_if_out_of_descriptors(_Stock.create_server(self, *args, **kwargs))

        @functools.wraps(_Unix.create_unix_server)
        async def create_unix_server(
            self, protocol_factory: Any, path: Any = None, *, sock: Any = None, **options: Any
        ) -> Any:
            if sys.version_info >= (3, 13) and sock is not None and _listens_for_another(sock):
                options.setdefault("cleanup_socket", False)
            return await _Unix.create_unix_server(
                self, protocol_factory, path, sock=sock, **options
            )

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
        if sslcontext:
            protocol_factory = self._tls_factory(
                protocol_factory, sslcontext, ssl_handshake_timeout, ssl_shutdown_timeout
            )
        listener = _core.Listener(
            self, sock, protocol_factory, server, backlog, context, not sslcontext, by_object
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


def _listens_for_another(sock: socket.socket) -> bool:
    """Whether systemd or a parent made it listen, who will want its path after this server."""
    if sock.family != socket.AF_UNIX or not sock.getsockopt(
        socket.SOL_SOCKET, socket.SO_ACCEPTCONN
    ):
        return False
    credentials = struct.Struct("3i")  # of the process that called listen(), see unix(7)
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    return bool(credentials.unpack(found)[0] != os.getpid())


async def _say_if_out_of_descriptors(creating: Any) -> Any:
    """Await create_server(), which without a socket says "could not bind", or nothing."""
    try:
        server = await creating
        if not server.sockets:
            _make_socket()
        return server
    except OSError as exc:
        if exc.errno is None:
            _make_socket()
        raise


def _make_socket() -> None:
    try:
        socket.socket().close()
    except OSError as exc:
        if exc.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            raise
