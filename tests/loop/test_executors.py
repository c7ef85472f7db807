"""Executors, name look-ups and asynchronous generators."""

import asyncio
import concurrent.futures
import functools
import gc
import socket
import threading
import weakref

import pytest
from support.loops import PY312, PY313, run_turns


class TestExecutors:
    def test_default(self, loop, run):
        assert run(loop.run_in_executor(None, pow, 2, 10)) == 1024
        run(loop.shutdown_default_executor())

    def test_thread_name(self, loop, run):
        name = run(loop.run_in_executor(None, lambda: threading.current_thread().name))
        assert name.startswith("asyncio")
        run(loop.shutdown_default_executor())

    def test_returns_a_future(self, loop, run):
        fut = loop.run_in_executor(None, int)
        assert isinstance(fut, asyncio.Future)
        run(fut)
        run(loop.shutdown_default_executor())

    def test_own_executor(self, loop, run):
        with concurrent.futures.ThreadPoolExecutor(1, "mine") as pool:
            name = run(loop.run_in_executor(pool, lambda: threading.current_thread().name))
        assert name.startswith("mine")

    def test_set_default(self, loop, run):
        pool = concurrent.futures.ThreadPoolExecutor(1, "mine")
        loop.set_default_executor(pool)
        name = run(loop.run_in_executor(None, lambda: threading.current_thread().name))
        assert name.startswith("mine")
        run(loop.shutdown_default_executor())

    def test_set_default_of_wrong_type(self, loop):
        with pytest.raises(TypeError, match="executor must be ThreadPoolExecutor instance"):
            loop.set_default_executor(object())

    def test_exception(self, loop, run):
        with pytest.raises(ZeroDivisionError):
            run(loop.run_in_executor(None, lambda: 1 / 0))
        run(loop.shutdown_default_executor())

    def test_many(self, loop, run):
        async def main():
            return await asyncio.gather(
                *(loop.run_in_executor(None, pow, i, 2) for i in range(200))
            )

        assert run(main()) == [i * i for i in range(200)]
        run(loop.shutdown_default_executor())

    def test_after_shutdown(self, loop, run):
        run(loop.shutdown_default_executor())
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            loop.run_in_executor(None, int)

    def test_shutdown_waits(self, loop, run):
        release, done = threading.Event(), []

        def work():
            release.wait()
            done.append(1)

        async def main():
            fut = loop.run_in_executor(None, work)
            loop.call_soon(release.set)
            await loop.shutdown_default_executor()
            assert done == [1]
            await fut

        run(main())

    def test_shutdown_without_an_executor(self, loop, run):
        assert run(loop.shutdown_default_executor()) is None

    if PY313:

        def test_shutdown_timeout(self, loop, run):
            release = threading.Event()

            async def main():
                fut = loop.run_in_executor(None, release.wait)
                with pytest.warns(RuntimeWarning, match="did not finish"):
                    await loop.shutdown_default_executor(timeout=0.001)
                release.set()
                await fut

            run(main())

    def test_to_thread_keeps_the_context(self, run, loop):
        import contextvars

        var = contextvars.ContextVar("var")

        async def main():
            var.set("mine")
            return await asyncio.to_thread(var.get)

        assert run(main()) == "mine"
        run(loop.shutdown_default_executor())

    def test_closed_while_a_thread_works(self, loop_factory):
        loop = loop_factory()
        release, started = threading.Event(), threading.Event()

        def work():
            started.set()
            release.wait()

        fut = loop.run_in_executor(None, work)
        started.wait()
        pool = loop._default_executor
        loop.close()
        release.set()
        pool.shutdown(wait=True)
        assert not fut.done()

    def test_cancelled_before_it_starts(self, loop, run):
        release, called = threading.Event(), []

        async def main():
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                first = loop.run_in_executor(pool, release.wait)
                second = loop.run_in_executor(pool, called.append, 2)
                second.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await second
                await asyncio.sleep(0)
                release.set()
                assert await first
                assert await loop.run_in_executor(pool, called.append, 3) is None

        run(main())
        assert called == [3]

    @pytest.mark.parametrize("fails", [False, True])
    def test_cancelled_while_it_runs(self, loop, run, reports, fails):
        release, started = threading.Event(), threading.Event()

        def work():
            started.set()
            release.wait()
            return 1 // (not fails)

        async def main():
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                future = loop.run_in_executor(pool, work)
                started.wait()
                future.cancel()
                release.set()
                with pytest.raises(asyncio.CancelledError):
                    await future
                await loop.run_in_executor(pool, int)

        run(main())
        assert not reports

    @pytest.mark.parametrize(
        "error",
        [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), asyncio.InvalidStateError()],
        ids=repr,
    )
    def test_any_exception(self, loop, run, error):
        def work():
            raise error

        async def main():
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                future = loop.run_in_executor(pool, work)
                await asyncio.wait([future])
                assert future.exception() is error

        run(main())

    def test_errors_of_concurrent_futures(self, loop, run):
        def work():
            raise concurrent.futures.CancelledError("why")

        async def main():
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                future = loop.run_in_executor(pool, work)
                await asyncio.wait([future])
                assert future.exception().args == ("why",)

        run(main())

    def test_stop_iteration(self, loop, run, reports):
        async def main():
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                future = loop.run_in_executor(pool, next, iter(()))
                await asyncio.wait([future], timeout=0.05)
                return future

        future = run(main())
        if PY312:
            with pytest.raises(RuntimeError, match="StopIteration"):
                future.result()
        else:
            assert not future.done()
            (context,) = reports
            assert "StopIteration interacts badly" in str(context["exception"])

    def test_pool_is_shut_down(self, loop):
        pool = concurrent.futures.ThreadPoolExecutor(1)
        pool.shutdown()
        with pytest.raises(RuntimeError, match="after shutdown"):
            loop.run_in_executor(pool, int)

    def test_pool_cancels_its_futures(self, loop, run):
        release, started = threading.Event(), threading.Event()

        def work():
            started.set()
            return release.wait()

        async def main():
            pool = concurrent.futures.ThreadPoolExecutor(1)
            first, second = (loop.run_in_executor(pool, work) for _ in range(2))
            started.wait()
            pool.shutdown(wait=False, cancel_futures=True)
            with pytest.raises(asyncio.CancelledError):
                await second
            release.set()
            assert await first

        run(main())

    def test_initializer_fails(self, loop, run, caplog):
        started = threading.Event()

        def initializer():
            started.wait()
            raise ValueError("initializer")

        async def main():
            with concurrent.futures.ThreadPoolExecutor(1, initializer=initializer) as pool:
                future = loop.run_in_executor(pool, int)
                started.set()
                with pytest.raises(concurrent.futures.BrokenExecutor):
                    await future
                with pytest.raises(concurrent.futures.BrokenExecutor):
                    loop.run_in_executor(pool, int)

        run(main())

    def test_wrapped_submit(self, loop, run, monkeypatch):
        """As instruments do, to carry their context into threads."""
        plain, seen = concurrent.futures.ThreadPoolExecutor.submit, []

        def submit(self, func, *args):
            seen.append(func)
            return plain(self, func, *args)

        async def main():
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                with monkeypatch.context() as patch:
                    patch.setattr(concurrent.futures.ThreadPoolExecutor, "submit", submit)
                    assert await loop.run_in_executor(pool, int) == 0
                monkeypatch.setattr(pool, "submit", functools.partial(submit, pool))
                assert await loop.run_in_executor(pool, str) == ""

        run(main())
        assert seen == [int, str]

    def test_other_executors(self, loop, run):
        class Pool(concurrent.futures.ThreadPoolExecutor):
            def submit(self, func, *args):
                return super().submit(lambda: ["mine", func(*args)])

        async def main():
            with Pool(1) as pool:
                assert await loop.run_in_executor(pool, int, "7") == ["mine", 7]

        run(main())

    def test_debug_checks(self, loop):
        async def coroutine():
            pass

        loop.set_debug(True)
        with pytest.raises(TypeError, match="coroutine"):
            loop.run_in_executor(None, coroutine)

    def test_closed_loop(self, loop_factory):
        loop = loop_factory()
        loop.close()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            for executor in (None, pool):
                with pytest.raises(RuntimeError, match="Event loop is closed"):
                    loop.run_in_executor(executor, int)

    def test_references(self, loop, run):
        class Thing:
            def __call__(self, other):
                raise ZeroDivisionError

        async def main():
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                func, arg = Thing(), Thing()
                refs = weakref.ref(func), weakref.ref(arg)
                with pytest.raises(ZeroDivisionError):
                    await loop.run_in_executor(pool, func, arg)
                del func, arg
                await loop.run_in_executor(pool, int)  # the thread has let go of the other
                return refs

        gc.disable()
        try:
            refs = run(main())
            assert [ref() for ref in refs] == [None, None]
        finally:
            gc.enable()


