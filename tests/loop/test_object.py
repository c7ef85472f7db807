"""The loop as an object: subclasses, attributes, hash, weak references, repr; how one is chosen."""

import asyncio
import inspect
import sys
import weakref

import pytest
from support.loops import PY312, PY313, PY314, drive, run_turns


class TestObject:
    def test_isinstance(self, loop):
        assert isinstance(loop, asyncio.AbstractEventLoop)
        assert isinstance(loop, asyncio.BaseEventLoop)

    def test_hash_and_equality(self, loop, new_loop):
        other = new_loop()
        assert hash(loop) == hash(loop)
        assert loop == loop
        assert loop != other
        assert {loop: 1}[loop] == 1

    def test_weakref(self, loop):
        assert weakref.ref(loop)() is loop
        table = weakref.WeakKeyDictionary({loop: 1})
        assert table[loop] == 1

    def test_attributes(self, loop):
        loop.mine = 1
        assert loop.mine == 1
        assert "mine" in vars(loop)
        del loop.mine
        with pytest.raises(AttributeError):
            loop.mine

    def test_methods_can_be_patched(self, loop):
        calls = []
        plain = loop.call_soon

        def call_soon(*args, **kwargs):
            calls.append(args)
            return plain(*args, **kwargs)

        loop.call_soon = call_soon
        fut = loop.create_future()
        fut.add_done_callback(lambda f: None)
        fut.set_result(1)
        assert len(calls) == 1
        del loop.call_soon
        run_turns(loop)

    def test_repr(self, loop):
        assert "running=False" in repr(loop)
        assert "closed=False" in repr(loop)
        assert "debug=False" in repr(loop)

    def test_every_method_of_the_abstract_loop(self, loop):
        missing = [n for n in vars(asyncio.AbstractEventLoop) if not hasattr(loop, n)]
        assert missing == []

    @pytest.mark.moodloop_only
    def test_signatures_are_those_of_stock(self, loop):
        different = []
        for name in dir(asyncio.SelectorEventLoop):
            stock = getattr(asyncio.SelectorEventLoop, name)
            if name.startswith("_") or not callable(stock):
                continue
            theirs = list(inspect.signature(stock).parameters.values())[1:]
            try:
                ours = list(inspect.signature(getattr(loop, name)).parameters.values())
            except ValueError:
                different.append(f"{name}: no signature")
                continue
            if [(p.name, p.default) for p in ours] != [(p.name, p.default) for p in theirs]:
                different.append(f"{name}: {ours} for {theirs}")
        assert different == []

    @pytest.mark.parametrize(
        "name",
        [
            "sock_recv",
            "sock_recv_into",
            "sock_sendall",
            "sock_connect",
            "sock_accept",
            "sock_recvfrom",
            "sock_recvfrom_into",
            "sock_sendto",
            "create_connection",
            "create_server",
            "create_unix_connection",
            "create_unix_server",
            "connect_accepted_socket",
            "getaddrinfo",
            "getnameinfo",
            "shutdown_asyncgens",
            "shutdown_default_executor",
        ],
    )
    def test_coroutine_functions(self, loop, name):
        assert inspect.iscoroutinefunction(getattr(loop, name))


class TestSubclass:
    def test_own_init_and_methods(self, new_loop):
        class Mine(type(new_loop())):
            def __init__(self, extra=None):
                super().__init__()
                self.extra = extra

            def call_soon(self, callback, *args, context=None):
                self.calls = getattr(self, "calls", 0) + 1
                return super().call_soon(callback, *args, context=context)

        loop = new_loop(Mine, 42)
        assert loop.extra == 42

        async def main():
            await asyncio.sleep(0)
            return "ran"

        assert drive(loop, main()) == "ran"
        assert loop.calls > 0

    def test_super_close(self, new_loop):
        closed = []

        class Mine(type(new_loop())):
            def close(self):
                closed.append(self.is_closed())
                super().close()

        new_loop(Mine).close()
        assert closed == [False]

    def test_multiple_inheritance(self, new_loop):
        class Extra:
            def extra(self):
                return "extra"

        class Mine(Extra, type(new_loop())):
            pass

        assert new_loop(Mine).extra() == "extra"

    def test_uninitialised(self, snippet):
        """An object whose __init__ never ran may fail, not crash."""
        done = snippet(
            """
            cls = type(new_loop())
            loop = cls.__new__(cls)
            names = [n for n in dir(asyncio.AbstractEventLoop) if not n.startswith("_")]
            for name in names:
                for args in (), (print,), (1, print), (sys.stdin, print):
                    if name in ("run_forever", "run_until_complete"):
                        continue
                    try:
                        made = getattr(loop, name)(*args)
                        if asyncio.iscoroutine(made):
                            made.close()
                    except (Exception, NotImplementedError):
                        pass
            try:
                repr(loop)
            except Exception:
                pass
            print("alive")
            sys.stdout.flush()
            os._exit(0)
            """
        )
        assert (done.rc, done.out) == (0, "alive\n"), done.err

    def test_init_twice(self, snippet):
        done = snippet(
            """
            loop = new_loop()
            run_turns(loop, 2)
            try:
                loop.__init__()
            except RuntimeError:
                pass
            assert drive(loop, asyncio.sleep(0, 1)) == 1
            loop.close()
            print("alive")
            """
        )
        assert (done.rc, done.out) == (0, "alive\n"), done.err


