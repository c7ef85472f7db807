"""asyncio's private names that programs read on a loop and its handles."""

import asyncio
import concurrent.futures
import signal
import threading

import pytest
from support.loops import drive, run_turns


class TestState:
    def test_at_rest(self, loop):
        assert loop._thread_id is None
        assert loop._closed is False
        assert loop._stopping is False
        assert loop._debug is False
        assert loop._current_handle is None
        assert loop._default_executor is None
        assert loop._task_factory is None
        assert loop._clock_resolution == pytest.approx(0, abs=1e-3)
        assert len(loop._asyncgens) == 0
        assert len(loop._ready) == 0
        assert len(loop._scheduled) == 0
        assert dict(loop._signal_handlers) == {}

    def test_while_running(self, loop):
        seen = []
        loop.call_soon(lambda: seen.append((loop._thread_id, loop._stopping)))
        loop.call_soon(loop.stop)
        loop.call_soon(lambda: seen.append(loop._stopping))
        loop.run_forever()
        assert seen == [(threading.get_ident(), False), True]
        assert loop._stopping is False

    def test_closed(self, loop):
        loop._check_closed()
        loop.close()
        assert loop._closed is True
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            loop._check_closed()

    def test_check_thread(self, loop):
        raised = []

        def check():
            try:
                loop._check_thread()
            except RuntimeError as exc:
                raised.append(str(exc))

        def callback():
            loop._check_thread()
            thread = threading.Thread(target=check)
            thread.start()
            thread.join()

        loop.call_soon(callback)
        run_turns(loop)
        assert len(raised) == 1 and "Non-thread-safe operation" in raised[0]

    def test_executor(self, loop):
        executor = concurrent.futures.ThreadPoolExecutor(1)
        loop.set_default_executor(executor)
        assert loop._default_executor is executor
        drive(loop, loop.shutdown_default_executor())
        assert loop._executor_shutdown_called is True

    def test_exception_handler(self, loop):
        assert loop._exception_handler is loop.get_exception_handler() is not None

    def test_task_factory(self, loop):
        def factory(loop, coro, **kwargs):
            return asyncio.Task(coro, loop=loop, **kwargs)

        loop.set_task_factory(factory)
        assert loop._task_factory is factory

    def test_asyncgens(self, loop):
        async def numbers():
            yield 1
            yield 2

        async def main():
            made = numbers()
            assert await anext(made) == 1
            assert made in loop._asyncgens
            await made.aclose()

        drive(loop, main())

    def test_current_handle(self, loop):
        seen = []
        loop.set_debug(True)
        handle = loop.call_soon(lambda: seen.append(loop._current_handle))
        run_turns(loop)
        assert seen == [handle]
        assert loop._current_handle is None

    def test_write_to_self_wakes_the_loop(self, loop):
        def halt():
            loop.stop()
            loop._write_to_self()

        thread = threading.Thread(target=halt)
        loop.call_soon(thread.start)
        loop.run_forever()
        thread.join()

    def test_run_once(self, loop):
        """One turn; BaseEventLoop's needs to be told not to wait."""
        ran = []
        loop.call_soon(lambda: loop.call_soon(ran.append, 2))
        loop.call_soon(ran.append, 1)
        loop._run_once()
        assert ran == [1]
        loop._run_once()
        assert ran == [1, 2]


class TestReady:
    def test_handles_in_order(self, loop):
        handles = [loop.call_soon(int, i) for i in range(3)]
        assert len(loop._ready) == 3
        assert list(loop._ready) == handles
        assert loop._ready[0] is handles[0]
        assert loop._ready[-1] is handles[2]
        assert handles[1] in loop._ready
        run_turns(loop)
        assert not loop._ready

    def test_is_live(self, loop):
        ready = loop._ready
        handle = loop.call_soon(int)
        assert list(ready) == [handle]
        run_turns(loop)
        assert list(ready) == []


class TestScheduled:
    def test_the_next_timer_comes_first(self, loop):
        late, soon = loop.call_later(2000, int), loop.call_later(1000, int)
        assert loop._scheduled[0] is soon
        assert sorted(loop._scheduled) == [soon, late]
        assert late._scheduled is True and late._when == late.when()
        late.cancel()
        soon.cancel()
        run_turns(loop)
        assert len(loop._scheduled) == 0


class TestSignalHandlers:
    def test_mapping(self, loop):
        loop.add_signal_handler(signal.SIGUSR1, print, "hit")
        try:
            assert list(loop._signal_handlers) == [signal.SIGUSR1]
            handle = loop._signal_handlers[signal.SIGUSR1]
            assert (handle._callback, handle._args) == (print, ("hit",))
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)
        assert signal.SIGUSR1 not in loop._signal_handlers


@pytest.mark.moodloop_only
class TestReadOnly:
    """What would be lost without a word is refused."""

    @pytest.mark.parametrize("name", ["_ready", "_scheduled"])
    def test_handles(self, loop, name):
        view = getattr(loop, name)
        with pytest.raises(AttributeError, match=f"loop.{name} is read-only"):
            view.append(1)
        with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
            view.nonsense()
        with pytest.raises(RuntimeError, match=f"loop.{name} is read-only"):
            view.clear()
        with pytest.raises(AttributeError, match=f"loop.{name} is read-only"):
            setattr(loop, name, [])
        with pytest.raises(TypeError):
            view[0] = 1
        assert f"loop.{name}" in repr(view)

    def test_signal_handlers(self, loop):
        with pytest.raises(TypeError):
            loop._signal_handlers[signal.SIGUSR1] = print
        with pytest.raises(AttributeError):
            loop._signal_handlers = {}

    def test_no_selector(self, loop):
        assert not hasattr(loop, "_selector")
        with pytest.raises(AttributeError, match="polls with libev"):
            loop._selector

    def test_run_once_does_not_nest(self, loop, run):
        async def main():
            with pytest.raises(RuntimeError, match="already running"):
                loop._run_once()
            assert loop._stopping is False

        run(main())


@pytest.mark.moodloop_only
class TestPatchers:
    """Libraries that put methods in place of a BaseEventLoop's, which need its selector."""

    def test_nested_runs_stay_refused(self, loop, run):
        """What makes runs nest asks for this name first, and returns if it is there."""
        assert loop._nest_patched is True

        class Subclass(type(loop)):
            pass

        assert Subclass._nest_patched is True

        async def main():
            nested = asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="already running"):
                loop.run_until_complete(nested)
            nested.close()

        run(main())

    def test_fake_clock(self, loop, run):
        """A class put before the loop's own, which is harmless until it is switched on."""

        class LoopTimeEventLoop(asyncio.BaseEventLoop):
            def setup(self, enabled):
                try:
                    self.__original_select
                except AttributeError:
                    self.__original_select = self._selector.select
                self.__enabled = enabled

            def time(self):
                return 0.0 if self.__enabled else super().time()

        loop.__class__ = type("Fake", (LoopTimeEventLoop, type(loop)), {})
        loop.setup(False)
        start = loop.time()
        assert start > 0
        run(asyncio.sleep(0.001))
        assert loop.time() > start
        with pytest.raises(RuntimeError, match="looptime"):
            loop.setup(True)
        assert loop.time() > start
