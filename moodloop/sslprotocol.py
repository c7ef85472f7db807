"""One connection's TLS: the standard library's SSLProtocol, whose hot methods are shorter here.

The running Python's own `asyncio.sslproto` is the engine, and does all that is done seldom.
"""

from __future__ import annotations

from asyncio import sslproto
from collections.abc import Iterable
from typing import Any

# None where Python was built without it.
ssl: Any = sslproto.ssl  # type: ignore[attr-defined]

_StdlibProtocol: Any = sslproto.SSLProtocol
_StdlibTransport: Any = sslproto._SSLProtocolTransport

# Compared with `is`: in 3.11 each look into the enumeration takes as long as a method call.
_WRAPPED: Any = sslproto.SSLProtocolState.WRAPPED
_FLUSHING: Any = sslproto.SSLProtocolState.FLUSHING

# What read() and write() raise when the other side has to say something first.
_AGAIN: Any = sslproto.SSLAgainErrors if ssl else ()

# The most plain text of one record (RFC 8446, 5.1), which is all that one read() returns. OpenSSL
# takes one record at a time out of the BIO for what comes in, and all there is of one that is not
# whole. So once a record is read, and neither `pending` tells of more, another read() could only
# raise SSLWantReadError, which costs 1.5 us.
_RECORD = 16384

# The reason of the SSLError for data that the peer sent before our close_notify reached it.
_LATE_DATA = "APPLICATION_DATA_AFTER_CLOSE_NOTIFY"

# So much of it is read and dropped: DROPPED_AT_MOST of src/tls/read.c.
_MOST_DROPPED = 64 << 20


