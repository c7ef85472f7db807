"""Handles: what call_soon and its like return."""

import asyncio
import contextvars
import gc
import weakref

import pytest
from support.loops import PY312, run_turns


def make_soon(loop, *args, **kwargs):
    return loop.call_soon(*args, **kwargs)


def make_threadsafe(loop, *args, **kwargs):
    return loop.call_soon_threadsafe(*args, **kwargs)


def make_later(loop, *args, **kwargs):
    return loop.call_later(1000, *args, **kwargs)


def make_at(loop, *args, **kwargs):
    return loop.call_at(loop.time() + 1000, *args, **kwargs)


EACH = pytest.mark.parametrize(
    "make", [make_soon, make_threadsafe, make_later, make_at], ids=lambda f: f.__name__[5:]
)


@EACH
class TestEach:
    def test_isinstance(self, loop, make):
        handle = make(loop, print)
        assert isinstance(handle, asyncio.Handle)
        assert isinstance(handle, asyncio.TimerHandle) == (make in (make_later, make_at))
        handle.cancel()
        run_turns(loop)

    def test_cancel(self, loop, make):
        handle = make(loop, lambda: 1 / 0)
        assert handle.cancelled() is False
        assert handle.cancel() is None
        assert handle.cancelled() is True
        handle.cancel()
        assert handle.cancelled() is True
        run_turns(loop)

    def test_callback_and_args(self, loop, make):
        handle = make(loop, print, 1, "two")
        assert handle._callback is print
        assert handle._args == (1, "two")
        assert handle._cancelled is False
        handle.cancel()
        assert handle._callback is None
        assert handle._args is None
        assert handle._cancelled is True
        run_turns(loop)

    def test_no_args(self, loop, make):
        handle = make(loop, print)
        assert handle._args in ((), None)
        assert tuple(handle._args or ()) == ()
        handle.cancel()
        run_turns(loop)

    def test_repr(self, loop, make):
        def here():
            pass

        handle = make(loop, here)
        name = "TimerHandle" if make in (make_later, make_at) else "Handle"
        assert name in repr(handle)
        assert "here" in repr(handle)
        handle.cancel()
        assert "cancelled" in repr(handle)
        run_turns(loop)

    def test_weakref(self, loop, make):
        handle = make(loop, print)
        ref = weakref.ref(handle)
        assert ref() is handle
        handle.cancel()
        run_turns(loop, 2)
        del handle
        gc.collect()
        assert ref() is None

    def test_kept_alive_by_the_loop(self, loop, make):
        ref = weakref.ref(make(loop, int))
        gc.collect()
        assert ref() is not None
        ref().cancel()
        run_turns(loop)

    def test_context(self, loop, make):
        context = contextvars.copy_context()
        handle = make(loop, print, context=context)
        assert handle._context is context
        if PY312:
            assert handle.get_context() is context
        handle.cancel()
        run_turns(loop)

    def test_context_is_a_copy_of_the_current_one(self, loop, make):
        var = contextvars.ContextVar("var")
        token = var.set("then")
        handle = make(loop, print)
        var.reset(token)
        assert isinstance(handle._context, contextvars.Context)
        assert handle._context[var] == "then"
        handle.cancel()
        run_turns(loop)

    def test_context_without_variables(self, loop, make):
        handle = contextvars.Context().run(make, loop, print)
        assert isinstance(handle._context, contextvars.Context)
        assert len(handle._context) == 0
        handle.cancel()
        run_turns(loop)

    def test_cycle_through_the_handle_is_freed_after_cancel(self, loop, make):
        class Owner:
            def method(self):
                pass

        owner = Owner()
        owner.handle = make(loop, owner.method)
        ref = weakref.ref(owner)
        owner.handle.cancel()
        del owner
        run_turns(loop, 2)
        gc.collect()
        assert ref() is None

    def test_no_new_attributes(self, loop, make):
        handle = make(loop, print)
        with pytest.raises(AttributeError):
            handle.colour = "red"
        handle.cancel()
        run_turns(loop)

    def test_reads_of_a_missing_attribute(self, loop, make):
        handle = make(loop, print)
        with pytest.raises(AttributeError):
            handle.colour
        handle.cancel()
        run_turns(loop)


