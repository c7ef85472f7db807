"""sendfile() over transports and sockets: what is sent, what goes wrong, the file's position."""

import asyncio
import contextlib
import errno
import io
import os
import socket

import pytest
from support.loops import TIMEOUT, turns
from support.net import Record, connected, end, unix_pair
from support.tls import client_context, server_context

DATA = bytes(range(256)) * 8192  # 2 MiB: more than the buffers of a Unix socket hold


@pytest.fixture
def file(tmp_path):
    (tmp_path / "file").write_bytes(DATA)
    with open(tmp_path / "file", "rb") as file:
        yield file


@pytest.fixture(params=["file", "bytes"])
def source(request, file):
    """What os.sendfile() can read, and what it cannot."""
    return file if request.param == "file" else io.BytesIO(DATA)


def jam_socket(sock):
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(bytes(1 << 16))


async def receive(peer, count, sending):
    got = await peer.recv_exactly(count)
    assert await sending == count
    return got


class TestTransport:
    @pytest.mark.parametrize(
        ("offset", "count"),
        [(0, None), (0, 1000), (1000, None), (1000, 1 << 20), (len(DATA), None)],
    )
    def test_part(self, loop, run, source, offset, count):
        expected = DATA[offset : offset + count] if count else DATA[offset:]

        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                sending = loop.create_task(loop.sendfile(transport, source, offset, count))
                assert await receive(peer, len(expected), sending) == expected
                if expected:
                    assert source.tell() == offset + len(expected)

        run(main())

    def test_more_than_there_is(self, loop, run, source):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                sending = loop.create_task(loop.sendfile(transport, source, 0, len(DATA) + 5))
                assert await receive(peer, len(DATA), sending) == DATA

        run(main())

    def test_empty_file(self, loop, run, tmp_path):
        (tmp_path / "empty").touch()

        async def main():
            with open(tmp_path / "empty", "rb") as empty:
                async with connected() as (transport, _, peer):
                    assert await loop.sendfile(transport, empty) == 0
                    transport.write(b"end")
                    assert await peer.recv_exactly(3) == b"end"

        run(main())

    def test_between_writes(self, loop, run, source):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                transport.write(b"before")
                sending = loop.create_task(loop.sendfile(transport, source))
                assert await peer.recv_exactly(6) == b"before"
                assert await receive(peer, len(DATA), sending) == DATA
                transport.write(b"after")
                assert await peer.recv_exactly(5) == b"after"
                await peer.send(b"answer")
                assert await protocol.received(6) == b"answer"

        run(main())

    def test_after_a_full_buffer(self, loop, run, source):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                transport.write(bytes(1 << 20))
                sending = loop.create_task(loop.sendfile(transport, source))
                await turns()
                assert not sending.done()
                assert await peer.recv_exactly(1 << 20) == bytes(1 << 20)
                assert await receive(peer, len(DATA), sending) == DATA

        run(main())

    def test_writing_meanwhile(self, loop, run, file):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                sending = loop.create_task(loop.sendfile(transport, file))
                await turns()
                with pytest.raises(RuntimeError, match="sendfile is in progress"):
                    transport.write(b"x")
                assert await receive(peer, len(DATA), sending) == DATA

        run(main())

    def test_paused_stays_paused(self, loop, run, file):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                transport.pause_reading()
                await receive(peer, len(DATA), loop.create_task(loop.sendfile(transport, file)))
                assert not transport.is_reading()

        run(main())

    def test_peer_goes(self, loop, run, source):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                sending = loop.create_task(loop.sendfile(transport, source))
                await peer.recv_exactly(1000)
                peer.close()
                with pytest.raises(OSError):
                    await sending
                transport.abort()
                await protocol.lost

        run(main())

    @pytest.mark.moodloop_only  # stock asyncio waits for ever
    @pytest.mark.parametrize("how", ["abort", "close"])
    def test_transport_goes(self, loop, run, source, how):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, _):
                fd = transport.get_extra_info("socket").fileno()
                sending = loop.create_task(loop.sendfile(transport, source))
                await turns(4)
                assert not sending.done()
                getattr(transport, how)()
                with pytest.raises(ConnectionError, match="closed"):
                    await sending
                await protocol.lost
                assert not loop.remove_writer(fd)

        run(main())

    @pytest.mark.moodloop_only
    def test_transport_goes_before_the_first_byte(self, loop, run, source):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, _):
                transport.write(DATA)
                sending = loop.create_task(loop.sendfile(transport, source))
                await turns()
                transport.abort()
                with pytest.raises(ConnectionError, match="closed"):
                    await sending
                await protocol.lost

        run(main())

    @pytest.mark.moodloop_only  # InvalidStateError goes to stock asyncio's exception handler
    def test_cancelled_as_the_transport_goes(self, loop, run, file):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, _):
                sending = loop.create_task(loop.sendfile(transport, file))
                await turns(4)
                transport.abort()
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
                await protocol.lost

        run(main())

    @pytest.mark.moodloop_only  # stock asyncio takes no writes from then on
    def test_cancelled_before_the_first_byte(self, loop, run, file):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                transport.write(DATA)
                sending = loop.create_task(loop.sendfile(transport, file))
                await turns()
                with pytest.raises(RuntimeError, match="already set"):
                    await loop.sendfile(transport, file)
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
                transport.write(b"the end")
                assert await peer.recv_exactly(len(DATA) + 7) == DATA + b"the end"
                assert transport.is_reading()

        run(main())

    def test_cancelled(self, loop, run, file):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                sending = loop.create_task(loop.sendfile(transport, file))
                got = await peer.recv_exactly(1000)
                sending.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await sending
                await peer.send(b"still here")
                assert await protocol.received(10) == b"still here"
                transport.write(b"|the end")
                transport.close()
                got += await peer.recv_all()
                sent, _, tail = got.rpartition(b"|the end")
                assert DATA.startswith(sent) and tail == b""

        run(main())

    def test_closing_transport(self, loop, run, file):
        async def main():
            async with connected() as (transport, protocol, _):
                transport.close()
                with pytest.raises(RuntimeError, match="Transport is closing"):
                    await loop.sendfile(transport, file)
                await protocol.lost

        run(main())

    @pytest.mark.moodloop_only  # asyncio waits for ever
    @pytest.mark.parametrize("wait", [1, 3, 10])
    def test_socket_closed_behind(self, loop, run, source, wait):
        async def main():
            async with connected(pair=unix_pair) as (transport, p, _):
                sending = loop.create_task(loop.sendfile(transport, source))
                await turns(wait)
                transport.get_extra_info("socket")._sock.close()
                with pytest.raises(OSError):
                    await asyncio.wait_for(sending, TIMEOUT)
                exc = await p.lost
                assert exc.errno == errno.EBADF

        run(main())

    @pytest.mark.moodloop_only
    def test_number_is_anothers(self, loop, run, file):
        """Who has it now keeps what it waits for."""

        async def main():
            async with connected(pair=unix_pair) as (transport, _, _):
                sending = loop.create_task(loop.sendfile(transport, file))
                await turns(5)
                sock = transport.get_extra_info("socket")._sock
                fd = sock.fileno()
                sock.close()
                a, b = unix_pair()
                with a, b:
                    copy = os.dup2(a.fileno(), fd) if a.fileno() != fd else None
                    written = asyncio.Event()
                    jam_socket(a)
                    loop.add_writer(fd, written.set)
                    with pytest.raises(OSError):
                        await asyncio.wait_for(sending, TIMEOUT)
                    assert not written.is_set()
                    b.recv(1 << 20)
                    await asyncio.wait_for(written.wait(), TIMEOUT)
                    assert loop.remove_writer(fd)
                    if copy is not None:
                        os.close(copy)

        run(main())

    def test_without_fallback(self, loop, run):
        async def main():
            async with connected() as (transport, _, _):
                with pytest.raises(RuntimeError):
                    await loop.sendfile(transport, io.BytesIO(DATA), fallback=False)
                with pytest.raises((RuntimeError, AttributeError)):
                    await loop.sendfile(asyncio.BaseTransport(), io.BytesIO(DATA))

        run(main())

    @pytest.mark.tls
    def test_over_tls(self, loop, run, source):
        async def main():
            a, b = unix_pair()
            (ta, pa), (tb, pb) = await asyncio.gather(
                loop.connect_accepted_socket(Record, a, ssl=server_context()),
                loop.create_connection(
                    Record, sock=b, ssl=client_context(), server_hostname="localhost"
                ),
            )
            sending = loop.create_task(loop.sendfile(ta, source, 10, 1 << 20))
            assert await pb.received(1 << 20) == DATA[10 : 10 + (1 << 20)]
            assert await sending == 1 << 20
            with pytest.raises(RuntimeError, match="fallback is disabled"):
                await loop.sendfile(ta, source, fallback=False)
            await end(ta, pa)
            await end(tb, pb)
            await turns(10)

        run(main())


