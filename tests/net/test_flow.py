"""Flow control: the marks, pause_writing and resume_writing."""

import asyncio

import pytest
from support.loops import turns, until
from support.net import Record, connected, jam, unix_pair

BIG = 16 << 20  # more than the kernel takes for a peer that does not read


class TestLimits:
    def test_defaults(self, run):
        async def main():
            async with connected() as (transport, _, _):
                assert transport.get_write_buffer_limits() == (16384, 65536)
                assert transport.get_write_buffer_size() == 0

        run(main())

    @pytest.mark.parametrize(
        ("given", "limits"),
        [
            ({}, (16384, 65536)),
            ({"high": 100}, (25, 100)),
            ({"high": 101}, (25, 101)),
            ({"low": 100}, (100, 400)),
            ({"high": 0}, (0, 0)),
            ({"low": 0}, (0, 0)),
            ({"high": 7, "low": 7}, (7, 7)),
            ({"high": 1 << 40}, (1 << 38, 1 << 40)),
            ({"high": 1e6}, (250_000, 1_000_000)),
            ({"high": 8.0, "low": 2.0}, (2, 8)),
        ],
    )
    def test_set(self, run, given, limits):
        async def main():
            async with connected() as (transport, _, _):
                transport.set_write_buffer_limits(**given)
                assert transport.get_write_buffer_limits() == limits

        run(main())

    def test_set_by_position(self, run):
        async def main():
            async with connected() as (transport, _, _):
                transport.set_write_buffer_limits(10, 5)
                assert transport.get_write_buffer_limits() == (5, 10)

        run(main())

    @pytest.mark.parametrize(
        ("high", "low", "message"),
        [
            (1, 2, r"high \(1\) must be >= low \(2\) must be >= 0"),
            (-1, None, r"must be >= 0"),
            (None, -1, r"must be >= 0"),
            (5, -1, r"high \(5\) must be >= low \(-1\) must be >= 0"),
        ],
    )
    def test_wrong_order(self, run, high, low, message):
        async def main():
            async with connected() as (transport, _, _):
                with pytest.raises(ValueError, match=message):
                    transport.set_write_buffer_limits(high=high, low=low)
                assert transport.get_write_buffer_limits() == (16384, 65536)

        run(main())

    def test_no_limit(self, run):
        async def main():
            async with connected() as (transport, _, _):
                transport.set_write_buffer_limits(high=float("inf"), low=0)
                assert transport.get_write_buffer_limits()[1] > 1 << 62
                with pytest.raises(ValueError, match="must be >= 0"):
                    transport.set_write_buffer_limits(high=-0.5)

        run(main())

    @pytest.mark.moodloop_only  # in asyncio nothing is above such a mark
    def test_nan(self, run):
        async def main():
            async with connected() as (transport, _, _):
                with pytest.raises(ValueError, match="must be >= 0"):
                    transport.set_write_buffer_limits(high=float("nan"))

        run(main())

    @pytest.mark.parametrize("high", ["x", [], object()])
    def test_wrong_type(self, run, high):
        async def main():
            async with connected() as (transport, _, _):
                with pytest.raises(TypeError):
                    transport.set_write_buffer_limits(high=high)

        run(main())


