"""pause_reading(): the kernel is told only when something arrives meanwhile."""

import asyncio
import gc
import os
import weakref

import pytest
from support.loops import turns
from support.net import BufferedRecord, Record, connected, jam, unix_pair
from support.pipes import pipe_reader


class TestCost:
    @pytest.mark.moodloop_only
    @pytest.mark.parametrize("turn", ["", "await asyncio.sleep(0);"])
    def test_pause_and_resume_are_free(self, counted, turn):
        calls = counted(
            "for _ in range(50): "
            f"transport.pause_reading(); {turn} transport.resume_reading(); await asyncio.sleep(0)",
        )
        assert not calls.keys() - {"epoll_wait"}

    @pytest.mark.moodloop_only
    def test_data_all_the_time(self, counted):
        """As a StreamReader that is full after each read."""
        calls = counted(
            """
        for _ in range(20):
            peer.sock.send(b"x" * 100)
            await protocol.received(100)
            transport.pause_reading()
            peer.sock.send(b"y")
            await asyncio.sleep(0)
            transport.resume_reading()
            await protocol.received(1)
""",
        )
        assert "epoll_ctl" not in calls

    @pytest.mark.moodloop_only
    def test_no_spin(self, counted):
        calls = counted(
            'transport.pause_reading(); peer.sock.send(b"x"); await asyncio.sleep(0.2)',
        )
        assert calls["epoll_wait"] < 10

    @pytest.mark.moodloop_only
    def test_close_tells_the_kernel_nothing(self, counted):
        calls = counted('peer.sock.send(b"x"); transport.close(); await protocol.lost')
        assert "epoll_ctl" not in calls


class Weak(asyncio.Protocol):
    """One that can be referred to weakly."""


class TestWhilePaused:
    @pytest.mark.parametrize("protocol", [Record, BufferedRecord])
    @pytest.mark.parametrize("rounds", [1, 2, 5])
    def test_nothing_is_handed_over(self, run, protocol, rounds):
        async def main():
            async with connected(protocol, unix_pair) as (transport, p, peer):
                for _ in range(rounds):
                    transport.pause_reading()
                    await peer.send(b"x")
                    await asyncio.sleep(0.005)
                    assert p.kinds[-1] == "made" or not p.data
                    transport.resume_reading()
                    assert await p.received(1) == b"x"

        run(main())

    @pytest.mark.parametrize("wait", [0, 1, 10])
    def test_end_of_file(self, run, wait):
        async def main():
            async with connected(pair=unix_pair) as (transport, p, peer):
                transport.pause_reading()
                peer.close()
                await turns(wait)
                assert p.kinds == ["made"]
                transport.resume_reading()
                assert await p.lost is None
                assert p.kinds == ["made", "eof", "lost"]

        run(main())

    @pytest.mark.parametrize("wait", [0, 1, 10])
    def test_reset(self, run, wait):
        async def main():
            async with connected() as (transport, p, peer):
                transport.pause_reading()
                peer.reset()
                await turns(wait)
                assert p.kinds == ["made"] or wait == 10  # moodloop tells it before that
                transport.resume_reading()
                assert isinstance(await p.lost, ConnectionResetError)

        run(main())

    @pytest.mark.parametrize("wait", [0, 1, 10])
    @pytest.mark.parametrize("how", ["close", "abort"])
    def test_closed(self, run, wait, how):
        async def main():
            async with connected(pair=unix_pair) as (transport, p, peer):
                transport.pause_reading()
                await peer.send(b"x")
                await turns(wait)
                getattr(transport, how)()
                assert await p.lost is None
                assert p.kinds == ["made", "lost"]

        run(main())

    @pytest.mark.parametrize("wait", [0, 1, 10])
    def test_writing_goes_on(self, run, wait):
        async def main():
            async with connected(pair=unix_pair) as (transport, p, peer):
                transport.pause_reading()
                size = await jam(transport)
                await peer.send(b"x")
                await turns(wait)
                assert len(await peer.recv_exactly(size)) == size
                await p.happened("resume")
                assert not p.data
                transport.resume_reading()
                assert await p.received(1) == b"x"

        run(main())

    def test_dead_peer_while_writing(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, p, peer):
                transport.pause_reading()
                await jam(transport)
                peer.close()
                assert isinstance(await p.lost, (BrokenPipeError, ConnectionResetError))

        run(main())

    def test_pipe(self, run):
        async def main():
            async with pipe_reader() as (transport, p, peer):
                for _ in range(3):
                    transport.pause_reading()
                    peer.write(b"x")
                    await turns(5)
                    assert not p.data
                    transport.resume_reading()
                    assert await p.received(1) == b"x"

        run(main())

    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    @pytest.mark.parametrize("arrives", [False, True])
    def test_nobody_keeps_it(self, run, arrives):
        """Paused and known to nobody else, it is garbage, as one that reads is not."""

        async def main():
            a, b = unix_pair()
            with b:
                transport, protocol = await asyncio.get_running_loop().create_connection(
                    Weak, sock=a
                )
                a = None
                gone = weakref.ref(protocol)
                protocol = None
                await turns(3)
                gc.collect()
                reads = gone() is not None
                transport.pause_reading()
                if arrives:
                    b.send(b"x")
                    await turns(3)
                transport = None
                await turns(3)
                gc.collect()
                await turns(3)
                assert (reads, gone()) == (True, None)
                if arrives:
                    with pytest.raises(ConnectionResetError):
                        b.recv(1)
                else:
                    assert b.recv(1) == b""

        run(main())