class TestSocket:
    @pytest.fixture
    def pair(self):
        two = unix_pair()
        for sock in two:
            sock.setblocking(False)
        yield two
        for sock in two:
            sock.close()

    async def recv_exactly(self, loop, sock, count):
        got = bytearray()
        while len(got) < count:
            got += await loop.sock_recv(sock, 1 << 18)
        return got

    @pytest.mark.parametrize(("offset", "count"), [(0, None), (5, 1000), (1000, None)])
    def test_part(self, loop, run, source, pair, offset, count):
        expected = DATA[offset : offset + count] if count else DATA[offset:]

        async def main():
            sending = loop.create_task(loop.sock_sendfile(pair[0], source, offset, count))
            assert await self.recv_exactly(loop, pair[1], len(expected)) == expected
            assert await sending == len(expected)

        run(main())

    def test_file_shrinks_meanwhile(self, loop, run, tmp_path, pair):
        path = tmp_path / "shrinking"
        path.write_bytes(DATA)

        async def main():
            with open(path, "rb") as file:
                sending = loop.create_task(loop.sock_sendfile(pair[0], file))
                await turns()
                os.truncate(path, 0)
                got = len(await self.recv_exactly(loop, pair[1], 1000))
                while not sending.done():
                    await turns(2)
                    try:
                        got += len(pair[1].recv(1 << 20))
                    except BlockingIOError:
                        pass
                assert await sending == got < len(DATA)

        run(main())

    def test_cancelled(self, loop, run, file, pair):
        async def main():
            sending = loop.create_task(loop.sock_sendfile(pair[0], file))
            await turns()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert not loop.remove_writer(pair[0])

        run(main())

    @pytest.mark.parametrize(
        ("args", "error"),
        [
            ((-1,), ValueError),
            ((1.5,), TypeError),
            ((0, 0), ValueError),
            ((0, -1), ValueError),
            ((0, "x"), TypeError),
        ],
        ids=str,
    )
    def test_wrong_numbers(self, loop, run, file, pair, args, error):
        with pytest.raises(error):
            run(loop.sock_sendfile(pair[0], file, *args))

    def test_text_file(self, loop, run, tmp_path, pair):
        (tmp_path / "file").touch()
        with open(tmp_path / "file") as text, pytest.raises(ValueError, match="binary mode"):
            run(loop.sock_sendfile(pair[0], text))

    def test_datagram_socket(self, loop, run, file):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            with pytest.raises(ValueError, match="SOCK_STREAM"):
                run(loop.sock_sendfile(sock, file))

    def test_blocking_socket_in_debug(self, loop, run, file, pair):
        loop.set_debug(True)
        pair[0].setblocking(True)
        with pytest.raises(ValueError, match="must be non-blocking"):
            run(loop.sock_sendfile(pair[0], file))

    def test_closed_file(self, loop, run, file, pair):
        file.close()
        with pytest.raises(ValueError):
            run(loop.sock_sendfile(pair[0], file))
