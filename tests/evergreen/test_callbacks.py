"""call_soon, call_later, call_at, handlers, exceptions."""

import functools
import gc
import math
import sys
import time
import weakref

import pytest

from moodloop import evergreen


def test_arguments_reach_the_callback(loop):
    seen = []

    def callback(*args, **kw):
        seen.append((args, kw))

    loop.call_soon(callback, 1, 2, a=3)
    loop.call_later(0.001, callback, 4, b=5)
    loop.call_at(loop.time() + 0.01, callback, c=6)
    loop.run()
    assert seen == [((1, 2), {"a": 3}), ((4,), {"b": 5}), ((), {"c": 6})]


def test_first_in_first_out(loop):
    seen = []
    for number in range(100):
        loop.call_soon(seen.append, number)
    loop.run()
    assert seen == list(range(100))


def test_a_pass_runs_what_was_queued_when_it_began(loop):
    seen = []

    def first():
        seen.append("first")
        loop.call_soon(seen.append, "later")

    loop.call_soon(first)
    loop.call_soon(seen.append, "second")
    loop.run()
    assert seen == ["first", "second", "later"]


def test_callbacks_that_queue_themselves_do_not_starve_the_rest(loop, pipe):
    _, writer = pipe
    turns = []

    def again():
        turns.append(1)
        loop.call_soon(again)

    loop.call_soon(again)
    loop.add_writer(writer, turns.append, 2)  # always ready
    loop.call_later(0.005, loop.stop)
    loop.run()
    assert 1 in turns and 2 in turns


@pytest.mark.parametrize("delay", [0, -1, -math.inf])
def test_no_delay_is_call_soon(loop, delay):
    seen = []
    loop.call_later(delay, seen.append, 1)
    loop.call_soon(seen.append, 2)
    loop.call_at(loop.time() + delay - 1, seen.append, 3)
    loop.run()
    assert seen == [1, 2, 3]


def test_timers_in_order_of_time_then_of_calls(loop):
    seen = []
    when = loop.time() + 0.01
    for number in range(20):
        loop.call_at(when, seen.append, number)
    loop.call_at(when - 0.005, seen.append, "early")
    for number in range(20, 40):
        loop.call_at(when, seen.append, number)
    loop.run()
    assert seen == ["early", *range(40)]


def test_equal_delays_in_order_of_calls(loop):
    seen = []
    for number in range(50):
        loop.call_later(0.005, seen.append, number)
    loop.run()
    assert seen == list(range(50))


def test_a_timer_is_not_early_after_a_slow_callback(loop):
    seen = []

    def slow():
        time.sleep(0.03)
        due = loop.time() + 0.02
        loop.call_later(0.02, lambda: seen.append(loop.time() - due))

    loop.call_soon(slow)
    loop.run()
    assert seen[0] >= 0


def test_time_is_monotonic_time(loop):
    assert abs(loop.time() - time.monotonic()) < 10


@pytest.mark.parametrize(
    "delay, error", [(math.nan, ValueError), ("1", TypeError), (None, TypeError)]
)
def test_bad_delay(loop, delay, error):
    with pytest.raises(error):
        loop.call_later(delay, print)
    loop.run()  # nothing is left of it


# ---- handlers --------------------------------------------------------------------------------


def make_all(loop, pipe, callback):
    """A handler of each kind."""
    return [
        loop.call_soon(callback, 1, a=2),
        loop.call_from_thread(callback, 1, a=2),
        loop.call_later(0, callback, 1, a=2),
        loop.call_later(60, callback, 1, a=2),
        loop.call_at(loop.time() + 60, callback, 1, a=2),
        loop.add_reader(pipe[0], callback, 1, a=2),
        loop.add_writer(pipe[1], callback, 1, a=2),
        loop.add_signal_handler(10, callback, 1, a=2),
    ]


def test_handlers_have_their_parts(loop, pipe):
    callback = functools.partial(print)
    for handler in make_all(loop, pipe, callback):
        assert isinstance(handler, evergreen.Handler)
        assert handler.func is callback
        assert handler.args == (1,)
        assert handler.keywords == {"a": 2}
        with pytest.raises(AttributeError):
            handler.other = 1


def test_a_handler_is_callable(loop):
    seen = []

    def callback(*args, **kw):
        seen.append((args, kw))
        return "result"

    handler = loop.call_soon(callback, 1, a=2, b=3)
    handler.cancel()
    assert handler() == "result"
    assert handler(4, b=5) == "result"
    assert seen == [((1,), {"a": 2, "b": 3}), ((1, 4), {"a": 2, "b": 5})]


