"""Data to a protocol: pause and resume, end of file, resets, a protocol replaced."""

import asyncio
import fcntl
import os
import socket
import struct
import sys
import termios

import pytest
from support.loops import turns
from support.net import BufferedRecord, Record, connected, unix_pair

EITHER = pytest.mark.parametrize("kind", [Record, BufferedRecord], ids=["plain", "buffered"])


class HalfOpen(Record):
    def __init__(self):
        super().__init__()
        self.keep_open = True


class BufferedHalfOpen(BufferedRecord):
    def __init__(self):
        super().__init__()
        self.keep_open = True


@EITHER
class TestData:
    def test_order_of_events(self, run, kind):
        async def main():
            async with connected(kind) as (_, protocol, peer):
                assert protocol.events == ["made"]
                await peer.send(b"hello")
                assert await protocol.received(5) == b"hello"
                peer.close()
                await protocol.lost
                assert protocol.kinds == ["made", "data", "eof", "lost"]
                assert protocol.exc is None

        run(main())

    def test_many_small(self, run, kind):
        async def main():
            async with connected(kind) as (_, protocol, peer):
                for i in range(256):
                    await peer.send(bytes([i]))
                assert await protocol.received(256) == bytes(range(256))

        run(main())

    @pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 65535, 65536, 65537, 262144, 262145])
    def test_sizes_around_buffers(self, run, kind, size):
        data = os.urandom(size)

        async def main():
            async with connected(kind) as (_, protocol, peer):
                sending = asyncio.create_task(peer.send(data))
                assert await protocol.received(size) == data
                await sending
                # And a small one after it: the size read grows and shrinks.
                await peer.send(b"end")
                assert await protocol.received(3) == b"end"

        run(main())

    def test_data_then_end_at_once(self, run, kind):
        async def main():
            async with connected(kind) as (_, protocol, peer):
                await peer.send(b"last words")
                peer.close()
                await protocol.lost
                assert protocol.data == b"last words"
                assert protocol.kinds == ["made", "data", "eof", "lost"]

        run(main())

    def test_waiting_before_the_transport(self, run, kind):
        async def main():
            a, b = unix_pair()
            b.sendall(b"early")

            async with connected(kind, lambda: (a, b)) as (_, protocol, _):
                assert await protocol.received(5) == b"early"

        run(main())

    def test_none_inside_create_connection(self, run, kind):
        """create_connection returns before any data is told."""

        async def main():
            a, b = unix_pair()
            b.sendall(b"early")
            b.shutdown(socket.SHUT_WR)
            async with connected(kind, lambda: (a, b)) as (_, protocol, _):
                assert protocol.events == ["made"]
                await protocol.lost

        run(main())


