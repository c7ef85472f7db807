"""What the loop does with socket objects: sock_*, and the transports made of them.

Where a socket object's methods are the socket module's own, nobody can tell that the kernel is
called by its descriptor, and that is what the core does. Proxies, guards of tests, tracers and
mocks put methods of their own in their place: those are called, in the standard library's own
functions and transports, which work on any loop that has add_reader() and its like. The core looks
at each call, each accepted connection and each transport that is made, since methods are replaced
at any time; see `src/net/plain.c`.
"""

from __future__ import annotations

import socket
import sys
import weakref
from asyncio import selector_events
from typing import Any

from .base import Base

_Stock: Any = selector_events.BaseSelectorEventLoop
_StockSocketTransport: Any = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
_StockDatagramTransport: Any = selector_events._SelectorDatagramTransport  # type: ignore[attr-defined]

# From 3.15 on a connection has a context of its own.
_OWN_CONTEXT = sys.version_info >= (3, 15)


def _describe(transport: Any) -> str:
    """The standard library's repr() asks its selector."""
    state = " closed" if transport._sock is None else " closing" if transport._closing else ""
    size = transport.get_write_buffer_size()
    return f"<{type(transport).__name__}{state} fd={transport._sock_fd} bufsize={size}>"


class SocketTransport(_StockSocketTransport):  # type: ignore[misc]
    """The transport of a stream socket whose methods are called."""

    __repr__ = _describe


class DatagramTransport(_StockDatagramTransport):  # type: ignore[misc]
    """The transport of a datagram socket whose methods are called."""

    __repr__ = _describe


class Sockets(Base):
    """The methods of EventLoop that take a socket object."""

    __slots__ = ()

    # ---- sock_*: the core tries at once; only what must wait is awaited ---------------------

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive up to n bytes; b"" at EOF. The socket must be non-blocking."""
        op = self._try_sock_recv(sock, n)
        if type(op) is bytes:
            return op
        if op is NotImplemented:
            op = _Stock.sock_recv(self, sock, n)
        return await op  # type: ignore[no-any-return]

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive into a writable buffer; the number of bytes."""
        op = self._try_sock_recv_into(sock, buf)
        if type(op) is int:
            return op
        if op is NotImplemented:
            op = _Stock.sock_recv_into(self, sock, buf)
        return await op  # type: ignore[no-any-return]

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of up to bufsize bytes; (data, address)."""
        op = self._try_sock_recvfrom(sock, bufsize)
        if type(op) is tuple:
            return op
        if op is NotImplemented:
            op = _Stock.sock_recvfrom(self, sock, bufsize)
        return await op  # type: ignore[no-any-return]

    async def sock_recvfrom_into(
        self, sock: socket.socket, buf: Any, nbytes: int = 0
    ) -> tuple[int, Any]:
        """Receive a datagram into a buffer; (number of bytes, address).

        ValueError if nbytes is larger than the buffer.
        """
        op = self._try_sock_recvfrom_into(sock, buf, nbytes)
        if type(op) is tuple:
            return op
        if op is NotImplemented:
            op = _Stock.sock_recvfrom_into(self, sock, buf, nbytes)
        return await op  # type: ignore[no-any-return]

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send all of a bytes-like object."""
        op = self._try_sock_sendall(sock, data)
        if op is NotImplemented:
            op = _Stock.sock_sendall(self, sock, data)
        if op is not None:
            await op

    async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> int:
        """Send a datagram; the number of bytes."""
        op = self._try_sock_sendto(sock, data, address)
        if type(op) is int:
            return op
        if op is NotImplemented:
            op = _Stock.sock_sendto(self, sock, data, address)
        return await op  # type: ignore[no-any-return]

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection: (non-blocking socket, address)."""
        op = self._try_sock_accept(sock)
        if type(op) is tuple:
            return op
        if op is NotImplemented:
            op = _Stock.sock_accept(self, sock)
        return await op  # type: ignore[no-any-return]

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect; a host name is resolved first. OSError 'Connect call failed ...'."""
        if not self._can_try(sock):
            await _Stock.sock_connect(self, sock, address)
            return
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            resolved = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = resolved[0][4]
        op = self._try_sock_connect(sock, address)
        if op is not None:
            await op

    # What the standard library's functions call.
    _sock_recv = _Stock._sock_recv
    _sock_recv_into = _Stock._sock_recv_into
    _sock_recvfrom = _Stock._sock_recvfrom
    _sock_recvfrom_into = _Stock._sock_recvfrom_into
    _sock_sendall = _Stock._sock_sendall
    _sock_sendto = _Stock._sock_sendto
    _sock_accept = _Stock._sock_accept
    _sock_connect = _Stock._sock_connect
    _sock_connect_cb = _Stock._sock_connect_cb
    _sock_read_done = _Stock._sock_read_done
    _sock_write_done = _Stock._sock_write_done
    _accept_connection = _Stock._accept_connection
    _accept_connection2 = _Stock._accept_connection2

    # ---- transports ------------------------------------------------------------------------

    def _make_socket_transport(
        self,
        sock: Any,
        protocol: Any,
        waiter: Any = None,
        *,
        extra: Any = None,
        server: Any = None,
        context: Any = None,
    ) -> Any:
        if self._is_plain(sock):
            return super()._make_socket_transport(
                sock, protocol, waiter, extra=extra, server=server, context=context
            )
        self._note_transports(sock)
        options = {"context": context} if _OWN_CONTEXT else {}
        return SocketTransport(self, sock, protocol, waiter, extra, server, **options)

    def _make_datagram_transport(
        self, sock: Any, protocol: Any, address: Any = None, waiter: Any = None, extra: Any = None
    ) -> Any:
        if self._is_plain(sock):
            return super()._make_datagram_transport(sock, protocol, address, waiter, extra)
        self._note_transports(sock)
        return DatagramTransport(self, sock, protocol, address, waiter, extra)

    def _note_transports(self, sock: Any) -> None:
        """The standard library's transports put themselves into this dictionary."""
        self._check_closed()
        self._ensure_fd_no_transport(sock)
        if self._transports is None:
            self._transports = weakref.WeakValueDictionary()
