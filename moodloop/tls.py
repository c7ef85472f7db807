"""TLS for connections: how they get it, from the start, when accepted, and by start_tls().

Two engines do the work. The native one, `src/tls/`, drives the OpenSSL of the interpreter's own ssl
module from C; the other, `sslprotocol.py`, is the standard library's, and serves where that OpenSSL
cannot be had. MOODLOOP_TLS=native or python insists on one.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from asyncio import constants, sslproto, streams
from typing import Any

from . import _core
from .base import Base
from .sslprotocol import SSLProtocol, shared_buffer, ssl

_default_context: Any = sslproto._create_transport_context

# For whose place for data of ours, by which an SSL is found, no other number is known.
_OPENSSL = re.compile(r"OpenSSL [3-9]\.")


@functools.cache
def why_not_native() -> str | None:
    """Why the native engine cannot be had in this process, or None."""
    if ssl is None:
        return "this Python has no ssl module"
    if not _OPENSSL.match(ssl.OPENSSL_VERSION):
        return f"it is for OpenSSL 3 and later, and this is {ssl.OPENSSL_VERSION}"
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return "it is not made for Python without its lock"
    path = getattr(sys.modules.get("_ssl"), "__file__", None)
    if path is None:
        return "OpenSSL is built into this Python"
    return _core.TLSTransport._open(path, ssl)


def _engine() -> str:
    """The engine that is asked for: "native", "python", or "" for native where it can be had."""
    asked = os.environ.get("MOODLOOP_TLS", "")
    if asked not in ("", "native", "python"):
        raise ValueError(f"MOODLOOP_TLS must be 'native' or 'python', not {asked!r}")
    return asked


def engine() -> tuple[str, str]:
    """The engine of this process's connections, and why."""
    asked, missing = _engine(), why_not_native()
    if asked == "python":
        return "python", "MOODLOOP_TLS asks for it"
    if missing is None:
        return "native", f"{ssl.OPENSSL_VERSION}, driven from C"
    return ("none" if asked else "python"), missing


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

    def _make_tls(
        self,
        protocol: Any,
        sslcontext: Any,
        waiter: Any,
        server_side: bool,
        server_hostname: str | None,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
        call_connection_made: bool = True,
    ) -> Any:
        """What speaks TLS, as the protocol of the transport below; `waiter` is done after the
        handshake. Its `_app_transport` is what the program gets.

        Raises ValueError (a timeout that is not positive; the context checks host names and there
        is none to check), RuntimeError (MOODLOOP_TLS=native, and it cannot be had).
        """
        asked = _engine()
        missing = "MOODLOOP_TLS=python" if asked == "python" else why_not_native()
        if missing is None:
            made = _core.TLSTransport._wrap(
                self,
                protocol,
                _context(sslcontext, server_side, server_hostname),
                waiter,
                server_side,
                server_hostname if server_hostname and not server_side else None,
                _timeout("handshake", ssl_handshake_timeout, constants.SSL_HANDSHAKE_TIMEOUT),
                _timeout("shutdown", ssl_shutdown_timeout, constants.SSL_SHUTDOWN_TIMEOUT),
                call_connection_made,
            )
            if made is not None:
                return made
            # The other engine calls what is the program's own.
            missing = (
                "the context has a message callback, or an sslobject_class that replaces methods"
            )
        if asked == "native":
            raise RuntimeError(f"MOODLOOP_TLS=native, but it cannot be had: {missing}")
        return SSLProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
            call_connection_made=call_connection_made,
        )

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

        Raises as `_make_tls()`.
        """
        tls = self._make_tls(
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )
        self._make_socket_transport(rawsock, tls, extra=extra, server=server, context=context)
        return tls._app_transport

    def _tls_factory(
        self,
        protocol_factory: Any,
        sslcontext: Any,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
    ) -> Any:
        """A factory of what speaks TLS to a client, for a protocol from `protocol_factory`."""

        def make() -> Any:
            protocol = protocol_factory()
            waiter = self.create_future()
            tls = self._make_tls(
                protocol,
                sslcontext,
                waiter,
                True,
                None,
                ssl_handshake_timeout,
                ssl_shutdown_timeout,
            )
            done = functools.partial(_handshaken, self, protocol, tls._app_transport)
            waiter.add_done_callback(done)
            return tls

        return make

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
        tls = self._make_tls(
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
            call_connection_made=False,
        )
        # At once: what arrives from here on is TLS and nobody else's.
        transport.pause_reading()
        if isinstance(protocol, streams.StreamReaderProtocol):
            unread = _unread(protocol)
            if unread:
                tls._feed(unread)
                unread.clear()
        transport.set_protocol(tls)
        made = self.call_soon(tls.connection_made, transport)
        resume = self.call_soon(transport.resume_reading)
        try:
            await waiter
        except BaseException:
            transport.close()
            made.cancel()
            resume.cancel()
            del waiter  # its exception's traceback leads back here
            raise
        if tls._app_transport is None:  # connection_lost() came first
            raise ConnectionAbortedError("the transport was closed during the TLS handshake")
        return tls._app_transport


def _context(sslcontext: Any, server_side: bool, server_hostname: str | None) -> Any:
    """The context of a connection, of which it is certain that it checks what it is to check."""
    if not sslcontext:  # ssl=True: the default is asked for
        sslcontext = _default_context(server_side, server_hostname)
    # Python's SSLObject did not always ask, and then checked nothing (CVE-2026-19553).
    if sslcontext.check_hostname and not (server_side or server_hostname):
        raise ValueError("check_hostname requires server_hostname")
    return sslcontext


def _timeout(which: str, seconds: float | None, default: float) -> float:
    if seconds is None:
        return default
    if seconds <= 0:
        raise ValueError(f"ssl_{which}_timeout should be a positive number, got {seconds}")
    return seconds


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
