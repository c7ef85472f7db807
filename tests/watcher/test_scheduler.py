import asyncio
import decimal
import fractions
import gc
import math
import threading
import warnings
import weakref

import pytest
from support import leaks

import moodloop
from moodloop import event


class Odd(Exception):
    pass


def nothing(*args):
    pass


def in_an_hour(watcher, now):
    return now + 3600


def at_once(watcher, now):
    return now


def test_calls_back_at_the_times_it_is_given(any_loop):
    order = []
    times = []

    def reschedule(watcher, now):
        assert now == any_loop.now()
        times.append(now + 0.005)
        order.append("ask")
        return times[-1]

    def callback(watcher, revents):
        order.append(revents)
        assert any_loop.now() >= times[-2]
        assert watcher.at == times[-1] and watcher.active
        if len(times) == 4:
            watcher.stop()

    watcher = any_loop.scheduler(reschedule, callback)
    assert (watcher.at, watcher.reschedule, order) == (0.0, reschedule, [])
    watcher.start()
    assert order == ["ask"] and watcher.at == times[0]
    any_loop.start()
    assert order == ["ask"] + ["ask", event.EV_PERIODIC] * 3
    assert watcher.at == times[-1] and not watcher.active


def test_arguments(loop):
    for make in (
        lambda: event.Scheduler(loop, in_an_hour, nothing, 1, 2),
        lambda: event.Scheduler(in_an_hour, loop, nothing, 1, 2),
        lambda: event.Scheduler(
            loop=loop, reschedule=in_an_hour, callback=nothing, data=1, priority=2
        ),
        lambda: event.Scheduler(loop, scheduler=in_an_hour, callback=nothing, data=1, priority=2),
        lambda: loop.scheduler(scheduler=in_an_hour, callback=nothing, data=1, priority=2),
    ):
        watcher = make()
        assert (watcher.loop, watcher.reschedule, watcher.scheduler) == (
            loop,
            in_an_hour,
            in_an_hour,
        )
        assert (watcher.callback, watcher.data, watcher.priority) == (nothing, 1, 2)
    for args, kwargs in (
        ((loop, 5, nothing), {}),
        ((loop, None, nothing), {}),
        ((loop, nothing), {}),
        ((loop,), {"callback": nothing}),
        ((loop,), {"callback": nothing, "scheduler": 5}),
        ((loop, nothing, nothing), {"scheduler": nothing}),
        ((loop,), {"callback": nothing, "scheduler": nothing, "reschedule": nothing}),
        ((loop, nothing, nothing), {"wrong": 1}),
    ):
        with pytest.raises(TypeError):
            event.Scheduler(*args, **kwargs)
    with pytest.raises(TypeError):
        loop.timer(0, 0, nothing, scheduler=1)
    assert "stopped reschedule=<function in_an_hour" in repr(watcher)


def test_attributes(loop):
    watcher = loop.scheduler(in_an_hour, nothing)
    for name in ("reschedule", "scheduler"):
        with pytest.raises(TypeError):
            setattr(watcher, name, 5)
        with pytest.raises(AttributeError):
            delattr(watcher, name)
        setattr(watcher, name, at_once)
        assert watcher.reschedule is watcher.scheduler is at_once
        watcher.set(in_an_hour)
        assert watcher.reschedule is in_an_hour
    with pytest.raises(TypeError):
        watcher.set(5)
    watcher.set(scheduler=at_once)
    for change in (lambda: setattr(watcher, "at", 1), lambda: delattr(watcher, "at")):
        with pytest.raises(AttributeError):
            change()


def test_repr_of_one_that_is_its_own_callable(loop):
    class Hourly(event.Scheduler):
        def __init__(self, loop):
            super().__init__(loop, self.next, nothing)

        def next(self, watcher, now):
            return now + 3600

    text = repr(Hourly(loop))
    assert text.startswith("<Hourly stopped reschedule=<bound method ") and "..." in text


@pytest.mark.parametrize("number", [int, float, fractions.Fraction, decimal.Decimal])
def test_real_numbers(loop, number):
    watcher = loop.scheduler(lambda w, now: number(now + 2), nothing)
    watcher.start()
    assert abs(watcher.at - loop.now()) <= 3
    watcher.stop()


