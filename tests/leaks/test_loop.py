"""Handles, timers, readers, signals, tasks: repeated, they add nothing."""

import asyncio
import contextvars
import signal
import socket
import threading

import pytest
from support.leaks import growth
from support.loops import drive, run_turns, turns

var = contextvars.ContextVar("var")


def use(*args):
    pass


def fail(*args):
    raise ZeroDivisionError


@pytest.fixture
def repeat(loop):
    """The growth by a scenario run again and again on one loop."""
    loop.set_exception_handler(lambda loop, context: None)
    return lambda scenario: growth(lambda sentinel: scenario(loop, sentinel))


class TestCallbacks:
    def test_call_soon(self, repeat):
        def scenario(loop, x):
            for _ in range(50):
                loop.call_soon(use, x)
                loop.call_soon(use, x, x, x, x, x, x)
                loop.call_soon(use, x, context=contextvars.copy_context())
            run_turns(loop)

        assert repeat(scenario) == {}

    def test_cancelled(self, repeat):
        def scenario(loop, x):
            handles = [loop.call_soon(use, x, x) for _ in range(50)]
            for h in handles[::2]:
                h.cancel()
            run_turns(loop)

        assert repeat(scenario) == {}

    def test_raising(self, repeat):
        def scenario(loop, x):
            loop.call_soon(fail, x)
            loop.call_later(0, fail, x, x)
            run_turns(loop, 3)

        assert repeat(scenario) == {}

    def test_interrupting(self, repeat):
        def interrupt(x):
            raise KeyboardInterrupt

        def scenario(loop, x):
            loop.call_soon(interrupt, x)
            loop.call_soon(use, x)
            with pytest.raises(KeyboardInterrupt):
                run_turns(loop)
            run_turns(loop)

        assert repeat(scenario) == {}

    def test_refused_calls(self, repeat):
        def scenario(loop, x):
            loop.set_debug(True)
            for call in (
                lambda: loop.call_soon(use, x, colour=x),
                lambda: loop.call_soon(x),
                lambda: loop.call_later(x, use, x),
                lambda: loop.call_later(None, use, x),
                lambda: loop.call_later(1, x),
                lambda: loop.call_soon_threadsafe(x),
                lambda: loop.call_soon(),
            ):
                with pytest.raises(TypeError):
                    call()
            with pytest.raises(ValueError):
                loop.add_reader(x, use, x)
            loop.set_debug(False)

        assert repeat(scenario) == {}

    def test_contexts(self, repeat):
        def scenario(loop, x):
            def work():
                var.set(x)
                loop.call_soon(var.get)
                loop.call_later(0, use, x)

            for _ in range(20):
                contextvars.Context().run(work)
                contextvars.copy_context().run(work)
            run_turns(loop, 3)

        assert repeat(scenario) == {}

    def test_cycles(self, repeat):
        class Owner:
            def __init__(self, loop, x):
                self.x = x
                self.loop = loop
                self.soon = loop.call_soon(self.method, x)
                self.later = loop.call_later(0, self.method, x)
                self.never = loop.call_later(1000, self.method, x)

            def method(self, x):
                self.never.cancel()

        def scenario(loop, x):
            for _ in range(10):
                Owner(loop, x)
            run_turns(loop, 3)

        assert repeat(scenario) == {}

    def test_threadsafe(self, repeat):
        def scenario(loop, x):
            def call():
                for _ in range(50):
                    loop.call_soon_threadsafe(use, x)
                loop.call_soon_threadsafe(loop.stop)

            thread = threading.Thread(target=call)
            thread.start()
            loop.run_forever()
            thread.join()

        assert repeat(scenario) == {}

    def test_attributes_of_handles(self, repeat):
        def scenario(loop, x):
            for handle in (loop.call_soon(use, x), loop.call_later(1000, use, x)):
                for _ in range(10):
                    handle._callback, handle._args, handle._context, handle._cancelled
                    repr(handle), hash(handle), handle.cancelled(), handle == handle
                handle.cancel()
            run_turns(loop)

        assert repeat(scenario) == {}


class TestTimers:
    def test_run(self, repeat):
        def scenario(loop, x):
            for i in range(50):
                loop.call_later(-i, use, x)
            run_turns(loop, 3)

        assert repeat(scenario) == {}

    def test_cancelled(self, repeat):
        def scenario(loop, x):
            handles = [loop.call_later(1000 + i * 7 % 50, use, x, x) for i in range(200)]
            for h in handles:
                h.cancel()
            del handles, h
            run_turns(loop, 2)

        assert repeat(scenario) == {}