@EITHER
class TestPause:
    def test_nothing_comes_while_paused(self, run, kind):
        async def main():
            async with connected(kind) as (transport, protocol, peer):
                assert transport.is_reading()
                transport.pause_reading()
                assert not transport.is_reading()
                await peer.send(b"held")
                await turns(10)
                assert protocol.events == ["made"]
                transport.resume_reading()
                assert transport.is_reading()
                assert await protocol.received(4) == b"held"

        run(main())

    def test_idempotent(self, run, kind):
        async def main():
            async with connected(kind) as (transport, protocol, peer):
                for _ in range(3):
                    assert transport.pause_reading() is None
                for _ in range(3):
                    assert transport.resume_reading() is None
                await peer.send(b"x")
                assert await protocol.received(1) == b"x"

        run(main())

    def test_in_connection_made(self, run, kind, loop_name):
        if loop_name == "asyncio" and sys.version_info < (3, 11, 5):
            pytest.skip("stock asyncio of early 3.11 reads on after this pause")

        class Paused(kind):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()

        async def main():
            async with connected(Paused) as (transport, protocol, peer):
                await peer.send(b"held")
                await turns(10)
                assert protocol.events == ["made"]
                transport.resume_reading()
                assert await protocol.received(4) == b"held"

        run(main())

    def test_at_once_after_the_connection(self, run, kind):
        async def main():
            async with connected(kind) as (transport, protocol, peer):
                transport.pause_reading()
                await peer.send(b"held")
                await turns(10)
                assert protocol.events == ["made"]

        run(main())

    def test_inside_data_received(self, run, kind):
        class Once(kind):
            def data_received(self, data):
                super().data_received(data)
                self.transport.pause_reading()

            def buffer_updated(self, nbytes):
                super().buffer_updated(nbytes)
                self.transport.pause_reading()

        if kind is BufferedRecord:
            Once.data_received = None
            Once.size = 1000

        async def main():
            async with connected(Once) as (transport, protocol, peer):
                await peer.send(bytes(300_000))
                await protocol.happened("data")
                await turns(10)
                # Paused means: not even what is already here.
                assert protocol.events.count("data") == 1
                seen = len(protocol.data)
                while seen < 300_000:
                    transport.resume_reading()
                    await protocol.change()
                    seen = len(protocol.data)
                assert seen == 300_000

        run(main())

    def test_when_closing(self, run, kind):
        async def main():
            async with connected(kind) as (transport, protocol, _peer):
                transport.close()
                assert not transport.is_reading()
                transport.pause_reading()
                transport.resume_reading()
                assert not transport.is_reading()
                await protocol.lost
                transport.pause_reading()
                transport.resume_reading()
                assert not transport.is_reading()

        run(main())

    def test_end_of_file_while_paused(self, run, kind):
        async def main():
            async with connected(kind) as (transport, protocol, peer):
                transport.pause_reading()
                await peer.send(b"x")
                peer.close()
                await turns(10)
                assert protocol.events == ["made"]
                transport.resume_reading()
                await protocol.lost
                assert protocol.kinds == ["made", "data", "eof", "lost"]

        run(main())


@pytest.mark.parametrize("kind", [HalfOpen, BufferedHalfOpen], ids=["plain", "buffered"])
class TestHalfOpen:
    def test_writing_goes_on(self, run, kind):
        async def main():
            async with connected(kind) as (transport, protocol, peer):
                peer.shutdown()
                await protocol.eof.wait()
                await turns(5)
                assert "lost" not in protocol.events
                assert not transport.is_closing()
                transport.write(b"answer")
                assert await peer.recv_exactly(6) == b"answer"
                transport.close()
                assert await peer.recv() == b""
                await protocol.lost
                assert protocol.kinds == ["made", "eof", "lost"]
                assert protocol.exc is None

        run(main())

    def test_end_is_told_once(self, run, kind):
        async def main():
            async with connected(kind) as (_transport, protocol, peer):
                peer.shutdown()
                await protocol.eof.wait()
                await turns(20)
                assert protocol.events.count("eof") == 1

        run(main())

    def test_still_says_it_reads(self, run, kind):
        async def main():
            async with connected(kind) as (transport, protocol, peer):
                peer.shutdown()
                await protocol.eof.wait()
                await turns(3)
                assert transport.is_reading()

        run(main())

    def test_pause_and_resume_after_the_end(self, run, kind):
        async def main():
            async with connected(kind) as (transport, protocol, peer):
                peer.shutdown()
                await protocol.eof.wait()
                transport.pause_reading()
                await turns(3)
                transport.write(b"x")
                assert await peer.recv_exactly(1) == b"x"
                assert "lost" not in protocol.events

        run(main())


