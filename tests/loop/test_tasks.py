"""Tasks and futures on the loop: create_task per version, factories, eager tasks."""

import asyncio
import contextvars
import gc
import inspect
import weakref

import pytest
from support.loops import PY312, PY314, run_turns

var = contextvars.ContextVar("var", default="unset")


async def answer(value=42):
    await asyncio.sleep(0)
    return value


async def read_var():
    await asyncio.sleep(0)
    return var.get()


class TestFutures:
    def test_create_future(self, loop):
        fut = loop.create_future()
        assert isinstance(fut, asyncio.Future)
        assert fut.get_loop() is loop
        assert not fut.done()

    def test_result(self, loop, run):
        async def main():
            fut = loop.create_future()
            loop.call_soon(fut.set_result, "x")
            return await fut

        assert run(main()) == "x"

    def test_done_callbacks_run_in_order(self, loop):
        ran = []
        fut = loop.create_future()
        for i in range(5):
            fut.add_done_callback(lambda f, i=i: ran.append((i, f.result())))
        fut.set_result("x")
        assert ran == []
        run_turns(loop)
        assert ran == [(i, "x") for i in range(5)]

    def test_done_callback_context(self, loop):
        got = []
        fut = loop.create_future()
        context = contextvars.copy_context()
        context.run(var.set, "theirs")
        fut.add_done_callback(lambda f: got.append(var.get()), context=context)
        fut.set_result(None)
        run_turns(loop)
        assert got == ["theirs"]

    def test_never_retrieved_exception_is_reported(self, loop, reports):
        fut = loop.create_future()
        fut.set_exception(ZeroDivisionError("mine"))
        del fut
        gc.collect()
        (context,) = reports
        assert context["message"] == "Future exception was never retrieved"


class TestCreateTask:
    def test_is_a_task(self, loop, run):
        async def main():
            task = loop.create_task(answer())
            assert isinstance(task, asyncio.Task)
            assert task in asyncio.all_tasks()
            return await task

        assert run(main()) == 42

    def test_before_the_run(self, loop, run):
        task = loop.create_task(answer())
        assert task.get_loop() is loop
        assert run(task) == 42

    def test_name(self, loop, run):
        task = loop.create_task(answer(), name="mine")
        assert task.get_name() == "mine"
        run(task)

    def test_default_name(self, loop, run):
        task = loop.create_task(answer())
        assert task.get_name().startswith("Task-")
        run(task)

    def test_name_not_a_string(self, loop, run):
        task = loop.create_task(answer(), name=42)
        assert task.get_name() == "42"
        run(task)

    def test_context(self, loop, run):
        context = contextvars.copy_context()
        context.run(var.set, "theirs")
        assert run(loop.create_task(read_var(), context=context)) == "theirs"
        assert run(loop.create_task(read_var())) == "unset"

    def test_context_is_copied_when_made(self, loop, run):
        token = var.set("then")
        task = loop.create_task(read_var())
        var.reset(token)
        assert run(task) == "then"

    def test_positional_name(self, loop):
        coro = answer()
        with pytest.raises(TypeError):
            loop.create_task(coro, "name")
        coro.close()

    def test_unknown_keyword(self, loop):
        coro = answer()
        with pytest.raises(TypeError):
            loop.create_task(coro, colour="red")
        coro.close()

    def test_loop_is_not_for_the_caller(self, loop):
        coro = asyncio.sleep(0)
        with pytest.raises(TypeError, match="'loop'"):
            loop.create_task(coro, loop=loop)
        coro.close()

    def test_not_a_coroutine(self, loop):
        with pytest.raises(TypeError):
            loop.create_task(42)

    def test_class_is_looked_up_when_called(self, loop, run, monkeypatch):
        class Mine(asyncio.Task):
            pass

        monkeypatch.setattr(asyncio.tasks, "Task", Mine)
        task = loop.create_task(answer())
        assert type(task) is Mine
        assert loop.run_until_complete(task) == 42

    def test_current_task(self, loop, run):
        async def main():
            return asyncio.current_task()

        task = loop.create_task(main())
        assert run(task) is task
        assert asyncio.current_task(loop) is None

    def test_exception_never_retrieved(self, loop, reports):
        async def fail():
            raise ZeroDivisionError("mine")

        task = loop.create_task(fail())
        run_turns(loop, 2)
        del task
        gc.collect()
        (context,) = reports
        assert context["message"] == "Task exception was never retrieved"
        assert isinstance(context["exception"], ZeroDivisionError)

    def test_destroyed_pending(self, loop, reports):
        async def wait(fut):
            await fut

        task = loop.create_task(wait(loop.create_future()))
        run_turns(loop, 2)
        del task
        gc.collect()
        (context,) = reports
        assert context["message"] == "Task was destroyed but it is pending!"
        # From 3.14 on the task, told of and alive again, counts until it is collected.
        del context
        reports.clear()
        gc.collect()

    def test_debug_gives_a_source_traceback(self, loop, run):
        loop.set_debug(True)
        task = loop.create_task(answer())
        assert task._source_traceback[-1].name == "test_debug_gives_a_source_traceback"
        run(task)

    def test_cancel_and_uncancel(self, loop, run):
        async def main():
            task = loop.create_task(asyncio.Event().wait())
            await asyncio.sleep(0)
            task.cancel("why")
            with pytest.raises(asyncio.CancelledError, match="why"):
                await task
            assert task.cancelled()

        run(main())

    def test_freed_when_done(self, loop, run):
        task = loop.create_task(answer())
        ref = weakref.ref(task)
        run(task)
        del task
        run_turns(loop, 2)
        gc.collect()
        assert ref() is None


