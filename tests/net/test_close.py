"""close and abort: what is flushed, when connection_lost comes, what each callback may do."""

import asyncio
import gc
import os
import warnings

import pytest
from support.loops import drive, run_turns, turns
from support.net import BufferedRecord, Record, connected, jam, tcp_pair, unix_pair


class TestClose:
    def test_connection_lost_is_called_soon(self, run):
        async def main():
            async with connected() as (transport, protocol, _):
                transport.close()
                assert transport.is_closing()
                assert "lost" not in protocol.events
                await asyncio.sleep(0)
                assert "lost" in protocol.events
                assert protocol.exc is None

        run(main())

    def test_twice(self, run):
        async def main():
            async with connected() as (transport, protocol, _):
                assert transport.close() is None
                transport.close()
                await protocol.lost
                transport.close()
                await turns(3)
                assert protocol.events == ["made", "lost"]

        run(main())

    def test_flushes(self, run):
        data = os.urandom(1 << 20) * 16

        async def main():
            async with connected() as (transport, protocol, peer):
                transport.write(data)
                transport.close()
                assert transport.get_write_buffer_size() > 0
                assert await peer.recv_all() == data
                await protocol.lost
                assert protocol.exc is None
                assert protocol.kinds == ["made", "pause", "resume", "lost"] or (
                    protocol.kinds == ["made", "pause", "lost"]
                )

        run(main())

    def test_flushes_a_small_write_of_the_same_turn(self, run):
        async def main():
            async with connected() as (transport, protocol, peer):
                transport.write(b"hello")
                transport.close()
                assert await peer.recv_all() == b"hello"
                await protocol.lost

        run(main())

    def test_no_data_after_it(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                await jam(transport)
                transport.close()
                await peer.send(b"ignored")
                await turns(10)
                assert "data" not in protocol.events
                transport.abort()

        run(main())

    def test_descriptor_is_closed_after_connection_lost(self, run):
        async def main():
            async with connected() as (transport, protocol, _):
                fd = transport.get_extra_info("socket").fileno()
                os.fstat(fd)
                transport.close()
                await protocol.lost
                await turns()
                with pytest.raises(OSError):
                    os.fstat(fd)

        run(main())

    def test_peer_sees_the_end(self, run):
        async def main():
            async with connected() as (transport, _, peer):
                transport.close()
                assert await peer.recv() == b""

        run(main())

    def test_peer_goes_while_flushing(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                await jam(transport)
                transport.close()
                peer.reset()
                await protocol.lost
                assert isinstance(protocol.exc, (ConnectionResetError, BrokenPipeError))
                assert protocol.events.count("lost") == 1

        run(main())

    def test_is_closing(self, run):
        async def main():
            async with connected() as (transport, protocol, _):
                assert transport.is_closing() is False
                transport.close()
                assert transport.is_closing() is True
                await protocol.lost
                assert transport.is_closing() is True

        run(main())

    def test_repr_at_each_stage(self, run):
        async def main():
            async with connected() as (transport, protocol, _):
                assert "fd=" in repr(transport)
                transport.close()
                assert "clos" in repr(transport)
                await protocol.lost
                await turns()
                assert "closed" in repr(transport)

        run(main())


class TestAbort:
    def test_drops_the_buffer(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                written = await jam(transport)
                transport.abort()
                assert transport.get_write_buffer_size() == 0
                assert "lost" not in protocol.events
                await protocol.lost
                assert protocol.exc is None
                await turns()
                try:
                    assert len(await peer.recv_all()) < written
                except ConnectionResetError:
                    pass

        run(main())

    def test_after_close(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, _):
                await jam(transport)
                transport.close()
                await turns(3)
                assert "lost" not in protocol.events
                transport.abort()
                await protocol.lost
                assert protocol.events.count("lost") == 1

        run(main())

    def test_twice(self, run):
        async def main():
            async with connected() as (transport, protocol, _):
                transport.abort()
                transport.abort()
                await protocol.lost
                transport.abort()
                await turns(3)
                assert protocol.events == ["made", "lost"]

        run(main())


class TestInsideCallbacks:
    @pytest.mark.parametrize("how", ["close", "abort"])
    @pytest.mark.parametrize("pair", [tcp_pair, unix_pair])
    def test_connection_made(self, run, how, pair):
        class Ending(Record):
            def connection_made(self, transport):
                super().connection_made(transport)
                transport.write(b"bye")
                getattr(transport, how)()

        async def main():
            async with connected(Ending, pair) as (_, protocol, peer):
                await protocol.lost
                assert protocol.events == ["made", "lost"]
                if how == "close":
                    assert await peer.recv_all() == b"bye"

        run(main())

    @pytest.mark.parametrize("how", ["close", "abort"])
    @pytest.mark.parametrize("kind", [Record, BufferedRecord], ids=["plain", "buffered"])
    def test_data(self, run, how, kind):
        class Ending(kind):
            def data_received(self, data):
                super().data_received(data)
                self.end()

            def buffer_updated(self, nbytes):
                super().buffer_updated(nbytes)
                self.end()

            def end(self):
                getattr(self.transport, how)()
                assert "lost" not in self.events

        if kind is BufferedRecord:
            Ending.data_received = None
            Ending.size = 10

        async def main():
            async with connected(Ending) as (_, protocol, peer):
                await peer.send(b"x" * 1000)
                await protocol.lost
                assert protocol.events == ["made", "data", "lost"]

        run(main())

    @pytest.mark.parametrize("how", ["close", "abort"])
    def test_eof(self, run, how):
        class Ending(Record):
            def eof_received(self):
                super().eof_received()
                getattr(self.transport, how)()
                return True

        async def main():
            async with connected(Ending) as (_, protocol, peer):
                peer.shutdown()
                await protocol.lost
                assert protocol.events == ["made", "eof", "lost"]

        run(main())

    def test_everything_in_connection_lost(self, run, log):
        class Busy(Record):
            def connection_lost(self, exc):
                super().connection_lost(exc)
                self.transport.close()
                self.transport.abort()
                self.transport.pause_reading()
                self.transport.resume_reading()
                self.transport.write(b"x")
                assert self.transport.get_protocol() is self
                assert self.transport.is_closing()

        async def main():
            async with connected(Busy) as (transport, protocol, _):
                transport.close()
                await protocol.lost
                await turns(5)
                assert protocol.events == ["made", "lost"]

        run(main())

    def test_write_and_close_in_data_received(self, run):
        class Answer(Record):
            def data_received(self, data):
                super().data_received(data)
                self.transport.write(data.upper())
                self.transport.write(b"!")
                self.transport.close()

        async def main():
            async with connected(Answer) as (_, protocol, peer):
                await peer.send(b"question")
                assert await peer.recv_all() == b"QUESTION!"
                await protocol.lost

        run(main())

    def test_last_reference_dropped_in_data_received(self, snippet):
        done = snippet(
            """
            import gc
            class Proto(asyncio.Protocol):
                def connection_made(self, transport):
                    self.transport = transport
                def data_received(self, data):
                    self.transport.abort()
                    del self.transport
                    keep.clear()
                    gc.collect()
                def connection_lost(self, exc):
                    print("lost", exc)
            keep = []
            async def main():
                loop = asyncio.get_running_loop()
                a, b = socket.socketpair()
                a.setblocking(False)
                keep.extend(await loop.create_connection(Proto, sock=a))
                del a
                b.send(b"x")
                await turns(10)
                gc.collect()
                b.setblocking(False)
                assert await loop.sock_recv(b, 1) == b""
                b.close()
            loop = new_loop()
            drive(loop, main())
            loop.close()
            """
        )
        assert (done.rc, done.out) == (0, "lost None\n"), done.err

    def test_protocol_dropped_in_data_received(self, snippet):
        done = snippet(
            """
            import gc
            class Proto(asyncio.Protocol):
                def data_received(self, data):
                    keep[0].set_protocol(Last())
                    gc.collect()
            class Last(asyncio.Protocol):
                def data_received(self, data):
                    print("last", data.decode())
                    keep[0].abort()
            keep = []
            async def main():
                loop = asyncio.get_running_loop()
                a, b = socket.socketpair()
                a.setblocking(False)
                transport, _ = await loop.create_connection(Proto, sock=a)
                del _
                keep.append(transport)
                b.send(b"x")
                await turns(5)
                b.send(b"y")
                await turns(5)
                b.close()
            loop = new_loop()
            drive(loop, main())
            loop.close()
            """
        )
        assert (done.rc, done.out) == (0, "last y\n"), done.err


class TestAfterLoop:
    @pytest.mark.parametrize("state", ["open", "queued", "closing"])
    def test_told_once(self, loop_factory, state):
        """That the loop is closed; and then the transport is as one that was lost."""
        a, b = unix_pair()
        a.setblocking(False)
        loop = loop_factory()

        async def main():
            transport, _ = await loop.create_connection(Record, sock=a)
            if state != "open":
                transport.write(bytes(1 << 22))
            if state == "closing":
                transport.close()
            return transport

        transport = loop.run_until_complete(main())
        loop.close()
        for call in (transport.abort, transport.close):
            if call == transport.abort:
                with pytest.raises(RuntimeError, match="Event loop is closed"):
                    call()
            call()
        assert transport.is_closing()
        transport.write(b"dropped")
        with a, b, warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # nobody closed it in time
            del transport, call
            gc.collect()


class TestStop:
    def test_loop_stopped_in_data_received(self, loop):
        class Stopping(Record):
            def data_received(self, data):
                super().data_received(data)
                self.loop.stop()

        a, b = tcp_pair()

        async def make():
            return await loop.create_connection(Stopping, sock=a)

        transport, protocol = drive(loop, make())
        b.sendall(b"x")
        loop.run_forever()
        assert protocol.data == b"x"
        b.sendall(b"y")
        loop.run_forever()
        assert protocol.data == b"xy"
        transport.close()
        run_turns(loop, 3)
        b.close()

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_interrupt_in_data_received(self, loop, kind, reports):
        class Raising(Record):
            def data_received(self, data):
                super().data_received(data)
                raise kind

        a, b = tcp_pair()

        async def make():
            return await loop.create_connection(Raising, sock=a)

        transport, protocol = drive(loop, make())
        b.sendall(b"x")
        with pytest.raises(kind):
            loop.run_forever()
        assert not loop.is_running()
        assert drive(loop, asyncio.sleep(0, "still runs")) == "still runs"
        transport.abort()
        run_turns(loop, 3)
        assert protocol.events.count("lost") == 1
        b.close()

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_interrupt_in_connection_lost(self, loop, kind):
        class Raising(Record):
            def connection_lost(self, exc):
                super().connection_lost(exc)
                raise kind

        a, b = tcp_pair()

        async def make():
            return await loop.create_connection(Raising, sock=a)

        transport, _protocol = drive(loop, make())
        fd = transport.get_extra_info("socket").fileno()
        transport.close()
        with pytest.raises(kind):
            run_turns(loop, 3)
        run_turns(loop, 3)
        with pytest.raises(OSError):
            os.fstat(fd)
        b.close()

    def test_loop_closed_with_open_transports(self, snippet):
        done = snippet(
            """
            import gc
            lost = []
            class Proto(asyncio.Protocol):
                def connection_lost(self, exc):
                    lost.append(exc)
            async def main():
                loop = asyncio.get_running_loop()
                kept = []
                for _ in range(5):
                    a, b = socket.socketpair()
                    a.setblocking(False)
                    kept.append((await loop.create_connection(Proto, sock=a), b))
                kept[0][0][0].write(bytes(1 << 22))
                kept[1][0][0].close()
                return kept
            loop = new_loop()
            kept = drive(loop, main())
            loop.close()
            for (transport, protocol), b in kept:
                repr(transport)
                transport.is_closing()
                for call in transport.close, transport.abort:
                    try:
                        call()
                    except RuntimeError as exc:
                        assert str(exc) == "Event loop is closed", exc
                try:
                    transport.write(b"x")
                except RuntimeError:
                    pass
                b.close()
            del kept, transport, protocol, b, call
            gc.collect()
            print("alive")
            """
        )
        assert (done.rc, done.out) == (0, "alive\n"), done.err


class TestRaising:
    def context(self, reports):
        (context,) = reports
        assert isinstance(context["exception"], ZeroDivisionError)
        return context

    def test_connection_made_is_only_reported(self, run, reports):
        class Raising(Record):
            def connection_made(self, transport):
                super().connection_made(transport)
                raise ZeroDivisionError

        async def main():
            async with connected(Raising) as (transport, protocol, peer):
                assert not transport.is_closing()
                await peer.send(b"x")
                assert await protocol.received(1) == b"x"

        run(main())
        assert "connection_made" in self.context(reports)["message"]

    def test_data_received(self, run, reports):
        class Raising(Record):
            def data_received(self, data):
                super().data_received(data)
                raise ZeroDivisionError("mine")

        async def main():
            async with connected(Raising) as (transport, protocol, peer):
                await peer.send(b"x")
                await protocol.lost
                assert isinstance(protocol.exc, ZeroDivisionError)
                assert protocol.events == ["made", "data", "lost"]
                return transport, protocol

        transport, protocol = run(main())
        context = self.context(reports)
        assert context["message"] == "Fatal error: protocol.data_received() call failed."
        assert context["transport"] is transport
        assert context["protocol"] is protocol

    def test_data_received_raises_after_a_write(self, run, reports):
        """A fatal error drops what waits, not what went out."""

        class Raising(Record):
            def data_received(self, data):
                super().data_received(data)
                self.transport.write(bytes(1 << 23))
                raise ZeroDivisionError

        async def main():
            async with connected(Raising) as (transport, protocol, peer):
                await peer.send(b"x")
                await protocol.lost
                assert transport.get_write_buffer_size() == 0

        run(main())
        self.context(reports)

    def test_last_words_arrive(self, run, reports):
        """What was written before the exception goes out before the connection ends."""

        class Raising(Record):
            def data_received(self, data):
                self.transport.write(b"500 sorry")
                raise ZeroDivisionError

        async def main():
            async with connected(Raising) as (_, protocol, peer):
                await peer.send(b"x")
                await protocol.lost
                assert await peer.recv_exactly(9) == b"500 sorry"

        run(main())
        self.context(reports)

    def test_eof_received(self, run, reports):
        class Raising(Record):
            def eof_received(self):
                raise ZeroDivisionError

        async def main():
            async with connected(Raising) as (_, protocol, peer):
                peer.shutdown()
                await protocol.lost
                assert isinstance(protocol.exc, ZeroDivisionError)

        run(main())
        message = self.context(reports)["message"]
        assert message == "Fatal error: protocol.eof_received() call failed."

    def test_connection_lost(self, run, reports):
        class Raising(Record):
            def connection_lost(self, exc):
                super().connection_lost(exc)
                raise ZeroDivisionError

        async def main():
            async with connected(Raising) as (transport, protocol, _):
                fd = transport.get_extra_info("socket").fileno()
                transport.close()
                await protocol.lost
                await turns()
                with pytest.raises(OSError):
                    os.fstat(fd)

        run(main())
        assert self.context(reports)["message"].startswith("Exception in callback")
