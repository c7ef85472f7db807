"""A lot of data, many connections, streams, two loops in two threads."""

import asyncio
import contextlib
import hashlib
import os
import socket
import threading

import pytest
from support.loops import drive, turns
from support.net import BufferedRecord, Record, connected, serving, unix_pair

MIB = 1 << 20


class Echo(asyncio.Protocol):
    """Sends back what it gets, heeding the marks."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


class Digest(Record):
    """Counts and hashes what comes."""

    def __init__(self):
        super().__init__()
        self.count = 0
        self.hash = hashlib.sha256()

    def data_received(self, data):
        self.count += len(data)
        self.hash.update(data)
        self._more.set()


class BufferedDigest(BufferedRecord):
    size = 1 << 17

    def __init__(self):
        super().__init__()
        self.count = 0
        self.hash = hashlib.sha256()

    def buffer_updated(self, nbytes):
        self.count += nbytes
        self.hash.update(memoryview(self.buffer)[:nbytes])
        self._more.set()


def blocks(total, seed=0):
    """That many bytes in blocks of changing sizes."""
    source = hashlib.shake_128(str(seed).encode()).digest(MIB)
    sizes = [1, 1000, 65536, 300_000, 17, MIB - 1]
    n = 0
    while total:
        size = min(sizes[n % len(sizes)], total)
        yield source[:size]
        total -= size
        n += 1


async def send(transport, protocol, total, seed):
    digest = hashlib.sha256()
    for block in blocks(total, seed):
        transport.write(block)
        digest.update(block)
        while protocol.events[-1] == "pause":
            await protocol.change()
    return digest.digest()


class TestBulk:
    @pytest.mark.parametrize("kind", [Digest, BufferedDigest], ids=["plain", "buffered"])
    @pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
    def test_both_ways_at_once(self, loop, run, kind, unix):
        total = 20 * MIB

        async def main():
            if unix:
                ends = []
                for sock in unix_pair():
                    ends.append(await loop.create_connection(kind, sock=sock))
                await self.exchange(ends, total)
            else:
                async with serving(kind) as (_, protocols, address):
                    one = await loop.create_connection(kind, *address)
                    while not (protocols and protocols[0].transport):
                        await asyncio.sleep(0)
                    await self.exchange([one, (protocols[0].transport, protocols[0])], total)

        run(main(), timeout=60)

    async def exchange(self, ends, total):
        (ta, pa), (tb, pb) = ends
        sent_a, sent_b = await asyncio.gather(send(ta, pa, total, 1), send(tb, pb, total, 2))
        for p in (pa, pb):
            while p.count < total:
                await p.change()
        assert (pa.count, pb.count) == (total, total)
        assert pa.hash.digest() == sent_b
        assert pb.hash.digest() == sent_a
        ta.close()
        await pa.lost
        await pb.lost
        assert (pa.exc, pb.exc) == (None, None)
        await turns()

    def test_echo_of_a_big_one(self, loop, run):
        async def main():
            async with serving(Echo) as (_, _, address):
                transport, protocol = await loop.create_connection(Digest, *address)
                total = 8 * MIB
                sent = await send(transport, protocol, total, 3)
                while protocol.count < total:
                    await protocol.change()
                assert protocol.hash.digest() == sent
                transport.close()
                await protocol.lost
                await turns(10)

        run(main(), timeout=60)

    def test_one_big_write(self, run):
        data = os.urandom(MIB) * 20

        async def main():
            async with connected() as (transport, _, peer):
                transport.write(data)
                assert await peer.recv_exactly(len(data)) == data

        run(main(), timeout=60)

    def test_slow_reader_of_small_pieces(self, run):
        data = os.urandom(300_000)

        async def main():
            async with connected() as (transport, _, peer):
                transport.write(data)
                got = bytearray()
                while len(got) < len(data):
                    got += await peer.recv(777)
                assert got == data

        run(main())


class TestMany:
    def test_three_hundred_echo_connections(self, loop, run):
        async def one(address, n):
            transport, protocol = await loop.create_connection(Record, *address)
            for i in range(5):
                text = b"connection %d message %d" % (n, i)
                transport.write(text)
                assert await protocol.received(len(text)) == text
            transport.close()
            await protocol.lost
            return n

        async def main():
            async with serving(Echo, backlog=300) as (_, _, address):
                done = await asyncio.gather(*(one(address, n) for n in range(300)))
                assert done == list(range(300))
                await turns(10)

        run(main(), timeout=60)

    def test_one_after_another(self, loop, run):
        async def main():
            async with serving(Echo) as (_, _, address):
                for n in range(200):
                    transport, protocol = await loop.create_connection(Record, *address)
                    transport.write(b"%d" % n)
                    assert await protocol.received(len(b"%d" % n)) == b"%d" % n
                    transport.close()
                    await protocol.lost
                await turns(10)

        run(main(), timeout=60)

    def test_busy_one_does_not_starve_the_rest(self, loop, run):
        async def main():
            async with serving(Echo) as (_, _, address):
                flood, busy = await loop.create_connection(Digest, *address)
                calm, protocol = await loop.create_connection(Record, *address)
                stop = False

                async def pour():
                    while not stop:
                        flood.write(bytes(65536))
                        await asyncio.sleep(0)
                        while busy.events[-1] == "pause":
                            await busy.change()

                task = asyncio.create_task(pour())
                for i in range(50):
                    calm.write(b"%02d" % i)
                    assert await protocol.received(2) == b"%02d" % i
                stop = True
                await task
                for t, p in ((flood, busy), (calm, protocol)):
                    t.abort()
                    await p.lost
                await turns(10)

        run(main(), timeout=60)


class TestStreams:
    def test_lines(self, run):
        async def handle(reader, writer):
            async for line in reader:
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        async def main():
            server = await asyncio.start_server(handle, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            for i in range(100):
                writer.write(b"line %d\n" % i)
                assert await reader.readline() == b"LINE %d\n" % i
            writer.writelines([b"a\n", b"b\n"])
            writer.write_eof()
            assert await reader.read() == b"A\nB\n"
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
            await turns()

        run(main())

    def test_drain_waits(self, run):
        async def main():
            paused = asyncio.Event()
            total = 16 * MIB

            async def handle(reader, writer):
                await paused.wait()
                got = await reader.readexactly(total)
                writer.write(hashlib.sha256(got).digest())
                writer.close()
                await writer.wait_closed()

            server = await asyncio.start_server(handle, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(bytes(total))
            drain = asyncio.create_task(writer.drain())
            await turns(10)
            assert not drain.done()
            paused.set()
            await drain
            assert await reader.read() == hashlib.sha256(bytes(total)).digest()
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
            await turns()

        run(main(), timeout=60)

    def test_reader_limit_stops_the_sender(self, run):
        """A reader nobody reads pauses its transport."""

        async def main():
            async with contextlib.AsyncExitStack() as stack:
                made = asyncio.get_running_loop().create_future()
                server = await asyncio.start_server(
                    lambda r, w: made.set_result((r, w)), "127.0.0.1", 0, limit=1000
                )
                stack.callback(server.close)
                _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                their_reader, their_writer = await made
                writer.write(b"x" * (16 * MIB))
                await turns(50)
                assert not their_writer.transport.is_reading()
                assert len(await their_reader.readexactly(16 * MIB)) == 16 * MIB
                writer.close()
                assert await their_reader.read() == b""
                their_writer.close()
                await their_writer.wait_closed()
                await writer.wait_closed()
                await turns()

        run(main(), timeout=60)

    def test_reset_reaches_the_reader(self, run):
        async def main():
            made = asyncio.get_running_loop().create_future()
            server = await asyncio.start_server(
                lambda r, w: made.set_result((r, w)), "127.0.0.1", 0
            )
            sock = socket.create_connection(server.sockets[0].getsockname())
            reader, writer = await made
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
            with pytest.raises(ConnectionResetError):
                await writer.wait_closed()
            server.close()
            await server.wait_closed()
            await turns()

        run(main())

    def test_handler_that_raises_is_reported(self, run, reports):
        async def handle(reader, writer):
            try:
                raise ZeroDivisionError
            finally:
                writer.close()

        async def main():
            server = await asyncio.start_server(handle, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()
            await turns()

        run(main())
        assert any(isinstance(c.get("exception"), ZeroDivisionError) for c in reports)


class TestThreads:
    def test_two_loops_talk(self, loop_factory):
        address = []
        ready, finish, errors = threading.Event(), threading.Event(), []

        def serve():
            loop = loop_factory()
            try:

                async def main():
                    async with serving(Echo) as (_, _, found):
                        address.append(found)
                        ready.set()
                        await loop.run_in_executor(None, finish.wait)
                        await turns(10)
                    await loop.shutdown_default_executor()

                drive(loop, main(), 60)
            except BaseException as exc:
                errors.append(exc)
                ready.set()
            finally:
                loop.close()

        thread = threading.Thread(target=serve)
        thread.start()
        ready.wait()
        loop = loop_factory()
        try:

            async def talk(n):
                transport, protocol = await loop.create_connection(Record, *address[0])
                for i in range(20):
                    transport.write(b"%03d %03d" % (n, i))
                    assert await protocol.received(7) == b"%03d %03d" % (n, i)
                transport.close()
                await protocol.lost

            async def main():
                await asyncio.gather(*(talk(n) for n in range(20)))
                await turns()

            drive(loop, main(), 60)
        finally:
            finish.set()
            thread.join()
            loop.close()
        assert errors == []

    def test_loops_come_and_go_in_threads(self, loop_factory):
        errors = []

        def work():
            try:
                for _ in range(5):
                    loop = loop_factory()

                    async def main():
                        async with connected() as (_transport, protocol, peer):
                            await peer.send(b"x")
                            assert await protocol.received(1) == b"x"

                    try:
                        drive(loop, main())
                    finally:
                        loop.close()
            except BaseException as exc:
                errors.append(exc)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert errors == []
