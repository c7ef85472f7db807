"""Outgoing connections: sock_connect(), and create_connection() in a direct way.

A host that is an address needs no look-up and has no second one to try, so what is left of
BaseEventLoop's coroutines is one. The direct way is taken only where nobody can tell: what a
program or a test has put in place of a step, to watch connections or to forbid them, is called.
Everything else is BaseEventLoop's, of the version that runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import socket
import sys
import types
from asyncio import base_events
from typing import Any

from . import _core

_Base: Any = asyncio.BaseEventLoop
_Socket: Any = socket.socket
_base: Any = base_events

# The steps of BaseEventLoop.create_connection(), as they are when nobody has changed them.
_connect_sock = _Base._connect_sock
_ensure_resolved = _Base._ensure_resolved
_create_connection_transport = _Base._create_connection_transport
_make_socket_transport: Any = _core.LoopBase._make_socket_transport
_socket_connect_ex = _Socket.connect_ex

# From 3.15 on a connection has a context of its own, which what its factory sets is not in.
_OWN_CONTEXT = sys.version_info >= (3, 15)

# Keywords that say nothing when they are None.
_OPTIONAL = frozenset(
    {
        "ssl",
        "sock",
        "local_addr",
        "server_hostname",
        "ssl_handshake_timeout",
        "ssl_shutdown_timeout",
        "happy_eyeballs_delay",
        "interleave",
    }
)


async def sock_connect(loop: Any, sock: socket.socket, address: Any) -> None:
    """Connect; a host name is resolved first. OSError 'Connect call failed ...'."""
    if type(sock) is not _Socket or loop._debug:
        loop._check_sock(sock)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        resolved = await loop._ensure_resolved(
            address, family=sock.family, type=sock.type, proto=sock.proto, loop=loop
        )
        address = resolved[0][4]
    op = loop._sock_connect(sock, address)
    if op is not None:
        await op


def _function(method: Any) -> Any:
    return getattr(method, "__func__", None)


def _is_direct(loop: Any) -> bool:
    """True if each step is what it was, on the class and on the loop."""
    return (
        _function(loop.sock_connect) is sock_connect
        and _function(loop._connect_sock) is _connect_sock
        and _function(loop._ensure_resolved) is _ensure_resolved
        and _function(loop._create_connection_transport) is _create_connection_transport
        and type(loop._make_socket_transport) is types.BuiltinMethodType
        and type(loop)._make_socket_transport is _make_socket_transport
        and socket.socket is _Socket
        and _Socket.connect_ex is _socket_connect_ex
        and _base.socket is socket
        and not loop._debug  # where each step is told
    )


async def _connect(loop: Any, protocol_factory: Any, host: Any, port: Any) -> Any:
    connecting = loop._connect(host, port) if _is_direct(loop) else None
    if connecting is None:
        return await _Base.create_connection(loop, protocol_factory, host, port)
    try:
        await connecting
        context = contextvars.copy_context() if _OWN_CONTEXT else None
        protocol = protocol_factory()
        waiter = loop.create_future()
        transport = loop._connected(connecting, protocol, waiter, context)
    except BaseException:
        connecting.close()
        raise
    try:
        await waiter
    except BaseException:
        transport.close()
        raise
    return transport, protocol


@functools.wraps(_Base.create_connection)
def create_connection(
    loop: Any, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
) -> Any:
    for name in options:
        if options[name] is not None or name not in _OPTIONAL:
            return _Base.create_connection(loop, protocol_factory, host, port, **options)
    return _connect(loop, protocol_factory, host, port)


# It returns a coroutine, and says so to those who ask before they call it.
if sys.version_info >= (3, 12):
    inspect.markcoroutinefunction(create_connection)
else:  # where nothing but `async def` does
    _create_connection = create_connection

    @functools.wraps(_Base.create_connection)
    async def create_connection(
        loop: Any,
        protocol_factory: Any,
        host: Any = None,
        port: Any = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        ssl: Any = None,
        sock: Any = None,
        local_addr: Any = None,
        server_hostname: Any = None,
        ssl_handshake_timeout: Any = None,
        ssl_shutdown_timeout: Any = None,
        happy_eyeballs_delay: Any = None,
        interleave: Any = None,
    ) -> Any:
        options = {
            "ssl": ssl,
            "sock": sock,
            "local_addr": local_addr,
            "server_hostname": server_hostname,
            "ssl_handshake_timeout": ssl_handshake_timeout,
            "ssl_shutdown_timeout": ssl_shutdown_timeout,
            "happy_eyeballs_delay": happy_eyeballs_delay,
            "interleave": interleave,
        }
        if family or proto or flags:
            options.update(family=family, proto=proto, flags=flags)
        return await _create_connection(loop, protocol_factory, host, port, **options)