class TestMaxSize:
    @pytest.mark.parametrize("size", [1, 7, 2048, 65536])
    def test_pieces(self, run, size):
        pieces = []

        class Pieces(Record):
            def connection_made(self, transport):
                transport.max_size = size
                super().connection_made(transport)

            def data_received(self, data):
                pieces.append(len(data))
                super().data_received(data)

        async def main():
            data = os.urandom(size * 5 + 3)
            async with connected(Pieces, unix_pair) as (transport, protocol, peer):
                assert transport.max_size == size
                sending = asyncio.ensure_future(peer.send(data))
                assert await protocol.received(len(data)) == data
                await sending
            assert max(pieces) == size

        run(main())

    def test_changes_after_much_data(self, run):
        """Also where much was received before, and is expected again."""
        pieces = []

        class Pieces(Record):
            def data_received(self, data):
                pieces.append(len(data))
                super().data_received(data)

        async def main():
            data = bytes(8 << 20)
            async with connected(Pieces) as (transport, protocol, peer):
                sending = asyncio.ensure_future(peer.send(data))
                await protocol.received(len(data) // 2)
                pieces.clear()
                transport.max_size = 4000
                await protocol.received(len(data) // 2)
                await sending
            assert max(pieces) <= 4000

        run(main())

    def test_pipe(self, run):
        async def main():
            async with pipe_reader() as (transport, protocol, peer):
                transport.max_size = 10
                peer.write(bytes(95))
                await protocol.received(95)
                assert protocol.events.count("data") == 10

        run(main())

    def test_default(self, run):
        async def main():
            async with connected() as (transport, _, _peer):
                assert transport.max_size == 256 * 1024
                transport.max_size = 5
                del transport.max_size
                assert transport.max_size == 256 * 1024

        run(main())

    @pytest.mark.moodloop_only  # asyncio finds it at the next read, and closes
    @pytest.mark.parametrize(
        ("size", "error"), [(0, ValueError), (-1, ValueError), ("5", TypeError), (5.0, TypeError)]
    )
    def test_wrong(self, run, size, error):
        async def main():
            async with connected() as (transport, _, _peer):
                with pytest.raises(error):
                    transport.max_size = size

        run(main())
