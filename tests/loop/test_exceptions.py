"""What becomes of exceptions: the handler, the log, and those that leave the loop."""

import asyncio
import logging

import pytest
from support.loops import PY312, run_turns


class Odd(BaseException):
    pass


def fail(exc):
    raise exc


class TestHandler:
    def test_none_at_first(self, new_loop):
        assert new_loop().get_exception_handler() is None

    def test_set_and_get(self, new_loop):
        loop = new_loop()

        def handler(loop, context):
            pass

        loop.set_exception_handler(handler)
        assert loop.get_exception_handler() is handler
        loop.set_exception_handler(None)
        assert loop.get_exception_handler() is None

    def test_not_callable(self, loop):
        with pytest.raises(TypeError, match="A callable object or None is expected"):
            loop.set_exception_handler(42)

    def test_called_with_loop_and_context(self, loop):
        got = []
        loop.set_exception_handler(lambda *args: got.append(args))
        handle = loop.call_soon(fail, ZeroDivisionError())
        run_turns(loop)
        ((which, context),) = got
        assert which is loop
        assert context["handle"] is handle
        assert isinstance(context["exception"], ZeroDivisionError)

    def test_call_exception_handler(self, loop, reports):
        context = {"message": "mine"}
        loop.call_exception_handler(context)
        assert reports == [context]

    def test_timer_callback(self, loop, reports):
        loop.call_later(0, fail, KeyError("mine"))
        run_turns(loop, 2)
        (context,) = reports
        assert isinstance(context["exception"], KeyError)
        assert isinstance(context["handle"], asyncio.TimerHandle)

    @pytest.mark.moodloop_only
    def test_names_a_callback_that_cancelled_itself(self, loop, reports):
        """Stock asyncio says `None()`."""

        def last_words():
            handle.cancel()
            raise KeyError

        handle = loop.call_soon(last_words)
        run_turns(loop)
        assert "last_words() at" in reports[0]["message"]

    def test_debug_gives_the_source(self, loop, reports):
        loop.set_debug(True)
        loop.call_soon(fail, KeyError())
        run_turns(loop)
        assert reports[0]["source_traceback"][-1].name == "test_debug_gives_the_source"

    def test_that_raises_is_logged(self, loop, log):
        loop.set_exception_handler(lambda *_: fail(ValueError("in the handler")))
        loop.call_soon(fail, KeyError("first"))
        run_turns(loop)
        assert any("Unhandled error in exception handler" in m for m in log(logging.ERROR))

    def test_that_raises_keyboard_interrupt(self, loop):
        loop.set_exception_handler(lambda *_: fail(KeyboardInterrupt()))
        loop.call_soon(fail, KeyError("first"))
        with pytest.raises(KeyboardInterrupt):
            run_turns(loop)
        loop.set_exception_handler(None)
        run_turns(loop, 2)

    def test_that_stops_the_loop(self, loop):
        loop.set_exception_handler(lambda loop, context: loop.stop())
        loop.call_soon(fail, KeyError())
        loop.run_forever()

    def test_runs_in_the_context_of_the_callback(self, loop):
        import contextvars

        var = contextvars.ContextVar("var", default="unset")
        got = []
        loop.set_exception_handler(lambda *_: got.append(var.get()))
        context = contextvars.copy_context()
        context.run(var.set, "theirs")
        loop.call_soon(fail, KeyError(), context=context)
        run_turns(loop)
        assert got == ["theirs" if PY312 else "unset"]

    def test_callback_that_is_none(self, loop, reports):
        loop.call_soon(None)
        run_turns(loop, 1)
        assert [c["message"] for c in reports] == ["Exception in callback None()"]
        assert type(reports[0]["exception"]) is TypeError


