"""loop.sendfile(): on the socket of a transport that is quiet meanwhile, and knows its end."""

from __future__ import annotations

import asyncio
import functools
import os
from asyncio import CancelledError, tasks, unix_events
from typing import Any

from . import _core
from .base import Base
from .sockets import SocketTransport

_Unix: Any = unix_events._UnixSelectorEventLoop
_Stock: Any = asyncio.BaseEventLoop


# Of a descriptor that is closed the kernel tells nothing more.
LOOK_SECONDS = 0.5


class Sendfile(Base):
    """The methods of EventLoop behind sendfile() and sock_sendfile()."""

    __slots__ = ()

    _sock_sendfile_native = _Unix._sock_sendfile_native
    _sock_sendfile_native_impl = _Unix._sock_sendfile_native_impl
    _sock_sendfile_update_filepos = _Unix._sock_sendfile_update_filepos
    _sock_add_cancellation_callback = _Unix._sock_add_cancellation_callback

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: Any) -> int:
        if isinstance(transp, SocketTransport):
            return int(await _Unix._sendfile_native(self, transp, file, offset, count))
        send = functools.partial(self.sock_sendfile, fallback=False)
        return await self._sendfile_over(transp, send, file, offset, count)

    async def _sendfile_fallback(self, transp: Any, file: Any, offset: int, count: Any) -> int:
        if not isinstance(transp, _core.StreamTransport):  # TLS: the standard library's way
            return int(await _Stock._sendfile_fallback(self, transp, file, offset, count))
        send = functools.partial(_Stock._sock_sendfile_fallback, self)
        return await self._sendfile_over(transp, send, file, offset, count)

    async def _sendfile_over(self, transport: Any, send: Any, *args: Any) -> int:
        """Run send(socket, *args) on the socket of a stream transport that is quiet meanwhile.

        Raises ConnectionError if the transport is closed or aborted, or its socket closed behind
        it, before all is sent. (Stock asyncio waits for ever.)
        """
        resume = transport.is_reading()
        empty = transport._make_empty_waiter()
        try:
            transport.pause_reading()
            await empty
            lost = transport._make_lost_waiter()
            if lost.done():
                lost.result()
            return await self._send_until_lost(transport, lost, send, args)
        finally:
            transport._reset_empty_waiter()
            if transport._is_ours() and resume:
                transport.resume_reading()

    async def _send_until_lost(self, transport: Any, lost: Any, send: Any, args: Any) -> int:
        sock = transport.get_extra_info("socket")._sock
        fd = sock.fileno()
        sending = self.create_task(send(sock, *args))
        timer: Any = None

        def give_up(lost: Any) -> None:
            if sock.fileno() == fd or not _is_open(fd):  # else the number is somebody else's
                self._remove_writer(fd)
            sending.cancel(str(lost.exception()))

        def look() -> None:
            nonlocal timer
            if transport._is_ours():
                timer = self.call_later(LOOK_SECONDS, look)

        lost.add_done_callback(give_up)
        timer = self.call_later(LOOK_SECONDS, look)
        try:
            return int(await sending)
        except CancelledError:
            if lost.done() and sending.cancelled() and not _is_cancelled(self):
                raise lost.exception() from None
            raise
        finally:
            timer.cancel()
            lost.remove_done_callback(give_up)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _is_cancelled(loop: Base) -> bool:
    """True if somebody has asked for that of the task that runs."""
    task = tasks.current_task(loop)
    return task is not None and task.cancelling() > 0