class TestEvents:
    def test_readers(self, repeat):
        def scenario(loop, x):
            a, b = socket.socketpair()
            with a, b:
                for _ in range(20):
                    loop.add_reader(b, use, x)
                    loop.add_writer(b, use, x, x)
                a.send(b"x")
                run_turns(loop, 3)
                loop.remove_reader(b)
                loop.remove_writer(b)

        assert repeat(scenario) == {}

    def test_refused_readers(self, repeat, tmp_path):
        file = open(tmp_path / "file", "w")

        def scenario(loop, x):
            for _ in range(5):
                with pytest.raises(PermissionError):
                    loop.add_reader(file, use, x)
                with pytest.raises(OSError):
                    loop.add_reader(10**6, use, x)

        assert repeat(scenario) == {}
        file.close()

    def test_signal_handlers(self, repeat):
        def scenario(loop, x):
            for _ in range(5):
                loop.add_signal_handler(signal.SIGUSR1, use, x)
            signal.raise_signal(signal.SIGUSR1)
            run_turns(loop, 3)
            loop.remove_signal_handler(signal.SIGUSR1)

        assert repeat(scenario) == {}

    def test_sock_calls(self, repeat):
        def scenario(loop, x):
            a, b = socket.socketpair()
            with a, b:
                a.setblocking(False)
                b.setblocking(False)

                async def main(held=x):
                    for _ in range(5):
                        task = asyncio.ensure_future(loop.sock_recv(b, 10))
                        await turns(2)
                        await loop.sock_sendall(a, b"x")
                        assert await task == b"x"
                        task = asyncio.ensure_future(loop.sock_recv_into(b, bytearray(5)))
                        await turns(2)
                        task.cancel()
                        await asyncio.gather(task, return_exceptions=True)

                drive(loop, main())

        assert repeat(scenario) == {}


class TestTasks:
    def test_tasks(self, repeat):
        async def child(x):
            await asyncio.sleep(0)
            return x

        def scenario(loop, x):
            async def main():
                assert await asyncio.gather(*(child(x) for _ in range(20))) == [x] * 20
                task = loop.create_task(asyncio.sleep(1000, x))
                await turns(2)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

            drive(loop, main())

        assert repeat(scenario) == {}

    def test_futures(self, repeat):
        def scenario(loop, x):
            fut = loop.create_future()
            fut.add_done_callback(use)
            fut.set_result(x)
            assert loop.run_until_complete(fut) is x

        assert repeat(scenario) == {}

    def test_failing_tasks(self, repeat):
        async def main(x):
            await asyncio.sleep(0)
            raise KeyError(x)

        def scenario(loop, x):
            with pytest.raises(KeyError):
                drive(loop, main(x))

        assert repeat(scenario) == {}


class TestLoops:
    def test_made_and_closed(self, loop_factory):
        def scenario(x):
            loop = loop_factory()
            loop.mine = x
            loop.call_soon(use, x, loop)
            loop.call_later(1000, use, x, loop)
            loop.set_exception_handler(lambda *args, x=x: None)
            run_turns(loop, 2)
            loop.call_soon(use, x)
            loop.close()

        assert growth(scenario) == {}

    def test_closed_with_everything_in_it(self, loop_factory):
        def scenario(x):
            loop = loop_factory()
            a, b = socket.socketpair()
            with a, b:
                loop.add_reader(a, use, x)
                loop.add_writer(b, use, x)
                loop.add_signal_handler(signal.SIGUSR1, use, x)
                loop.call_soon_threadsafe(use, x)
                loop.close()

        assert growth(scenario) == {}

    def test_cycles(self, loop_factory):
        def scenario(x):
            loop = loop_factory()
            loop.me = loop, x
            loop.set_task_factory(lambda *args, **kwargs: loop)
            loop.call_later(1000, lambda: (loop, x))
            loop.close()

        assert growth(scenario) == {}

    def test_runners(self, loop_factory):
        async def main(x):
            loop = asyncio.get_running_loop()
            loop.create_task(asyncio.sleep(1000, x))
            await loop.run_in_executor(None, use, x)

        def scenario(x):
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(main(x))

        assert growth(scenario, rounds=10) == {}
