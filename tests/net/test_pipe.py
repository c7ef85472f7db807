"""connect_read_pipe(): pipes, FIFOs, terminals, sockets; and what both ends have in common."""

import asyncio
import contextvars
import errno
import gc
import io
import logging
import os
import pty

import pytest
from support.loops import drive, run_guarded, turns, until
from support.pipes import BIG, PipeRecord, fifo, pipe_reader, pipe_writer, raw_terminal, socket_pair

KINDS = pytest.mark.parametrize("pair", [os.pipe, socket_pair], ids=["pipe", "socket"])


class TestReading:
    @KINDS
    @pytest.mark.is_reading
    def test_data_and_eof(self, run, pair):
        async def main():
            async with pipe_reader(pair=pair) as (transport, p, w):
                assert transport.is_reading() and not transport.is_closing()
                w.write(b"one")
                assert await p.received(3) == b"one"
                w.write(b"two")
                w.close()
                assert await p.lost is None
                assert p.kinds == ["made", "data", "eof", "lost"]
                assert bytes(p.data) == b"two"
                assert transport.is_closing() and not transport.is_reading()

        run(main())

    def test_much(self, run):
        data = os.urandom(3 * BIG)

        async def main():
            async with pipe_reader() as (_, p, w):
                sending = asyncio.get_running_loop().run_in_executor(None, self.send, w, data)
                assert await p.received(len(data)) == data
                await sending

        run(main())

    @staticmethod
    def send(peer, data):
        view = memoryview(data)
        while view:
            view = view[peer.write(view) :]

    def test_fifo(self, run, tmp_path):
        async def main():
            async with pipe_reader(pair=lambda: fifo(tmp_path / "f")) as (_, p, w):
                w.write(b"x")
                assert await p.received(1) == b"x"
                w.close()
                assert await p.lost is None

        run(main())

    def test_terminal(self, run):
        async def main():
            async with pipe_reader(pair=raw_terminal) as (_, p, other):
                other.write(b"x")
                assert await p.received(1) == b"x"

        run(main())

    @pytest.mark.moodloop_only  # in asyncio it is an OSError, of a StreamReader too
    @pytest.mark.parametrize("end", ["master", "slave"])
    def test_terminal_hangs_up(self, run, end):
        """That its other end is gone a terminal tells by EIO: the end, as of a pipe."""

        def pair():
            return pty.openpty() if end == "master" else pty.openpty()[::-1]

        async def main():
            async with pipe_reader(pair=pair) as (_, p, other):
                other.close()
                assert await p.lost is None
                assert p.kinds == ["made", "eof", "lost"]

        run(main())

    @pytest.mark.moodloop_only
    def test_terminal_hangs_up_on_a_reader(self, run):
        async def main():
            master, slave = pty.openpty()
            reader = asyncio.StreamReader()
            pipe = os.fdopen(master, "rb", 0)
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), pipe
            )
            os.write(slave, b"last line\n")
            os.close(slave)
            assert await reader.read() == b"last line\r\n"
            assert await reader.read() == b""
            transport.close()
            await asyncio.sleep(0)

        run(main())

    @pytest.mark.moodloop_only  # stock asyncio reports that epoll refuses it, and never reads
    def test_null_device(self, run):
        async def main():
            def pair():
                return os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY)

            async with pipe_reader(pair=pair) as (_, p, _null):
                assert await p.lost is None
                assert p.kinds == ["made", "eof", "lost"]

        run(main())

    @pytest.mark.is_reading
    def test_stream_reader(self, run):
        async def main():
            loop = asyncio.get_running_loop()
            reader = asyncio.StreamReader(limit=100)
            r, w = os.pipe()
            transport, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(r, "rb")
            )
            os.write(w, b"line\nrest" + bytes(1000))
            assert await reader.readline() == b"line\n"
            await until(lambda: not transport.is_reading())  # over the limit: paused
            assert await reader.readexactly(1004) == b"rest" + bytes(1000)
            os.close(w)
            assert await reader.read() == b""
            await turns()

        run(main())

    @pytest.mark.is_reading
    def test_pause_and_resume(self, run):
        async def main():
            async with pipe_reader() as (transport, p, w):
                transport.pause_reading()
                transport.pause_reading()
                assert not transport.is_reading()
                w.write(b"x")
                await turns(10)
                assert not p.data
                transport.resume_reading()
                transport.resume_reading()
                assert await p.received(1) == b"x"

        run(main())

    @pytest.mark.is_reading
    def test_paused_in_connection_made(self, run):
        class Pausing(PipeRecord):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.pause_reading()

        async def main():
            async with pipe_reader(Pausing) as (transport, p, w):
                w.write(b"x")
                await turns(10)
                assert not p.data
                transport.resume_reading()
                assert await p.received(1) == b"x"

        run(main())

    def test_data_received_raises(self, run, reports):
        """Unlike a connection, the pipe stays open."""

        class Raising(PipeRecord):
            def data_received(self, data):
                super().data_received(data)
                raise ZeroDivisionError

        async def main():
            async with pipe_reader(Raising) as (_, p, w):
                w.write(b"x")
                await p.received(1)
                w.write(b"y")
                await p.received(1)
                w.close()
                assert await p.lost is None

        run(main())
        assert [type(r["exception"]) for r in reports] == [ZeroDivisionError] * 2

    def test_eof_received_raises(self, run, reports):
        class Raising(PipeRecord):
            def eof_received(self):
                super().eof_received()
                raise ZeroDivisionError

        async def main():
            async with pipe_reader(Raising) as (_, p, w):
                w.close()
                assert await p.lost is None

        run(main())
        assert [type(r["exception"]) for r in reports] == [ZeroDivisionError]

    def test_eof_received_cannot_keep_it_open(self, run):
        class Keeping(PipeRecord):
            def eof_received(self):
                super().eof_received()
                assert self.transport.is_closing()
                self.transport.close()
                return True

        async def main():
            async with pipe_reader(Keeping) as (_, p, w):
                w.close()
                assert await p.lost is None
                assert p.kinds == ["made", "eof", "lost"]

        run(main())

    @pytest.mark.parametrize("what", [SystemExit, KeyboardInterrupt])
    @pytest.mark.parametrize("where", ["data_received", "eof_received", "connection_lost"])
    def test_callback_ends_the_loop(self, loop, what, where):
        class Raising(PipeRecord):
            pass

        def method(self, *args):
            getattr(PipeRecord, where)(self, *args)
            raise what

        setattr(Raising, where, method)

        async def make():
            r, w = os.pipe()
            pipe = os.fdopen(r, "rb", 0)
            _, protocol = await loop.connect_read_pipe(Raising, pipe)
            return protocol, pipe, w

        protocol, pipe, w = drive(loop, make())
        os.write(w, b"x")
        os.close(w)
        with pytest.raises(what):
            run_guarded(loop)
        if not protocol.lost.done():
            drive(loop, asyncio.wait_for(protocol.lost, 5))
            drive(loop, turns())
        assert protocol.kinds == ["made", "data", "eof", "lost"]
        assert pipe.closed

    def test_set_protocol(self, run):
        class Switching(PipeRecord):
            def data_received(self, data):
                super().data_received(data)
                self.other = PipeRecord()
                self.transport.set_protocol(self.other)

        async def main():
            async with pipe_reader(Switching) as (transport, p, w):
                w.write(b"x")
                await p.received(1)
                assert transport.get_protocol() is p.other
                w.write(b"y")
                assert await p.other.received(1) == b"y"
                w.close()
                assert await p.other.lost is None
                assert p.kinds == ["made", "data"]

        run(main())

    @pytest.mark.moodloop_only  # stock asyncio calls a data_received() that is not there
    def test_buffered_protocol(self, run):
        class Buffered(asyncio.BufferedProtocol):
            def __init__(self):
                self.buffer, self.got, self.lost = bytearray(4), bytearray(), False

            def get_buffer(self, sizehint):
                return self.buffer

            def buffer_updated(self, nbytes):
                self.got += self.buffer[:nbytes]

            def connection_lost(self, exc):
                self.lost = True

        async def main():
            async with pipe_reader(Buffered) as (_, p, w):
                w.write(b"0123456789")
                w.close()
                await until(lambda: p.lost)
                assert bytes(p.got) == b"0123456789"

        run(main())

    @pytest.mark.parametrize("when", ["made", "data"])
    def test_close_in_callback(self, run, when):
        class Closing(PipeRecord):
            def connection_made(self, transport):
                super().connection_made(transport)
                if when == "made":
                    transport.close()

            def data_received(self, data):
                super().data_received(data)
                self.transport.close()

        async def main():
            async with pipe_reader(Closing) as (_, p, w):
                if when == "data":
                    w.write(b"x")
                assert await p.lost is None
                await turns()
                assert "eof" not in p.events and p.events[-1] == "lost"

        run(main())