def test_now_itself_is_no_past(loop, guarded):
    seen = []
    loop.scheduler(at_once, lambda w, r: (seen.append(r), len(seen) == 3 and w.stop())).start()
    guarded()
    assert seen == [event.EV_PERIODIC] * 3


def test_reset(loop):
    answers = [100, 200, 300]
    watcher = loop.scheduler(lambda w, now: now + answers.pop(0), nothing)
    watcher.reset()  # starts it
    assert watcher.active and watcher.at == pytest.approx(loop.now() + 100)
    watcher.feed(event.EV_CUSTOM)
    watcher.reset()
    assert watcher.at == loop.now() + 200 and not watcher.pending
    watcher.reschedule = lambda w, now: now + 1
    assert watcher.at == loop.now() + 200
    watcher.reset()
    assert watcher.at == loop.now() + 1 and answers == [300]
    watcher.stop()


def test_start_keeps_a_pending_event(loop):
    seen = []
    watcher = loop.scheduler(in_an_hour, lambda w, r: seen.append(r))
    watcher.feed(event.EV_CUSTOM)
    watcher.start()
    assert watcher.pending
    loop.start(event.EVRUN_NOWAIT)
    assert seen == [event.EV_CUSTOM]
    loop.verify()
    watcher.stop()


def test_order(loop):
    """The events keep their places although they are asked for the next time meanwhile."""
    order = []

    def note(name):
        return lambda w, r: (order.append(name), w.stop())

    def soon(seconds):
        times = iter([seconds, 3600])
        return lambda w, now: (order.append(("ask", w.data)), start + next(times))[1]

    start = event.time() + 0.01
    for data, seconds, priority in (("c", 0.003, 0), ("a", 0.001, 0), ("b", 0.002, 0), ("d", 0, 2)):
        loop.scheduler(soon(seconds), note(data), data, priority).start()
    loop.periodic(start + 0.0015, 0, note("periodic")).start()
    loop.timer(0, 0, note("timer")).start()
    loop.check(note("check")).start()
    order.clear()
    event.sleep(0.03)
    loop.start(event.EVRUN_NOWAIT)
    loop.verify()
    assert order == [
        *(("ask", name) for name in "dabc"),
        *("d", "check", "a", "periodic", "b", "c", "timer"),
    ]


def test_ref(loop):
    watcher = loop.scheduler(in_an_hour, nothing)
    watcher.ref = False
    watcher.start()
    assert loop.start() is False and watcher.active
    loop.verify()
    watcher.reset()
    loop.suspend()
    loop.resume()
    assert loop.start() is False
    watcher.stop()
    loop.verify()
    assert loop.start() is False


def test_unreferenced_that_fails(loop, unraisable):
    def reschedule(watcher, now):
        asked.append(now)
        if len(asked) > 1:
            raise Odd
        return now

    asked = []
    watcher = loop.scheduler(reschedule, nothing)
    watcher.ref = False
    watcher.start()
    keep = loop.timer(0.001, 0.001, lambda w, r: watcher.active or w.stop())
    keep.start()
    with pytest.warns(RuntimeWarning):
        loop.start()
    loop.verify()
    assert loop.start() is False and len(unraisable) == 1


# ---- what goes wrong ------------------------------------------------------------------------

BAD = {
    "raises": (lambda now: 1 / 0, ZeroDivisionError),
    "string": (lambda now: "1", TypeError),
    "none": (lambda now: None, TypeError),
    "complex": (lambda now: 1j, TypeError),
    "too large": (lambda now: 10**400, OverflowError),
    "nan": (lambda now: math.nan, event.Error),
    "infinity": (lambda now: math.inf, event.Error),
    "minus infinity": (lambda now: -math.inf, event.Error),
    "past": (lambda now: math.nextafter(now, 0), event.Error),
    "long past": (lambda now: -1, event.Error),
    "true": (lambda now: True, event.Error),
}


@pytest.fixture(params=BAD)
def bad(request):
    return BAD[request.param]


