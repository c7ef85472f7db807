"""A reset of a connection that nobody reads from any more, or for now: told at once, as nobody may
ever write. (asyncio's own loops tell it with the next write.)"""

import asyncio
import os
import socket
import struct

import pytest
from support.loops import TIMEOUT, turns
from support.net import BufferedRecord, Record, connected, tcp_pair, unix_pair

pytestmark = pytest.mark.moodloop_only


async def lost(protocol):
    return await asyncio.wait_for(asyncio.shield(protocol.lost), TIMEOUT)


class KeepsOpen(Record):
    def eof_received(self):
        super().eof_received()
        return True


class KeepsOpenBuffered(BufferedRecord):
    def eof_received(self):
        super().eof_received()
        return True


@pytest.mark.parametrize("wait", [0, 1, 5])
class TestAfterHalfClose:
    @pytest.mark.parametrize("protocol", [KeepsOpen, KeepsOpenBuffered])
    def test_of_the_peer(self, run, protocol, wait):
        async def main():
            async with connected(protocol) as (transport, p, peer):
                peer.shutdown()
                await p.eof.wait()
                await turns(wait)
                assert not transport.is_closing()
                peer.reset()
                assert type(await lost(p)) is ConnectionResetError
                assert p.kinds == ["made", "eof", "lost"]

        run(main())

    def test_of_ours(self, run, wait):
        async def main():
            async with connected() as (transport, p, peer):
                transport.write_eof()
                await turns(wait)
                peer.reset()
                assert type(await lost(p)) is ConnectionResetError

        run(main())

    def test_of_ours_while_paused(self, run, wait):
        async def main():
            async with connected() as (transport, p, peer):
                transport.pause_reading()
                transport.write_eof()
                await turns(wait)
                peer.reset()
                assert type(await lost(p)) is ConnectionResetError

        run(main())

    def test_after_an_answer(self, run, wait):
        async def main():
            async with connected(KeepsOpen) as (transport, p, peer):
                peer.shutdown()
                await p.eof.wait()
                transport.write(b"x" * 100)
                await peer.recv_exactly(100)
                await turns(wait)
                peer.reset()
                assert type(await lost(p)) is ConnectionResetError

        run(main())


class TestNoReset:
    def test_both_ends_half_closed(self, run):
        """The connection is over, and the kernel says so, but whose it is decides when it ends."""

        async def main():
            async with connected(KeepsOpen) as (transport, p, peer):
                peer.shutdown()
                await p.eof.wait()
                await turns(3)
                transport.write_eof()
                assert await peer.recv_all() == b""
                await asyncio.sleep(0.02)
                assert p.kinds == ["made", "eof"]
                transport.close()
                assert await lost(p) is None

        run(main())

    def test_peer_that_closes_is_no_reset(self, run):
        async def main():
            async with connected(KeepsOpen, unix_pair) as (transport, p, peer):
                peer.close()
                await p.eof.wait()
                await asyncio.sleep(0.02)
                assert p.kinds == ["made", "eof"]
                transport.write(b"x")
                assert type(await lost(p)) is BrokenPipeError

        run(main())

    def test_no_spin(self, counted):
        calls = counted(
            """
        protocol.keep_open = True
        peer.shutdown()
        await protocol.eof.wait()
        await turns(3)
        transport.write_eof()
        await asyncio.sleep(0.2)
""",
        )
        assert calls["epoll_wait"] < 15


class Pauses(Record):
    """Is told in the midst of what is read first: it is told when that is done."""

    def data_received(self, data):
        super().data_received(data)
        self.transport.pause_reading()


