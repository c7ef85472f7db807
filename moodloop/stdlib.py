"""What the loop takes from the running Python's own Unix selector loop, in one place.

Functions of asyncio's classes work on any loop that has the methods they call, so what runs once
per connection or per loop is the standard library's, of the very version that runs: Unix sockets,
sendfile. Everything here is private to asyncio; the test matrix over 3.11 to 3.15 tells when one of
these names moves.
"""

from __future__ import annotations

import errno
import functools
import inspect
import os
import socket
import struct
import sys
from asyncio import CancelledError, constants, coroutines, tasks, unix_events
from typing import Any

from . import _core

_Unix: Any = unix_events._UnixSelectorEventLoop

create_unix_connection = _Unix.create_unix_connection
check_signal = _Unix._check_signal
sendfile_native = _Unix._sendfile_native
sock_sendfile_native = _Unix._sock_sendfile_native
sock_sendfile_native_impl = _Unix._sock_sendfile_native_impl
sock_sendfile_update_filepos = _Unix._sock_sendfile_update_filepos
sock_add_cancellation_callback = _Unix._sock_add_cancellation_callback

# What loop.start_tls() and loop.sendfile() ask of a transport.
_StreamTransport: Any = _core.StreamTransport
_StreamTransport._start_tls_compatible = True
_StreamTransport._sendfile_compatible = constants._SendfileMode.TRY_NATIVE


@functools.wraps(_Unix.create_unix_server)
async def create_unix_server(
    loop: Any, protocol_factory: Any, path: Any = None, *, sock: Any = None, **options: Any
) -> Any:
    if sys.version_info >= (3, 13) and sock is not None and _listens_for_another(sock):
        options.setdefault("cleanup_socket", False)
    return await _Unix.create_unix_server(loop, protocol_factory, path, sock=sock, **options)


def _listens_for_another(sock: socket.socket) -> bool:
    """Whether systemd or a parent made it listen, who will want its path after this server."""
    if sock.family != socket.AF_UNIX or not sock.getsockopt(
        socket.SOL_SOCKET, socket.SO_ACCEPTCONN
    ):
        return False
    credentials = struct.Struct("3i")  # of the process that called listen(), see unix(7)
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    return bool(credentials.unpack(found)[0] != os.getpid())


def coroutine_function(function: Any) -> Any:
    """Mark a function that returns a coroutine, for those who ask before they call it."""
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    function._is_coroutine = coroutines._is_coroutine  # type: ignore[attr-defined]
    return function


async def say_if_out_of_descriptors(creating: Any) -> Any:
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


async def sendfile_over(loop: Any, transport: Any, send: Any, *args: Any) -> int:
    """Run send(socket, *args) on the socket of a stream transport that is quiet meanwhile.

    Raises ConnectionError if the transport is closed or aborted before all is sent. (Stock asyncio
    waits for ever.)
    """
    resume = transport.is_reading()
    empty = transport._make_empty_waiter()
    try:
        transport.pause_reading()
        await empty
        lost = transport._make_lost_waiter()
        if lost.done():
            lost.result()
        return await _send_until_lost(loop, transport, lost, send, args)
    finally:
        transport._reset_empty_waiter()
        if resume:
            transport.resume_reading()


def _is_cancelled(loop: Any) -> bool:
    """True if somebody has asked for that of the task that runs."""
    task = tasks.current_task(loop)
    return task is not None and task.cancelling() > 0


async def _send_until_lost(loop: Any, transport: Any, lost: Any, send: Any, args: Any) -> int:
    sock = transport.get_extra_info("socket")._sock
    fd = sock.fileno()
    sending = loop.create_task(send(sock, *args))

    def give_up(lost: Any) -> None:
        loop._remove_writer(fd)  # while the number is still this connection's
        sending.cancel(str(lost.exception()))

    lost.add_done_callback(give_up)
    try:
        return int(await sending)
    except CancelledError:
        if lost.done() and sending.cancelled() and not _is_cancelled(loop):
            raise lost.exception() from None
        raise
    finally:
        lost.remove_done_callback(give_up)
