"""call_soon_threadsafe: from threads, from signal handlers, waking an idle loop."""

import asyncio
import asyncio.events
import contextvars
import gc
import os
import signal
import threading

import pytest
from support.loops import PY314, TIMEOUT, run_guarded, run_turns


class TestThreads:
    def test_wakes_an_idle_loop(self, loop):
        ran = []
        idle = threading.Event()
        loop.call_soon(idle.set)

        def call():
            idle.wait()
            loop.call_soon_threadsafe(ran.append, 1)
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=call)
        thread.start()
        run_guarded(loop)
        thread.join()
        assert ran == [1]

    def test_fifo_from_one_thread(self, loop):
        ran = []

        def call():
            for i in range(5000):
                loop.call_soon_threadsafe(ran.append, i)
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=call)
        thread.start()
        run_guarded(loop)
        thread.join()
        assert ran == list(range(5000))

    def test_fifo_each_of_many_threads(self, loop):
        ran, left = [], 8

        def done():
            nonlocal left
            left -= 1
            if not left:
                loop.stop()

        def call(who):
            for i in range(500):
                loop.call_soon_threadsafe(ran.append, (who, i))
            loop.call_soon_threadsafe(done)

        threads = [threading.Thread(target=call, args=(n,)) for n in range(8)]
        for t in threads:
            t.start()
        run_guarded(loop)
        for t in threads:
            t.join()
        assert len(ran) == 4000
        for who in range(8):
            assert [i for w, i in ran if w == who] == list(range(500))

    def test_ping_pong(self, loop):
        there = threading.Semaphore(0)
        count = 0

        def pong():
            nonlocal count
            count += 1
            if count == 300:
                loop.stop()
            there.release()

        def ping():
            for _ in range(300):
                loop.call_soon_threadsafe(pong)
                there.acquire()

        thread = threading.Thread(target=ping)
        thread.start()
        run_guarded(loop)
        thread.join()
        assert count == 300

    def test_before_the_loop_runs(self, loop):
        ran = []
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(ran.append, 1))
        thread.start()
        thread.join()
        run_turns(loop)
        assert ran == [1]

    def test_cancel_before_it_ran(self, loop):
        ran = []
        loop.call_soon_threadsafe(ran.append, 1).cancel()
        run_turns(loop, 2)
        assert ran == []

    def test_on_the_loops_own_thread_keeps_the_order(self, loop):
        ran = []
        loop.call_soon(ran.append, 1)
        loop.call_soon_threadsafe(ran.append, 2)
        loop.call_soon(ran.append, 3)
        run_turns(loop)
        assert ran == [1, 2, 3]

    def test_stop_by_itself_is_seen(self, loop):
        """stop() by another thread takes effect with the next wake-up."""
        started = threading.Event()
        loop.call_soon(started.set)

        def halt():
            started.wait()
            loop.stop()
            loop.call_soon_threadsafe(int)

        thread = threading.Thread(target=halt)
        thread.start()
        run_guarded(loop)
        thread.join()

    def test_context_is_the_callers(self, loop):
        var = contextvars.ContextVar("var", default="unset")
        got = []

        def call():
            var.set("thread")
            loop.call_soon_threadsafe(lambda: got.append(var.get()))
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=call)
        thread.start()
        run_guarded(loop)
        thread.join()
        assert got == ["thread"]

    def test_run_coroutine_threadsafe(self, loop):
        async def work(x):
            await asyncio.sleep(0)
            return x * 2

        results = []

        def call():
            results.append(asyncio.run_coroutine_threadsafe(work(21), loop).result(20))
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=call)
        thread.start()
        run_guarded(loop)
        thread.join()
        assert results == [42]

    def test_from_del_in_another_thread(self, loop):
        ran = []

        class Cycle:
            def __init__(self):
                self.me = self

            def __del__(self):
                loop.call_soon_threadsafe(ran.append, 1)

        def call():
            Cycle()
            gc.collect()
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=call)
        thread.start()
        run_guarded(loop)
        thread.join()
        assert ran == [1]

    def test_many_wakeups_of_a_loop_with_io(self, loop, sockets, run):
        a, b = sockets()
        seen = []

        async def main():
            done = loop.create_future()

            def read():
                seen.append(b.recv(1))
                if len(seen) == 100:
                    done.set_result(None)

            loop.add_reader(b, read)

            def call():
                for _ in range(100):
                    loop.call_soon_threadsafe(a.send, b"x")

            thread = threading.Thread(target=call)
            thread.start()
            await done
            loop.remove_reader(b)
            thread.join()

        run(main())
        assert len(seen) == 100