class TestNames:
    def test_getaddrinfo_numeric(self, loop, run):
        found = run(loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))
        assert found == socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        run(loop.shutdown_default_executor())

    def test_getaddrinfo_localhost(self, loop, run):
        found = run(loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM))
        assert ("127.0.0.1", 80) in [f[4] for f in found]
        run(loop.shutdown_default_executor())

    def test_getaddrinfo_error(self, loop, run):
        with pytest.raises(socket.gaierror):
            run(loop.getaddrinfo("127.0.0.1", 80, family=socket.AF_INET6))
        run(loop.shutdown_default_executor())

    def test_getaddrinfo_is_a_coroutine_function(self, loop, run):
        coro = loop.getaddrinfo("127.0.0.1", 80)
        assert asyncio.iscoroutine(coro)
        run(coro)
        run(loop.shutdown_default_executor())

    @pytest.mark.parametrize("host", ["x\0y", "a" * 5000])
    def test_bad_names(self, loop, run, host):
        with pytest.raises((ValueError, OSError, UnicodeError)):
            run(loop.getaddrinfo(host, 80))
        run(loop.shutdown_default_executor())

    def test_getnameinfo(self, loop, run):
        flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        assert run(loop.getnameinfo(("127.0.0.1", 80), flags)) == ("127.0.0.1", "80")
        run(loop.shutdown_default_executor())


