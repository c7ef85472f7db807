"""TLS records, however they arrive, and whatever the protocol does when they do."""

import array
import asyncio
import contextlib
import ssl
from asyncio import sslproto

import pytest
from support.loops import turns, until
from support.net import BufferedRecord, Record, unix_pair
from support.records import RecordPeer, connection
from support.tls import CERTS, client_context, server_context

from moodloop import sslprotocol

pytestmark = pytest.mark.tls


@pytest.mark.engines("python", reason="of the engine in Python alone")
def test_methods_are_the_standard_librarys():
    """Those of these names that run for each packet: one renamed there would not be called."""
    own = {"_write_at_once", "_encrypt", "_end_of_tls", "_let_go", "_feed"}
    ours = {name for name, value in vars(sslprotocol.SSLProtocol).items() if callable(value)}
    assert ours - own <= set(vars(sslproto.SSLProtocol))
    assert not own & set(vars(sslproto.SSLProtocol))


def records_in(raw):
    """How many TLS records the bytes are."""
    count = 0
    while raw:
        raw = raw[5 + int.from_bytes(raw[3:5], "big") :]
        count += 1
    return count


both_kinds = pytest.mark.parametrize("kind", [Record, BufferedRecord], ids=["plain", "buffered"])


class TestPieces:
    @both_kinds
    @pytest.mark.parametrize("at", [1, 4, 5, 6, 100, -17, -1])
    def test_record_in_two(self, run, kind, at):
        async def main():
            async with connection(kind) as (protocol, peer):
                raw = peer.record(b"x" * 1000)
                await peer.send(raw[:at])
                await turns(10)
                assert protocol.events == ["made"]
                await peer.send(raw[at:])
                assert await protocol.received(1000) == b"x" * 1000
                assert protocol.events == ["made", "data"]

        run(main())

    @pytest.mark.parametrize("step", [1, 7, 1000])
    def test_byte_after_byte(self, run, step):
        async def main():
            async with connection() as (protocol, peer):
                raw = b"".join(peer.record(b"%04d" % n * 250) for n in range(3))
                for i in range(0, len(raw), step):
                    await peer.send(raw[i : i + step])
                    await asyncio.sleep(0)
                expected = b"".join(b"%04d" % n * 250 for n in range(3))
                assert await protocol.received(3000) == expected

        run(main())

    @both_kinds
    @pytest.mark.parametrize("cut", [1, 5, 500])
    def test_one_and_a_part(self, run, kind, cut):
        """What is whole is not held back."""

        async def main():
            async with connection(kind) as (protocol, peer):
                first, second = peer.record(b"a" * 1000), peer.record(b"b" * 1000)
                await peer.send(first + second[:cut])
                assert await protocol.received(1000) == b"a" * 1000
                await turns(10)
                assert not protocol.data
                await peer.send(second[cut:])
                assert await protocol.received(1000) == b"b" * 1000

        run(main())

    @pytest.mark.parametrize("size", [1, 100, 16384])
    def test_several_at_once(self, run, size):
        """They come to the protocol as one."""

        async def main():
            async with connection() as (protocol, peer):
                await peer.send(b"".join(peer.record(b"%d" % n * size) for n in range(5)))
                expected = b"".join(b"%d" % n * size for n in range(5))
                assert await protocol.received(5 * size) == expected
                assert protocol.events == ["made", "data"]

        run(main())

    @both_kinds
    def test_many(self, run, kind):
        """More than the loop receives at once."""
        size = 1 << 20

        async def main():
            async with connection(kind) as (protocol, peer):
                data = bytes(range(256)) * (size // 256)
                raw = b"".join(peer.record(data[i : i + 10_000]) for i in range(0, size, 10_000))
                sending = asyncio.ensure_future(peer.send(raw))
                assert await protocol.received(size) == data
                await sending

        run(main())

    def test_empty_record(self, run):
        """A record with no data is no end."""

        async def main():
            async with connection() as (protocol, peer):
                await peer.send(peer.record(b"") + peer.record(b"x") + peer.record(b""))
                assert await protocol.received(1) == b"x"
                await turns(10)
                assert protocol.events == ["made", "data"]

        run(main())


class TestEnds:
    @both_kinds
    @pytest.mark.parametrize("data", [b"", b"bye", bytes(16384)], ids=len)
    def test_close_notify_behind_data(self, run, kind, data):
        async def main():
            async with connection(kind) as (protocol, peer):
                raw = peer.record(data) if data else b""
                await peer.send(raw + peer.close_notify())
                await protocol.lost
                assert protocol.data == data
                assert protocol.kinds == ["made", *["data"][: len(data)], "eof", "lost"]
                assert protocol.exc is None

        run(main())

    def test_close_notify_in_two(self, run):
        async def main():
            async with connection() as (protocol, peer):
                raw = peer.close_notify()
                await peer.send(raw[:7])
                await turns(10)
                assert protocol.events == ["made"]
                await peer.send(raw[7:])
                await protocol.lost
                assert protocol.events == ["made", "eof", "lost"]

        run(main())

    @both_kinds
    def test_what_comes_after_close_notify(self, run, kind):
        async def main():
            async with connection(kind) as (protocol, peer):
                raw = peer.record(b"bye")
                await peer.send(raw + peer.close_notify() + b"x" * 100)
                await protocol.lost
                assert protocol.data == b"bye"
                assert protocol.kinds == ["made", "data", "eof", "lost"]

        run(main())

    def test_end_of_file_while_paused(self, run):
        async def main():
            async with connection() as (protocol, peer):
                protocol.transport.pause_reading()
                await peer.send(peer.record(b"last words"))
                peer.shutdown()
                await turns(10)
                assert protocol.events == ["made"]
                protocol.transport.resume_reading()
                assert await protocol.received(10) == b"last words"
                await protocol.lost

        run(main())

    def test_write_after_close(self, run, reports):
        async def main():
            async with connection() as (protocol, peer):
                protocol.transport.write(b"bye")
                protocol.transport.close()
                protocol.transport.write(b"late")
                assert await peer.decrypted(3) == b"bye"
                assert await peer.step(peer.tls.read, 100) == b""
                await peer.send(peer.close_notify())
                await protocol.lost
                assert protocol.exc is None

        run(main())
        assert reports == []

    def test_bad_record(self, run):
        async def main():
            async with connection() as (protocol, peer):
                bad = bytearray(peer.record(b"x" * 100))
                bad[-1] ^= 1
                await peer.send(bad)
                assert isinstance(await protocol.lost, ssl.SSLError)
                assert protocol.events == ["made", "lost"]

        run(main())

    def test_plain_text(self, run):
        """Five bytes are enough to know."""

        async def main():
            async with connection() as (protocol, peer):
                await peer.send(b"GET /")
                assert isinstance(await protocol.lost, ssl.SSLError)

        run(main())


class TestInDataReceived:
    def test_pause(self, run):
        class Pausing(Record):
            def data_received(self, data):
                super().data_received(data)
                self.transport.pause_reading()

        async def main():
            async with connection(Pausing) as (protocol, peer):
                await peer.send(peer.record(b"a") + peer.record(b"b"))
                assert await protocol.received(2) == b"ab"
                size = 1 << 20
                raw = b"".join(peer.record(b"c" * 16384) for _ in range(size // 16384))
                sending = asyncio.ensure_future(peer.send(raw + peer.close_notify()))
                await turns(20)
                assert protocol.events == ["made", "data"]
                got = 0
                while "eof" not in protocol.events:
                    protocol.transport.resume_reading()
                    await protocol.change()
                    got += len(protocol.data)
                    protocol.data.clear()
                assert got == size
                await sending

        run(main())

    @pytest.mark.parametrize("size", [1, 16384, 16385, 100_000])
    def test_write(self, run, size):
        class Echo(Record):
            def data_received(self, data):
                super().data_received(data)
                for i in range(0, len(data), 40_000):
                    self.transport.write(data[i : i + 40_000])

        async def main():
            async with connection(Echo) as (_, peer):
                data = bytes(range(251)) * (size // 251 + 1)
                for part in (data[:size], data[: size // 2]):
                    left = part
                    while left:
                        await peer.send(peer.record(left[:16384]))
                        left = left[16384:]
                    assert await peer.decrypted(len(part)) == part

        run(main())

    @both_kinds
    def test_write_and_close(self, run, kind):
        class Closing(kind):
            def answer(self):
                self.transport.write(b"answer")
                self.transport.close()

        class Plain(Closing):
            def data_received(self, data):
                super().data_received(data)
                self.answer()

        class Buffered(Closing):
            def buffer_updated(self, nbytes):
                super().buffer_updated(nbytes)
                self.answer()

        async def main():
            async with connection(Plain if kind is Record else Buffered) as (protocol, peer):
                await peer.send(peer.record(b"question"))
                assert await peer.decrypted(6) == b"answer"
                assert await peer.step(peer.tls.read, 100) == b""  # close_notify
                await peer.send(peer.close_notify())
                await protocol.lost
                assert protocol.exc is None
                assert protocol.kinds == ["made", "data", "eof", "lost"]

        run(main())

    def test_close_with_more_behind(self, run):
        class Closing(Record):
            def data_received(self, data):
                super().data_received(data)
                self.transport.close()

        async def main():
            async with connection(Closing) as (protocol, peer):
                await peer.send(peer.record(b"a") + peer.record(b"b")[:10])
                await protocol.received(1)
                assert await peer.step(peer.tls.read, 100) == b""
                assert protocol.events[:2] == ["made", "data"]

        run(main())

    def test_abort(self, run):
        class Aborting(Record):
            def data_received(self, data):
                super().data_received(data)
                self.transport.write(b"never sent")
                self.transport.abort()
                self.transport.write(b"nor this")

        async def main():
            async with connection(Aborting) as (protocol, peer):
                await peer.send(peer.record(b"a") + peer.record(b"b"))
                await protocol.lost
                assert protocol.events == ["made", "data", "lost"]
                assert protocol.exc is None

        run(main())

    def test_raises(self, run, reports):
        class Raising(Record):
            def data_received(self, data):
                raise ZeroDivisionError

        async def main():
            async with connection(Raising) as (protocol, peer):
                await peer.send(peer.record(b"a"))
                assert isinstance(await protocol.lost, ZeroDivisionError)

        run(main())
        assert [type(context["exception"]) for context in reports] == [ZeroDivisionError]
        assert reports[0]["message"] == "Fatal error on SSL protocol"

    @pytest.mark.parametrize("kind", [Record, BufferedRecord], ids=["plain", "buffered"])
    def test_other_protocol(self, run, kind):
        made = []

        class Switching(Record):
            def data_received(self, data):
                super().data_received(data)
                made.append(kind())
                made[0].connection_made(self.transport)
                self.transport.set_protocol(made[0])
                self.transport.write(b"go on")

        async def main():
            async with connection(Switching) as (protocol, peer):
                await peer.send(peer.record(b"first"))
                assert await peer.decrypted(5) == b"go on"
                await peer.send(peer.record(b"second") + peer.close_notify())
                assert await made[0].received(6) == b"second"
                await made[0].lost
                assert protocol.kinds == ["made", "data"]
                assert made[0].kinds == ["made", "data", "eof", "lost"]
                protocol.lost.set_result(None)

        run(main())


class TestBuffered:
    @pytest.mark.parametrize("size", [1, 100, 4096, 16384, 100_000])
    def test_records_of_other_sizes(self, run, size):
        class Views(BufferedRecord):
            def get_buffer(self, sizehint):
                return memoryview(super().get_buffer(sizehint))

        async def main():
            async with connection(Views) as (protocol, peer):
                protocol.buffer = bytearray(size)
                await peer.send(b"".join(peer.record(b"%d" % n * 2048) for n in range(8)))
                expected = b"".join(b"%d" % n * 2048 for n in range(8))
                assert await protocol.received(len(expected)) == expected

        run(main(), timeout=60)

    @pytest.mark.moodloop_only
    def test_bytearray_with_room_for_more(self, run):
        """Stock asyncio reads the second record into a copy of a slice."""

        async def main():
            async with connection(BufferedRecord) as (protocol, peer):
                await peer.send(peer.record(b"one") + peer.record(b"two"))
                assert await protocol.received(6) == b"onetwo"
                assert protocol.events == ["made", "data"]

        run(main())

    def test_buffer_is_free_when_told(self, run):
        class Resizing(BufferedRecord):
            def buffer_updated(self, nbytes):
                super().buffer_updated(nbytes)
                self.buffer = self.buffer[:0]
                self.buffer.extend(bytes(self.size))

        async def main():
            async with connection(Resizing) as (protocol, peer):
                for _ in range(2):
                    await peer.send(peer.record(b"x" * 5000))
                    assert await protocol.received(5000) == b"x" * 5000

        run(main())

    @pytest.mark.moodloop_only
    def test_empty_buffer(self, run, reports):
        """As without TLS; stock asyncio takes it for the end of the connection."""

        async def main():
            async with connection(BufferedRecord) as (protocol, peer):
                protocol.buffer = bytearray()
                await peer.send(peer.record(b"x"))
                assert isinstance(await protocol.lost, RuntimeError)

        run(main())
        (context,) = reports
        assert str(context["exception"]) == "get_buffer() returned an empty buffer"


class TestAfterTheHandshake:
    @pytest.mark.parametrize("data", [b"", b"data"], ids=["alone", "with data"])
    def test_certificate_asked_for(self, loop, run, data):
        """An answer that OpenSSL writes while it reads goes out."""

        async def main():
            a, b = unix_pair()
            theirs, ours = server_context(), client_context()
            theirs.verify_mode = ssl.CERT_REQUIRED
            theirs.post_handshake_auth = ours.post_handshake_auth = True
            theirs.load_verify_locations(CERTS / "other.pem")
            ours.load_cert_chain(CERTS / "other.pem")
            with b:
                peer = RecordPeer(b, theirs, server_side=True)
                (transport, protocol), _ = await asyncio.gather(
                    loop.create_connection(Record, sock=a, ssl=ours, server_hostname="localhost"),
                    peer.handshake(),
                )
                assert peer.tls.getpeercert() is None
                raw = peer.record(data) if data else b""
                peer.tls.verify_client_post_handshake()
                with contextlib.suppress(ssl.SSLWantReadError):
                    peer.tls.do_handshake()
                await peer.send(raw + peer.outgoing.read())
                reading = asyncio.ensure_future(peer.decrypted(4))
                if data:
                    await protocol.received(len(data))
                await until(lambda: peer.tls.getpeercert() is not None)
                assert not reading.done()
                transport.write(b"done")
                assert await reading == b"done"
                transport.abort()
                await protocol.lost
                await turns(10)

        if not ssl.HAS_TLSv1_3:
            pytest.skip("this OpenSSL has no TLS 1.3")
        run(main())


class Counting:
    """An SSLObject whose calls of read() are counted."""

    def __init__(self, tls):
        self.tls, self.reads = tls, 0

    def __getattr__(self, name):
        return getattr(self.tls, name)

    def read(self, *args):
        self.reads += 1
        return self.tls.read(*args)


@pytest.mark.engines("python", reason="counts calls of the SSLObject")
@both_kinds
@pytest.mark.parametrize("size", [1, 100, 16384])
def test_reads_once_for_each_record(run, kind, size):
    """Stock asyncio reads until it is told that there is no more, by an exception."""

    async def main():
        async with connection(kind) as (protocol, peer):
            if kind is BufferedRecord:
                protocol.buffer = bytearray(1 << 16)
            ssl_protocol = protocol.transport._ssl_protocol
            ssl_protocol._sslobj = counting = Counting(ssl_protocol._sslobj)
            for count in (1, 3):
                counting.reads = 0
                await peer.send(b"".join(peer.record(b"x" * size) for _ in range(count)))
                await protocol.received(count * size)
                assert counting.reads == count

    run(main())


class Waiting:
    """An SSLObject whose write() takes so many bytes, and then wants to read first."""

    def __init__(self, tls, takes):
        self.tls, self.takes = tls, takes

    def __getattr__(self, name):
        return getattr(self.tls, name)

    def write(self, data):
        size = min(memoryview(data).nbytes, self.takes)
        if not size:
            raise ssl.SSLWantReadError
        self.takes -= size
        return self.tls.write(memoryview(data).cast("B")[:size])


class TestWrites:
    @pytest.mark.engines("stock", "python", reason="replaces the SSLObject")
    @pytest.mark.parametrize("takes", [0, 10, 16384, 20_000])
    def test_that_have_to_wait(self, run, takes):
        async def main():
            async with connection() as (protocol, peer):
                ssl_protocol = protocol.transport._ssl_protocol
                ssl_protocol._sslobj = waiting = Waiting(ssl_protocol._sslobj, takes)
                data = bytearray(range(250)) * 200
                protocol.transport.write(data)
                protocol.transport.write(b"end")
                assert protocol.transport.get_write_buffer_size() == len(data) + 3 - takes
                waiting.takes = 1 << 20
                await peer.send(peer.record(b"now"))
                assert await peer.decrypted(len(data) + 3) == data + b"end"
                assert protocol.transport.get_write_buffer_size() == 0

        run(main())

    @pytest.mark.engines("stock", "python", reason="replaces the SSLObject")
    def test_stay_in_order(self, run):
        async def main():
            async with connection() as (protocol, peer):
                ssl_protocol = protocol.transport._ssl_protocol
                ssl_protocol._sslobj = waiting = Waiting(ssl_protocol._sslobj, 5)
                protocol.transport.write(b"one two")
                waiting.takes = 100
                protocol.transport.write(b" three")
                assert await peer.decrypted(13) == b"one two three"

        run(main())

    def test_no_buffer_at_all(self, run):
        """A high mark of 0 pauses at once; what comes in resumes."""

        async def main():
            async with connection() as (protocol, peer):
                protocol.transport.set_write_buffer_limits(0)
                assert protocol.events == ["made", "pause"]
                await peer.send(peer.record(b"y"))
                await protocol.received(1)
                await protocol.happened("resume")

        run(main())

    @pytest.mark.parametrize("kind", [bytearray, memoryview])
    def test_buffer_is_free_afterwards(self, run, kind):
        async def main():
            async with connection() as (protocol, peer):
                data = bytearray(b"x" * 100_000)
                protocol.transport.write(kind(data))
                data[:] = b"y" * 10
                assert await peer.decrypted(100_000) == b"x" * 100_000

        run(main())

    @pytest.mark.moodloop_only
    @pytest.mark.parametrize("lines", [False, True], ids=["write", "writelines"])
    @pytest.mark.parametrize(
        "view",
        [
            memoryview(array.array("I", range(20_000))),
            memoryview(array.array("I", range(16384))),  # as many as there are bytes in a record
            memoryview(bytes(range(200)) * 200)[::2],
            memoryview(bytes(range(200)) * 200).cast("B", (200, 200)),
        ],
        ids=["wide", "wide 16384", "every other", "table"],
    )
    def test_of_other_views(self, run, view, lines):
        """Stock asyncio takes a count of items for one of bytes, and gives up on the rest."""

        async def main():
            async with connection() as (protocol, peer):
                if lines:
                    protocol.transport.writelines([view])
                else:
                    protocol.transport.write(view)
                assert await peer.decrypted(view.nbytes) == view.tobytes()

        run(main())

    @pytest.mark.parametrize(
        "lines",
        [
            [],
            [b""],
            [b"one"],
            [b"head", b"", bytearray(b"body"), memoryview(b"tail")],
            [b"x" * 16000, b"y" * 16000, b"z" * 100_000],
        ],
        ids=["none", "empty", "one", "small", "large"],
    )
    def test_of_lines(self, run, lines):
        async def main():
            async with connection() as (protocol, peer):
                protocol.transport.writelines(lines)
                protocol.transport.writelines(iter(lines))
                protocol.transport.write(b".")
                expected = b"".join(lines) * 2 + b"."
                assert await peer.decrypted(len(expected)) == expected

        run(main())

    @pytest.mark.moodloop_only
    def test_small_lines_are_one_record(self, run):
        async def main():
            async with connection() as (protocol, peer):
                await peer.send(peer.outgoing.read())
                await until(lambda: not protocol.transport.get_write_buffer_size())
                peer.incoming.write(await peer.recv())  # tickets
                protocol.transport.writelines([b"x" * 100] * 10)
                raw = await peer.recv()
                assert records_in(raw) == 1
                peer.incoming.write(raw)
                assert await peer.decrypted(1000) == b"x" * 1000

        run(main())

    @pytest.mark.moodloop_only
    def test_of_lines_that_are_none(self, run):
        """The caller is told; stock asyncio ends the connection."""

        async def main():
            async with connection() as (protocol, peer):
                for lines in ([b"x", "text"], [b"x", 3], ["text"], [bytes(20_000), "text"]):
                    with pytest.raises(TypeError):
                        protocol.transport.writelines(lines)
                protocol.transport.write(b"fine")
                assert await peer.decrypted(4) == b"fine"

        run(main())

    def test_water_marks(self, run):
        async def main():
            async with connection() as (protocol, peer):
                transport = protocol.transport
                transport.set_write_buffer_limits(high=100_000, low=50_000)
                assert transport.get_write_buffer_limits() == (50_000, 100_000)
                size = 0
                while "pause" not in protocol.events:
                    transport.write(bytes(50_000))
                    size += 50_000
                    await asyncio.sleep(0)
                assert transport.get_write_buffer_size() >= 100_000
                assert "resume" not in protocol.events
                assert await peer.decrypted(size) == bytes(size)
                await protocol.happened("resume")
                assert transport.get_write_buffer_size() <= 50_000
                assert protocol.events == ["made", "pause", "resume"]

        run(main())


class TestAbortWhileClosing:
    """asyncio.sslproto delivers in close() what came before; the program may abort() then."""

    @pytest.mark.engines("stock", "python", reason="the native engine drops it: nobody reads on")
    @pytest.mark.known("stock", reason="RuntimeError: cannot switch state")
    def test_in_data_received(self, run):
        class Aborting(Record):
            def data_received(self, data):
                super().data_received(data)
                self.transport.abort()

        async def main():
            async with connection(Aborting) as (protocol, peer):
                protocol.transport.pause_reading()
                await peer.send(peer.record(b"x"))
                await turns(10)
                protocol.transport.resume_reading()
                protocol.transport.close()
                assert await protocol.lost is None
                assert protocol.events[0] == "made" and protocol.events[-1] == "lost"

        run(main())