@pytest.mark.skipif(not PY314, reason="asyncio's handles are thread-safe from Python 3.14 on")
class TestHandles:
    """cancel() and cancelled() of another thread wait for a callback that runs."""

    @staticmethod
    def while_it_runs(loop, use, callers=1, outcome=None):
        """What use(handle) gives other threads that call it while the callback runs.

        Asserts that no call returns before the callback does.
        """
        running, calling, returned = threading.Event(), threading.Semaphore(0), threading.Event()
        early, results = [], []

        def callback():
            running.set()
            for _ in range(callers):
                calling.acquire(timeout=TIMEOUT)
            early.append(returned.wait(0.1))
            loop.stop()
            if outcome is not None:
                raise outcome

        def call():
            running.wait(TIMEOUT)
            calling.release()
            results.append(use(handle))
            returned.set()

        handle = loop.call_soon_threadsafe(callback)
        threads = [threading.Thread(target=call) for _ in range(callers)]
        for thread in threads:
            thread.start()
        try:
            run_guarded(loop)
        finally:
            for thread in threads:
                thread.join(TIMEOUT)
            assert early == [False]
            assert len(results) == callers
        return results, handle

    def test_class(self, loop):
        handle = loop.call_soon_threadsafe(int)
        assert isinstance(handle, asyncio.events._ThreadSafeHandle)
        assert isinstance(handle, asyncio.Handle)
        assert "_ThreadSafeHandle" in repr(handle)
        plain = loop.call_soon(int)
        assert not isinstance(plain, asyncio.events._ThreadSafeHandle)
        run_turns(loop)
        again = [loop.call_soon(int) for _ in range(4)]  # recycled memory, perhaps
        assert not any(isinstance(h, asyncio.events._ThreadSafeHandle) for h in again)
        run_turns(loop)

    def test_cancel_waits(self, loop):
        results, handle = self.while_it_runs(loop, lambda h: h.cancel())
        assert results == [None]
        assert handle.cancelled() is True

    def test_cancelled_waits(self, loop):
        results, handle = self.while_it_runs(loop, lambda h: h.cancelled())
        assert results == [False]
        assert handle.cancelled() is False

    def test_many_wait(self, loop):
        results, _ = self.while_it_runs(loop, lambda h: h.cancel(), callers=5)
        assert results == [None] * 5

    def test_callback_that_raises(self, loop, reports):
        results, _ = self.while_it_runs(loop, lambda h: h.cancelled(), outcome=ValueError("x"))
        assert results == [False]
        (report,) = reports
        assert isinstance(report["exception"], ValueError)

    def test_callback_that_ends_the_loop(self, loop):
        with pytest.raises(KeyboardInterrupt):
            self.while_it_runs(loop, lambda h: h.cancelled(), outcome=KeyboardInterrupt())
        run_turns(loop, 2)

    def test_own_callback_does_not_wait(self, loop):
        seen = []

        def callback():
            handle.cancel()
            seen.append(handle.cancelled())

        handle = loop.call_soon_threadsafe(callback)
        run_turns(loop)
        assert seen == [True]

    def test_own_callback_run_by_hand(self, loop):
        seen = []

        def callback():
            handle.cancel()
            seen.append(handle.cancelled())

        handle = loop.call_soon_threadsafe(callback)
        thread = threading.Thread(target=handle._run)
        thread.start()
        thread.join(TIMEOUT)
        assert seen == [True]
        run_turns(loop)
        assert seen == [True]

    def test_signals_while_waiting(self, snippet):
        """A signal handler runs in the main thread while it waits, and may end the wait."""
        done = snippet(
            """
            loop = new_loop()
            started, go_on = threading.Event(), threading.Event()

            def callback():
                started.set()
                go_on.wait(20)
                loop.stop()

            hits = []
            def on_signal(signum, frame):
                hits.append(signum)
                if len(hits) == 3:
                    raise ZeroDivisionError

            signal.signal(signal.SIGALRM, on_signal)
            handle = loop.call_soon_threadsafe(callback)
            thread = threading.Thread(target=loop.run_forever)
            thread.start()
            started.wait(20)
            signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
            try:
                handle.cancel()
            except ZeroDivisionError:
                print("raised")
            signal.setitimer(signal.ITIMER_REAL, 0)
            go_on.set()
            thread.join()
            print(handle.cancelled(), len(hits))
            loop.close()
            """
        )
        assert (done.rc, done.out) == (0, "raised\nFalse 3\n"), done.err

    @pytest.mark.moodloop_only  # stock asyncio's child waits for a lock that nobody releases
    def test_child_of_a_callback_that_a_thread_waits_for(self, snippet):
        """The thread is not there, and its stack another's."""
        done = snippet(
            """
            import time, warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            loop = new_loop()
            status = []

            def callback():
                started.set()
                time.sleep(0.05)  # the threads have come to wait by then, mostly
                pid = os.fork()
                if pid == 0:
                    fresh = [threading.Thread(target=sum, args=([1] * 1000,)) for _ in range(20)]
                    for thread in fresh:
                        thread.start()
                    for thread in fresh:
                        thread.join()
                    loop.call_soon(os._exit, 7)
                    return
                status.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                loop.stop()

            def wait():
                started.wait(20)
                handle.cancel()

            started = threading.Event()
            threads = [threading.Thread(target=wait) for _ in range(4)]
            for thread in threads:
                thread.start()
            handle = loop.call_soon_threadsafe(callback)
            loop.run_forever()
            for thread in threads:
                thread.join()
            loop.close()
            print(status)
            """
        )
        assert (done.rc, done.out) == (0, "[7]\n"), done.err


