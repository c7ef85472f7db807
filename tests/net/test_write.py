"""write, writelines, write_eof: what may be written, when, and what arrives."""

import array
import asyncio
import os
import sys

import pytest
from support.loops import turns
from support.net import Record, connected, jam, unix_pair


class TestTypes:
    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_bytes_like(self, run, kind):
        async def main():
            async with connected() as (transport, _, peer):
                assert transport.write(kind(b"hello")) is None
                assert await peer.recv_exactly(5) == b"hello"

        run(main())

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_empty(self, run, kind):
        async def main():
            async with connected() as (transport, _, peer):
                transport.write(kind(b""))
                assert transport.get_write_buffer_size() == 0
                transport.write(b"x")
                assert await peer.recv() == b"x"

        run(main())

    @pytest.mark.parametrize("data", ["text", 3, None, [b"x"], object(), 1.5])
    def test_wrong(self, run, data):
        async def main():
            async with connected() as (transport, _, peer):
                with pytest.raises(TypeError, match=r"data argument must be a bytes.* object"):
                    transport.write(data)
                transport.write(b"x")
                assert await peer.recv() == b"x"

        run(main())

    def test_str_message_names_the_type(self, run):
        async def main():
            async with connected() as (transport, _, _peer):
                with pytest.raises(TypeError, match=r"data argument must be .* not '?str'?"):
                    transport.write("text")

        run(main())

    def test_memoryview_of_a_part(self, run):
        async def main():
            async with connected() as (transport, _, peer):
                transport.write(memoryview(b"0123456789")[2:5])
                transport.write(memoryview(bytearray(b"0123456789"))[5:])
                assert await peer.recv_exactly(8) == b"23456789"

        run(main())

    def test_memoryview_of_wider_items(self, run):
        words = array.array("I", range(10))

        async def main():
            async with connected() as (transport, _, peer):
                transport.write(memoryview(words))
                assert await peer.recv_exactly(40) == words.tobytes()
                assert transport.get_write_buffer_size() == 0

        run(main())

    def test_bytearray_changed_after_the_write(self, run):
        async def main():
            async with connected() as (transport, _, peer):
                data = bytearray(b"before")
                transport.write(data)
                data[:] = b"after!"
                assert await peer.recv_exactly(6) == b"before"

        run(main())

    def test_bytearray_grown_after_the_write(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, _peer):
                await jam(transport)
                data = bytearray(b"kept")
                transport.write(data)
                data.clear()
                data += b"other things"
                transport.abort()

        run(main())

    @pytest.mark.moodloop_only  # from 3.12 on stock asyncio keeps a view of what was not sent
    def test_bytearray_changed_while_it_waits(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                before = await jam(transport)
                data = bytearray(b"kept")
                transport.write(data)
                data[:] = b"lost"
                await peer.recv_exactly(before)
                assert await peer.recv_exactly(4) == b"kept"

        run(main())

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="no __buffer__()")
    @pytest.mark.parametrize("before", [b"", b"before "])
    def test_buffer_method_that_writes(self, run, before):
        class Data(bytearray):
            def __buffer__(self, flags):
                if todo:
                    todo.pop()(b"inner ")
                return super().__buffer__(flags)

        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                todo.append(transport.write)
                transport.write(before)
                transport.write(Data(b"outer"))
                transport.close()
                assert await peer.recv_all() == before + b"inner outer"

        todo = []
        run(main())

    @pytest.mark.moodloop_only  # asyncio sends what was written after the end
    @pytest.mark.skipif(sys.version_info < (3, 12), reason="no __buffer__()")
    @pytest.mark.parametrize("base", [bytes, bytearray])
    @pytest.mark.parametrize("before", [b"", b"before "])
    @pytest.mark.parametrize("end", ["close", "abort"])
    @pytest.mark.parametrize("lines", [False, True])
    def test_buffer_method_that_ends(self, run, base, before, end, lines):
        class Data(base):
            def __buffer__(self, flags):
                getattr(todo.pop(), end)()
                return super().__buffer__(flags)

        async def main():
            async with connected(pair=unix_pair) as (transport, p, peer):
                todo.append(transport)
                transport.write(before)
                data = Data(b"late")
                transport.writelines([b"", data]) if lines else transport.write(data)
                assert await peer.recv_all() == before
                assert await p.lost is None

        todo = []
        run(main())

    @pytest.mark.parametrize("data", [b"", b"abc"])
    @pytest.mark.parametrize("state", ["open", "later", "closing", "lost"])
    def test_released(self, run, data, state):
        async def main():
            async with connected() as (transport, p, peer):
                if state == "later":
                    transport.write(b"first")
                elif state == "closing":
                    transport.close()
                elif state == "lost":
                    transport.abort()
                    await p.lost
                view = memoryview(data)
                view.release()
                with pytest.raises(ValueError, match="released memoryview"):
                    transport.write(view)
                for lines in [view], [b"x", view]:
                    with pytest.raises((ValueError, TypeError)):  # of join(), on asyncio's 3.11
                        transport.writelines(lines)
                if state == "later":
                    transport.write(b", second")
                    assert await peer.recv_exactly(13) == b"first, second"

        run(main())