def test_bad_from_the_first(loop, bad, unraisable):
    answer, exc = bad
    reschedule = lambda w, now: answer(now)
    watcher = loop.scheduler(reschedule, nothing)
    for start in (watcher.start, watcher.reset):
        with pytest.warns(RuntimeWarning, match=f"Scheduler stopped.*{exc.__name__}"):
            start()
        assert not watcher.active and watcher.at == 0.0
    assert [(type(e), o) for e, o in unraisable] == [(exc, reschedule)] * 2
    assert loop.start() is False
    watcher.reschedule = in_an_hour
    watcher.start()
    assert watcher.active
    watcher.stop()


def test_bad_later(any_loop, bad, unraisable):
    answer, exc = bad
    asked = []
    seen = []

    def reschedule(watcher, now):
        asked.append(now)
        return now + 0.001 if len(asked) < 3 else answer(now)

    watcher = any_loop.scheduler(reschedule, lambda w, r: seen.append((r, w.active)))
    watcher.start()
    with pytest.warns(RuntimeWarning, match=exc.__name__):
        assert any_loop.start() is False
    # the time that had come is told all the same
    assert seen == [(event.EV_PERIODIC, True), (event.EV_PERIODIC, False)]
    assert [(type(e), o) for e, o in unraisable] == [(exc, reschedule)]
    any_loop.verify()


def test_bad_while_active_and_reset(loop, unraisable):
    watcher = loop.scheduler(in_an_hour, nothing)
    watcher.start()
    watcher.feed(event.EV_CUSTOM)
    watcher.reschedule = lambda w, now: now - 1
    with pytest.warns(RuntimeWarning):
        watcher.reset()
    assert not watcher.active and not watcher.pending and len(unraisable) == 1


@pytest.mark.parametrize("how", ["fatal", "debug", "hook", "base"])
def test_fatal_ones(loop, how):
    exc = KeyboardInterrupt() if how == "base" else Odd()
    answers = [0.001]
    seen = []

    def reschedule(watcher, now):
        if answers:
            return now + answers.pop()
        raise exc

    if how == "fatal":
        reschedule = event.fatal(reschedule)
    elif how == "debug":
        loop.debug = True
    elif how == "hook":
        loop.callback = lambda got: got.invoke()
    watcher = loop.scheduler(reschedule, lambda w, r: seen.append(r))
    watcher.start()
    with pytest.warns(RuntimeWarning), pytest.raises(type(exc)) as caught:
        loop.start()
    assert caught.value is exc
    assert not watcher.active and watcher.pending and seen == []
    loop.start()
    assert seen == [event.EV_PERIODIC]
    for start in (watcher.start, watcher.reset):
        with pytest.warns(RuntimeWarning), pytest.raises(type(exc)) as caught:
            start()
        assert caught.value is exc and not watcher.active
    assert loop.start() is False


def test_fatal_from_a_callback(loop):
    """start() raises it there, and the run ends with it where it is not caught."""
    watcher = loop.scheduler(event.fatal(lambda w, now: 1 / 0), nothing)

    def caught(timer, revents):
        with pytest.warns(RuntimeWarning), pytest.raises(ZeroDivisionError):
            watcher.start()

    def uncaught(timer, revents):
        with pytest.warns(RuntimeWarning):
            watcher.start()

    loop.timer(0, 0, caught).start()
    loop.start()
    loop.timer(0, 0, uncaught).start()
    with pytest.raises(ZeroDivisionError):
        loop.start()


def test_the_rest_is_asked_in_the_next_run(loop):
    asked = []

    def reschedule(watcher, now):
        asked.append(watcher.data)
        if len(asked) > 3:
            raise Odd
        return now

    loop.debug = True
    watchers = [loop.scheduler(reschedule, nothing, i) for i in range(3)]
    for watcher in watchers:
        watcher.start()
    event.sleep(0.001)
    for left in (2, 1, 0):
        with pytest.warns(RuntimeWarning), pytest.raises(Odd):
            loop.start()
        assert sum(w.active for w in watchers) == left
    assert sorted(asked) == [0, 0, 1, 1, 2, 2]
    assert loop.start() is False


