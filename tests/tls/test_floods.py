"""Peers that send much and read nothing: memory and the work of a turn stay bounded."""

import asyncio
import contextlib
import socket
import ssl

import pytest
from support.loops import TIMEOUT, turns, until
from support.net import BufferedRecord, Record, unix_pair
from support.records import ALERT, CLOSE_NOTIFY, WARNING, Forger, connection, tcp_connection

from moodloop._core import TLSTransport

pytestmark = pytest.mark.tls

HIGH = 64 << 10  # asyncio's high-water mark for TLS is eight times that


def unsent(transport):
    """Bytes that wait for the peer, wherever they do."""
    size = transport.get_write_buffer_size()
    below = transport._ssl_protocol._transport
    waiting = below.get_write_buffer_size() if below is not None else 0
    if isinstance(transport, TLSTransport):
        assert size >= waiting, "what waits below is not counted"
        return size
    return size + waiting


async def pour(peer, raw, idle=60):
    """Send as much as the other side takes, until it has taken nothing for so many turns."""
    left, waited = memoryview(raw), 0
    while left and waited < idle:
        try:
            left = left[peer.sock.send(left[: 1 << 16]) :]
            waited = 0
        except BlockingIOError:
            waited += 1
        await asyncio.sleep(0 if waited < idle // 2 else 0.001)
    return bytes(left)


def narrow_pair():
    """Two sockets that keep little."""
    pair = unix_pair()
    for sock in pair:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return pair


class TestKeyUpdates:
    @pytest.mark.known("stock", "python", reason="asyncio.sslproto goes on reading")
    def test_that_nobody_reads_the_answers_to(self, run):
        """Each asks for an answer of the same size."""

        async def main():
            async with connection(peer=Forger, pair=narrow_pair) as (protocol, peer):
                protocol.transport.set_write_buffer_limits(HIGH)
                raw = b"".join(peer.key_update() for _ in range(15_000)) + peer.forge(b"end")
                left = await pour(peer, raw)
                waiting = unsent(protocol.transport)
                assert waiting <= 3 * HIGH, f"{waiting} bytes wait for the peer"
                assert left, "all was taken though nothing is read"
                # It goes on when the peer reads, and nothing is lost.
                sending = asyncio.ensure_future(peer.send(left))
                while not protocol.data:
                    await asyncio.wait_for(peer.recv(), TIMEOUT)
                    await asyncio.sleep(0)
                await sending
                assert protocol.data == b"end"

        run(main(), timeout=60)

    def test_that_are_read_by_a_peer_who_gets_nothing_else(self, run):
        """More of them, over time, than would be let wait at once."""

        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                protocol.transport.set_write_buffer_limits(HIGH)

                async def swallow():
                    while await peer.recv():
                        pass

                swallowing = asyncio.ensure_future(swallow())
                for _ in range(16):
                    await peer.send(b"".join(peer.key_update() for _ in range(500)))
                    await peer.send(peer.forge(b"x"))
                    await asyncio.wait_for(protocol.received(1), TIMEOUT)
                swallowing.cancel()
                await asyncio.wait([swallowing])

        run(main(), timeout=60)

    def test_that_are_answered(self, run):
        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                for _ in range(10):
                    await peer.send(b"".join(peer.key_update() for _ in range(50)))
                    protocol.transport.write(b"x")
                    assert await peer.decrypted(1) == b"x"

        run(main())

    def test_that_ask_for_nothing(self, run):
        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                raw = b"".join(peer.key_update(False) for _ in range(3000)) + peer.forge(b"end")
                sending = asyncio.ensure_future(peer.send(raw))
                assert await protocol.received(3) == b"end"
                await sending
                assert unsent(protocol.transport) == 0

        run(main())


class TestEmptyRecords:
    @pytest.mark.parametrize("padding", [0, 200])
    def test_without_end(self, run, padding):
        """OpenSSL takes 32 in a row for an attack; whoever does not must not stall."""

        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                for _ in range(20):
                    with contextlib.suppress(ConnectionError):
                        await peer.send(
                            b"".join(peer.forge(b"", padding=padding) for _ in range(100))
                        )
                await until(lambda: "lost" in protocol.events)
                assert isinstance(protocol.exc, ssl.SSLError)
                assert protocol.events == ["made", "lost"]

        run(main())

    def test_between_data(self, run):
        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                raw = b"".join(peer.forge(b"") + peer.forge(b"x") for _ in range(2000))
                sending = asyncio.ensure_future(peer.send(raw))
                assert await protocol.received(2000) == b"x" * 2000
                await sending

        run(main())


class TestTurns:
    @pytest.mark.parametrize("kind", [Record, BufferedRecord], ids=["plain", "buffered"])
    @pytest.mark.parametrize("size", [1, 16384])
    def test_others_have_theirs(self, run, kind, size):
        """A peer that sends without end does not keep the loop."""
        total = 8 << 20 if size > 1 else 200_000

        async def main():
            async with connection(kind, peer=Forger) as (protocol, peer):
                if kind is BufferedRecord:
                    protocol.buffer = bytearray(1 << 16)
                raw = b"".join(peer.forge(bytes(size)) for _ in range(total // size))
                sending = asyncio.ensure_future(peer.send(raw))
                most = before = 0
                while len(protocol.data) < total:
                    await asyncio.sleep(0)
                    most = max(most, len(protocol.data) - before)
                    before = len(protocol.data)
                    assert "lost" not in protocol.events
                assert most <= 1 << 19, f"{most} bytes in one turn"
                await sending

        run(main(), timeout=60)


class TestAfterTheEnd:
    def test_data_behind_close_notify(self, run):
        """They are nobody's: not delivered, not kept."""

        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                end = peer.alert(CLOSE_NOTIFY, WARNING)
                raw = end + b"".join(peer.forge(bytes(16384)) for _ in range(300))
                with contextlib.suppress(ConnectionError):
                    await pour(peer, raw)
                await protocol.lost
                assert protocol.kinds == ["made", "eof", "lost"]

        run(main())

    @pytest.mark.known("stock", reason="connection_lost(SSLError), for data that nobody wants")
    @pytest.mark.known("python", reason="then it waits for the end of the connection")
    def test_data_that_cross_close(self, run):
        """After close() what comes is read and dropped, until the peer's close_notify."""

        async def main():
            async with tcp_connection(peer=Forger) as (protocol, peer):
                protocol.transport.close()
                raw = b"".join(peer.forge(bytes(16384)) for _ in range(300))
                await pour(peer, raw + peer.alert(CLOSE_NOTIFY, WARNING))
                assert await peer.outcome() == "close_notify"
                assert await asyncio.wait_for(protocol.lost, TIMEOUT) is None
                assert [e for e in protocol.events if e != "eof"] == ["made", "lost"]

        run(main())

    @pytest.mark.known("stock", reason="the socket is closed with data unread: a reset")
    @pytest.mark.known("python", reason="then it waits for the end of the connection")
    def test_close_while_paused(self, run):
        """The peer reads all that was written, and close_notify: no reset (uvloop 471)."""

        async def main():
            async with tcp_connection(peer=Forger) as (protocol, peer):
                protocol.transport.pause_reading()
                protocol.transport.write(b"answer")
                left = await pour(peer, b"".join(peer.forge(bytes(16384)) for _ in range(1000)))
                assert left, "a paused transport has read all"
                protocol.transport.close()
                sending = asyncio.ensure_future(peer.send(left))
                assert await peer.decrypted(6) == b"answer"
                assert await peer.outcome() == "close_notify"
                await sending
                await peer.send(peer.alert(CLOSE_NOTIFY, WARNING))
                assert await asyncio.wait_for(protocol.lost, TIMEOUT) is None
                assert await peer.recv() == b""  # an end, no reset
                assert [e for e in protocol.events if e != "eof"] == ["made", "lost"]

        run(main())

    def test_close_notify_that_never_comes(self, run):
        """With a peer that sends without end."""

        async def main():
            async with connection(peer=Forger, ssl_shutdown_timeout=0.1) as (protocol, peer):
                protocol.transport.close()

                async def send():
                    raw = peer.forge(bytes(16384))
                    with contextlib.suppress(ConnectionError):
                        while "lost" not in protocol.events:
                            await peer.send(raw)
                            raw = peer.forge(bytes(16384))
                            await asyncio.sleep(0)

                sending = asyncio.ensure_future(send())
                await asyncio.wait_for(protocol.lost, TIMEOUT)
                await sending
                assert protocol.events == ["made", "lost"]

        run(main())

    def test_silence(self, run):
        async def main():
            async with connection(ssl_shutdown_timeout=0.05) as (protocol, _):
                protocol.transport.close()
                assert isinstance(await asyncio.wait_for(protocol.lost, TIMEOUT), TimeoutError)
                await turns(10)

        run(main())

    @pytest.mark.parametrize("cut", [0, 1, 5, 7, -1])
    def test_no_end_of_tls(self, run, cut):
        """The end of the connection alone, or in the midst of a record, is one (as in asyncio)."""

        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                await peer.send(peer.forge(b"data") + peer.alert(CLOSE_NOTIFY, WARNING)[:cut])
                peer.shutdown()
                assert await asyncio.wait_for(protocol.lost, TIMEOUT) is None
                assert protocol.data == b"data"

        run(main())

    def test_half_an_alert(self, run):
        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                await peer.send(peer.forge(bytes([WARNING]), ALERT))
                peer.shutdown()
                assert isinstance(await asyncio.wait_for(protocol.lost, TIMEOUT), ssl.SSLError)
                assert protocol.events == ["made", "lost"]

        run(main())


class TestPaused:
    def test_reads_no_more_than_a_little(self, run):
        """A paused transport has the peer wait, whatever is encrypted."""

        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                protocol.transport.pause_reading()
                raw = b"".join(peer.forge(bytes(16384)) for _ in range(400))
                left = await pour(peer, raw)
                assert len(raw) - len(left) <= 2 << 20
                assert protocol.events == ["made"]
                sending = asyncio.ensure_future(peer.send(left))
                protocol.transport.resume_reading()
                await protocol.received(400 * 16384)
                await sending

        run(main())
