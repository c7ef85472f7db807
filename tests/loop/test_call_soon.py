"""call_soon: order, arguments, contexts, errors."""

import asyncio
import contextvars
import functools
import weakref

import pytest
from support.loops import run_guarded, run_turns


class TestOrder:
    def test_fifo(self, loop):
        ran = []
        for i in range(5000):
            loop.call_soon(ran.append, i)
        run_turns(loop)
        assert ran == list(range(5000))

    def test_fifo_while_growing(self, loop):
        ran = []

        def more(depth, label):
            ran.append((depth, label))
            if depth < 6:
                for i in range(3):
                    loop.call_soon(more, depth + 1, label * 3 + i)

        more(0, 0)
        run_turns(loop, 8)
        assert ran == sorted(ran)
        assert len(ran) == sum(3**d for d in range(7))

    def test_interleaved_adds_and_runs(self, loop):
        # The ring wraps around at many different places.
        ran, expected, n = [], [], 0
        for size in [1, 7, 64, 3, 129, 2, 1000, 5, 31] * 5:
            for _ in range(size):
                loop.call_soon(ran.append, n)
                expected.append(n)
                n += 1
            run_turns(loop)
        assert ran == expected

    def test_not_run_inside_the_call(self, loop):
        ran = []
        loop.call_soon(ran.append, 1)
        assert ran == []
        run_turns(loop)

    def test_before_a_zero_delay(self, loop):
        ran = []
        loop.call_later(0, ran.append, "timer")
        loop.call_soon(ran.append, "soon")
        run_turns(loop, 2)
        assert ran == ["soon", "timer"]


class TestCancel:
    def test_same_turn(self, loop):
        ran = []
        loop.call_soon(lambda: victim.cancel())
        victim = loop.call_soon(ran.append, "victim")
        loop.call_soon(ran.append, "after")
        run_turns(loop)
        assert ran == ["after"]

    def test_self_while_running(self, loop):
        ran = []

        def me():
            handle.cancel()
            ran.append(handle.cancelled())

        handle = loop.call_soon(me)
        run_turns(loop)
        assert ran == [True]

    def test_after_it_ran(self, loop):
        ran = []
        handle = loop.call_soon(ran.append, 1)
        run_turns(loop)
        assert not handle.cancelled()
        handle.cancel()
        assert handle.cancelled()
        assert ran == [1]

    def test_all_of_many(self, loop):
        ran = []
        handles = [loop.call_soon(ran.append, i) for i in range(2000)]
        for h in handles[::2]:
            h.cancel()
        run_turns(loop)
        assert ran == list(range(1, 2000, 2))


class TestArguments:
    @pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 8, 17, 200])
    def test_any_number(self, loop, count):
        got = []
        loop.call_soon(lambda *args: got.append(args), *range(count))
        run_turns(loop)
        assert got == [tuple(range(count))]

    @pytest.mark.parametrize("count", [0, 1, 3, 9])
    def test_with_a_context(self, loop, count):
        got = []
        context = contextvars.copy_context()
        loop.call_soon(lambda *args: got.append(args), *range(count), context=context)
        run_turns(loop)
        assert got == [tuple(range(count))]

    @pytest.mark.parametrize(
        "make",
        [
            lambda got: got.append,
            lambda got: functools.partial(list.append, got),
            lambda got: lambda x: got.append(x),
            lambda got: type("C", (), {"__call__": lambda self, x: got.append(x)})(),
            lambda got: type("C", (), {"m": classmethod(lambda cls, x: got.append(x))}).m,
            lambda got: type("C", (), {"__init__": lambda self, x: got.append(x)}),
        ],
        ids=["builtin", "partial", "lambda", "callable", "classmethod", "class"],
    )
    def test_any_callable(self, loop, make):
        got = []
        loop.call_soon(make(got), "x")
        run_turns(loop)
        assert got == ["x"]

    def test_callback_by_name(self, loop):
        got = []
        loop.call_soon(callback=functools.partial(got.append, 1))
        run_turns(loop)
        assert got == [1]

    def test_no_callback(self, loop):
        with pytest.raises(TypeError):
            loop.call_soon()

    def test_unknown_keyword(self, loop):
        with pytest.raises(TypeError, match="colour"):
            loop.call_soon(print, colour="red")

    def test_none_context_is_the_current_one(self, loop):
        var = contextvars.ContextVar("var", default="unset")
        got = []
        token = var.set("here")
        loop.call_soon(lambda: got.append(var.get()), context=None)
        var.reset(token)
        run_turns(loop)
        assert got == ["here"]

    def test_arguments_live_until_it_ran(self, loop):
        class Thing:
            pass

        thing = Thing()
        ref = weakref.ref(thing)
        loop.call_soon(lambda x: None, thing)
        del thing
        assert ref() is not None
        run_turns(loop)
        assert ref() is None

    def test_cancel_frees_arguments(self, loop):
        class Thing:
            def use(self, other):
                raise AssertionError

        a, b = Thing(), Thing()
        refs = [weakref.ref(a), weakref.ref(b)]
        handle = loop.call_soon(a.use, b)
        del a, b
        handle.cancel()
        assert [r() for r in refs] == [None, None]
        run_turns(loop)


class TestErrors:
    def test_not_callable_is_reported_or_refused(self, loop, reports):
        # Outside of debug mode nothing is checked at the call.
        loop.call_soon(42)
        run_turns(loop)
        (context,) = reports
        assert isinstance(context["exception"], TypeError)

    def test_exception_goes_on_with_the_next(self, loop, reports):
        ran = []
        loop.call_soon(lambda: 1 / 0)
        loop.call_soon(ran.append, "next")
        run_turns(loop)
        assert ran == ["next"]
        (context,) = reports
        assert isinstance(context["exception"], ZeroDivisionError)
        assert context["message"].startswith("Exception in callback ")
        assert isinstance(context["handle"], asyncio.Handle)

    def test_wrong_number_of_arguments(self, loop, reports):
        loop.call_soon(lambda: None, 1, 2)
        run_turns(loop)
        assert isinstance(reports[0]["exception"], TypeError)

    def test_context_of_wrong_type(self, loop, reports):
        try:
            loop.call_soon(print, context=42)
        except TypeError:
            return
        run_turns(loop)
        assert isinstance(reports[0]["exception"], (AttributeError, TypeError))

    def test_context_already_entered(self, loop, reports):
        context = contextvars.copy_context()
        ran = []

        def outer():
            loop.call_soon(ran.append, "inner", context=context)
            loop.call_soon(loop.stop)
            with pytest.raises(RuntimeError):
                context.run(print)

        loop.call_soon(outer, context=context)
        run_guarded(loop)
        assert ran == ["inner"]
        assert reports == []


class TestStock:
    """Names that other libraries reach for."""

    def test_ready_has_a_length(self, loop):
        assert len(loop._ready) == 0
        handle = loop.call_soon(print)
        assert len(loop._ready) == 1
        assert list(loop._ready) == [handle]
        handle.cancel()
        run_turns(loop)
        assert len(loop._ready) == 0

    def test_handle_can_be_run_by_hand(self, loop):
        got = []
        handle = loop.call_soon(got.append, 1)
        handle._run()
        assert got == [1]
        handle.cancel()
        run_turns(loop)

    def test_handle_made_by_hand(self, loop):
        got = []
        handle = asyncio.Handle(got.append, (1,), loop)
        handle._run()
        assert got == [1]
        timer = asyncio.TimerHandle(5, got.append, (2,), loop)
        assert timer.when() == 5
        timer._run()
        timer.cancel()
        assert got == [1, 2]
