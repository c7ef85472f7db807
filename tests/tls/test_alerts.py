"""What a peer does that it must not, after the handshake: it is told why, and the end is an error.

RFC 8446, 6.2: who ends a connection for an error sends a fatal alert first.
"""

import asyncio
import ssl

import pytest
from support.loops import TIMEOUT, turns
from support.net import BufferedRecord, Record
from support.records import (
    ALERT,
    APPLICATION_DATA,
    BAD_RECORD_MAC,
    CHANGE_CIPHER_SPEC,
    CLIENT_HELLO,
    CLOSE_NOTIFY,
    FATAL,
    FINISHED,
    HANDSHAKE,
    KEY_UPDATE,
    NEW_SESSION_TICKET,
    RECORD,
    USER_CANCELED,
    WARNING,
    Forger,
    connection,
)

pytestmark = pytest.mark.tls

no_alert = pytest.mark.known(
    "stock", reason="asyncio.sslproto drops the alert that OpenSSL has made"
)


def flip(raw, at=-1):
    raw = bytearray(raw)
    raw[at] ^= 1
    return bytes(raw)


# What is sent, by a function of the peer.
FAULTS = {
    "bad MAC": lambda p: flip(p.forge(b"x" * 100)),
    "bad MAC of nothing": lambda p: flip(p.forge(b"")),
    "bad header": lambda p: flip(p.forge(b"x" * 100), 0),
    "plain record": lambda p: b"\x17\x03\x03\x00\x05hello",
    "plain text": lambda p: b"GET / HTTP/1.1\r\n\r\n",
    "plain handshake": lambda p: b"\x16\x03\x03\x00\x05" + bytes([FINISHED, 0, 0, 1, 0]),
    "shorter than a MAC": lambda p: b"\x17\x03\x03\x00\x05short",
    "too long a cipher text": lambda p: b"\x17\x03\x03" + (RECORD + 257).to_bytes(2, "big"),
    "too long a plain text": lambda p: p.forge(bytes(RECORD + 1)),
    "padding alone": lambda p: p.forge(b"", kind=0, padding=50),
    "unknown type": lambda p: p.forge(b"x", kind=99),
    "heartbeat": lambda p: p.forge(b"\1\0\x05hello", kind=24),
    "change of cipher": lambda p: p.forge(b"\1", CHANGE_CIPHER_SPEC),
    "empty alert": lambda p: p.forge(b"", ALERT),
    "half an alert": lambda p: p.forge(bytes([FATAL]), ALERT) + p.forge(b"x"),
    "long alert": lambda p: p.forge(bytes([FATAL, CLOSE_NOTIFY, 0]), ALERT),
    "empty handshake": lambda p: p.forge(b"", HANDSHAKE),
    "second hello": lambda p: p.message(CLIENT_HELLO, bytes(100)),
    "second end of the handshake": lambda p: p.message(FINISHED, bytes(48)),
    "ticket of a client": lambda p: p.message(NEW_SESSION_TICKET, bytes(100)),
    "unknown message": lambda p: p.message(77, b"x"),
    "hello request": lambda p: p.message(0, b""),
    "empty key update": lambda p: p.message(KEY_UPDATE, b""),
    "long key update": lambda p: p.message(KEY_UPDATE, b"\0\0"),
    "odd key update": lambda p: p.message(KEY_UPDATE, b"\2"),
    "key update and more": lambda p: p.forge(bytes([KEY_UPDATE, 0, 0, 1, 0]) * 2, HANDSHAKE),
    "message between": lambda p: p.forge(bytes([KEY_UPDATE, 0]), HANDSHAKE) + p.forge(b"x"),
    "old keys": lambda p: p.message(KEY_UPDATE, b"\0") + p.forge(b"x"),
}


@no_alert
@pytest.mark.parametrize("fault", FAULTS)
def test_peer_is_told(run, fault):
    async def main():
        async with connection(peer=Forger) as (protocol, peer):
            await peer.send(FAULTS[fault](peer))
            told = await peer.outcome()
            assert isinstance(await protocol.lost, ssl.SSLError)
            assert protocol.events == ["made", "lost"]
            assert "ALERT" in told or told == "UNEXPECTED_MESSAGE", told

    run(main())


@pytest.mark.parametrize("kind", [Record, BufferedRecord], ids=["plain", "buffered"])
@pytest.mark.parametrize("fault", FAULTS)
def test_program_is_told(run, fault, kind):
    """Once, and by an ssl.SSLError; nothing of what is wrong gets to the protocol."""

    async def main():
        async with connection(kind, peer=Forger) as (protocol, peer):
            await peer.send(FAULTS[fault](peer))
            exc = await protocol.lost
            assert isinstance(exc, ssl.SSLError) and exc.reason and exc.library
            assert protocol.events == ["made", "lost"]

    run(main())


@no_alert
@pytest.mark.known("python", reason="the alert is dropped with what the peer has yet to read")
def test_while_much_is_to_be_sent(run):
    """The alert is in order: behind what is encrypted already."""

    async def main():
        async with connection(peer=Forger) as (protocol, peer):
            protocol.transport.write(bytes(4 << 20))
            await turns(10)
            await peer.send(FAULTS["bad MAC"](peer))
            assert "ALERT" in await peer.outcome()
            assert isinstance(await protocol.lost, ssl.SSLError)

    run(main())


