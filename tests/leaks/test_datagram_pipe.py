"""Datagram endpoints and pipes: repeated, they add nothing."""

import asyncio
import os
import socket
import sys
import warnings

import pytest
from support.datagram import LOCAL, DatagramRecord, endpoint
from support.leaks import growth
from support.loops import drive, turns
from support.pipes import PipeRecord, pipe_reader, pipe_writer


@pytest.fixture
def repeat(loop):
    """The growth by a coroutine run again and again on one loop."""
    loop.set_exception_handler(lambda loop, context: None)
    loop.set_debug(False)

    def repeat(scenario, **kwargs):
        return growth(lambda sentinel: drive(loop, scenario(sentinel)), **kwargs)

    return repeat


class TestDatagrams:
    def test_exchange(self, repeat):
        async def scenario(x):
            async with endpoint(local_addr=LOCAL) as (server, s):
                s.mine = server.mine = x
                async with endpoint(remote_addr=server.get_extra_info("sockname")) as (client, c):
                    client.sendto(b"x")
                    await s.datagrams(1)
                    client.sendto(b"x")
                    await s.until(lambda: s.got)
                    server.sendto(bytearray(b"y"), s.got[0][1])
                    await c.datagrams(1)

        assert repeat(scenario) == {}

    def test_queue_left_behind(self, repeat):
        async def scenario(x):
            a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            name = f"\0moodloop-leak-{os.getpid()}"
            b.close()
            b = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            b.bind(name)
            async with endpoint(sock=a) as (transport, protocol):
                protocol.mine = x
                while not transport.get_write_buffer_size():
                    transport.sendto(b"x", name)
                transport.sendto(bytearray(100), name)
                transport.abort()
                await protocol.lost
            b.close()

        assert repeat(scenario, rounds=5) == {}

    def test_errors(self, repeat):
        class Raising(DatagramRecord):
            def error_received(self, exc):
                super().error_received(exc)
                raise ZeroDivisionError(self)

        async def scenario(x):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
                gone.bind(LOCAL)
                address = gone.getsockname()
            async with endpoint(Raising, remote_addr=address) as (transport, protocol):
                protocol.mine = x
                transport.sendto(b"x")
                await protocol.until(lambda: protocol.errors)
                with pytest.raises(ZeroDivisionError):
                    transport.sendto(bytes(70000))
                with pytest.raises(TypeError):
                    transport.sendto("text")
                with pytest.raises(ValueError, match="Invalid address"):
                    transport.sendto(b"x", ("127.0.0.1", 1))
                protocol.errors.clear()
            async with endpoint(local_addr=LOCAL) as (transport, protocol):
                protocol.mine = x
                transport.sendto(b"x", ("127.0.0.1", -1))
                await protocol.lost

        assert repeat(scenario) == {}

    def test_refused_arguments(self, repeat):
        async def scenario(x):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

            def factory(x=x):
                return 1 // 0

            with pytest.raises(ZeroDivisionError):
                await asyncio.get_running_loop().create_datagram_endpoint(factory, sock=sock)
            sock.close()

        assert repeat(scenario) == {}


class TestPipes:
    @pytest.mark.parametrize("end", ["eof", "close"])
    def test_reading(self, repeat, end):
        async def scenario(x):
            async with pipe_reader() as (transport, protocol, peer):
                protocol.mine = transport.mine = x
                peer.write(b"x" * 100)
                await protocol.received(100)
                transport.get_extra_info("pipe")
                peer.close() if end == "eof" else transport.close()
                await protocol.lost

        assert repeat(scenario) == {}

    @pytest.mark.parametrize("end", ["close", "abort", "peer"])
    def test_writing(self, repeat, end):
        async def scenario(x):
            async with pipe_writer() as (transport, protocol, peer):
                protocol.mine = transport.mine = x
                os.set_blocking(peer.fileno(), False)
                transport.write(bytearray(1 << 20))
                transport.writelines([b"x", memoryview(b"y")])
                await turns()
                transport.close()
                peer.close() if end == "peer" else transport.abort() if end == "abort" else None
                while end == "close" and not protocol.lost.done():
                    peer.read(1 << 16)
                    await asyncio.sleep(0)
                await protocol.lost

        assert repeat(scenario, rounds=5) == {}

    def test_refused(self, repeat, tmp_path):
        async def scenario(x):
            loop = asyncio.get_running_loop()
            with open(tmp_path / "file", "w+b", 0) as file:
                protocol = PipeRecord()
                protocol.mine = x
                for connect in (loop.connect_read_pipe, loop.connect_write_pipe):
                    with pytest.raises(ValueError, match="ipe transport is"):
                        await connect(lambda p=protocol: p, file)

        assert repeat(scenario) == {}


@pytest.mark.parametrize("paused", [False, True])
def test_unclosed_on_a_closed_loop(loop_factory, loop_name, paused):
    if loop_name == "asyncio" and paused and sys.version_info < (3, 11, 5):
        pytest.skip("asyncio's datagram transports could not pause then")

    async def main(x):
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(DatagramRecord, local_addr=LOCAL)
        protocol.mine = x
        r, w = os.pipe()
        pipe, reader = await loop.connect_read_pipe(PipeRecord, os.fdopen(r, "rb", 0))
        reader.mine = x
        _, writer = await loop.connect_write_pipe(PipeRecord, os.fdopen(w, "wb", 0))
        writer.mine = x
        if paused:
            transport.pause_reading()
            pipe.pause_reading()

    def scenario(x):
        loop = loop_factory()
        drive(loop, main(x))
        loop.close()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert growth(scenario, rounds=5) == {}
