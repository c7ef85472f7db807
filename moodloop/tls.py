"""TLS for connections: how they get it, from the start, when accepted, and by start_tls()."""

from __future__ import annotations

import functools
from asyncio import streams
from typing import Any

from .base import Base
from .sslprotocol import SSLProtocol, shared_buffer, ssl


class TLS(Base):
    """The methods of EventLoop that give a connection TLS."""

    __slots__ = ()

    _tls_memory: tuple[bytearray, memoryview] | None

    @property
    def _tls_buffer(self) -> tuple[bytearray, memoryview]:
        """What TLS connections receive into, one after the other."""
        if self._tls_memory is None:
            self._tls_memory = shared_buffer()
        return self._tls_memory

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: Any = None,
    ) -> Any:
        """The transport of TLS over a connected socket; `waiter` is done after the handshake.

        Raises ValueError if the context checks host names and there is none to check.
        """
        ssl_protocol = SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        self._make_socket_transport(
            rawsock, ssl_protocol, extra=extra, server=server, context=context
        )
        return ssl_protocol._app_transport

    def _tls_acceptor(
        self,
        protocol_factory: Any,
        server: Any,
        sslcontext: Any,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
    ) -> Any:
        """A function (socket, context) that serves an accepted connection through TLS."""

        def accept(conn: Any, context: Any) -> Any:
            try:
                conn.setblocking(False)
                protocol = protocol_factory()
                waiter = self.create_future()
                transport = self._make_ssl_transport(
                    conn,
                    protocol,
                    sslcontext,
                    waiter,
                    server_side=True,
                    server=server,
                    ssl_handshake_timeout=ssl_handshake_timeout,
                    ssl_shutdown_timeout=ssl_shutdown_timeout,
                    context=context,
                )
            except BaseException:
                conn.close()
                raise
            waiter.add_done_callback(functools.partial(_handshaken, self, protocol, transport))
            return transport

        return accept

    async def start_tls(
        self,
        transport: Any,
        protocol: Any,
        sslcontext: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:
        """Upgrade a connection to TLS; the transport that `protocol` has from then on.

        What a StreamReader of `protocol` holds unread came before TLS did, perhaps from somebody
        who sits in between: it goes to TLS as the first bytes of the handshake, which plain text
        fails.

        Raises TypeError (no SSLContext; a transport that cannot), ValueError (the context checks
        host names and there is none), ssl.SSLError or OSError if the handshake fails.
        """
        if ssl is None:
            raise RuntimeError("Python ssl module is not available")
        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(
                f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}"
            )
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        waiter = self.create_future()
        ssl_protocol: Any = SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
            call_connection_made=False,
        )
        # At once: what arrives from here on is TLS and nobody else's.
        transport.pause_reading()
        if isinstance(protocol, streams.StreamReaderProtocol):
            unread = _unread(protocol)
            if unread:
                ssl_protocol._incoming.write(unread)
                unread.clear()
        transport.set_protocol(ssl_protocol)
        made = self.call_soon(ssl_protocol.connection_made, transport)
        resume = self.call_soon(transport.resume_reading)
        try:
            await waiter
        except BaseException:
            transport.close()
            made.cancel()
            resume.cancel()
            del waiter  # its exception's traceback leads back here
            raise
        if ssl_protocol._app_transport is None:  # connection_lost() came first
            raise ConnectionAbortedError("the transport was closed during the TLS handshake")
        return ssl_protocol._app_transport


def _handshaken(loop: Base, protocol: Any, transport: Any, waiter: Any) -> None:
    exc = None if waiter.cancelled() else waiter.exception()
    if exc is None:
        return
    transport.close()
    # Anybody can connect and fail a handshake, so that is news in debug mode only.
    if loop.get_debug() or not isinstance(exc, OSError):
        loop.call_exception_handler(
            {
                "message": "Error on transport creation for incoming connection",
                "exception": exc,
                "protocol": protocol,
                "transport": transport,
            }
        )


def _unread(protocol: Any) -> bytearray | None:
    """The buffer of a StreamReaderProtocol's reader."""
    reader = protocol._stream_reader
    return None if reader is None else reader._buffer
