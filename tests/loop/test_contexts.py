"""Context variables through callbacks, timers, readers, signals and tasks."""

import asyncio
import contextvars
import os
import signal

import pytest
from support.loops import run_guarded, run_turns

var = contextvars.ContextVar("var", default="unset")


@pytest.fixture
def theirs():
    context = contextvars.copy_context()
    context.run(var.set, "theirs")
    return context


@pytest.fixture
def mine():
    token = var.set("mine")
    yield
    var.reset(token)


class TestCallbacks:
    def test_current_at_the_call(self, loop, mine):
        got = []
        loop.call_soon(lambda: got.append(var.get()))
        inner = var.set("later")
        run_turns(loop)
        var.reset(inner)
        assert got == ["mine"]

    def test_given(self, loop, theirs):
        got = []
        loop.call_soon(lambda: got.append(var.get()), context=theirs)
        loop.call_later(0, lambda: got.append(var.get()), context=theirs)
        loop.call_at(0, lambda: got.append(var.get()), context=theirs)
        loop.call_soon_threadsafe(lambda: got.append(var.get()), context=theirs)
        run_turns(loop, 3)
        assert got == ["theirs"] * 4

    def test_changes_stay_in_the_given_one(self, loop, theirs):
        loop.call_soon(var.set, "changed", context=theirs)
        run_turns(loop)
        assert theirs[var] == "changed"
        assert var.get() == "unset"

    def test_changes_in_a_copied_one_reach_no_other(self, loop):
        got = []
        loop.call_soon(var.set, "leak")
        loop.call_soon(lambda: got.append(var.get()))
        run_turns(loop)
        assert got == ["unset"]
        assert var.get() == "unset"

    def test_changes_without_any_variable_reach_no_other(self, loop):
        """A loop may share one context between callbacks that have none: not what they set."""
        got = []

        def work():
            loop.call_soon(var.set, "leak")
            for _ in range(3):
                loop.call_soon(lambda: got.append(var.get()))

        contextvars.Context().run(work)
        run_turns(loop)
        contextvars.Context().run(loop.call_soon, lambda: got.append(var.get()))
        run_turns(loop)
        assert got == ["unset"] * 4

    def test_copy_inside_a_callback_is_not_shared(self, loop):
        copies = []

        def keep():
            copies.append(contextvars.copy_context())
            var.set("changed")

        contextvars.Context().run(loop.call_soon, keep)
        contextvars.Context().run(loop.call_soon, keep)
        run_turns(loop)
        assert [c.get(var, "nothing") for c in copies] == ["nothing", "nothing"]

    def test_chain_inherits(self, loop, mine):
        got = []

        def first():
            var.set("second")
            loop.call_soon(second)

        def second():
            got.append(var.get())

        loop.call_soon(first)
        run_turns(loop, 2)
        assert got == ["second"]

    def test_token_of_an_earlier_callback(self, loop, theirs):
        tokens = []
        loop.call_soon(lambda: tokens.append(var.set("x")), context=theirs)
        loop.call_soon(lambda: var.reset(tokens[0]), context=theirs)
        run_turns(loop)
        assert theirs[var] == "theirs"

    def test_exception_leaves_the_context(self, loop, theirs, reports):
        loop.call_soon(lambda: 1 / 0, context=theirs)
        run_turns(loop)
        assert len(reports) == 1
        assert theirs.run(var.get) == "theirs"

    def test_interrupt_leaves_the_context(self, loop, theirs):
        def interrupt():
            raise KeyboardInterrupt

        loop.call_soon(interrupt, context=theirs)
        with pytest.raises(KeyboardInterrupt):
            run_turns(loop)
        assert theirs.run(var.get) == "theirs"
        assert var.get() == "unset"
        run_turns(loop)

    def test_entered_by_the_caller_of_run(self, loop, theirs, reports, log):
        """A callback in the context that run_forever() itself runs in cannot enter it again."""
        ran = []
        loop.call_soon(ran.append, 1, context=theirs)
        theirs.run(run_turns, loop)
        assert ran == []
        # From 3.12 on the handler is to run in that context too, and cannot: its failure is logged.
        told = [str(c["exception"]) for c in reports] + log()
        assert "cannot enter context" in told[0]

    def test_of_a_handle_that_runs_is_the_one_it_runs_in(self, loop):
        variable = contextvars.ContextVar("variable")
        seen = []

        def callback():
            variable.set(1)
            seen.append(handle._context.get(variable))
            loop.stop()

        handle = loop.call_soon(callback)
        run_guarded(loop)
        assert seen == [1]
        assert handle._context.get(variable) == 1

    def test_of_handles_that_run_within_each_other(self, loop):
        """As where a callback runs another by hand: each has a context of its own."""
        variable = contextvars.ContextVar("variable", default=0)
        seen = []

        def inner():
            seen.append(variable.get())
            variable.set(2)

        def outer():
            variable.set(1)
            other._run()
            seen.append(variable.get())
            loop.stop()

        other = loop.call_later(100, inner)
        loop.call_soon(outer)
        run_guarded(loop)
        other.cancel()
        assert seen == [0, 1]


class TestEvents:
    def test_reader_and_writer(self, loop, sockets, mine):
        a, b = sockets()
        got = []

        def note(remove, sock):
            got.append(var.get())
            remove(sock)

        loop.add_reader(b, note, loop.remove_reader, b)
        loop.add_writer(a, note, loop.remove_writer, a)
        a.send(b"x")
        inner = var.set("later")
        run_turns(loop, 3)
        var.reset(inner)
        assert got == ["mine", "mine"]

    def test_reader_keeps_its_context(self, loop, sockets):
        a, b = sockets()
        a.send(b"xyz")
        got = []

        def read():
            b.recv(1)
            got.append(var.get())
            var.set(len(got))
            if len(got) == 3:
                loop.remove_reader(b)
                loop.stop()

        loop.add_reader(b, read)
        run_guarded(loop)
        assert got == ["unset", 1, 2]
        assert var.get() == "unset"

    def test_signal_handler(self, loop, mine):
        got = []

        def on_signal():
            got.append(var.get())
            loop.stop()

        loop.add_signal_handler(signal.SIGUSR1, on_signal)
        inner = var.set("later")
        loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        run_guarded(loop)
        var.reset(inner)
        loop.remove_signal_handler(signal.SIGUSR1)
        assert got == ["mine"]


class TestTasks:
    def test_isolated(self, run):
        async def child(value):
            var.set(value)
            await asyncio.sleep(0)
            return var.get()

        async def main():
            got = await asyncio.gather(*(child(i) for i in range(5)))
            return got, var.get()

        assert run(main()) == ([0, 1, 2, 3, 4], "unset")

    def test_protocol_callbacks(self, loop, sockets, run, mine):
        """connection_made, data_received and connection_lost see the creator's variables."""
        a, b = sockets()
        got = []

        class Proto(asyncio.Protocol):
            def connection_made(self, transport):
                got.append(var.get())

            def data_received(self, data):
                got.append(var.get())

            def connection_lost(self, exc):
                got.append(var.get())
                lost.set_result(None)

        lost = loop.create_future()

        async def main():
            await loop.create_connection(Proto, sock=a)
            b.send(b"x")
            while len(got) < 2:
                await asyncio.sleep(0)
            b.close()
            await lost

        run(main())
        assert got == ["mine"] * 3

    def test_runner_context(self, loop_factory):
        async def set_it():
            var.set("kept")

        async def get_it():
            return var.get()

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(set_it())
            assert runner.run(get_it()) == "kept"