def test_warning_as_an_error(loop, unraisable):
    watcher = loop.scheduler(lambda w, now: 1 / 0, nothing)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        watcher.start()
        loop.debug = True
        with pytest.raises(ZeroDivisionError):
            watcher.start()
    assert [type(e) for e, _ in unraisable] == [ZeroDivisionError, RuntimeWarning, RuntimeWarning]


def test_restarted_by_the_report_of_its_failure(loop, monkeypatch):
    def hook(unraisable):
        states.append(watcher.active)
        watcher.reschedule = in_an_hour
        watcher.start()

    states = []
    watcher = loop.scheduler(lambda w, now: 1 / 0, nothing)
    monkeypatch.setattr("sys.unraisablehook", hook)
    with pytest.warns(RuntimeWarning):
        watcher.start()
    assert states == [False] and watcher.active
    watcher.reschedule = lambda w, now: "x"
    loop.suspend()
    loop.resume()  # all are asked again
    with pytest.warns(RuntimeWarning):
        loop.start(event.EVRUN_NOWAIT)
    assert states == [False] * 2 and watcher.active
    watcher.stop()


# ---- it cannot change the loop --------------------------------------------------------------


def changes(loop, timer):
    yield from (loop.start, loop.invoke, loop.reset, loop.update, loop.close)
    yield from (loop.suspend, loop.resume, loop.ref, loop.unref)
    yield lambda: loop.now(True)
    yield lambda: loop.once(None, 0, 1, nothing)
    yield lambda: loop.feed_fd_event(0, 1)
    yield lambda: loop.feed_signal_event(10)
    yield lambda: setattr(loop, "callback", nothing)
    yield lambda: setattr(loop, "debug", True)
    yield lambda: setattr(loop, "io_interval", 1)
    yield lambda: loop.timer(0, 0, nothing)
    yield lambda: timer.__init__(loop, 0, 0, nothing)
    yield from (timer.start, timer.stop, timer.reset, timer.clear)
    yield lambda: timer.invoke(1)
    yield lambda: timer.feed(1)
    yield lambda: timer.set(1, 0)
    yield lambda: setattr(timer, "repeat", 1)
    yield lambda: setattr(timer, "callback", nothing)
    yield lambda: setattr(timer, "priority", 1)
    yield lambda: setattr(timer, "ref", False)


def changes_to_itself(watcher):
    yield from (watcher.start, watcher.stop, watcher.reset)
    yield lambda: setattr(watcher, "reschedule", nothing)
    yield lambda: watcher.__init__(watcher.loop, nothing, nothing)


@pytest.mark.parametrize("when", ["start", "event"])
def test_cannot_change_the_loop(loop, when):
    timer = loop.timer(3600, 0, nothing)
    timer.ref = False
    timer.start()
    asked = []

    def reschedule(watcher, now):
        asked.append(now)
        if when == "event" and len(asked) == 1:
            return now
        for change in (*changes(loop, timer), *changes_to_itself(watcher)):
            with pytest.raises(event.Error):
                change()
        # reading is fine, and so are `data` and another loop
        assert loop.now() == now and timer.active and timer.remaining and loop.watchers()
        loop.data = watcher.data = timer.data = now
        with event.Loop() as other:
            other.timer(0, 0, nothing).start()
            other.start()
        return now + 3600

    loop.debug = True
    watcher = loop.scheduler(reschedule, nothing)
    watcher.start()
    event.sleep(0.001)
    loop.start(event.EVRUN_NOWAIT)
    assert len(asked) == (1 if when == "start" else 2)
    assert watcher.active and loop.data == asked[-1]
    loop.update()  # it is over
    watcher.stop()