class TestErrors:
    def test_closed_loop_from_a_thread(self, loop):
        raised = []
        loop.close()

        def call():
            try:
                loop.call_soon_threadsafe(int)
            except RuntimeError as exc:
                raised.append(str(exc))

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert raised == ["Event loop is closed"]

    def test_no_callback(self, loop):
        with pytest.raises(TypeError):
            loop.call_soon_threadsafe()

    def test_unknown_keyword(self, loop):
        with pytest.raises(TypeError):
            loop.call_soon_threadsafe(print, colour="red")

    def test_closing_while_threads_call(self, snippet):
        done = snippet(
            """
            def call():
                try:
                    while True:
                        loop.call_soon_threadsafe(int)
                except RuntimeError as exc:
                    ends.append(str(exc))

            ends = []
            for _ in range(5):
                loop = new_loop()
                threads = [threading.Thread(target=call) for _ in range(3)]
                for t in threads:
                    t.start()
                run_turns(loop, 3)
                loop.close()
                for t in threads:
                    t.join()
            print(len(ends), set(ends))
            """
        )
        assert done.rc == 0, done.err
        assert done.out.strip() == "15 {'Event loop is closed'}"

    @pytest.mark.moodloop_only  # stock asyncio's loop cannot be closed there
    def test_closed_in_a_child_while_threads_call(self, snippet):
        """One of them may be on its way through the wake-up, and is not there in the child."""
        done = snippet(
            """
            import contextlib, queue, warnings
            warnings.simplefilter("ignore", DeprecationWarning)

            def ask(answers):
                with contextlib.suppress(RuntimeError):
                    while True:
                        loop.call_soon_threadsafe(answers.put, 1)
                        with contextlib.suppress(queue.Empty):
                            answers.get(timeout=0.1)
                            asked.release()

            def closed_by_a_child():
                pid = os.fork()
                if pid == 0:
                    signal.alarm(10)  # ends it if it hangs
                    try:
                        loop.close()
                    finally:
                        os._exit(7)
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7

            for _ in range(20):
                loop, asked = new_loop(), threading.Semaphore(0)
                runner = threading.Thread(target=loop.run_forever)
                threads = [threading.Thread(target=ask, args=(queue.SimpleQueue(),))
                           for _ in range(3)]
                for t in [runner, *threads]:
                    t.start()
                for _ in range(100):
                    assert asked.acquire(timeout=10)
                assert closed_by_a_child()
                loop.call_soon_threadsafe(loop.stop)
                runner.join()
                loop.close()
                for t in threads:
                    t.join()
            print("ok")
            """
        )
        assert (done.rc, done.out.strip()) == (0, "ok"), done.err


