"""What the loop takes from the running Python's own Unix selector loop, in one place.

Functions of asyncio's classes work on any loop that has the methods they call, so what runs once
per connection or per loop is the standard library's, of the very version that runs: Unix sockets,
subprocesses, sendfile. Everything here is private to asyncio; the
test matrix over 3.11 to 3.15 tells when one of these names moves.
"""

from __future__ import annotations

import sys
from asyncio import constants, selector_events, sslproto, unix_events
from typing import Any

from . import _core

_Selector: Any = selector_events.BaseSelectorEventLoop
_Unix: Any = unix_events._UnixSelectorEventLoop

create_unix_connection = _Unix.create_unix_connection
create_unix_server = _Unix.create_unix_server
check_signal = _Unix._check_signal
make_subprocess_transport = _Unix._make_subprocess_transport
child_watcher_callback = _Unix._child_watcher_callback
sock_sendfile_native = _Unix._sock_sendfile_native
sock_sendfile_native_impl = _Unix._sock_sendfile_native_impl
sock_sendfile_update_filepos = _Unix._sock_sendfile_update_filepos
sock_add_cancellation_callback = _Unix._sock_add_cancellation_callback
ensure_fd_no_transport = _Selector._ensure_fd_no_transport

# What loop.start_tls() and loop.sendfile() ask of a transport.
_StreamTransport: Any = _core.StreamTransport
_StreamTransport._start_tls_compatible = True
_StreamTransport._sendfile_compatible = constants._SendfileMode.TRY_NATIVE


async def sendfile_over(loop: Any, transport: Any, send: Any, *args: Any) -> int:
    """Run send(socket, *args) on the socket of a stream transport that is quiet meanwhile."""
    resume = transport.is_reading()
    transport.pause_reading()
    await transport._make_empty_waiter()
    try:
        return int(await send(transport.get_extra_info("socket")._sock, *args))
    finally:
        transport._reset_empty_waiter()
        if resume:
            transport.resume_reading()


def child_watcher() -> Any:
    """The loop's own child watcher, from 3.14 on; before, the policy has one for all loops."""
    if sys.version_info < (3, 14):
        return None
    if unix_events.can_use_pidfd():
        return unix_events._PidfdChildWatcher()
    return unix_events._ThreadedChildWatcher()


def accept_tls(
    loop: Any, factory: Any, server: Any, sslcontext: Any, handshake: Any, shutdown: Any
) -> Any:
    """A function (socket, context) that serves an accepted connection through TLS, in a task."""

    def serve(conn: Any, context: Any) -> Any:
        conn.setblocking(False)
        kwargs = {"context": context} if sys.version_info >= (3, 15) else {}
        serving = _Selector._accept_connection2(
            loop, factory, conn, None, sslcontext, server, handshake, shutdown, **kwargs
        )
        return loop.create_task(serving, **({"context": context} if context else {}))

    return serve


def make_ssl_transport(
    loop: Any,
    rawsock: Any,
    protocol: Any,
    sslcontext: Any,
    waiter: Any = None,
    *,
    server_side: bool = False,
    server_hostname: str | None = None,
    extra: dict[str, Any] | None = None,
    server: Any = None,
    ssl_handshake_timeout: Any = None,
    ssl_shutdown_timeout: Any = None,
    context: Any = None,
) -> Any:
    """TLS for a socket: the standard library's SSLProtocol over a stream transport."""
    ssl_protocol: Any = sslproto.SSLProtocol(
        loop,
        protocol,
        sslcontext,
        waiter,
        server_side,
        server_hostname,
        ssl_handshake_timeout=ssl_handshake_timeout,
        ssl_shutdown_timeout=ssl_shutdown_timeout,
    )
    loop._make_socket_transport(rawsock, ssl_protocol, extra=extra, server=server, context=context)
    return ssl_protocol._app_transport
