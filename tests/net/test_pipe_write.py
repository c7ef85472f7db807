"""connect_write_pipe(): pipes, FIFOs, terminals, sockets."""

import asyncio
import io
import os

import pytest
from support.loops import turns
from support.pipes import BIG, PipeRecord, fifo, pipe_writer, raw_terminal, read_all, socket_pair

KINDS = pytest.mark.parametrize("pair", [os.pipe, socket_pair], ids=["pipe", "socket"])


class TestWriting:
    @KINDS
    def test_data_and_close(self, run, pair):
        async def main():
            async with pipe_writer(pair=pair) as (transport, p, r):
                transport.write(b"one")
                transport.write(bytearray(b"two"))
                transport.write(memoryview(b"three"))
                transport.write(b"")
                transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
                assert await read_all(r, 14) == b"onetwothreeabc"
                transport.close()
                transport.close()
                assert transport.is_closing()
                assert await p.lost is None
                assert r.read(1) == b""
                assert p.events == ["made", "lost"]

        run(main())

    @KINDS
    @pytest.mark.parametrize("end", ["close", "write_eof"])
    def test_end_sends_the_queue(self, run, pair, end):
        data = os.urandom(BIG)

        async def main():
            async with pipe_writer(pair=pair) as (transport, p, r):
                assert transport.can_write_eof()
                transport.set_write_buffer_limits(high=2 * BIG)
                transport.write(data)
                assert transport.get_write_buffer_size() > 0
                getattr(transport, end)()
                transport.write(b"dropped")
                transport.writelines([b"dropped"])
                await turns()
                assert p.events == ["made"]
                assert await read_all(r, BIG) == data
                assert await p.lost is None
                assert r.read(1) == b""

        run(main())

    def test_abort_drops_the_queue(self, run):
        async def main():
            async with pipe_writer() as (transport, p, r):
                transport.write(bytes(BIG))
                transport.abort()
                assert transport.is_closing()
                assert transport.get_write_buffer_size() == 0
                assert await p.lost is None
                assert 0 < len(await read_all(r, 4096)) < BIG

        run(main())

    def test_fifo(self, run, tmp_path):
        async def main():
            async with pipe_writer(pair=lambda: fifo(tmp_path / "f")) as (transport, p, r):
                transport.write(b"x")
                assert await read_all(r, 1) == b"x"
                r.close()
                assert await p.lost is None

        run(main())

    def test_terminal(self, run):
        def pair():
            slave, master = raw_terminal()
            return master, slave

        async def main():
            async with pipe_writer(pair=pair) as (transport, p, other):
                other.write(b"input of the terminal, which is not for us")
                transport.write(b"x")
                assert await read_all(other, 1) == b"x"
                await turns(10)
                assert p.events == ["made"]

        run(main())

    @pytest.mark.moodloop_only  # stock asyncio: closing one ends the other's reading
    def test_both_directions_of_one_terminal(self, run):
        slave, master = raw_terminal()
        reading, writing = io.FileIO(slave, "r"), io.FileIO(slave, "w", closefd=False)
        other = io.FileIO(master, "r+")

        async def main():
            loop = asyncio.get_running_loop()
            write, w = await loop.connect_write_pipe(PipeRecord, writing)
            _, r = await loop.connect_read_pipe(PipeRecord, reading)
            other.write(b"in")
            assert await r.received(2) == b"in"
            write.write(b"out")
            assert await read_all(other, 3) == b"out"
            write.close()
            await w.lost
            other.write(b"more")
            assert await r.received(4) == b"more"
            r.transport.close()
            await r.lost
            await turns()
            other.close()
            assert reading.closed and writing.closed

        run(main())

    @KINDS
    def test_reader_closes(self, run, pair):
        async def main():
            async with pipe_writer(pair=pair) as (transport, p, r):
                r.close()
                assert await p.lost is None
                assert transport.is_closing()
                assert p.events == ["made", "lost"]

        run(main())

    @KINDS
    @pytest.mark.parametrize("closing", [False, True])
    def test_reader_closes_while_data_waits(self, run, pair, closing):
        async def main():
            async with pipe_writer(pair=pair) as (transport, p, r):
                transport.write(bytes(BIG))
                await turns()
                if closing:
                    transport.close()
                r.close()
                assert isinstance(await p.lost, (BrokenPipeError, ConnectionResetError))

        run(main())

    def test_write_after_the_reader_closed(self, run, log):
        async def main():
            async with pipe_writer() as (transport, p, r):
                r.close()
                transport.write(b"x")
                assert isinstance(await p.lost, BrokenPipeError)
                for _ in range(10):
                    transport.write(b"x")
                transport.writelines([b"x"])

        run(main())
        text = "pipe closed by peer or os.write(pipe, data) raised exception."
        assert log() and set(log()) == {text}

    def test_flow_control(self, run):
        async def main():
            async with pipe_writer() as (transport, p, r):
                assert transport.get_write_buffer_limits() == (16384, 65536)
                transport.set_write_buffer_limits(high=1000, low=10)
                transport.write(bytes(BIG))
                assert p.events == ["made", "pause"]
                assert transport.get_write_buffer_size() > 1000
                transport.write(b"more")
                assert p.events == ["made", "pause"]
                await read_all(r, BIG + 4)
                await p.happened("resume")
                assert transport.get_write_buffer_size() == 0
                assert p.events == ["made", "pause", "resume"]

        run(main())

    @pytest.mark.parametrize("which", ["pause_writing", "resume_writing"])
    def test_flow_callback_raises(self, run, reports, which):
        class Raising(PipeRecord):
            pass

        def method(self):
            getattr(PipeRecord, which)(self)
            raise ZeroDivisionError

        setattr(Raising, which, method)

        async def main():
            async with pipe_writer(Raising) as (transport, p, r):
                transport.write(bytes(BIG))
                await read_all(r, BIG)
                await p.happened("resume")
                assert not transport.is_closing()

        run(main())
        assert [r["message"] for r in reports] == [f"protocol.{which}() failed"]

    def test_stream_writer(self, run):
        async def main():
            loop = asyncio.get_running_loop()
            r, w = os.pipe()
            transport, protocol = await loop.connect_write_pipe(
                asyncio.streams.FlowControlMixin, os.fdopen(w, "wb")
            )
            writer = asyncio.StreamWriter(transport, protocol, None, loop)
            writer.write(bytes(BIG))
            with os.fdopen(r, "rb", 0) as peer:
                _, got = await asyncio.gather(writer.drain(), read_all(peer, BIG))
            assert len(got) == BIG
            transport.close()
            await turns()

        run(main())

    @pytest.mark.parametrize("data", ["text", None, 1])
    def test_wrong_data(self, run, data):
        async def main():
            async with pipe_writer() as (transport, _, _r):
                # stock asyncio asserts
                with pytest.raises((TypeError, AssertionError)):
                    transport.write(data)

        run(main())

    @pytest.mark.parametrize("end", ["close", "abort", "write_eof"])
    @pytest.mark.parametrize("when", ["connection_made", "pause_writing"])
    def test_end_in_callback(self, run, end, when):
        self.end_in_callback(run, end, when)

    @pytest.mark.moodloop_only  # stock asyncio calls connection_lost() twice
    @pytest.mark.parametrize("end", ["close", "abort", "write_eof"])
    def test_end_in_resume_writing(self, run, end):
        self.end_in_callback(run, end, "resume_writing")

    @staticmethod
    def end_in_callback(run, end, when):
        class Ending(PipeRecord):
            pass

        def method(self, *args):
            getattr(PipeRecord, when)(self, *args)
            getattr(self.transport, end)()

        setattr(Ending, when, method)

        async def main():
            async with pipe_writer(Ending) as (transport, p, r):
                transport.write(bytes(BIG))
                while not p.lost.done():
                    os.set_blocking(r.fileno(), False)
                    r.read(1 << 16)
                    await asyncio.sleep(0)
                assert await p.lost is None

        run(main())

    def test_written_in_connection_made(self, run):
        class Writing(PipeRecord):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.write(b"hello")
                transport.close()

        async def main():
            async with pipe_writer(Writing) as (_, p, r):
                assert await read_all(r, 5) == b"hello"
                assert await p.lost is None

        run(main())
