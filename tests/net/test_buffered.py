"""BufferedProtocol: the buffers it gives, good and bad."""

import asyncio

import pytest
from support.loops import turns
from support.net import BufferedRecord, connected, tcp_pair


def fatal(reports):
    (context,) = reports
    return context["message"]


class TestBuffers:
    def test_hint_is_minus_one(self, run):
        async def main():
            async with connected(BufferedRecord) as (_, protocol, peer):
                await peer.send(b"x")
                await protocol.received(1)
                assert set(protocol.hints) == {-1}

        run(main())

    @pytest.mark.parametrize("size", [1, 2, 3, 100])
    def test_small(self, run, size):
        class Small(BufferedRecord):
            pass

        Small.size = size

        async def main():
            async with connected(Small) as (_, protocol, peer):
                await peer.send(b"hello, world")
                assert await protocol.received(12) == b"hello, world"

        run(main())

    def test_memoryview_of_a_part(self, run):
        class Part(BufferedRecord):
            def get_buffer(self, sizehint):
                return memoryview(self.buffer)[10:20]

            def buffer_updated(self, nbytes):
                self.data += self.buffer[10 : 10 + nbytes]
                self._more.set()

        async def main():
            async with connected(Part) as (_, protocol, peer):
                await peer.send(b"x" * 25)
                assert await protocol.received(25) == b"x" * 25
                assert protocol.buffer[20:] == bytes(4096 - 20)

        run(main())

    def test_no_export_is_held(self, run):
        async def main():
            async with connected(BufferedRecord) as (_, protocol, peer):
                await peer.send(b"x")
                await protocol.received(1)
                await turns(3)
                protocol.buffer.extend(b"more")  # BufferError while exported
                await peer.send(b"y")
                await protocol.received(1)

        run(main())

    def test_another_one_each_time(self, run):
        class Fresh(BufferedRecord):
            def get_buffer(self, sizehint):
                self.buffer = bytearray(7)
                return self.buffer

        async def main():
            async with connected(Fresh) as (_, protocol, peer):
                await peer.send(b"0123456789" * 10)
                assert await protocol.received(100) == b"0123456789" * 10

        run(main())

    def test_wider_items(self, run):
        import array

        class Words(BufferedRecord):
            def __init__(self):
                super().__init__()
                self.buffer = array.array("I", [0] * 4)

            def buffer_updated(self, nbytes):
                self.data += self.buffer.tobytes()[:nbytes]
                self._more.set()

        async def main():
            async with connected(Words) as (_, protocol, peer):
                await peer.send(b"0123456789abcdefXYZ")
                assert await protocol.received(19) == b"0123456789abcdefXYZ"

        run(main())


class Duck:
    """A protocol of no class of asyncio's, as one written in C."""

    def __init__(self, *names):
        record = self.record = BufferedRecord()
        for name in ("connection_made", "connection_lost", "eof_received", *names):
            setattr(self, name, getattr(record, name))


class TestOfNoClass:
    @pytest.mark.moodloop_only  # asyncio asks for the class alone, and ends the connection
    def test_buffered(self, loop, run):
        async def main():
            a, b = tcp_pair()
            with b:
                _, protocol = await loop.create_connection(
                    lambda: Duck("get_buffer", "buffer_updated"), sock=a
                )
                b.sendall(b"hello")
                assert await protocol.record.received(5) == b"hello"
            await protocol.record.lost

        run(main())

    def test_data_received_comes_first(self, loop, run):
        async def main():
            a, b = tcp_pair()
            with b:
                protocol = Duck("get_buffer", "buffer_updated")
                got = loop.create_future()
                protocol.data_received = got.set_result
                await loop.create_connection(lambda: protocol, sock=a)
                b.sendall(b"hello")
                assert await got == b"hello"
            await protocol.record.lost

        run(main())

    @pytest.mark.parametrize("name", ["data_received", "get_buffer"])
    @pytest.mark.moodloop_only
    def test_attribute_that_raises(self, loop, run, name):
        class Bad(asyncio.BaseProtocol):
            pass

        def fails(self):
            raise LookupError(name)

        setattr(Bad, name, property(fails))

        async def main():
            a, b = tcp_pair()
            with a, b:
                with pytest.raises(LookupError, match=name):
                    await loop.create_connection(Bad, sock=a)
            await turns(10)

        run(main())


class TestBad:
    def lost_with(self, run, kind, expected):
        async def main():
            async with connected(kind) as (transport, protocol, peer):
                await peer.send(b"x")
                await protocol.lost
                assert isinstance(protocol.exc, expected)
                assert transport.is_closing()
                assert protocol.events.count("lost") == 1

        run(main())

    def test_empty(self, run, reports):
        class Empty(BufferedRecord):
            size = 0

        self.lost_with(run, Empty, RuntimeError)
        assert fatal(reports) == "Fatal error: protocol.get_buffer() call failed."
        assert "get_buffer() returned an empty buffer" in str(reports[0]["exception"])

    def test_raises(self, run, reports):
        class Raising(BufferedRecord):
            def get_buffer(self, sizehint):
                raise ZeroDivisionError

        self.lost_with(run, Raising, ZeroDivisionError)
        assert fatal(reports) == "Fatal error: protocol.get_buffer() call failed."

    @pytest.mark.parametrize("thing", [None, 42, "text"])
    def test_no_buffer(self, run, reports, thing):
        class Wrong(BufferedRecord):
            def get_buffer(self, sizehint):
                return thing

        self.lost_with(run, Wrong, TypeError)
        assert fatal(reports).startswith("Fatal ")

    def test_read_only(self, run, reports):
        class ReadOnly(BufferedRecord):
            def get_buffer(self, sizehint):
                return b"read only"

        self.lost_with(run, ReadOnly, (TypeError, BufferError))
        assert fatal(reports).startswith("Fatal ")

    def test_buffer_updated_raises(self, run, reports):
        class Raising(BufferedRecord):
            def buffer_updated(self, nbytes):
                raise ZeroDivisionError

        self.lost_with(run, Raising, ZeroDivisionError)
        assert fatal(reports) == "Fatal error: protocol.buffer_updated() call failed."

    def test_eof_received_raises(self, run, reports):
        class Raising(BufferedRecord):
            def eof_received(self):
                raise ZeroDivisionError

        async def main():
            async with connected(Raising) as (_, protocol, peer):
                peer.shutdown()
                await protocol.lost
                assert isinstance(protocol.exc, ZeroDivisionError)

        run(main())
        assert fatal(reports) == "Fatal error: protocol.eof_received() call failed."

    def test_closed_inside_get_buffer(self, run):
        class Closing(BufferedRecord):
            def get_buffer(self, sizehint):
                self.transport.abort()
                return super().get_buffer(sizehint)

        async def main():
            async with connected(Closing) as (_, protocol, peer):
                await peer.send(b"x")
                await protocol.lost
                assert protocol.events.count("lost") == 1

        run(main())

    def test_switched_inside_get_buffer(self, run):
        class Switching(BufferedRecord):
            def get_buffer(self, sizehint):
                self.transport.set_protocol(self.other)
                return super().get_buffer(sizehint)

        async def main():
            async with connected(Switching) as (transport, protocol, peer):
                protocol.other = BufferedRecord()
                await peer.send(b"one")
                await turns(5)
                await peer.send(b"two")
                while len(protocol.data) + len(protocol.other.data) < 6:
                    await asyncio.sleep(0)
                transport.set_protocol(protocol)

        run(main())