class TestPausing:
    def test_pause_is_inside_write(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, _):
                transport.write(bytes(BIG))
                assert protocol.events == ["made", "pause"]
                transport.write(bytes(BIG))
                assert protocol.events == ["made", "pause"]

        run(main())

    def test_resume_when_it_drains(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                transport.write(bytes(BIG))
                await turns(5)
                assert protocol.events == ["made", "pause"]
                assert await peer.recv_exactly(BIG) == bytes(BIG)
                await protocol.happened("resume")
                assert protocol.events == ["made", "pause", "resume"]
                assert transport.get_write_buffer_size() <= 16384

        run(main())

    def test_resume_at_the_low_mark(self, run):
        seen = []

        class Watching(Record):
            def resume_writing(self):
                seen.append(self.transport.get_write_buffer_size())
                super().resume_writing()

        async def main():
            async with connected(Watching, unix_pair) as (tr, protocol, peer):
                tr.set_write_buffer_limits(high=1 << 20, low=1 << 19)
                tr.write(bytes(BIG))
                await peer.recv_exactly(BIG)
                await protocol.happened("resume")

        run(main())
        assert len(seen) == 1
        assert seen[0] <= 1 << 19

    def test_again_and_again(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                for n in range(1, 4):
                    transport.write(bytes(BIG))
                    assert protocol.events.count("pause") == n
                    await peer.recv_exactly(BIG)
                    await until(lambda n=n: protocol.events.count("resume") == n)

        run(main())

    @pytest.mark.moodloop_only  # CVE-2024-12254: stock asyncio of 3.12.0 to 3.13.0 does not
    def test_writelines_pauses_too(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, _):
                transport.writelines([bytes(BIG // 4)] * 4)
                await turns(2)
                assert protocol.events == ["made", "pause"]

        run(main())

    def test_size_counts_what_waits(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                written = await jam(transport)
                size = transport.get_write_buffer_size()
                assert 0 < size <= written
                transport.write(b"x" * 1000)
                assert transport.get_write_buffer_size() == size + 1000
                transport.writelines([b"x" * 10, bytearray(5), memoryview(b"abc")])
                assert transport.get_write_buffer_size() == size + 1018
                await peer.recv_exactly(written + 1018)
                await until(lambda: transport.get_write_buffer_size() == 0)

        run(main())

    def test_zero_mark_pauses_on_any_rest(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, _):
                transport.set_write_buffer_limits(high=0)
                await jam(transport)
                assert "pause" in protocol.events

        run(main())

    def test_marks_changed_with_bytes_waiting(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                transport.set_write_buffer_limits(high=1 << 40)
                written = await jam(transport)
                assert protocol.events == ["made"]
                transport.set_write_buffer_limits(high=0)
                transport.write(b"x")
                assert protocol.events == ["made", "pause"]
                await peer.recv_exactly(written + 1)
                await protocol.happened("resume")

        run(main())

    def test_abort_empties_the_buffer(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, _):
                await jam(transport)
                transport.abort()
                assert transport.get_write_buffer_size() == 0
                await protocol.lost
                assert transport.get_write_buffer_size() == 0

        run(main())

    def test_writer_that_heeds_the_marks(self, run):
        """A producer that stops at pause_writing keeps the buffer near the high mark."""
        chunk, count, worst = 4096, 2000, 0

        async def main():
            nonlocal worst
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                sink = asyncio.create_task(peer.recv_exactly(chunk * count))
                for _ in range(count):
                    transport.write(bytes(chunk))
                    worst = max(worst, transport.get_write_buffer_size())
                    while protocol.events[-1] == "pause":
                        await protocol.change()
                assert len(await sink) == chunk * count

        run(main())
        assert worst <= 65536 + chunk


class TestCallbacks:
    def test_pause_writing_raises(self, run, reports):
        class Raising(Record):
            def pause_writing(self):
                super().pause_writing()
                raise ZeroDivisionError

        async def main():
            async with connected(Raising) as (transport, _protocol, peer):
                transport.write(bytes(BIG))
                assert len(await peer.recv_exactly(BIG)) == BIG

        run(main())
        (context,) = reports
        assert context["message"] == "protocol.pause_writing() failed"
        assert isinstance(context["exception"], ZeroDivisionError)
        assert "transport" in context and "protocol" in context

    def test_resume_writing_raises(self, run, reports):
        class Raising(Record):
            def resume_writing(self):
                super().resume_writing()
                raise ZeroDivisionError

        async def main():
            async with connected(Raising) as (transport, protocol, peer):
                transport.write(bytes(BIG))
                assert len(await peer.recv_exactly(BIG)) == BIG
                await protocol.happened("resume")
                transport.write(b"more")
                assert await peer.recv_exactly(4) == b"more"

        run(main())
        assert [c["message"] for c in reports] == ["protocol.resume_writing() failed"]

    def test_close_in_pause_writing(self, run):
        class Closing(Record):
            def pause_writing(self):
                super().pause_writing()
                self.transport.close()

        async def main():
            async with connected(Closing) as (transport, protocol, peer):
                transport.write(bytes(BIG))
                assert transport.is_closing()
                assert len(await peer.recv_all()) == BIG
                await protocol.lost
                assert protocol.events.count("lost") == 1

        run(main())

    def test_abort_in_pause_writing(self, run):
        class Aborting(Record):
            def pause_writing(self):
                super().pause_writing()
                self.transport.abort()
                assert "lost" not in self.events

        async def main():
            async with connected(Aborting) as (_, protocol, _peer):
                protocol.transport.write(bytes(BIG))
                await protocol.lost
                assert protocol.kinds == ["made", "pause", "lost"]

        run(main())

    def test_write_in_pause_writing(self, run):
        class Writing(Record):
            def pause_writing(self):
                super().pause_writing()
                self.transport.write(b"more")

        async def main():
            async with connected(Writing) as (_, protocol, peer):
                protocol.transport.write(bytes(BIG))
                got = await peer.recv_exactly(BIG + 4)
                assert got[-4:] == b"more"

        run(main())

    def test_write_in_resume_writing(self, run):
        class Writing(Record):
            def resume_writing(self):
                super().resume_writing()
                if self.events.count("resume") < 3:
                    self.transport.write(bytes(BIG))

        async def main():
            async with connected(Writing) as (_, protocol, peer):
                protocol.transport.write(bytes(BIG))
                assert len(await peer.recv_exactly(3 * BIG)) == 3 * BIG
                await until(lambda: protocol.events.count("resume") == 3)
                assert protocol.events[1:] == ["pause", "resume"] * 3

        run(main())

    def test_close_in_resume_writing(self, run, loop_name, reports):
        class Closing(Record):
            def resume_writing(self):
                super().resume_writing()
                self.transport.close()

        async def main():
            async with connected(Closing) as (_, protocol, peer):
                protocol.transport.write(bytes(BIG))
                assert len(await peer.recv_all()) == BIG
                await protocol.lost
                await turns(5)
                assert protocol.events == ["made", "pause", "resume", "lost"]

        run(main())
        # Stock asyncio loses the connection a second time, and reports that.
        assert loop_name == "asyncio" or reports == []

    def test_abort_in_resume_writing(self, run, loop_name, reports):
        class Aborting(Record):
            def resume_writing(self):
                super().resume_writing()
                self.transport.abort()

        async def main():
            async with connected(Aborting) as (_, protocol, peer):
                protocol.transport.write(bytes(BIG))
                drain = asyncio.create_task(peer.recv_all())
                await protocol.lost
                await asyncio.gather(drain, return_exceptions=True)
                assert protocol.events.count("lost") == 1

        run(main())
        assert loop_name == "asyncio" or reports == []

    @pytest.mark.moodloop_only  # asyncio stays as it is, and asserts in each turn
    @pytest.mark.parametrize("ends", ["close", "write_eof"])
    def test_exit_in_resume_writing(self, loop, run, ends):
        class Leaving(Record):
            def resume_writing(self):
                raise SystemExit(7)

        async def main():
            async with connected(Leaving, unix_pair) as (transport, p, peer):
                transport.write(bytes(1 << 20))
                getattr(transport, ends)()
                assert len(await peer.recv_all()) == 1 << 20
                transport.close()
                assert await p.lost is None

        task = loop.create_task(main())
        with pytest.raises(SystemExit):
            loop.run_until_complete(task)
        run(task)

    def test_interrupt_in_pause_writing(self, loop, run):
        class Interrupting(Record):
            def pause_writing(self):
                super().pause_writing()
                raise KeyboardInterrupt

        async def main():
            async with connected(Interrupting) as (transport, _protocol, _):
                with pytest.raises(KeyboardInterrupt):
                    transport.write(bytes(BIG))

        run(main())