class TestFactory:
    def test_none_at_first(self, loop):
        assert loop.get_task_factory() is None

    def test_called(self, loop, run):
        calls = []

        def make(loop, coro, **kwargs):
            calls.append(kwargs)
            return asyncio.Task(coro, loop=loop, **kwargs)

        loop.set_task_factory(make)
        assert loop.get_task_factory() is make
        assert loop.run_until_complete(loop.create_task(answer())) == 42
        assert len(calls) == 1
        assert calls[0].get("context") is None
        loop.set_task_factory(None)
        assert loop.get_task_factory() is None

    def test_name_reaches_the_task(self, loop, run):
        def make(loop, coro, **kwargs):
            return asyncio.Task(coro, loop=loop, **kwargs)

        loop.set_task_factory(make)
        task = loop.create_task(answer(), name="mine")
        assert task.get_name() == "mine"
        loop.run_until_complete(task)

    def test_context_reaches_the_factory(self, loop):
        seen = []

        def make(loop, coro, **kwargs):
            seen.append(kwargs["context"])
            return asyncio.Task(coro, loop=loop, **kwargs)

        loop.set_task_factory(make)
        context = contextvars.copy_context()
        loop.run_until_complete(loop.create_task(answer(), context=context))
        assert seen == [context]

    @pytest.mark.skipif(not PY314, reason="the factory gets the caller's keywords from 3.14 on")
    def test_any_number_of_keywords(self, loop):
        seen = []

        def factory(loop, coro, **kwargs):
            coro.close()
            seen.append(kwargs)
            return loop.create_future()

        keywords = {f"keyword_{i}": i for i in range(50)}
        loop.set_task_factory(factory)
        loop.create_task(asyncio.sleep(0), **keywords)
        assert seen == [keywords]

    def test_not_callable(self, loop):
        with pytest.raises(TypeError, match="task factory must be a callable or None"):
            loop.set_task_factory(42)

    def test_that_raises(self, loop):
        def make(loop, coro, **kwargs):
            raise ZeroDivisionError

        loop.set_task_factory(make)
        coro = answer()
        with pytest.raises(ZeroDivisionError):
            loop.create_task(coro)
        coro.close()

    def test_signature_of_create_task_is_that_of_stock(self, loop):
        ours = inspect.signature(loop.create_task)
        stock = inspect.signature(asyncio.BaseEventLoop.create_task)
        assert list(ours.parameters) == list(stock.parameters)[1:]


if PY312:

    class TestEager:
        def test_runs_at_once(self, loop, run):
            async def main():
                loop.set_task_factory(asyncio.eager_task_factory)
                ran = []

                async def child():
                    ran.append(asyncio.current_task())

                task = loop.create_task(child())
                assert ran == [task]
                assert task.done()
                assert asyncio.current_task() is not task
                loop.set_task_factory(None)

            run(main())

        def test_goes_on_later(self, loop, run):
            async def main():
                loop.set_task_factory(asyncio.eager_task_factory)
                task = loop.create_task(answer())
                assert not task.done()
                loop.set_task_factory(None)
                return await task

            assert run(main()) == 42

        def test_outside_of_the_run_it_waits(self, loop, run):
            loop.set_task_factory(asyncio.eager_task_factory)
            ran = []

            async def child():
                ran.append(1)

            task = loop.create_task(child())
            assert ran == []
            loop.set_task_factory(None)
            run(task)
            assert ran == [1]


class TestGroups:
    def test_task_group(self, run):
        async def main():
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(answer(i)) for i in range(10)]
            return [t.result() for t in tasks]

        assert run(main()) == list(range(10))

    def test_task_group_cancels_on_error(self, run):
        async def fail():
            raise ZeroDivisionError

        async def main():
            with pytest.raises(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    waiting = group.create_task(asyncio.Event().wait())
                    group.create_task(fail())
            assert waiting.cancelled()

        run(main())

    def test_timeout(self, run):
        async def main():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()

        run(main())

    def test_queue(self, run):
        async def main():
            queue = asyncio.Queue(3)

            async def produce():
                for i in range(100):
                    await queue.put(i)

            task = asyncio.create_task(produce())
            got = [await queue.get() for _ in range(100)]
            await task
            return got

        assert run(main()) == list(range(100))