class TestAsyncGenerators:
    def test_finalised_by_the_loop(self, loop, run):
        ended = []

        async def numbers():
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0)
                ended.append(1)

        async def main():
            async for _ in numbers():
                break
            gc.collect()
            for _ in range(5):
                await asyncio.sleep(0)

        run(main())
        assert ended == [1]

    def test_shutdown_asyncgens(self, loop, run):
        ended = []

        async def numbers(n):
            try:
                yield n
            finally:
                await asyncio.sleep(0)
                ended.append(n)

        kept = [numbers(i) for i in range(3)]

        async def main():
            for g in kept:
                await anext(g)

        run(main())
        assert ended == []
        run(loop.shutdown_asyncgens())
        assert sorted(ended) == [0, 1, 2]

    def test_shutdown_reports_errors(self, loop, run, reports):
        async def bad():
            try:
                yield 1
            finally:
                raise ZeroDivisionError

        kept = bad()

        async def main():
            await anext(kept)

        run(main())
        run(loop.shutdown_asyncgens())
        (context,) = reports
        assert isinstance(context["exception"], ZeroDivisionError)
        assert context["asyncgen"] is kept

    def test_started_after_shutdown(self, loop, run):
        async def numbers():
            yield 1

        async def main():
            gen = numbers()
            with pytest.warns(ResourceWarning, match="was scheduled after loop.shutdown_asyncgens"):
                await anext(gen)
            await gen.aclose()

        run(loop.shutdown_asyncgens())
        run(main())

    def test_hooks_are_put_back(self, loop):
        import sys

        def mine(gen):
            pass

        before = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(mine, mine)
        try:
            seen = []
            loop.call_soon(lambda: seen.append(sys.get_asyncgen_hooks()))
            run_turns(loop)
            assert seen[0].firstiter is not mine
            assert sys.get_asyncgen_hooks() == (mine, mine)
        finally:
            sys.set_asyncgen_hooks(*before)

    def test_finaliser_on_another_thread(self, loop, run):
        ended = []

        async def numbers():
            try:
                yield 1
            finally:
                ended.append(threading.current_thread())

        async def main():
            gens = [numbers()]
            await anext(gens[0])
            thread = threading.Thread(target=gens.clear)
            thread.start()
            thread.join()
            while not ended:
                await asyncio.sleep(0)

        run(main())
        assert ended == [threading.main_thread()]