def test_repr_names_callback_and_state(loop):
    handler = loop.call_soon(print, 1, end="")
    assert repr(handler) == "<Handler print(1, end='')>"
    handler.cancel()
    assert repr(handler) == "<Handler print(1, end='') cancelled>"


def test_every_kind_can_be_cancelled_any_number_of_times(loop, pipe):
    seen = []
    for handler in make_all(loop, pipe, lambda *args, **kw: seen.append(args)):
        handler.cancel()
        handler.cancel()
    loop.run()  # ends: nothing is left
    assert seen == []
    assert not loop.remove_reader(pipe[0])
    assert not loop.remove_writer(pipe[1])
    assert not loop.remove_signal_handler(10)


def test_cancel_after_the_call_and_after_destroy(loop, pipe):
    handlers = make_all(loop, pipe, lambda *args, **kw: None)
    done = loop.call_later(0.001, loop.stop)
    loop.run()
    done.cancel()
    loop.destroy()
    for handler in handlers:
        handler.cancel()


def test_cancel_in_the_tick_in_which_it_is_due(loop):
    seen = []
    when = loop.time() + 0.01
    victims = []

    def kill():
        seen.append("killed")
        for victim in victims:
            victim.cancel()

    loop.call_at(when, kill)
    victims.append(loop.call_at(when, seen.append, "timer"))
    victims.append(loop.call_at(when, seen.append, "other timer"))
    loop.run()
    assert seen == ["killed"]


def test_cancel_of_oneself(loop):
    seen = []

    def callback():
        handler.cancel()
        seen.append(1)

    handler = loop.call_soon(callback)
    loop.run()
    assert seen == [1]


@pytest.mark.parametrize(
    "schedule",
    [
        lambda loop, callback: loop.call_soon(callback),
        lambda loop, callback: loop.call_from_thread(callback),
        lambda loop, callback: loop.call_later(0, callback),
        lambda loop, callback: loop.call_later(1, callback),
        lambda loop, callback: loop.call_at(0, callback),
        lambda loop, callback: loop.add_reader(0, callback),
        lambda loop, callback: loop.add_writer(1, callback),
        lambda loop, callback: loop.add_signal_handler(10, callback),
    ],
)
def test_what_cannot_be_a_callback(loop, schedule):
    handler = loop.call_soon(print)
    handler.cancel()
    with pytest.raises(TypeError, match="Handler"):
        schedule(loop, handler)
    with pytest.raises(TypeError, match="callable"):
        schedule(loop, 5)
    loop.run()


# ---- exceptions ------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("one"), GeneratorExit(), BaseException("two")])
def test_an_exception_is_printed_and_the_loop_goes_on(loop, capsys, error):
    seen = []

    def fail():
        raise error

    loop.call_soon(fail)
    loop.call_soon(seen.append, 1)
    loop.call_later(0.001, seen.append, 2)
    loop.run()
    assert seen == [1, 2]
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):")
    assert "in fail\n" in err
    assert type(error).__name__ in err.splitlines()[-1]


def test_a_closed_stderr_does_not_end_the_loop(loop, monkeypatch):
    seen = []
    monkeypatch.setattr(sys, "stderr", None)
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(seen.append, 1)
    loop.run()
    assert seen == [1]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, SystemError])
@pytest.mark.parametrize("delay", [0, 0.001])
def test_exceptions_that_leave_run(loop, capsys, kind, delay):
    error = kind("out")
    seen = []

    def fail():
        raise error

    loop.call_later(delay, fail)
    loop.call_later(delay, seen.append, 1)
    with pytest.raises(kind) as caught:
        loop.run_forever()
    assert caught.value is error
    assert not loop.running
    assert seen == []
    assert capsys.readouterr().err == ""
    with pytest.raises(RuntimeError, match="already ended"):
        loop.run()


def test_what_a_callback_held_is_let_go(loop):
    class Thing:
        def method(self):
            pass

    things = [Thing() for _ in range(4)]
    refs = [weakref.ref(thing) for thing in things]
    loop.call_soon(things[0].method)
    loop.call_later(0.001, things[1].method)
    loop.call_later(60, things[2].method).cancel()
    loop.call_soon(lambda thing: 1 / thing, things[3])  # raises
    things.clear()
    sys.stderr, kept = None, sys.stderr
    try:
        loop.run()
    finally:
        sys.stderr = kept
    gc.collect()
    assert [ref() for ref in refs] == [None] * 4