BOTH = pytest.mark.parametrize("way", ["read", "write"])


def connect(way, factory, pipe):
    loop = asyncio.get_running_loop()
    return (loop.connect_read_pipe if way == "read" else loop.connect_write_pipe)(factory, pipe)


class TestMaking:
    @BOTH
    def test_regular_file(self, run, tmp_path, way):
        async def main():
            with open(tmp_path / "file", "w+b", 0) as file:
                with pytest.raises(ValueError, match=r"[Pp]ipe transport is (only )?for pipes"):
                    await connect(way, PipeRecord, file)
                assert not file.closed

        run(main())

    @pytest.mark.moodloop_only  # stock asyncio's half-made transports warn of themselves
    @BOTH
    @pytest.mark.parametrize(
        ("pipe", "error"),
        [(1, AttributeError), (None, AttributeError), (io.BytesIO(), io.UnsupportedOperation)],
    )
    def test_no_pipe(self, run, way, pipe, error):
        async def main():
            with pytest.raises(error):
                await connect(way, PipeRecord, pipe)

        run(main())

    @pytest.mark.moodloop_only  # as above
    @BOTH
    def test_closed_file(self, run, way):
        async def main():
            r, w = os.pipe()
            for fd in (r, w):
                file = os.fdopen(fd, "rb" if fd == r else "wb")
                file.close()
                with pytest.raises(ValueError):
                    await connect(way, PipeRecord, file)

        run(main())

    @BOTH
    def test_protocol_factory_raises(self, run, way):
        async def main():
            r, w = os.pipe()
            with os.fdopen(r, "rb", 0) as reading, os.fdopen(w, "wb", 0) as writing:
                with pytest.raises(ZeroDivisionError):
                    await connect(way, lambda: 1 / 0, reading if way == "read" else writing)

        run(main())

    def test_interface(self, run):
        async def main():
            async with pipe_reader() as (transport, p, _):
                assert isinstance(transport, asyncio.ReadTransport)
                assert transport.get_protocol() is p
                assert transport.get_extra_info("pipe").fileno() >= 0
                assert transport.get_extra_info("socket", 5) == 5
                assert "ReadPipeTransport" in repr(transport)
            async with pipe_writer() as (transport, p, _):
                assert isinstance(transport, asyncio.Transport)
                assert transport.get_protocol() is p
                pipe = transport.get_extra_info("pipe")
                assert not os.get_blocking(pipe.fileno())
                assert "WritePipeTransport" in repr(transport)
                transport.close()
                await p.lost
                await turns()
                assert transport.get_extra_info("pipe") is pipe and pipe.closed

        run(main())

    @BOTH
    def test_cancelled_while_it_is_made(self, run, way):
        async def main():
            r, w = os.pipe()
            mine, other = (r, w) if way == "read" else (w, r)
            pipe = os.fdopen(mine, "rb" if way == "read" else "wb", 0)
            made = []

            def factory():
                made.append(PipeRecord())
                return made[0]

            task = asyncio.get_running_loop().create_task(connect(way, factory, pipe))
            while not made:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await made[0].lost
            await turns()
            assert pipe.closed
            os.close(other)

        run(main())

    def test_closes_the_file_once(self, run):
        class Counting(io.FileIO):
            closes = 0

            def close(self):
                self.closes += 1
                super().close()

        async def main():
            r, w = os.pipe()
            reading, writing = Counting(r, "rb"), Counting(w, "wb")
            _, read = await connect("read", PipeRecord, reading)
            write, _ = await connect("write", PipeRecord, writing)
            write.close()
            write.close()
            await read.lost
            await turns()
            assert (reading.closes, writing.closes) == (1, 1)

        run(main())

    @pytest.mark.moodloop_only  # stock asyncio calls connection_lost() twice
    def test_abort_after_close(self, run):
        async def main():
            async with pipe_writer() as (transport, p, _):
                transport.close()
                transport.abort()
                transport.abort()
                assert await p.lost is None
                await turns()
                transport.abort()
                assert p.events == ["made", "lost"]

        run(main())

    def test_connection_made_and_lost_raise(self, run, reports):
        class Raising(PipeRecord):
            def connection_made(self, transport):
                super().connection_made(transport)
                raise ZeroDivisionError

            def connection_lost(self, exc):
                super().connection_lost(exc)
                raise ZeroDivisionError

        async def main():
            async with pipe_reader(Raising) as (_, p, w):
                w.write(b"x")
                assert await p.received(1) == b"x"
                w.close()
                await p.lost

        run(main())
        assert [type(r["exception"]) for r in reports] == [ZeroDivisionError] * 2

    def test_unclosed(self, run):
        async def main():
            r, w = os.pipe()
            pipe = os.fdopen(r, "rb", 0)
            transport, protocol = await connect("read", asyncio.Protocol, pipe)
            transport.pause_reading()  # else the loop keeps it
            del transport, protocol, pipe
            return w

        with pytest.warns(ResourceWarning, match="unclosed transport"):
            other = run(main())
            gc.collect()
        os.close(other)

    def test_context(self, run):
        var = contextvars.ContextVar("var")
        seen = []

        class Seeing(PipeRecord):
            def connection_made(self, transport):
                super().connection_made(transport)
                seen.append(var.get(None))

            def data_received(self, data):
                super().data_received(data)
                seen.append(var.get(None))

            def connection_lost(self, exc):
                super().connection_lost(exc)
                seen.append(var.get(None))

        async def main():
            var.set("mine")
            async with pipe_reader(Seeing) as (_, p, w):
                w.write(b"x")
                await p.received(1)
                w.close()
                await p.lost

        run(main())
        assert seen == ["mine"] * 3

    def test_debug_mode(self, loop, run, log):
        loop.set_debug(True)

        async def main():
            async with pipe_writer() as (_, p, r):
                r.close()
                await p.lost
            async with pipe_reader() as (_, p, w):
                w.close()
                await p.lost

        run(main())
        assert len([m for m in log(logging.INFO) if m.endswith("was closed by peer")]) == 2

    @pytest.mark.moodloop_only  # stock asyncio reads whatever has the number now
    def test_file_closed_behind_its_back(self, run, reports):
        async def main():
            r, w = os.pipe()
            pipe = os.fdopen(r, "rb", 0)
            _, p = await connect("read", PipeRecord, pipe)
            pipe.close()
            r2, w2 = os.pipe()
            assert r2 == r
            os.write(w2, b"somebody else's")
            # The number is polled again once somebody watches it.
            loop = asyncio.get_running_loop()
            ready = loop.create_future()
            loop.add_reader(r2, lambda: ready.done() or ready.set_result(None))
            await ready
            loop.remove_reader(r2)
            assert (await asyncio.wait_for(p.lost, 5)).errno == errno.EBADF
            assert not p.data
            assert os.read(r2, 100) == b"somebody else's"
            for fd in (r2, w2, w):
                os.close(fd)

        run(main())