class SSLTransport(_StdlibTransport):  # type: ignore[misc]
    """The transport that a program has on a connection with TLS."""

    _closed: bool

    def write(self, data: Any) -> None:
        """Send bytes-like data; never blocks. Raises TypeError for anything else."""
        protocol = self._ssl_protocol
        if not isinstance(data, bytes):
            data = _octets(data)
        if data and protocol._state is _WRAPPED and not protocol._write_backlog:
            protocol._write_at_once(data)
        else:
            super().write(data)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Send an iterable of data, in one record if it fits. Raises TypeError as write()."""
        lines = [line if isinstance(line, bytes) else _octets(line) for line in list_of_data]
        if len(lines) > 1 and sum(map(len, lines)) <= _RECORD:
            lines = [b"".join(lines)]  # a record costs 1 us
        super().writelines(lines)

    def close(self) -> None:
        """Send what is written, then end TLS and the connection. Idempotent."""
        if not self._closed:
            super().close()
        else:  # here the standard library forgets its protocol: write() and the like then fail
            self._ssl_protocol._let_go()


def _octets(data: Any) -> Any:
    """Bytes-like data whose `len()` is one of bytes, and which OpenSSL takes: bytes in a row."""
    if isinstance(data, memoryview):
        plain = data.ndim == 1 and data.itemsize == 1 and data.c_contiguous
        return data if plain else data.tobytes()
    if not isinstance(data, (bytes, bytearray)):
        raise TypeError(f"data: expecting a bytes-like instance, got {type(data).__name__}")
    return data


class SSLProtocol(_StdlibProtocol):  # type: ignore[misc]
    """One connection's TLS: a protocol to the socket below, a transport to the program above."""

    _shutdown_timeout_handle: Any
    _app_transport_created: bool
    _sslcontext: Any
    _sslobj: Any
    _ssl_reading_paused: bool
    # The program has closed its transport for the second time.
    _unneeded = False
    # How much of the late data is dropped; None while none has come.
    _dropped: int | None = None

    def __init__(
        self,
        loop: Any,
        app_protocol: Any,
        sslcontext: Any,
        waiter: Any,
        server_side: bool,
        server_hostname: str | None,
        **kwargs: Any,
    ) -> None:
        # Python's SSLObject did not always ask, and then checked nothing (CVE-2026-19553).
        if sslcontext and sslcontext.check_hostname and not (server_side or server_hostname):
            raise ValueError("check_hostname requires server_hostname")
        # The standard library gives each connection a zeroed buffer of 256 KiB to receive into.
        # What arrives is moved on before anything else can, so one serves all of a loop.
        self.max_size = 0
        super().__init__(
            loop, app_protocol, sslcontext, waiter, server_side, server_hostname, **kwargs
        )
        del self.max_size
        self._ssl_buffer, self._ssl_buffer_view = loop._tls_buffer

    def _feed(self, data: Any) -> None:
        """What arrived before TLS began, and is its own."""
        self._incoming.write(data)

    def _set_app_protocol(self, app_protocol: Any) -> None:
        super()._set_app_protocol(app_protocol)
        # As without TLS: one of neither of asyncio's classes is asked what it has.
        if not hasattr(app_protocol, "data_received") and hasattr(app_protocol, "get_buffer"):
            self._app_protocol_get_buffer = app_protocol.get_buffer
            self._app_protocol_buffer_updated = app_protocol.buffer_updated
            self._app_protocol_is_buffer = True

    def _get_app_transport(self) -> Any:
        if not self._app_transport_created:
            self._app_transport = SSLTransport(self._loop, self)
            self._app_transport_created = True
        return super()._get_app_transport()

    # What follows runs for each packet, and does what the standard library's methods of these names
    # do in half the time: fewer calls, and no exception to learn that all is read.

    def get_buffer(self, n: int) -> memoryview:
        return self._ssl_buffer_view  # type: ignore[no-any-return]

    def buffer_updated(self, nbytes: int) -> None:
        if self._state is _WRAPPED:
            self._incoming.write(self._ssl_buffer_view[:nbytes])
            self._do_read()
        elif self._dropped is not None:
            self._dropped += nbytes
            if self._dropped > _MOST_DROPPED:
                self._transport.abort()
        else:
            super().buffer_updated(nbytes)

    def _do_read(self) -> None:
        if self._state is not _WRAPPED and self._state is not _FLUSHING:
            return
        try:
            if not self._app_reading_paused:
                if self._app_protocol_is_buffer:
                    self._do_read__buffered()
                else:
                    self._do_read__copied()
                if self._write_backlog:
                    self._do_write()
                elif self._outgoing.pending or self._app_writing_paused:
                    self._process_outgoing()
            if self._ssl_reading_paused or self._incoming.pending >= self._incoming_high_water:
                self._control_ssl_reading()
        except Exception as exc:
            self._process_outgoing()  # the alert that tells the peer why
            self._fatal_error(exc, "Fatal error on SSL protocol")

    def _do_read__copied(self) -> None:
        read, incoming = self._sslobj.read, self._incoming
        data = chunk = chunks = None
        try:
            data = chunk = read(_RECORD)
            while chunk and (
                incoming.pending or (len(chunk) == _RECORD and self._sslobj.pending())
            ):
                chunk = read(_RECORD)
                if chunks is None:
                    chunks = [data]
                chunks.append(chunk)
        except _AGAIN:
            pass
        if chunks is not None:
            data = b"".join(chunks)
        if data:
            self._app_protocol.data_received(data)
        if chunk == b"":  # close_notify
            self._end_of_tls()

    def _do_read__buffered(self) -> None:
        read, incoming = self._sslobj.read, self._incoming
        buffer = self._app_protocol_get_buffer(incoming.pending)
        size = len(buffer)
        if not size:
            raise RuntimeError("get_buffer() returned an empty buffer")
        got, count = 0, None
        try:
            got = count = read(size, buffer)
            with memoryview(buffer) as view:  # a slice of a bytearray would be a copy
                while count and got < size and incoming.pending:
                    with view[got:] as rest:
                        count = read(size - got, rest)
                    got += count
        except _AGAIN:
            pass
        if got == size and (incoming.pending or self._sslobj.pending()):
            self._loop.call_soon(self._do_read)
        if got:
            self._app_protocol_buffer_updated(got)
        if count == 0:  # close_notify
            self._end_of_tls()

    def _end_of_tls(self) -> None:
        self._call_eof_received()
        self._start_shutdown()

    def _write_at_once(self, data: Any) -> None:
        """Encrypt and send while nothing waits before it."""
        try:
            try:
                count = self._sslobj.write(data)
            except _AGAIN:
                count = 0
            if count != len(data):
                rest = self._encrypt(data, count)
                if rest is not None:
                    self._write_backlog.append(rest)
                    self._write_buffer_size += len(rest)
            self._process_outgoing()
        except Exception as exc:
            self._fatal_error(exc, "Fatal error on SSL protocol")

    def _do_write(self) -> None:
        backlog = self._write_backlog
        while backlog:
            data = backlog[0]
            rest = self._encrypt(data, 0)
            self._write_buffer_size -= len(data)
            if rest is not None:
                backlog[0] = rest
                self._write_buffer_size += len(rest)
                break
            del backlog[0]
        self._process_outgoing()

    def _encrypt(self, data: Any, count: int) -> bytes | None:
        """Give OpenSSL all but the first `count` bytes; what it does not take now, if anything."""
        with memoryview(data) as view:
            try:
                while count < len(view):  # it takes one record at a time
                    with view[count:] as rest:
                        count += self._sslobj.write(rest)
            except _AGAIN:
                return bytes(view[count:])
        return None

    def _process_outgoing(self) -> None:
        if not self._ssl_writing_paused:
            data = self._outgoing.read()
            if data:
                self._transport.write(data)
        if (
            self._app_writing_paused
            or self._outgoing.pending + self._write_buffer_size >= self._outgoing_high_water
        ):
            self._control_app_writing()

    # What follows is seldom called.

    def _on_handshake_complete(self, handshake_exc: Any) -> None:
        if handshake_exc is not None:
            self._process_outgoing()  # the alert that tells the peer why
        # start_tls() returns the transport when its waiter wakes the program. Data that came with
        # the handshake have to wait for that: they would be answered in plain text.
        upgrade = self._app_state is not sslproto.AppProtocolState.STATE_INIT
        if upgrade:
            self._app_reading_paused = True
        try:
            super()._on_handshake_complete(handshake_exc)
        finally:
            handshake_exc = None  # its traceback leads back here
        if upgrade:
            self._app_reading_paused = False
            if self._state is _WRAPPED:
                self._process_outgoing()
                self._loop.call_soon(self._do_read)

    def _do_flush(self) -> None:
        self._do_read()
        if self._state is _FLUSHING:  # else a callback has aborted, or reading has failed
            self._set_state(sslproto.SSLProtocolState.SHUTDOWN)
            self._do_shutdown()

    def _abort(self, exc: BaseException | None = None) -> None:
        # 3.11 takes no exception here, yet passes one when TLS runs over TLS.
        self._set_state(sslproto.SSLProtocolState.UNWRAPPED)
        if self._transport is not None:
            self._transport._force_close(exc)

    def _on_shutdown_complete(self, shutdown_exc: BaseException | None) -> None:
        if getattr(shutdown_exc, "reason", None) == _LATE_DATA:
            # The program wants no more, and the peer could not know: no error, and no reason to
            # drop what is still to be sent, as the standard library does (RFC 8446, 6.1).
            self._dropped = 0
            rest = self._outgoing.read()
            if rest:
                self._transport.write(rest)
            if self._transport.can_write_eof():
                # Nor is it closed yet, which would end reading: a peer that answers all that it
                # gets goes on only if somebody reads, and a reset would take what it has not read.
                if self._ssl_reading_paused:
                    self._ssl_reading_paused = False
                    self._transport.resume_reading()
                self._transport.write_eof()
                return
            shutdown_exc = None
        super()._on_shutdown_complete(shutdown_exc)
        # The socket's transport is closed next, and first sends what waits in it: for ever if the
        # peer does not read. 3.14 keeps the timeout until then; those before forget it.
        if not shutdown_exc and self._shutdown_timeout_handle is None:
            self._shutdown_timeout_handle = self._loop.call_later(
                self._ssl_shutdown_timeout, self._check_shutdown_timeout
            )

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._unneeded:
            self._let_go()

    def _let_go(self) -> None:
        """Keep no context and no keys once the connection is over, though a program keeps us."""
        self._unneeded = True
        if self._transport is None:
            self._sslcontext = self._sslobj = None
            self._extra.clear()

    def _check_shutdown_timeout(self) -> None:
        if self._transport is not None:
            super()._check_shutdown_timeout()


def shared_buffer() -> tuple[bytearray, memoryview]:
    """What all TLS connections of a loop receive into, and a view of it."""
    buffer = bytearray(sslproto.SSLProtocol.max_size)
    return buffer, memoryview(buffer)
