"""The ends of a transport, of all kinds: what a fault in the midst of one does not break."""

import asyncio
import gc
import os
import socket

import pytest
from support.loops import turns
from support.net import Record, connected, end, unix_pair
from support.pipes import pipe_reader, pipe_writer


async def datagrams(protocol):
    a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    b = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    a.bind(("127.0.0.1", 0))
    b.bind(("127.0.0.1", 0))
    made = await asyncio.get_running_loop().create_datagram_endpoint(protocol, sock=a)
    return *made, a, b


class Exits(Record):
    """Writes an answer, then raises what no program expects."""

    def data_received(self, data):
        self.transport.write(b"sorry, ")
        self.transport.write(b"not now")
        raise ValueError("a bug of the protocol")

    def datagram_received(self, data, address):
        raise ValueError("a bug of the protocol")


class TestExceptionHandlerExits:
    """SystemExit of the exception handler leaves run_forever(), whatever is still to be done."""

    @pytest.mark.moodloop_only  # asyncio leaves the connection as it is, and its socket open
    def test_stream(self, loop, run):
        def leave(loop, context):
            raise SystemExit(7)

        async def main():
            async with connected(Exits, unix_pair) as (_, p, peer):
                loop.set_exception_handler(leave)
                peer.sock.send(b"x")
                try:
                    await p.lost
                finally:
                    loop.set_exception_handler(None)

        task = loop.create_task(main())
        with pytest.raises(SystemExit) as info:
            loop.run_until_complete(task)
        assert info.value.code == 7
        run(task)

    def test_answer_goes_out_all_the_same(self, loop, run, reports):
        async def main():
            async with connected(Exits, unix_pair) as (_, p, peer):
                peer.sock.send(b"x")
                assert await peer.recv_all() == b"sorry, not now"
                assert isinstance(await p.lost, ValueError)
            assert [type(r["exception"]) for r in reports] == [ValueError]

        run(main())

    def test_datagram(self, loop, run):
        def leave(loop, context):
            raise SystemExit(7)

        async def main():
            transport, p, a, b = await datagrams(Exits)
            with b:
                loop.set_exception_handler(leave)
                b.sendto(b"x", a.getsockname())
                await asyncio.sleep(0.01)
                loop.set_exception_handler(None)
                await end(transport, p)
                await turns(3)

        task = loop.create_task(main())
        with pytest.raises(SystemExit):
            loop.run_until_complete(task)
        run(task)