class TestSignals:
    def test_from_a_python_signal_handler(self, loop):
        ran = []

        def on_signal(signum, frame):
            loop.call_soon_threadsafe(ran.append, signum)
            loop.call_soon_threadsafe(loop.stop)

        before = signal.signal(signal.SIGUSR1, on_signal)
        try:
            loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
            run_guarded(loop)
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert ran == [signal.SIGUSR1]

    def test_handler_that_interrupts_call_soon_threadsafe(self, loop):
        """The handler may run at any point of a call on the same thread: no lock may be held."""
        ran = []
        hits = 0

        def on_signal(signum, frame):
            nonlocal hits
            hits += 1
            loop.call_soon_threadsafe(ran.append, "signal")

        before = signal.signal(signal.SIGALRM, on_signal)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            calls = 0
            while hits < 50:
                loop.call_soon_threadsafe(int)
                calls += 1
                if calls % 500 == 0:
                    run_turns(loop)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        run_turns(loop, 3)
        assert len(ran) == hits

    def test_wakes_the_loop_from_a_signal_while_idle(self, snippet):
        done = snippet(
            """
            from support.signals import kill, when_asleep
            loop = new_loop()
            signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(loop.stop))
            when_asleep(loop, kill, signal.SIGUSR1)
            run_guarded(loop)
            loop.close()
            print("woken")
            """
        )
        assert (done.rc, done.out) == (0, "woken\n"), done.err


@pytest.mark.moodloop_only
class TestCallFromThread:
    def test_is_call_soon_threadsafe(self, loop):
        ran = []
        handle = loop.call_from_thread(ran.append, 1)
        assert isinstance(handle, asyncio.Handle)
        run_turns(loop)
        assert ran == [1]

    def test_from_a_thread(self, loop):
        thread = threading.Thread(target=loop.call_from_thread, args=(loop.stop,))
        loop.call_soon(thread.start)
        run_guarded(loop)
        thread.join()


class TestThreadsThatAnswerAtOnce:
    """A loop that was woken at once again and again, and then is not."""

    def warm_up(self, loop):
        async def main():
            for i in range(200):
                assert await loop.run_in_executor(None, abs, -i) == i

        loop.run_until_complete(main())

    def test_a_descriptor_is_heard(self, loop):
        self.warm_up(loop)
        inlet, outlet = os.pipe()
        heard = []

        def readable():
            heard.append(os.read(inlet, 16))
            loop.stop()

        for _ in range(20):
            loop.add_reader(inlet, readable)
            thread = threading.Thread(target=os.write, args=(outlet, b"x"))
            thread.start()
            run_guarded(loop)
            thread.join()
            loop.remove_reader(inlet)
        os.close(inlet)
        os.close(outlet)
        assert heard == [b"x"] * 20

    def test_a_timer_is_not_forgotten(self, loop):
        self.warm_up(loop)
        ran = []
        for delay in (0, 1e-5, 1e-3, 0.02):
            start = loop.time()
            loop.call_later(delay, lambda start=start: ran.append(loop.time() - start))
            loop.call_later(delay, loop.stop)
            run_guarded(loop)
        assert len(ran) == 4
        assert ran[3] >= 0.0199

    def test_stop_from_a_thread(self, loop):
        self.warm_up(loop)
        for _ in range(20):
            thread = threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,))
            loop.call_soon(thread.start)
            run_guarded(loop)
            thread.join()

    def test_answers_in_turn_with_a_thread_that_waits(self, loop):
        asked, answered = [], []
        ready = threading.Semaphore(0)

        def answer(i):
            answered.append(i)
            ready.release()

        def ask():
            for i in range(500):
                asked.append(i)
                loop.call_soon_threadsafe(answer, i)
                ready.acquire()
                assert answered == asked
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=ask)
        loop.call_soon(thread.start)
        run_guarded(loop)
        thread.join()
        assert answered == list(range(500))