@pytest.mark.known("python", reason="asyncio.sslproto delivers nothing of a read that fails")
@pytest.mark.known("stock", reason="asyncio.sslproto delivers nothing of a read that fails")
def test_what_came_before_counts(run):
    """Data that were whole before the error are the program's."""

    async def main():
        async with connection(peer=Forger) as (protocol, peer):
            await peer.send(peer.forge(b"good") + FAULTS["bad MAC"](peer))
            assert isinstance(await protocol.lost, ssl.SSLError)
            assert protocol.data == b"good"

    run(main())


@pytest.mark.parametrize("description", [BAD_RECORD_MAC, 40, 80])
def test_alert_of_the_peer(run, description):
    async def main():
        async with connection(peer=Forger) as (protocol, peer):
            await peer.send(peer.forge(b"before") + peer.alert(description))
            exc = await protocol.lost
            assert isinstance(exc, ssl.SSLError) and "ALERT" in exc.reason
            assert "eof" not in protocol.events

    run(main())


def test_warnings_end_nothing(run):
    """user_canceled is followed by close_notify, and no end itself."""

    async def main():
        async with connection(peer=Forger) as (protocol, peer):
            await peer.send(peer.alert(USER_CANCELED, WARNING) + peer.forge(b"data"))
            assert await protocol.received(4) == b"data"
            await peer.send(peer.alert(CLOSE_NOTIFY, WARNING))
            await protocol.lost  # by OpenSSL 3.6 with an error
            assert protocol.kinds[:2] == ["made", "data"]

    run(main())


def test_warnings_without_end(run):
    """OpenSSL takes five in a row."""

    async def main():
        async with connection(peer=Forger) as (protocol, peer):
            await peer.send(b"".join(peer.alert(USER_CANCELED, WARNING) for _ in range(100)))
            assert isinstance(await protocol.lost, ssl.SSLError)

    run(main())


class TestUnusual:
    """Rare, and right."""

    @pytest.mark.parametrize("padding", [1, 100, RECORD - 4, RECORD - 3])
    def test_padding(self, run, padding):
        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                await peer.send(peer.forge(b"data", padding=padding - 1))
                assert await protocol.received(4) == b"data"

        run(main())

    @pytest.mark.parametrize("size", [1, RECORD - 1, RECORD])
    def test_sizes(self, run, size):
        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                await peer.send(peer.forge(b"x" * size))
                assert await protocol.received(size) == b"x" * size

        run(main())

    @pytest.mark.parametrize("padding", [0, 1000])
    def test_empty_records_between(self, run, padding):
        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                for n in range(100):
                    await peer.send(peer.forge(b"", padding=padding) + peer.forge(b"%03d" % n))
                    assert await protocol.received(3) == b"%03d" % n
                assert "eof" not in protocol.events

        run(main())

    @pytest.mark.parametrize("asks", [False, True])
    def test_key_updates(self, run, asks):
        """Keys change between records, and in the other direction if it is asked for."""

        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                for n in range(20):
                    await peer.send(peer.key_update(asks) + peer.forge(b"%03d" % n))
                    assert await protocol.received(3) == b"%03d" % n
                    protocol.transport.write(b"answer")
                    assert await peer.decrypted(6) == b"answer"

        run(main())

    def test_key_update_amid_a_long_answer(self, run):
        answer = bytes(range(256)) * (8 << 10)

        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                protocol.transport.write(answer)
                await turns(10)
                await peer.send(peer.key_update() + peer.forge(b"next"))
                assert await peer.decrypted(len(answer)) == answer
                assert await protocol.received(4) == b"next"
                protocol.transport.write(b"with the new keys")
                assert await peer.decrypted(17) == b"with the new keys"

        run(main())

    def test_answer_alone_goes_out(self, run):
        """The KeyUpdate that the peer asked for, with nothing else to send."""

        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                protocol.transport.write(b"x")
                assert await peer.decrypted(1) == b"x"  # behind the tickets
                # Two, as OpenSSL keeps its first answer until it has something else to say.
                await peer.send(peer.key_update() + peer.key_update())
                assert await asyncio.wait_for(peer.recv(), TIMEOUT)
                assert protocol.events == ["made"]

        run(main())

    def test_byte_after_byte(self, run):
        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                raw = peer.forge(b"a", padding=20) + peer.key_update() + peer.forge(b"b")
                for at in range(len(raw)):
                    await peer.send(raw[at : at + 1])
                    await asyncio.sleep(0)
                assert await protocol.received(2) == b"ab"

        run(main())

    def test_message_in_pieces(self, run):
        """A handshake message may begin in one record and end in another."""

        async def main():
            async with connection(peer=Forger) as (protocol, peer):
                for piece in (bytes([KEY_UPDATE]), b"\0\0", b"\1\0"):
                    await peer.send(peer.forge(piece, HANDSHAKE))
                peer.next_keys()
                await peer.send(peer.forge(b"data", APPLICATION_DATA))
                assert await protocol.received(4) == b"data"

        run(main())