def test_other_threads_can_change_the_loop(loop):
    def reschedule(watcher, now):
        asked.append(now)
        if len(asked) == 1:
            return now

        def change():
            watcher.stop()
            other.start()
            watcher.reschedule = in_an_hour
            watcher.start()
            watcher.feed(event.EV_CUSTOM)
            done.append(True)

        thread = threading.Thread(target=change)
        thread.start()
        thread.join()
        return math.nan

    asked, done, seen = [], [], []
    loop.debug = True
    other = loop.scheduler(in_an_hour, nothing)
    watcher = loop.scheduler(reschedule, lambda w, r: seen.append(r))
    watcher.start()
    event.sleep(0.001)
    with pytest.warns(RuntimeWarning), pytest.raises(event.Error):
        loop.start(event.EVRUN_NOWAIT)
    assert done and watcher.active and other.active
    assert watcher.at == pytest.approx(loop.now() + 3600)
    loop.start(event.EVRUN_NOWAIT)
    assert seen == [event.EV_CUSTOM]
    loop.verify()
    watcher.stop()
    other.stop()


def test_another_thread_takes_the_loop_away():
    def reschedule(watcher, now):
        def change():
            with pytest.raises(event.Error):
                loop.close()
            watcher.__init__(other, in_an_hour, nothing)

        thread = threading.Thread(target=change)
        thread.start()
        thread.join()
        return now + 1

    with event.Loop() as loop, event.Loop() as other:
        for name in ("start", "reset"):
            watcher = loop.scheduler(reschedule, nothing)
            with pytest.raises(event.Error):
                getattr(watcher, name)()
            assert watcher.loop is other and not watcher.active
            assert loop.watchers() == other.watchers() == []


def test_what_its_answer_leaves_behind(loop, unraisable):
    class Number(float):
        def __del__(self):
            watcher.start()
            loop.close()

    watcher = loop.scheduler(lambda w, now: Number(now + 1), nothing)
    watcher.reset()
    assert watcher.active and not loop.closed
    watcher.stop()
    assert {type(e) for e, _ in unraisable} == {event.Error}


def test_several_loops_and_the_same_callable(loop, guarded):
    seen = []
    with event.Loop() as other:

        def reschedule(watcher, now):
            if watcher.loop is loop and not outer:
                outer.append(other.scheduler(reschedule, lambda w, r: (seen.append(2), w.stop())))
                outer[0].start()
                with pytest.raises(event.Error):
                    loop.update()
            return now

        outer = []
        loop.scheduler(reschedule, lambda w, r: (seen.append(1), w.stop())).start()
        guarded()
        other.start()
    assert seen == [1, 2]


# ---- when libev asks ------------------------------------------------------------------------


def test_resume_asks_again(loop):
    asked = []
    watchers = [
        loop.scheduler(lambda w, now: (asked.append(w.data), now + 3600)[1], nothing, i)
        for i in range(3)
    ]
    for watcher in watchers:
        watcher.start()
    before = [w.at for w in watchers]
    loop.suspend()
    loop.resume()
    watchers[1].stop()
    assert [w.at for w in watchers] == before and asked == [0, 1, 2]
    loop.start(event.EVRUN_NOWAIT)
    assert sorted(asked) == [0, 0, 1, 2, 2]
    assert all(w.at >= at for w, at in zip(watchers, before, strict=True))
    loop.suspend()
    loop.resume()
    for watcher in watchers:
        watcher.stop()
    assert loop.start() is False


def test_resumed_inside_a_callback(loop, guarded):
    """Asked before the poll, which would be a long one."""
    asked = []

    def reschedule(watcher, now):
        asked.append(now)
        return now + (3600 if len(asked) == 1 else 0.001)

    watcher = loop.scheduler(reschedule, lambda w, r: w.stop())
    watcher.start()
    loop.timer(0, 0, lambda w, r: (loop.suspend(), loop.resume())).start()
    guarded()
    assert len(asked) == 3


def test_reset_of_the_loop(any_loop):
    asked = []

    def reschedule(watcher, now):
        asked.append(now)
        return now + (3600 if len(asked) == 1 else 0.001)

    watcher = any_loop.scheduler(reschedule, lambda w, r: w.stop())
    watcher.start()
    any_loop.reset()
    any_loop.start()
    assert len(asked) >= 3


def test_asking_does_not_wake_the_loop_for_nothing(loop, guarded):
    seen = []

    def callback(watcher, revents):
        seen.append(loop.iteration)
        if len(seen) == 20:
            watcher.stop()

    loop.scheduler(lambda w, now: now + 0.003, callback).start()
    guarded()
    assert seen[-1] - seen[0] < 30