class TestOrder:
    def test_many_in_one_turn(self, run):
        async def main():
            async with connected() as (transport, _, peer):
                for i in range(2000):
                    transport.write(b"%04d" % i)
                expected = b"".join(b"%04d" % i for i in range(2000))
                assert await peer.recv_exactly(8000) == expected

        run(main())

    def test_small_and_big(self, run):
        parts = [os.urandom(n) for n in (1, 100_000, 3, 0, 500_000, 7, 1 << 20, 2)] * 2

        async def main():
            async with connected() as (transport, _, peer):
                for p in parts:
                    transport.write(p)
                assert await peer.recv_exactly(sum(map(len, parts))) == b"".join(parts)
                await turns(3)
                assert transport.get_write_buffer_size() == 0

        run(main())

    def test_write_while_the_buffer_drains(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                total = await jam(transport)
                transport.write(b"end")
                got = await peer.recv_exactly(total)
                assert got == bytes(total)
                assert await peer.recv_exactly(3) == b"end"

        run(main())

    def test_sent_without_another_turn_of_the_writer(self, run):
        """What one callback writes goes out even if nothing else happens."""

        async def main():
            async with connected() as (transport, _, peer):
                asyncio.get_running_loop().call_later(0.001, transport.write, b"late")
                assert await peer.recv_exactly(4) == b"late"

        run(main())

    def test_written_before_the_loop_stops(self, loop, run):
        async def main():
            async with connected() as (transport, _, peer):
                transport.write(b"last")
                peer.sock.setblocking(True)
                peer.sock.settimeout(20)
                await turns(2)
                assert peer.sock.recv(4) == b"last"
                peer.sock.setblocking(False)

        run(main())


class TestWritelines:
    def test_joins(self, run):
        async def main():
            async with connected() as (transport, _, peer):
                transport.writelines([b"a", bytearray(b"b"), memoryview(b"c"), b"", b"d"])
                assert await peer.recv_exactly(4) == b"abcd"

        run(main())

    @pytest.mark.parametrize("kind", [list, tuple, iter, lambda x: (y for y in x)])
    def test_any_iterable(self, run, kind):
        async def main():
            async with connected() as (transport, _, peer):
                transport.writelines(kind([b"a", b"b"]))
                assert await peer.recv_exactly(2) == b"ab"

        run(main())

    def test_nothing(self, run):
        async def main():
            async with connected() as (transport, _, peer):
                transport.writelines([])
                transport.write(b"x")
                assert await peer.recv() == b"x"

        run(main())

    def test_very_many(self, run):
        lines = [b"%06d\n" % i for i in range(10000)]

        async def main():
            async with connected() as (transport, _, peer):
                transport.writelines(lines)
                assert await peer.recv_exactly(70000) == b"".join(lines)

        run(main())

    def test_big(self, run):
        chunk = os.urandom(1 << 20)

        async def main():
            async with connected() as (transport, _, peer):
                transport.writelines([chunk] * 8)
                assert await peer.recv_exactly(8 << 20) == chunk * 8

        run(main())

    @pytest.mark.parametrize("lines", [42, [b"x", "text"], ["text"], [3]])
    def test_wrong(self, run, lines):
        async def main():
            async with connected() as (transport, _, _peer):
                with pytest.raises(TypeError):
                    transport.writelines(lines)

        run(main())

    def test_iterable_that_raises(self, run):
        def lines():
            yield b"x"
            raise ZeroDivisionError

        async def main():
            async with connected() as (transport, _, _peer):
                with pytest.raises(ZeroDivisionError):
                    transport.writelines(lines())

        run(main())

    def test_after_write_eof(self, run):
        async def main():
            async with connected() as (transport, _, _peer):
                transport.write_eof()
                with pytest.raises(RuntimeError, match=r"Cannot call write\(\) after write_eof"):
                    transport.write(b"x")
                # Before 3.12 asyncio's writelines() is a write().
                with pytest.raises(RuntimeError, match=r"Cannot call write(lines)?\(\) after"):
                    transport.writelines([b"x"])

        run(main())


class TestEof:
    def test_can(self, run):
        async def main():
            async with connected() as (transport, _, _):
                assert transport.can_write_eof() is True

        run(main())

    def test_half_close(self, run):
        async def main():
            async with connected() as (transport, protocol, peer):
                transport.write(b"question")
                transport.write_eof()
                assert await peer.recv_all() == b"question"
                await peer.send(b"answer")
                assert await protocol.received(6) == b"answer"
                assert not transport.is_closing()

        run(main())

    def test_idempotent(self, run):
        async def main():
            async with connected() as (transport, _, peer):
                transport.write_eof()
                transport.write_eof()
                assert await peer.recv() == b""

        run(main())

    def test_after_a_full_buffer(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                total = await jam(transport)
                transport.write_eof()
                assert transport.get_write_buffer_size() > 0
                assert await peer.recv_all() == bytes(total)
                await peer.send(b"x")
                assert await protocol.received(1) == b"x"

        run(main())

    def test_write_after_it(self, run):
        async def main():
            async with connected() as (transport, _, _peer):
                transport.write_eof()
                with pytest.raises(
                    RuntimeError, match=r"Cannot call write\(\) after write_eof\(\)"
                ):
                    transport.write(b"x")

        run(main())

    def test_on_a_closing_transport(self, run):
        async def main():
            async with connected() as (transport, protocol, peer):
                transport.close()
                transport.write_eof()
                await protocol.lost
                assert await peer.recv() == b""

        run(main())

    def test_both_ways(self, run):
        class HalfOpen(Record):
            def eof_received(self):
                super().eof_received()
                return True

        async def main():
            async with connected(HalfOpen) as (transport, protocol, peer):
                peer.shutdown()
                await protocol.eof.wait()
                transport.write(b"x")
                transport.write_eof()
                assert await peer.recv_all() == b"x"
                transport.close()
                await protocol.lost

        run(main())


class TestGone:
    def test_write_after_close(self, run, log):
        async def main():
            async with connected() as (transport, protocol, peer):
                transport.write(b"before")
                transport.close()
                transport.write(b"after")
                await protocol.lost
                assert await peer.recv_all() in (b"before", b"beforeafter")

        run(main())

    def test_write_after_connection_lost(self, run, log):
        async def main():
            async with connected() as (transport, protocol, _peer):
                transport.close()
                await protocol.lost
                await turns()
                for _ in range(10):
                    transport.write(b"x")
                assert protocol.events.count("lost") == 1

        run(main())
        assert "socket.send() raised exception." in log()

    @pytest.mark.moodloop_only  # stock asyncio calls None here before 3.14
    def test_writelines_after_connection_lost(self, run):
        async def main():
            async with connected() as (transport, protocol, _peer):
                transport.close()
                await protocol.lost
                await turns()
                transport.writelines([b"x", b"y"])
                assert transport.get_write_buffer_size() == 0
                assert protocol.events.count("lost") == 1

        run(main())

    def test_warning_after_five(self, run, log):
        async def main():
            async with connected() as (transport, protocol, _peer):
                transport.abort()
                await protocol.lost
                await turns()
                # The loss itself counts as the first.
                for _ in range(4):
                    transport.write(b"x")
                assert log() == []
                transport.write(b"x")
                assert log() == ["socket.send() raised exception."]

        run(main())

    def test_peer_gone(self, run):
        async def main():
            async with connected() as (transport, protocol, peer):
                transport.pause_reading()
                peer.reset()
                while "lost" not in protocol.events:
                    transport.write(b"x" * 1000)
                    await asyncio.sleep(0)
                assert isinstance(protocol.exc, (BrokenPipeError, ConnectionResetError))
                assert protocol.events.count("lost") == 1

        run(main())

    def test_peer_goes_with_bytes_waiting(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                await jam(transport)
                peer.reset()
                await protocol.lost
                assert isinstance(protocol.exc, (BrokenPipeError, ConnectionResetError))
                assert transport.get_write_buffer_size() == 0

        run(main())

    def test_not_reported_as_an_error(self, run):
        """A peer that goes is no error of the program: the exception handler hears nothing."""

        async def main():
            for _ in range(3):
                async with connected() as (transport, protocol, peer):
                    transport.write(bytes(1 << 22))
                    peer.reset()
                    await protocol.lost

        run(main())


class TestArguments:
    def test_named(self, run):
        async def main():
            async with connected() as (transport, protocol, peer):
                transport.write(data=b"one")
                transport.writelines(list_of_data=[b"two", b"three"])
                transport.set_protocol(protocol=protocol)
                transport.set_write_buffer_limits(high=100, low=10)
                assert transport.get_extra_info(name="none", default=3) == 3
                assert await peer.recv_exactly(11) == b"onetwothree"

        run(main())

    @pytest.mark.parametrize("method", ["write", "writelines", "set_protocol"])
    @pytest.mark.parametrize(
        ("args", "kwargs"),
        [((), {}), ((b"x", b"y"), {}), ((), {"wrong": b"x"}), ((b"x",), {"wrong": b"x"})],
    )
    def test_wrong(self, run, method, args, kwargs):
        async def main():
            async with connected() as (transport, _, peer):
                with pytest.raises(TypeError):
                    getattr(transport, method)(*args, **kwargs)
                transport.write(b"z")
                assert await peer.recv() == b"z"

        run(main())

    def test_given_twice(self, run):
        async def main():
            async with connected() as (transport, _, _peer):
                with pytest.raises(TypeError, match="multiple values for argument 'data'"):
                    transport.write(b"x", data=b"x")

        run(main())
