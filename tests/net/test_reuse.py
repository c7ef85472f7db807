"""Descriptors that were closed behind the loop's back, and whose numbers others have since."""

import asyncio
import errno
import os
import socket

import pytest
from support.loops import turns
from support.net import Record


@pytest.fixture
def pair():
    made = []

    def make(fd=None):
        a, b = socket.socketpair()
        if fd is not None and a.fileno() != fd:
            os.dup2(a.fileno(), fd)
            a.close()
            a = socket.socket(fileno=fd)
        a.setblocking(False)
        b.setblocking(False)
        made.extend((a, b))
        return a, b

    yield make
    for sock in made:
        sock.close()


def test_transport_leaves_the_new_owner_alone(loop, run, pair):
    lost = []

    class Proto(asyncio.Protocol):
        def data_received(self, data):
            raise AssertionError(f"somebody else's data: {data!r}")

        def connection_lost(self, exc):
            lost.append(exc)

    async def main():
        a, _ = pair()
        transport, _ = await loop.create_connection(Proto, sock=a)
        fd = a.fileno()
        a.close()
        c, d = pair(fd)
        d.send(b"not for the transport")
        await turns(5)
        assert c.recv(100) == b"not for the transport"
        transport.close()
        await turns(5)
        assert lost == [None]
        d.send(b"still open")
        assert c.recv(100) == b"still open"

    run(main())


def test_socket_closed_after_a_write(loop, run, pair):
    """What was written may be lost with it, but never reaches who has the number next."""
    lost = []

    class Proto(asyncio.Protocol):
        def connection_lost(self, exc):
            lost.append(exc)

    async def main():
        a, _ = pair()
        transport, _ = await loop.create_connection(Proto, sock=a)
        fd = a.fileno()
        transport.write(b"for the first")
        a.close()
        c, d = pair(fd)
        await turns(5)
        with pytest.raises(BlockingIOError):
            d.recv(100)
        transport.abort()
        await turns(5)
        assert len(lost) == 1
        c.send(b"still open")
        assert d.recv(100) == b"still open"

    run(main())


def test_write_after_the_socket_was_closed(loop, run, pair):
    lost = []

    class Proto(asyncio.Protocol):
        def connection_lost(self, exc):
            lost.append(exc)

    async def main():
        a, _ = pair()
        transport, _ = await loop.create_connection(Proto, sock=a)
        a.close()
        transport.write(b"x")
        await turns(5)
        assert [type(exc) for exc in lost] == [OSError]

    run(main())


@pytest.mark.moodloop_only
def test_sock_recv_does_not_read_from_the_new_owner(loop, run, pair):
    async def main():
        a, _ = pair()
        waiting = asyncio.ensure_future(loop.sock_recv(a, 100))
        await turns(3)
        fd = a.fileno()
        a.close()
        c, d = pair(fd)
        d.send(b"other")
        await turns(5)
        assert c.recv(100) == b"other"
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(main())


@pytest.mark.moodloop_only
def test_reader_left_behind_is_not_told_of_a_connection(loop, run, pair):
    """With stock asyncio the connection hears nothing: epoll does not know the new file."""
    called = []

    async def main():
        got = loop.create_future()

        class Proto(asyncio.Protocol):
            def data_received(self, data):
                got.set_result(data)

        a, _ = pair()
        fd = a.fileno()
        loop.add_reader(fd, called.append, "left behind")
        a.close()
        c, d = pair(fd)
        transport, _ = await loop.create_connection(Proto, sock=c)
        d.send(b"data")
        assert await got == b"data"
        assert called == []
        transport.close()
        await turns(3)

    run(main())


@pytest.mark.parametrize("method", ["write", "writelines"])
@pytest.mark.parametrize("data", [b"secret", bytearray(100_000)], ids=["bytes", "bytearray"])
def test_writing_to_a_socket_closed_under_the_transport(loop, run, method, data):
    """Its number may be another connection's by now, which must not get what is written."""

    async def main():
        a, b = socket.socketpair()
        a.setblocking(False)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
        number = a.fileno()
        a.close()
        pair = socket.socketpair()
        assert number in [sock.fileno() for sock in pair]
        getattr(transport, method)(data if method == "write" else [data])
        transport.abort()
        for _ in range(3):
            await asyncio.sleep(0)
        for sock in pair:
            sock.setblocking(False)
            with pytest.raises(BlockingIOError):
                sock.recv(10)
        for sock in (*pair, b):
            sock.close()

    run(main())


class TestWriteEof:
    """shutdown() must not reach the connection that has the number now."""

    def test_at_once(self, run, pair):
        async def main():
            mine, _ = pair()
            fd = mine.fileno()
            transport, _ = await asyncio.get_running_loop().create_connection(Record, sock=mine)
            mine.close()
            new, newpeer = pair(fd)
            with pytest.raises(OSError) as info:
                transport.write_eof()
            assert info.value.errno == errno.EBADF
            transport.abort()
            await turns(3)
            assert new.send(b"mine") == 4
            assert newpeer.recv(9) == b"mine"

        run(main())

    @pytest.mark.moodloop_only  # asyncio removes its writer from the number, and fails
    def test_when_all_is_sent(self, run, pair):
        made = []

        class Closing(Record):
            def resume_writing(self):
                fd = mine.fileno()
                mine.close()
                made.extend(pair(fd))

        async def main():
            nonlocal mine
            mine, peer = pair()
            loop = asyncio.get_running_loop()
            transport, p = await loop.create_connection(Closing, sock=mine)
            transport.write(bytes(1 << 20))
            transport.write_eof()
            while not made:
                await loop.sock_recv(peer, 1 << 20)
            assert (await p.lost).errno == errno.EBADF
            new, newpeer = made
            assert new.send(b"mine") == 4
            assert newpeer.recv(9) == b"mine"

        mine = None
        run(main())