class TestRunner:
    def test_runner(self, loop_factory):
        async def main():
            return asyncio.get_running_loop()

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            loop = runner.get_loop()
            assert runner.run(main()) is loop
        assert loop.is_closed()

    def test_runner_debug(self, loop_factory):
        async def main():
            return asyncio.get_running_loop().get_debug()

        with asyncio.Runner(loop_factory=loop_factory, debug=True) as runner:
            assert runner.run(main()) is True

    def test_runner_cancels_what_is_left(self, loop_factory):
        ended = []

        async def child():
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(1)

        async def main():
            task = asyncio.create_task(child())
            await asyncio.sleep(0)
            return task

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            task = runner.run(main())
        assert ended == [1] and task.cancelled()

    if PY312:

        def test_run(self, loop_factory):
            async def main():
                return type(asyncio.get_running_loop())

            assert asyncio.run(main(), loop_factory=loop_factory) is type(self.made(loop_factory))

        @staticmethod
        def made(loop_factory):
            loop = loop_factory()
            loop.close()
            return loop

    if PY313:

        def test_unittest(self, loop_factory):
            import unittest

            class Case(unittest.IsolatedAsyncioTestCase):
                async def test(self):
                    self.assertTrue(asyncio.get_running_loop().get_debug())

            Case.loop_factory = staticmethod(loop_factory)
            result = unittest.TestResult()
            Case("test").run(result)
            assert result.wasSuccessful(), result.errors + result.failures


@pytest.mark.moodloop_only
class TestPackage:
    def test_names(self, loop_name):
        import moodloop

        assert isinstance(moodloop.__version__, str)
        assert moodloop.EventLoopPolicy is moodloop.Policy

    def test_new_event_loop(self, loop):
        import moodloop

        assert type(loop) is moodloop.EventLoop
        assert type(loop).__module__.startswith("moodloop")

    def test_loop_has_its_watchers(self, loop):
        import moodloop.event

        assert isinstance(loop.ev, moodloop.event.Loop)

    def test_on_an_existing_watcher_loop(self, loop_name):
        import moodloop
        import moodloop.event

        ev = moodloop.event.Loop()
        loop = moodloop.EventLoop(ev=ev)
        try:
            assert loop.ev is ev
            assert drive(loop, asyncio.sleep(0.001, 1)) == 1
        finally:
            loop.close()

    def test_run(self, loop_name):
        import moodloop

        async def main():
            return type(asyncio.get_running_loop()), asyncio.get_running_loop().get_debug()

        assert moodloop.run(main()) == (moodloop.EventLoop, False)
        assert moodloop.run(main(), debug=True) == (moodloop.EventLoop, True)

    def test_run_closes_the_loop(self, loop_name):
        import moodloop

        async def main():
            return asyncio.get_running_loop()

        assert moodloop.run(main()).is_closed()

    def test_run_inside_a_loop(self, loop_name, run):
        import moodloop

        async def main():
            coro = asyncio.sleep(0)
            with pytest.raises(RuntimeError):
                moodloop.run(coro)
            coro.close()

        run(main())

    def test_install(self, snippet):
        done = snippet(
            """
            import moodloop
            moodloop.install()
            async def main():
                return type(asyncio.get_running_loop())
            assert asyncio.run(main()) is moodloop.EventLoop
            loop = asyncio.new_event_loop()
            assert type(loop) is moodloop.EventLoop
            loop.close()
            print("installed")
            """,
            args=["-W", "error"],
        )
        assert (done.rc, done.out) == (0, "installed\n"), done.err

    @pytest.mark.parametrize("kind", ["exec", "shell"])
    def test_install_leaves_subprocesses_alone(self, snippet, kind):
        done = snippet(
            f"""
            import moodloop
            moodloop.install()
            async def main():
                process = await asyncio.create_subprocess_{kind}("true")
                return await process.wait()
            assert asyncio.run(main()) == 0
            print("ended")
            """,
            args=["-W", "error"],
        )
        assert (done.rc, done.out) == (0, "ended\n"), done.err

    def test_import_is_quiet_and_changes_nothing(self, snippet):
        done = snippet(
            """
            before = asyncio.new_event_loop
            import moodloop, moodloop.event
            assert asyncio.new_event_loop is before
            loop = asyncio.new_event_loop()
            assert not isinstance(loop, moodloop.EventLoop)
            loop.close()
            print("quiet")
            """,
            args=["-W", "error"],
        )
        assert (done.rc, done.out, done.err) == (0, "quiet\n", "")

    def test_policy(self, snippet):
        if sys.version_info >= (3, 16):
            pytest.skip("this Python has no policies")
        done = snippet(
            """
            import moodloop
            asyncio.set_event_loop_policy(moodloop.EventLoopPolicy())
            async def main():
                return type(asyncio.get_running_loop())
            assert asyncio.run(main()) is moodloop.EventLoop
            asyncio.set_event_loop_policy(None)
            print("policy")
            """,
            args=["-W", "ignore"] if PY314 else [],
        )
        assert (done.rc, done.out) == (0, "policy\n"), done.err

    def test_state_attributes(self, loop):
        assert loop._thread_id is None
        assert loop._closed is False
        assert loop._stopping is False
        assert loop._debug is False
        loop._check_closed()
        loop.close()
        with pytest.raises(RuntimeError):
            loop._check_closed()

    def test_left_out_names_itself(self, loop, run):
        """What is not there yet says so by name, or works."""
        import os
        import subprocess

        async def spawn():
            transport, _ = await loop.subprocess_exec(
                asyncio.SubprocessProtocol, "true", stdin=subprocess.DEVNULL
            )
            while transport.get_returncode() is None:
                await asyncio.sleep(0.001)
            transport.close()
            await asyncio.sleep(0)

        async def pipe():
            r, w = os.pipe()
            try:
                transport, _ = await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(r, "rb"))
                transport.close()
                await asyncio.sleep(0)
            finally:
                os.close(w)

        for make, name in ((spawn, "subprocess_exec"), (pipe, "connect_read_pipe")):
            try:
                run(make())
            except NotImplementedError as exc:
                assert name in str(exc)
