"""Debug mode: slow callbacks, wrong threads, what is not a callback, where things were made."""

import asyncio
import logging
import os
import socket
import sys
import threading
import time

import pytest
from support.loops import run_turns


@pytest.fixture
def debug(loop):
    loop.set_debug(True)
    return loop


class TestSwitch:
    def test_off_at_first(self, loop):
        assert loop.get_debug() is False

    def test_set(self, loop):
        loop.set_debug(True)
        assert loop.get_debug() is True
        loop.set_debug(False)
        assert loop.get_debug() is False

    @pytest.mark.parametrize("value", [0, 1, None, "", "yes", [], [0]], ids=repr)
    def test_set_to_what_is_true_or_false(self, loop, value):
        loop.set_debug(not value)
        loop.set_debug(value)
        assert bool(loop.get_debug()) is bool(value)

    def test_while_running(self, loop, run):
        async def main():
            loop.set_debug(True)
            await asyncio.sleep(0)
            assert loop.get_debug() is True
            assert sys.get_coroutine_origin_tracking_depth() > 0
            loop.set_debug(False)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert sys.get_coroutine_origin_tracking_depth() == 0

        run(main())

    def test_origin_tracking_is_put_back(self, debug):
        seen = []
        debug.call_soon(lambda: seen.append(sys.get_coroutine_origin_tracking_depth()))
        run_turns(debug)
        assert seen[0] > 0
        assert sys.get_coroutine_origin_tracking_depth() == 0

    def test_by_environment(self, snippet):
        code = "loop = new_loop(); print(loop.get_debug()); loop.close()"
        assert snippet(code, env={"PYTHONASYNCIODEBUG": "1"}).out == "True\n"
        assert snippet(code).out == "False\n"

    def test_by_dev_mode(self, snippet):
        code = "loop = new_loop(); print(loop.get_debug()); loop.close()"
        assert snippet(code, args=["-X", "dev"]).out == "True\n"

    def test_a_long_program_in_debug(self, debug, run):
        async def child(i):
            await asyncio.sleep(i % 3 / 1000)
            return i

        async def main():
            return await asyncio.gather(*(child(i) for i in range(100)))

        assert run(main()) == list(range(100))


def told_of_events(log):
    """What was told of slow callbacks but for tasks: a step of one is slow on a busy machine."""
    slow = [m for m in log() if m.startswith("Executing") and "took" in m]
    return [m for m in slow if not m.startswith("Executing <Task")]


class TestSlowCallbacks:
    def test_default_limit(self, loop):
        assert loop.slow_callback_duration == 0.1

    def test_callback(self, debug, log):
        debug.slow_callback_duration = 0.0

        def slow():
            pass

        debug.call_soon(slow)
        run_turns(debug)
        slow_ones = [m for m in log() if "slow" in m and "took" in m]
        assert slow_ones
        assert "Executing <Handle" in slow_ones[0]
        assert "seconds" in slow_ones[0]

    def test_task(self, debug, log):
        debug.slow_callback_duration = 0.0

        async def slow_task():
            await asyncio.sleep(0)

        debug.run_until_complete(slow_task())
        assert any("Executing <Task" in m and "slow_task" in m for m in log())

    def test_timer(self, debug, log):
        debug.slow_callback_duration = 0.0
        debug.call_later(0, int)
        run_turns(debug, 2)
        assert any("Executing <TimerHandle" in m for m in log())

    @pytest.mark.parametrize(
        "event", ["connection_made", "data_received", "eof_received", "connection_lost"]
    )
    def test_protocol(self, debug, log, run, event):
        """Each method of a protocol that takes long, and no other, is told."""
        debug.slow_callback_duration = 0.05
        lost = debug.create_future()

        class Protocol(asyncio.Protocol):
            def connection_lost(self, exc):
                lost.set_result(None)

        def slow(self, *args):
            time.sleep(0.1)
            return method(self, *args)

        method = getattr(Protocol, event)
        setattr(Protocol, event, slow)

        async def main():
            ours, theirs = socket.socketpair()
            with theirs:
                await debug.create_connection(Protocol, sock=ours)
                theirs.send(b"x")
                await asyncio.sleep(0.001)
                theirs.close()
                await lost

        run(main())
        assert len(told_of_events(log)) == 1

    def test_buffered_protocol(self, debug, log, run):
        debug.slow_callback_duration = 0.05

        class Protocol(asyncio.BufferedProtocol):
            def get_buffer(self, sizehint):
                return bytearray(10)

            def buffer_updated(self, nbytes):
                time.sleep(0.1)
                got.set_result(None)

        got = debug.create_future()

        async def main():
            ours, theirs = socket.socketpair()
            with theirs:
                transport, _ = await debug.create_connection(Protocol, sock=ours)
                theirs.send(b"x")
                await got
                transport.close()

        run(main())
        assert len(told_of_events(log)) == 1

    def test_datagram_protocol(self, debug, log, run):
        debug.slow_callback_duration = 0.05

        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr):
                time.sleep(0.1)
                got.set_result(None)

        got = debug.create_future()

        async def main():
            transport, _ = await debug.create_datagram_endpoint(Protocol, ("127.0.0.1", 0))
            transport.sendto(b"x", transport.get_extra_info("sockname"))
            await got
            transport.close()

        run(main())
        assert len(told_of_events(log)) == 1

    def test_pipe_protocol(self, debug, log, run):
        debug.slow_callback_duration = 0.05

        class Protocol(asyncio.Protocol):
            def data_received(self, data):
                time.sleep(0.1)
                got.set_result(None)

        got = debug.create_future()

        async def main():
            reader, writer = os.pipe()
            with open(reader, "rb", 0) as pipe, open(writer, "wb", 0) as other:
                transport, _ = await debug.connect_read_pipe(Protocol, pipe)
                other.write(b"x")
                await got
                transport.close()
                await asyncio.sleep(0)

        run(main())
        assert len(told_of_events(log)) == 1

    @pytest.mark.moodloop_only
    def test_protocol_is_named(self, debug, log, run):
        debug.slow_callback_duration = 0.0

        class SlowOne(asyncio.Protocol):
            pass

        async def main():
            ours, theirs = socket.socketpair()
            with theirs:
                transport, _ = await debug.create_connection(SlowOne, sock=ours)
                transport.close()

        run(main())
        assert any("StreamTransport" in m and "SlowOne" in m for m in log())

    def test_fast_ones_are_not_logged(self, debug, log):
        debug.slow_callback_duration = 1e6
        debug.call_soon(int)
        run_turns(debug)
        assert [m for m in log() if "took" in m] == []

    def test_not_without_debug(self, loop, log):
        loop.slow_callback_duration = 0.0
        loop.call_soon(int)
        run_turns(loop)
        assert [m for m in log() if "took" in m] == []