def test_nested_runs(loop, guarded):
    seen = []

    def callback(watcher, revents):
        seen.append(loop.depth)
        if loop.depth < 4:
            loop.start(event.EVRUN_ONCE)
        else:
            for each in watchers:
                each.stop()

    watchers = [loop.scheduler(lambda w, now: now + 0.001, callback) for _ in range(3)]
    for watcher in watchers:
        watcher.start()
    guarded()
    assert max(seen) == 4 and loop.watchers() == []
    loop.verify()


def test_hook_that_leaves_events_pending(loop, guarded):
    hooked = []

    def hook(got):
        hooked.append(got.pending)
        if len(hooked) > 2:
            got.invoke()

    seen = []
    watcher = loop.scheduler(at_once, lambda w, r: (seen.append(r), w.stop()))
    loop.callback = hook
    watcher.start()
    while watcher.active:
        loop.start(event.EVRUN_NOWAIT)
        loop.verify()
    assert seen == [event.EV_PERIODIC] and len(hooked) == 3


@pytest.mark.parametrize("flags", ["0", "EVFLAG_NOTIMERFD"])
@pytest.mark.parametrize("backend", ["EPOLL", "POLL", "SELECT"])
def test_follows_the_clock(jumping, flags, backend):
    code = f"""
        loop = Loop(EVBACKEND_{backend} | EVFLAG_NOENV | {flags})
        guard = loop.timer(20, 0, lambda w, r: os._exit(9)); guard.ref = False; guard.start()
        asked = []
        def midnight(watcher, now):
            asked.append(now)
            assert now == loop.now()
            return now - now % 86400 + 86400
        watcher = loop.scheduler(midnight, lambda w, r: print("midnight")); watcher.start()
        for days in (-100, 99):
            before = watcher.at
            jump(86400 * days)
            loop.start(EVRUN_NOWAIT)
            assert watcher.at == before + 86400 * days, (watcher.at, before)
        assert len(asked) == 3
        # set in a callback: libev finds out just before it polls, and must not sleep then
        soon = loop.scheduler(lambda w, now: now + (0.001 if jumped else 3600), print)
        jumped = []
        soon.callback = lambda w, r: (print("soon"), loop.stop())
        soon.start()
        loop.timer(0, 0, lambda w, r: (jump(-5000), jumped.append(1))).start()
        loop.start()
        soon.stop()
        # from another thread, while the loop sleeps
        slow = loop.scheduler(lambda w, now: now + (0.001 if len(jumped) > 1 else 3600), print)
        slow.callback = lambda w, r: (print("slow"), loop.stop())
        slow.start()
        def change():
            time_to_sleep.wait(); jumped.append(1); jump(5000); loop.update()
        time_to_sleep = threading.Event()
        thread = threading.Thread(target=change); thread.start()
        loop.timer(0, 0, lambda w, r: time_to_sleep.set()).start()
        loop.start(); thread.join()
        """
    assert jumping(code).split() == ["soon", "slow"]


# ---- lifetime -------------------------------------------------------------------------------


def test_callback_and_callable_that_drop_the_watcher(loop, unraisable):
    def reschedule(watcher, now):
        asked.append(now)
        box.clear()
        del watcher
        gc.collect()
        if len(asked) > 1:
            raise Odd
        return now

    asked = []
    box = [loop.scheduler(reschedule, nothing)]
    with pytest.warns(RuntimeWarning):
        box[0].start()
        loop.start()
    assert len(asked) == 2 and len(unraisable) == 1


def test_replaces_its_own_callable(loop, guarded):
    def callback(watcher, revents):
        watcher.reschedule = lambda w, now: now + 0.001
        watcher.callback = lambda w, r: w.stop()
        gc.collect()

    loop.scheduler(lambda w, now: now + 0.001, callback).start()
    guarded()


def test_closed_loop():
    loop = event.Loop()
    watcher = loop.scheduler(in_an_hour, nothing, data=5)
    watcher.start()
    loop.suspend()
    loop.resume()
    loop.close()
    assert (watcher.active, watcher.pending, watcher.data) == (False, False, 5)
    for use in (watcher.start, watcher.reset, lambda: watcher.set(nothing)):
        with pytest.raises(event.Error):
            use()
    for name in ("reschedule", "scheduler", "at"):
        with pytest.raises(event.Error):
            getattr(watcher, name)
    with pytest.raises(event.Error):
        watcher.reschedule = nothing