class TestCycles:
    def test_owner_and_handle_that_ran(self, loop):
        class Owner:
            def method(self):
                pass

        owner = Owner()
        owner.handle = loop.call_soon(owner.method)
        ref = weakref.ref(owner)
        del owner
        run_turns(loop)
        gc.collect()
        assert ref() is None

    def test_owner_and_timer_that_ran(self, loop):
        class Owner:
            def method(self):
                pass

        owner = Owner()
        owner.handle = loop.call_later(0, owner.method)
        ref = weakref.ref(owner)
        del owner
        run_turns(loop, 2)
        gc.collect()
        assert ref() is None

    def test_waiting_owner_stays(self, loop):
        ran = []

        class Owner:
            def method(self):
                ran.append(1)

        owner = Owner()
        owner.handle = loop.call_soon(owner.method)
        del owner
        gc.collect()
        run_turns(loop)
        assert ran == [1]

    def test_context_holding_its_handle(self, loop):
        class Value:
            pass

        var = contextvars.ContextVar("var")
        context = contextvars.copy_context()
        value = Value()
        context.run(var.set, value)
        value.handle = loop.call_soon(int, context=context)
        ref = weakref.ref(value)
        del value, context
        run_turns(loop)
        gc.collect()
        assert ref() is None

    def test_handle_as_its_own_argument(self, loop):
        class Marker:
            pass

        marker = Marker()
        box = [marker]
        box.append(loop.call_soon(len, box))
        ref = weakref.ref(marker)
        del box, marker
        run_turns(loop)
        gc.collect()
        assert ref() is None

    def test_loop_with_waiting_handles(self, loop_factory):
        # A closed loop and what still points at it go together.
        loop = loop_factory()

        class Owner:
            def method(self):
                pass

        owner = Owner()
        owner.loop = loop
        owner.handle = loop.call_later(1000, owner.method)
        ref = weakref.ref(owner)
        loop.close()
        del loop, owner
        gc.collect()
        assert ref() is None


class TestRepr:
    def test_named_function(self, loop):
        handle = loop.call_soon(run_turns, loop)
        assert repr(handle).startswith("<Handle run_turns(")
        handle.cancel()
        assert repr(handle) == "<Handle cancelled>"
        run_turns(loop)

    def test_callback_with_a_bad_repr(self, loop):
        class Bad:
            def __call__(self):
                pass

            def __repr__(self):
                raise ValueError("no repr")

        handle = loop.call_soon(Bad())
        with pytest.raises(ValueError, match="no repr"):
            repr(handle)
        run_turns(loop)

    def test_debug_tells_where_it_was_made(self, loop):
        loop.set_debug(True)
        handle = loop.call_soon(print)
        assert "created at" in repr(handle)
        assert "test_handles.py" in repr(handle)
        handle.cancel()
        assert "cancelled" in repr(handle)
        assert "print" in repr(handle)
        run_turns(loop)

    def test_debug_keeps_the_repr_of_the_cancelled(self, loop):
        loop.set_debug(True)
        handle = loop.call_later(1000, run_turns, "argument")
        handle.cancel()
        assert "run_turns" in repr(handle)

    def test_source_traceback(self, loop):
        handle = loop.call_soon(int)
        assert handle._source_traceback is None
        loop.set_debug(True)
        handle = loop.call_soon(int)
        frame = handle._source_traceback[-1]
        assert frame.filename.endswith("test_handles.py")
        assert frame.name == "test_source_traceback"
        run_turns(loop)


class TestHash:
    def test_plain_handles_are_by_identity(self, loop):
        a, b = loop.call_soon(int), loop.call_soon(int)
        assert a != b and a == a
        assert len({a, b}) == 2
        run_turns(loop)


@pytest.mark.parametrize("timed", [False, True], ids=["soon", "later"])
def test_long_chain_is_freed(new_loop, timed):
    loop = new_loop()
    handle = None
    for _ in range(200_000):
        if timed:
            handle = loop.call_later(1000, print, handle)
        else:
            handle = loop.call_soon(print, handle)
    loop.close()
    del handle