class TestWrongThread:
    @pytest.mark.parametrize("name", ["call_soon", "call_later", "call_at"])
    def test_call(self, debug, name):
        """Another thread that schedules on a running loop is told."""
        raised = []
        args = (int,) if name == "call_soon" else (0, int)

        def call():
            try:
                getattr(debug, name)(*args)
            except RuntimeError as exc:
                raised.append(str(exc))

        def start():
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()

        debug.call_soon(start)
        run_turns(debug)
        assert raised == [
            "Non-thread-safe operation invoked on an event loop other than the current one"
        ]

    def test_threadsafe_is_fine(self, debug):
        ran = []

        def start():
            thread = threading.Thread(target=debug.call_soon_threadsafe, args=(ran.append, 1))
            thread.start()
            thread.join()

        debug.call_soon(start)
        run_turns(debug, 2)
        assert ran == [1]

    def test_a_loop_that_does_not_run_takes_all(self, debug):
        ran = []
        thread = threading.Thread(target=debug.call_soon, args=(ran.append, 1))
        thread.start()
        thread.join()
        run_turns(debug)
        assert ran == [1]


CALLS = {
    "call_soon": lambda loop, cb: loop.call_soon(cb),
    "call_soon_threadsafe": lambda loop, cb: loop.call_soon_threadsafe(cb),
    "call_later": lambda loop, cb: loop.call_later(0, cb),
    "call_at": lambda loop, cb: loop.call_at(0, cb),
    "run_in_executor": lambda loop, cb: loop.run_in_executor(None, cb),
}


def named(name):
    """call_later() may answer for call_at(), which it is made of."""
    return r"call_(at|later)\(\)" if name == "call_later" else rf"{name}\(\)"


@pytest.mark.parametrize("name", CALLS)
class TestNotACallback:
    def test_not_callable(self, debug, name):
        with pytest.raises(TypeError, match="a callable object was expected by " + named(name)):
            CALLS[name](debug, 42)

    def test_coroutine(self, debug, name):
        async def coro():
            pass

        made = coro()
        try:
            with pytest.raises(TypeError, match="coroutines cannot be used with " + named(name)):
                CALLS[name](debug, made)
        finally:
            made.close()

    def test_coroutine_function(self, debug, name):
        async def coro():
            pass

        with pytest.raises(TypeError, match="coroutines cannot be used with " + named(name)):
            CALLS[name](debug, coro)


class TestLogs:
    def test_slow_poll_is_silent(self, debug, log, run):
        run(asyncio.sleep(0.001))
        assert log(logging.WARNING) == []

    def test_task_repr_tells_the_origin(self, debug, run):
        async def main():
            return repr(asyncio.current_task())

        assert "created at" in run(main())