@EITHER
class TestEnd:
    def test_eof_received_false_closes(self, run, kind):
        async def main():
            async with connected(kind) as (transport, protocol, peer):
                peer.shutdown()
                await protocol.lost
                assert transport.is_closing()
                assert protocol.kinds == ["made", "eof", "lost"]
                assert await peer.recv() == b""

        run(main())

    def test_eof_received_false_flushes_first(self, run, kind):
        async def main():
            async with connected(kind) as (transport, protocol, peer):
                transport.write(bytes(4 << 20))
                peer.shutdown()
                await protocol.eof.wait()
                assert len(await peer.recv_all()) == 4 << 20
                await protocol.lost
                assert protocol.exc is None

        run(main())

    def test_reset(self, run, kind):
        async def main():
            async with connected(kind) as (_, protocol, peer):
                peer.reset()
                await protocol.lost
                assert isinstance(protocol.exc, ConnectionResetError)
                assert protocol.kinds == ["made", "lost"]

        run(main())

    @pytest.mark.parametrize("room", [4096, 256 * 1024])
    def test_reset_after_much(self, run, kind, room):
        """All that arrived before it is delivered, in however many reads."""
        size = 128 * 1024
        kind = type("Roomy", (kind,), {"size": room})

        def arrived(sock):
            return struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, b"\0" * 4))[0]

        async def main():
            async with connected(kind) as (transport, protocol, peer):
                sock = transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                transport.pause_reading()
                data = os.urandom(size)
                await peer.send(data)
                while arrived(sock) < size:
                    await asyncio.sleep(0.001)
                peer.reset()
                transport.resume_reading()
                await protocol.lost
                assert bytes(protocol.data) == data
                assert isinstance(protocol.exc, ConnectionResetError)
                assert protocol.kinds == ["made", "data", "lost"]

        run(main())

    def test_connection_lost_once(self, run, kind):
        async def main():
            async with connected(kind) as (transport, protocol, peer):
                peer.reset()
                transport.write(b"x")
                transport.close()
                transport.abort()
                await protocol.lost
                transport.abort()
                transport.close()
                await turns(5)
                assert protocol.events.count("lost") == 1

        run(main())


class TestSwitch:
    def test_get_and_set(self, run):
        async def main():
            async with connected() as (transport, protocol, peer):
                assert transport.get_protocol() is protocol
                other = Record()
                assert transport.set_protocol(other) is None
                assert transport.get_protocol() is other
                await peer.send(b"x")
                assert await other.received(1) == b"x"
                assert protocol.events == ["made"]
                transport.set_protocol(protocol)

        run(main())

    @pytest.mark.parametrize("first", [Record, BufferedRecord], ids=["plain", "buffered"])
    @pytest.mark.parametrize("second", [Record, BufferedRecord], ids=["plain", "buffered"])
    def test_takes_effect_at_the_next_read(self, run, first, second):
        async def main():
            async with connected(first) as (transport, protocol, peer):
                await peer.send(b"one")
                assert await protocol.received(3) == b"one"
                other = second()
                transport.set_protocol(other)
                await peer.send(b"two")
                assert await other.received(3) == b"two"
                assert protocol.data == b""
                transport.set_protocol(protocol)
                await peer.send(b"three")
                assert await protocol.received(5) == b"three"

        run(main())

    def test_inside_data_received(self, run):
        class Switching(Record):
            def data_received(self, data):
                super().data_received(data)
                self.other = BufferedRecord()
                self.transport.set_protocol(self.other)

        async def main():
            async with connected(Switching) as (transport, protocol, peer):
                await peer.send(b"one")
                await protocol.received(3)
                await peer.send(b"two")
                assert await protocol.other.received(3) == b"two"
                transport.set_protocol(protocol)

        run(main())

    def test_connection_lost_goes_to_the_new_one(self, run):
        async def main():
            async with connected() as (transport, protocol, peer):
                other = Record()
                transport.set_protocol(other)
                peer.close()
                await other.lost
                assert other.kinds == ["eof", "lost"]
                assert protocol.events == ["made"]
                protocol.lost.set_result(None)

        run(main())

    def test_method_replaced_on_the_instance(self, run):
        """A protocol whose data_received is assigned before the connection is called by it."""
        got = []

        class Patched(Record):
            def __init__(self):
                super().__init__()
                self.data_received = lambda data: (got.append(data), self._more.set())

        async def main():
            async with connected(Patched) as (_, protocol, peer):
                await peer.send(b"x")
                await protocol.change()

        run(main())
        assert got == [b"x"]

    def test_protocol_by_attribute_lookup(self, run):
        """A proxy that answers by __getattr__ is a protocol too."""

        class Proxy:
            def __init__(self):
                self.inner = Record()

            def __getattr__(self, name):
                return getattr(self.inner, name)

        async def main():
            async with connected(Proxy) as (transport, protocol, peer):
                await peer.send(b"x")
                assert await protocol.inner.received(1) == b"x"
                transport.abort()
                await protocol.inner.lost

        run(main())