class TestDefaultHandler:
    def test_logs(self, new_loop, log, caplog):
        loop = new_loop()
        loop.call_soon(fail, ZeroDivisionError("mine"))
        run_turns(loop)
        (message,) = log(logging.ERROR)
        assert message.startswith("Exception in callback fail(")
        assert "handle: <Handle fail(" in message
        record = next(r for r in caplog.records if r.levelno == logging.ERROR)
        assert record.exc_info[0] is ZeroDivisionError

    def test_debug_logs_where_it_was_made(self, new_loop, log):
        loop = new_loop()
        loop.set_debug(True)
        loop.call_soon(fail, ZeroDivisionError("mine"))
        run_turns(loop)
        message = next(m for m in log(logging.ERROR))
        assert "source_traceback: Object created at" in message
        assert "test_debug_logs_where_it_was_made" in message

    def test_without_a_message(self, loop, log):
        loop.default_exception_handler({})
        assert log(logging.ERROR) == ["Unhandled exception in event loop"]

    def test_with_more_keys(self, loop, log):
        loop.default_exception_handler({"message": "mine", "zeta": 1, "alpha": [2]})
        assert log(logging.ERROR) == ["mine\nalpha: [2]\nzeta: 1"]

    def test_can_be_overridden_by_a_subclass(self, loop_factory, new_loop):
        got = []

        class Mine(type(new_loop())):
            def default_exception_handler(self, context):
                got.append(context["message"])

        loop = new_loop(Mine)
        loop.call_soon(fail, ZeroDivisionError())
        run_turns(loop)
        assert len(got) == 1

    def test_call_exception_handler_can_be_overridden(self, new_loop):
        got = []

        class Mine(type(new_loop())):
            def call_exception_handler(self, context):
                got.append(context["message"])

        loop = new_loop(Mine)
        loop.call_soon(fail, ZeroDivisionError())
        run_turns(loop)
        assert len(got) == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
class TestLeaving:
    def test_leaves_at_once(self, loop, kind):
        ran = []
        loop.call_soon(ran.append, 1)
        loop.call_soon(fail, kind("now"))
        loop.call_soon(ran.append, 2)
        with pytest.raises(kind, match="now"):
            run_turns(loop)
        assert ran == [1]
        assert not loop.is_running()
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        # The rest is still there, in its order.
        loop.call_soon(ran.append, 3)
        run_turns(loop)
        assert ran == [1, 2, 3]

    def test_from_a_timer(self, loop, kind):
        ran = []
        loop.call_at(loop.time() - 2, fail, kind())
        loop.call_at(loop.time() - 1, ran.append, 1)
        with pytest.raises(kind):
            run_turns(loop, 3)
        run_turns(loop, 2)
        assert ran == [1]

    def test_from_a_reader(self, loop, sockets, kind):
        a, b = sockets()
        a.send(b"x")
        loop.add_reader(b, fail, kind())
        with pytest.raises(kind):
            run_turns(loop, 3)
        loop.remove_reader(b)
        run_turns(loop, 2)

    def test_from_a_task(self, loop, kind):
        async def main():
            await asyncio.sleep(0)
            raise kind("task")

        task = loop.create_task(main())
        with pytest.raises(kind, match="task"):
            loop.run_until_complete(task)
        assert task.done()
        assert isinstance(task.exception(), kind)

    def test_from_a_done_callback(self, loop, kind):
        fut = loop.create_future()
        fut.add_done_callback(lambda f: fail(kind()))
        fut.set_result(None)
        with pytest.raises(kind):
            run_turns(loop)
        run_turns(loop)

    def test_not_reported(self, loop, kind, reports):
        loop.call_soon(fail, kind())
        with pytest.raises(kind):
            run_turns(loop)
        run_turns(loop)
        assert reports == []


class TestOtherBaseExceptions:
    def test_go_to_the_handler(self, loop, reports):
        ran = []
        loop.call_soon(fail, Odd("mine"))
        loop.call_soon(ran.append, 1)
        run_turns(loop)
        assert ran == [1]
        assert isinstance(reports[0]["exception"], Odd)

    def test_generator_exit(self, loop, reports):
        loop.call_soon(fail, GeneratorExit())
        run_turns(loop)
        assert isinstance(reports[0]["exception"], GeneratorExit)

    def test_cancelled_error(self, loop, reports):
        loop.call_soon(fail, asyncio.CancelledError())
        run_turns(loop)
        assert isinstance(reports[0]["exception"], asyncio.CancelledError)

    def test_from_a_task_to_its_awaiter(self, run):
        async def main():
            raise Odd("mine")

        with pytest.raises(Odd):
            run(main())


class TestState:
    def test_stop_asked_before_the_interrupt_is_not_carried_over(self, loop):
        def both():
            loop.stop()
            raise KeyboardInterrupt

        loop.call_soon(both)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        # A stop() left over would end this run before its answer.
        assert loop.run_until_complete(asyncio.sleep(0.001, "ran")) == "ran"

    def test_deep_recursion_in_a_callback(self, loop, reports):
        def deep():
            deep()

        loop.call_soon(deep)
        run_turns(loop)
        assert isinstance(reports[0]["exception"], RecursionError)

    def test_system_exit_sets_the_status(self, snippet):
        done = snippet(
            """
            async def main():
                asyncio.get_running_loop().call_soon(sys.exit, 3)
                await asyncio.sleep(60)
            with asyncio.Runner(loop_factory=new_loop) as runner:
                runner.run(main())
            """
        )
        assert done.rc == 3, done.err