class TestWhilePaused:
    @pytest.mark.parametrize("protocol", [Record, Pauses])
    def test_what_came_before_is_read_first(self, run, protocol):
        async def main():
            async with connected(protocol) as (transport, p, peer):
                transport.pause_reading()
                await peer.send(b"x" * 1000)
                await turns(3)
                peer.reset()
                await asyncio.sleep(0.02)
                assert p.kinds == ["made"]
                transport.resume_reading()
                assert type(await lost(p)) is ConnectionResetError
                assert bytes(p.data) == b"x" * 1000

        run(main())

    def test_resumed_in_time(self, run):
        async def main():
            async with connected() as (transport, p, peer):
                for _ in range(3):
                    transport.pause_reading()
                    await peer.send(b"x")
                    await turns(4)
                    transport.resume_reading()
                    await p.received(1)
                transport.pause_reading()
                peer.reset()
                assert type(await lost(p)) is ConnectionResetError

        run(main())

    def test_unix(self, run):
        """Its peer closed with something unread."""

        async def main():
            async with connected(pair=unix_pair) as (transport, p, peer):
                transport.pause_reading()
                transport.write(b"nobody reads that")
                await turns(2)
                peer.close()
                assert type(await lost(p)) is ConnectionResetError

        run(main())

    def test_many(self, run):
        """More than one look at the kernel's list brings."""

        async def main():
            pairs = [connected(KeepsOpen, unix_pair) for _ in range(200)]
            made = [await pair.__aenter__() for pair in pairs]
            try:
                for transport, _, peer in made:
                    peer.shutdown()
                    transport.write(b"unread")
                await turns(6)
                for _, _, peer in made:
                    peer.close()
                for _, p, _ in made:
                    assert type(await lost(p)) is ConnectionResetError
            finally:
                for pair in pairs:
                    await pair.__aexit__(None, None, None)

        run(main())


def pair_at(number):
    """Two connected sockets, of which the first has that number."""
    a, b = tcp_pair()
    if a.fileno() == number:
        return a, b
    with a:
        return socket.socket(fileno=os.dup2(a.fileno(), number)), b


class TestNumbers:
    def test_stale_number(self, run):
        """A copy of the descriptor lives on, and another connection has the number."""

        async def main():
            async with connected(KeepsOpen) as (first, p, peer):
                peer.shutdown()
                await p.eof.wait()
                await turns(4)
                number = first.get_extra_info("socket").fileno()
                copy = os.dup(number)
                first.abort()
                assert await lost(p) is None
                await turns(2)
                try:
                    async with connected(KeepsOpen, lambda: pair_at(number)) as (second, q, other):
                        assert second.get_extra_info("socket").fileno() == number
                        other.shutdown()
                        await q.eof.wait()
                        await turns(4)
                        peer.reset()
                        await asyncio.sleep(0.02)
                        assert q.kinds == ["made", "eof"]
                        other.reset()
                        assert type(await lost(q)) is ConnectionResetError
                finally:
                    os.close(copy)

        run(main())

    def test_forked_child(self, snippet):
        """It has a list of its own: what it does with its copies is nothing to the parent."""
        done = snippet("""
from support.net import Record, connected
class KeepsOpen(Record):
    def eof_received(self):
        super().eof_received()
        return True
async def main():
    async with connected(KeepsOpen) as (transport, p, peer):
        peer.shutdown()
        await p.eof.wait()
        await turns(4)
        pid = os.fork()
        if pid == 0:
            transport.abort()
            await turns(3)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        peer.reset()
        print(type(await asyncio.wait_for(p.lost, 20)).__name__)
new_loop().run_until_complete(main())
""")
        assert done.rc == 0, done.err
        assert done.out.strip() == "ConnectionResetError"


def test_stream_writer_wait_closed(run):
    """A handler that has read all and computes its answer hears that nobody waits for it."""

    async def main():
        told = asyncio.get_running_loop().create_future()

        async def handle(reader, writer):
            await reader.read()
            try:
                await writer.wait_closed()
            except ConnectionError as exc:
                told.set_result(type(exc))
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        async with server:
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                client.shutdown(socket.SHUT_WR)
                await asyncio.sleep(0.01)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            assert await asyncio.wait_for(told, TIMEOUT) is ConnectionResetError

    run(main())