def test_collected_with_its_loop():
    def make(due):
        loop = event.Loop()
        watcher = loop.scheduler(lambda w, now: (loop, now + 5)[1], lambda w, r: loop)
        watcher.start()
        if due:
            loop.suspend()
            loop.resume()
        return [weakref.ref(loop), weakref.ref(watcher)]

    refs = make(False) + make(True)
    gc.collect()
    assert [r() for r in refs] == [None] * 4


def test_nothing_is_left():
    def scenario(sentinel):
        def reschedule(watcher, now):
            asked.append(sentinel)
            return now if len(asked) < 3 else sentinel

        asked = []
        with event.Loop() as loop, pytest.warns(RuntimeWarning), pytest.raises(TypeError):
            loop.debug = True
            watcher = loop.scheduler(reschedule, nothing, data=sentinel)
            watcher.start()
            watcher.reschedule, watcher.at
            loop.start()

    assert not leaks.growth(scenario)


def test_long_chain(loop):
    head = at_once
    for _ in range(200_000):
        watcher = event.Scheduler(loop, at_once, nothing, head)
        head = watcher
    del head, watcher


def test_on_an_asyncio_loop():
    async def main():
        loop = asyncio.get_running_loop()
        reports = []
        loop.set_exception_handler(lambda _, context: reports.append(context))
        done = loop.create_future()
        asked = []

        def reschedule(watcher, now):
            asked.append(now)
            if len(asked) == 3:
                loop.call_soon(done.set_result, None)
                raise Odd
            return now + 0.001

        watcher = loop.ev.scheduler(reschedule, nothing)
        watcher.start()
        with pytest.warns(RuntimeWarning):
            await asyncio.wait_for(done, 10)
        assert not watcher.active
        assert [type(r["exception"]) for r in reports] == [Odd]

    moodloop.run(main())


def test_fork(isolated):
    code = """
        for backend in EVBACKEND_EPOLL, EVBACKEND_POLL, EVBACKEND_SELECT:
            loop = Loop(backend | EVFLAG_NOENV)
            seen, asked = [], []
            def reschedule(watcher, now):
                asked.append(os.getpid())
                return now + 0.01
            watcher = loop.scheduler(reschedule, lambda w, r: (seen.append(r), loop.stop()))
            watcher.start(); loop.start()
            pid = os.fork()
            loop.start()
            assert asked[-1] == os.getpid()
            if pid == 0:
                watcher.stop(); loop.verify(); loop.close()
                os._exit(len(seen))
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2 == len(seen)
            loop.close()
        print("ok")
        """
    assert isolated(code) == "ok"


def test_exit_while_active(isolated):
    isolated("loop = Loop(); loop.scheduler(lambda w, now: now, print).start()")
    isolated(
        "loop = default_loop(); loop.scheduler(lambda w, now: now + 9, print).start()\n"
        "loop.suspend(); loop.resume(); loop.data = loop"
    )


def test_threads_that_use_it_all_the_time(isolated):
    code = """
        import random
        sys.setswitchinterval(1e-5)
        loop = Loop()
        def reschedule(watcher, now):
            for _ in range(random.randrange(50)): pass
            return now + random.random() * 0.001
        watchers = [loop.scheduler(reschedule, lambda w, r: None) for _ in range(20)]
        stop = threading.Event()
        def use():
            while not stop.is_set():
                watcher = random.choice(watchers)
                random.choice((watcher.start, watcher.stop, watcher.reset, watcher.clear))()
                loop.update()
        keep = loop.timer(1, 0, lambda w, r: loop.stop()); keep.start()
        threads = [threading.Thread(target=use) for _ in range(3)]
        for thread in threads: thread.start()
        loop.start()
        stop.set()
        for thread in threads: thread.join()
        loop.verify(); loop.close()
        print("ok")
        """
    assert isolated(code) == "ok"