class TestFinalizerThatCloses:
    """The collector takes a connection, and a method of the protocol gives it back."""

    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    @pytest.mark.parametrize("way", ["close", "abort"])
    def test_connection_lost_is_called(self, run, way):
        lost = []

        class Closing(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def connection_lost(self, exc):
                lost.append(exc)

            def __del__(self):
                if not lost:
                    getattr(self.transport, way)()

        async def connect(sock):
            transport, _ = await asyncio.get_running_loop().create_connection(Closing, sock=sock)
            transport.pause_reading()  # so nothing keeps it

        async def main():
            mine, peer = socket.socketpair()
            mine.setblocking(False)
            with peer:
                await connect(mine)
                del mine
                gc.collect()
                await turns(3)
                assert lost == [None]
                assert peer.recv(1) == b""

        run(main())


class TestDatagramsAfterClose:
    @pytest.mark.moodloop_only  # asyncio calls pause_writing() of None, and raises AttributeError
    @pytest.mark.parametrize(
        "use",
        [
            lambda t: t.set_write_buffer_limits(high=0),
            lambda t: t.sendto(b"x"),
            lambda t: t.sendto(b"x", ("127.0.0.1", 9)),
            lambda t: t.get_write_buffer_size(),
            lambda t: t.pause_reading(),
            lambda t: t.resume_reading(),
            lambda t: t.close(),
            lambda t: t.abort(),
            repr,
        ],
    )
    def test_queued_ones(self, run, use):
        async def main():
            a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            with b:
                transport, p = await asyncio.get_running_loop().create_datagram_endpoint(
                    Record, sock=a
                )
                transport.close()
                while not transport.get_write_buffer_size():
                    transport.sendto(b"x")
                assert await p.lost is None
                await turns(2)
                use(transport)
                assert transport.get_write_buffer_size() == 0
                assert transport._protocol is None

        run(main())


@pytest.fixture
def odd(monkeypatch):
    """From when it is called, the numbers of sockets cannot be asked for; until the next call."""
    original = socket.socket.fileno
    errors = []

    def fileno(sock):
        if errors[-1] is not None:
            raise errors[-1]
        return original(sock)

    def odd(error):
        errors.append(error)
        monkeypatch.setattr(socket.socket, "fileno", fileno)

    return odd


@pytest.mark.moodloop_only  # asyncio asks once, when the transport is made
class TestNumberCannotBeAsked:
    async def made(self):
        a, b = unix_pair()
        a.setblocking(False)
        made = await asyncio.get_running_loop().create_connection(Record, sock=a)
        return *made, a, b

    def test_error_is_told(self, run, reports, odd):
        async def main():
            transport, p, a, b = await self.made()
            with b, a:
                error = RuntimeError("not today")
                odd(error)
                transport.write(b"x")
                assert await p.lost is error
                assert [r["exception"] for r in reports] == [error]
                odd(None)

        run(main())

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    def test_exit_leaves(self, run, odd, error):
        async def main():
            transport, p, _, b = await self.made()
            with b:
                odd(error())
                with pytest.raises(error):
                    transport.write(b"x")
                odd(None)
                transport.write(b"still there")
                assert b.recv(99) == b"still there"
                await end(transport, p)
                await turns(2)

        run(main())


@pytest.mark.moodloop_only  # asyncio does not notice
class TestClosedBehindItsBack:
    @pytest.mark.parametrize("change", ["resume", "write"])
    def test_stream(self, run, change):
        """Told as soon as the kernel is to be told something, and let go of."""

        async def main():
            async with connected(pair=unix_pair) as (transport, p, peer):
                transport.pause_reading()
                await peer.send(b"x")
                await asyncio.sleep(0.01)  # so that it is not watched any more
                transport.get_extra_info("socket")
                os.close(transport._sock_fd)
                transport._sock.detach()
                if change == "resume":
                    transport.resume_reading()
                else:
                    transport.write(b"x")
                exc = await p.lost
                assert isinstance(exc, OSError) and exc.errno == 9
                assert transport.is_closing()

        run(main())

    def test_accepted(self, run, loop):
        """Nobody has a socket object of it."""

        async def main():
            made = []

            def factory():
                made.append(Record())
                return made[0]

            server = await loop.create_server(factory, "127.0.0.1", 0)
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                while not made or made[0].transport is None:
                    await asyncio.sleep(0)
                await turns(3)
                transport = made[0].transport
                transport.pause_reading()
                client.send(b"x")
                await asyncio.sleep(0.01)
                os.close(transport._sock_fd)
                transport.resume_reading()
                exc = await made[0].lost
                assert isinstance(exc, OSError) and exc.errno == 9
            server.close()
            await server.wait_closed()

        run(main())


class TestStages:
    @pytest.mark.parametrize("how", ["close", "abort"])
    def test_before_connection_made(self, loop, run, how):
        async def main():
            a, b = unix_pair()
            a.setblocking(False)
            with b:
                p = Record()
                transport = loop._make_socket_transport(a, p)
                getattr(transport, how)()
                assert transport.is_closing()
                assert await p.lost is None
                assert p.kinds == ["made", "lost"]
                await turns(2)

        run(main())

    def test_pipe_closing_takes_no_writes(self, run):
        async def main():
            async with pipe_writer() as (transport, p, peer):
                transport.write(b"1")
                transport.write(b"2")
                transport.close()
                transport.write(b"3")
                assert await p.lost is None
                os.set_blocking(peer.fileno(), False)
                assert peer.read(99) == b"12"

        run(main())

    def test_closing_within_eof_received(self, run):
        class Asks(Record):
            def eof_received(self):
                self.seen = self.transport.is_closing()
                self.transport.close()
                super().eof_received()

        async def main():
            async with pipe_reader(Asks) as (_, p, peer):
                peer.close()
                assert await p.lost is None
                assert p.seen is True
                assert p.kinds == ["made", "eof", "lost"]

        run(main())

    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    def test_collected(self, run):
        """What nobody closed: the peer sees the end, and the protocol goes with it."""

        async def main():
            a, b = unix_pair()
            with b:
                transport, _ = await asyncio.get_running_loop().create_connection(Record, sock=a)
                a = _ = None
                transport.write(b"1")
                transport.pause_reading()
                transport = None
                await turns(3)
                gc.collect()
                assert b.recv(9) == b"1"
                assert b.recv(9) == b""

        run(main())


class TestMemory:
    """writelines() of what cannot be kept: all or nothing."""

    @pytest.mark.moodloop_only  # asyncio joins them, or keeps views, by version
    def test_writelines(self, run):
        class Exporter(bytearray):
            pass

        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                transport.write(b"0")
                gone = memoryview(b"x")
                gone.release()
                with pytest.raises(ValueError):
                    transport.writelines([b"1", Exporter(b"2"), gone])
                transport.write(b"3")
                await asyncio.sleep(0)
                assert await peer.recv() == b"03"

        run(main())
