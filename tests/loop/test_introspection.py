"""What tools see of a program: its tasks, their call graphs, its debug messages."""

import asyncio
import logging
import os
import subprocess
import sys
import threading

import pytest
from support.loops import PY314, drive, run_turns, until

NEEDS_314 = pytest.mark.skipif(not PY314, reason="asyncio has call graphs from Python 3.14 on")


class TestAllTasks:
    def test_of_a_loop_at_rest(self, loop):
        task = loop.create_task(asyncio.sleep(0))
        assert asyncio.all_tasks(loop) == {task}
        drive(loop, task)
        assert asyncio.all_tasks(loop) == set()

    def test_from_another_thread(self, loop, run):
        async def main():
            other = asyncio.create_task(asyncio.sleep(0))
            seen = await loop.run_in_executor(None, asyncio.all_tasks, loop)
            assert seen >= {asyncio.current_task(), other} - {t for t in (other,) if t.done()}
            await other

        run(main())

    def test_loops_are_apart(self, new_loop):
        first, second = new_loop(), new_loop()
        tasks = [loop.create_task(asyncio.sleep(0)) for loop in (first, second)]
        assert asyncio.all_tasks(first) == {tasks[0]}
        assert asyncio.all_tasks(second) == {tasks[1]}
        for loop, task in zip((first, second), tasks, strict=True):
            drive(loop, task)

    def test_current_task_of_a_callback(self, loop):
        seen = []
        loop.call_soon(lambda: seen.append(asyncio.current_task()))
        run_turns(loop)
        assert seen == [None]


@NEEDS_314
class TestCallGraph:
    def test_capture(self, run):
        async def inner():
            await asyncio.sleep(1000)

        async def outer():
            await asyncio.create_task(inner(), name="inner")

        async def main():
            task = asyncio.create_task(outer(), name="outer")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            (child,) = [t for t in asyncio.all_tasks() if t.get_name() == "inner"]
            graph = asyncio.capture_call_graph(child)
            names = [entry.frame.f_code.co_name for entry in graph.call_stack]
            assert names == ["sleep", "inner"]
            (waiter,) = graph.awaited_by
            assert waiter.future is task
            text = asyncio.format_call_graph(child)
            assert "inner" in text and "outer" in text
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        run(main())

    def test_of_the_caller(self, run):
        async def main():
            graph = asyncio.capture_call_graph()
            assert graph.future is asyncio.current_task()
            assert any(e.frame.f_code.co_name == "main" for e in graph.call_stack)

        run(main())


PROGRAM = """
async def leaf(name):
    print(name, flush=True)
    await asyncio.Event().wait()

async def branch():
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf("one"), name="leaf one")
        group.create_task(leaf("two"), name="leaf two")

async def main():
    asyncio.get_running_loop().add_reader(0, os._exit, 0)
    await asyncio.create_task(branch(), name="branch")

new_loop().run_until_complete(main())
"""


@NEEDS_314
class TestCommand:
    """python -m asyncio ps PID, which reads the tasks out of another process's memory."""

    @pytest.fixture
    def inspect(self, loop_name):
        from support.snippet import PRELUDE, TESTS

        source = PRELUDE.format(name=loop_name) + PROGRAM
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
        with subprocess.Popen(
            [sys.executable, "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
        ) as program:
            assert {program.stdout.readline(), program.stdout.readline()} == {b"one\n", b"two\n"}

            def inspect(command):
                done = subprocess.run(
                    [sys.executable, "-m", "asyncio", command, str(program.pid)],
                    capture_output=True,
                    text=True,
                    timeout=60,
                )
                if done.returncode and "ermission" in done.stderr:
                    pytest.skip("a process may not read another's memory here")
                assert done.returncode == 0, done.stderr
                return done.stdout

            yield inspect
            program.communicate(b"end", timeout=60)
            assert program.returncode == 0

    def test_ps(self, inspect):
        lines = inspect("ps").splitlines()
        for name in ("branch", "leaf one", "leaf two"):
            assert any(name in line for line in lines), lines

    def test_pstree(self, inspect):
        text = inspect("pstree")
        order = [text.index(name) for name in ("(T) branch", "(T) leaf one")]
        assert order == sorted(order)
        assert "(T) leaf two" in text


class TestDebugMessages:
    @pytest.fixture
    def messages(self, loop, log):
        loop.set_debug(True)
        return lambda: log(logging.DEBUG)

    def test_transport(self, loop, messages, sockets, run):
        a, b = sockets()
        lost = threading.Event()

        class Proto(asyncio.Protocol):
            def connection_lost(self, exc):
                lost.set()

        async def main():
            transport, _ = await loop.create_connection(Proto, sock=a)
            transport.pause_reading()
            transport.pause_reading()
            transport.resume_reading()
            transport.resume_reading()
            b.close()
            await until(lost.is_set)

        run(main())
        said = [m for m in messages() if "Transport" in m]
        for what in ("pauses reading", "resumes reading", "received EOF"):
            assert sum(m.endswith(what) for m in said) == 1, said

    def test_server(self, loop, messages, run):
        async def main():
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            host, port = server.sockets[0].getsockname()
            transport, _ = await loop.create_connection(asyncio.Protocol, host, port)
            await until(lambda: any("got a new connection from" in m for m in messages()))
            transport.close()
            server.close()
            await server.wait_closed()
            return port

        port = run(main())
        assert any(f"connected to 127.0.0.1:{port}" in m for m in messages())

    def test_close(self, loop, messages):
        loop.close()
        assert any(m.startswith(f"Close <{type(loop).__name__} ") for m in messages())

    def test_where_the_failing_callback_was_scheduled(self, loop, reports):
        loop.set_debug(True)

        def fails():
            raise ValueError("on purpose")

        loop.call_soon(fails)
        run_turns(loop)
        (report,) = reports
        assert report["source_traceback"][-1].name.startswith("test_where_the_failing")

    def test_default_handler_names_the_callback_that_runs(self, new_loop, log):
        loop = new_loop()
        loop.set_debug(True)

        def reporter():
            loop.call_exception_handler({"message": "something happened"})

        loop.call_soon(reporter)
        run_turns(loop)
        (said,) = [m for m in log(logging.ERROR) if "something happened" in m]
        assert "Handle created at" in said or "Object created at" in said
        assert "test_introspection.py" in said

    def test_slow_callbacks_go_to_the_logger_of_base_events(self, loop, monkeypatch):
        from asyncio import base_events

        said = []

        class Logger:
            @staticmethod
            def warning(text, *args):
                said.append(text % args)

        loop.set_debug(True)
        loop.slow_callback_duration = 0.0
        monkeypatch.setattr(base_events, "logger", Logger)
        run_turns(loop)
        assert said and all(m.startswith("Executing <Handle") for m in said)
