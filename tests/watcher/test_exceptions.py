import errno
import functools
import os
import signal

import pytest

from moodloop import event


class Odd(Exception):
    pass


def raises(*args):
    raise Odd


def fire(loop, *callbacks):
    """One timer for each; libev runs the last one first at equal priority."""
    for callback in callbacks:
        loop.timer(0, 0, callback).start()


def test_ordinary_ones_are_reported(loop, unraisable):
    fire(loop, raises, raises)
    assert loop.start() is False
    assert [(type(e), o) for e, o in unraisable] == [(Odd, raises)] * 2


@pytest.mark.parametrize("how", ["fatal", "old", "debug", "hook", "base"])
def test_others_end_the_run(loop, how):
    exc = KeyboardInterrupt() if how == "base" else Odd()

    def callback(watcher, revents):
        raise exc

    if how == "fatal":
        callback = event.fatal(callback)
    elif how == "old":
        callback.__err_fatal__ = True
    elif how == "debug":
        loop.debug = True
    elif how == "hook":
        loop.callback = lambda got: got.invoke()
    fire(loop, callback)
    loop.timer(3600, 0, callback).start()
    with pytest.raises(type(exc)) as caught:
        loop.start()
    assert caught.value is exc


def test_nothing_of_the_batch_is_lost(loop):
    seen = []

    def odd(watcher, revents):
        seen.append(watcher.data)
        raise Odd

    loop.debug = True
    for i in range(20):
        loop.timer(0, 0, odd, i).start()
        loop.once(None, 0, 0, lambda *args: seen.append("once"))
    raised = 0
    while True:
        try:
            loop.start()
            break
        except Odd:
            raised += 1
    assert raised == 20
    assert sorted(s for s in seen if s != "once") == list(range(20))
    assert seen.count("once") == 20


def test_once_keeps_its_events(loop):
    import os

    read, write = os.pipe()
    seen = []
    loop.debug = True
    loop.io(write, event.EV_WRITE, raises, priority=2).start()
    loop.once(write, event.EV_WRITE, None, lambda *args: seen.append(args[1]))
    with pytest.raises(Odd):
        loop.start()
    for watcher in loop.watchers():
        watcher.stop()
    loop.start()
    os.close(read)
    os.close(write)
    assert seen == [event.EV_WRITE]


def test_event_set_aside_can_be_stopped(loop, unraisable):
    later = [loop.prepare(lambda w, r: seen.append(w.data), data=i) for i in range(3)]
    seen = []

    def outer(watcher, revents):
        for watcher in later:
            watcher.feed(event.EV_CUSTOM)
        bomb = loop.prepare(event.fatal(lambda w, r: 1 / 0), priority=2)
        bomb.feed(event.EV_CUSTOM)
        with pytest.raises(ZeroDivisionError):
            loop.start()
        assert all(w.pending for w in later)
        later[0].stop()
        assert later[1].clear() == event.EV_CUSTOM
        with pytest.raises(event.Error):
            later[2].__init__(loop, outer)

    fire(loop, outer)
    loop.start()  # the exception was caught
    assert seen == [2]


@pytest.mark.parametrize("kind", ["timer", "periodic"])
def test_event_set_aside_is_taken_back_by_reset(loop, kind):
    seen = []
    later = getattr(loop, kind)(0, 3600, lambda w, r: seen.append(r))

    def outer(watcher, revents):
        later.feed(event.EV_CUSTOM)
        loop.prepare(event.fatal(raises), priority=2).feed(event.EV_CUSTOM)
        with pytest.raises(Odd):
            loop.start()
        assert later.pending
        later.reset()
        assert later.active and not later.pending

    fire(loop, outer)
    loop.start(event.EVRUN_NOWAIT)
    assert seen == []


def test_nested_runs_end_with_the_same_one(loop):
    depths = []

    def nest(watcher, revents):
        if loop.depth < 5:
            fire(loop, nest)
        else:
            fire(loop, event.fatal(raises))
        try:
            loop.start()
        finally:
            depths.append(loop.depth)

    fire(loop, nest)
    with pytest.raises(Odd):
        loop.start()
    assert depths == [5, 4, 3, 2, 1]
    assert loop.start() is False


@pytest.mark.parametrize("catcher", [1, 2, 3])
def test_what_is_caught_around_a_nested_run_is_not_raised_again(loop, catcher, unraisable):
    """Runs within it have ended; those around it go on, with all that was pending."""
    told, depths = [], []

    def nest(watcher, revents):
        depth = loop.depth
        loop.prepare(lambda w, r: told.append(depth)).feed(1)
        fire(loop, nest if depth < 3 else event.fatal(raises))
        if depth == catcher:
            with pytest.raises(Odd):
                loop.start()
        else:
            try:
                loop.start()
            finally:
                depths.append(depth)

    fire(loop, nest)
    assert loop.start() is False
    assert depths == [*range(3, catcher, -1), *range(catcher - 1, 0, -1)]
    assert sorted(told) == [1, 2, 3] and unraisable == []


@pytest.mark.parametrize("second", [Odd, KeyboardInterrupt])
def test_another_one_in_place_of_it(loop, second, unraisable):
    """It is judged by itself: one of a callback that is not fatal is reported."""

    def outer(watcher, revents):
        fire(loop, event.fatal(lambda w, r: 1 / 0))
        try:
            loop.start()
        except ZeroDivisionError:
            raise second

    fire(loop, outer)
    if second is Odd:
        assert loop.start() is False
        assert [type(e) for e, _ in unraisable] == [Odd]
    else:
        with pytest.raises(second):
            loop.start()
    assert loop.start() is False


def test_a_run_while_it_is_on_its_way(loop):
    """It still ends the run around, though what ran meanwhile was no part of it."""

    def outer(watcher, revents):
        fire(loop, event.fatal(raises))
        try:
            loop.start()
        finally:
            fire(loop, lambda w, r: None)
            loop.start()

    fire(loop, outer)
    with pytest.raises(Odd):
        loop.start()
    assert loop.start() is False


@pytest.mark.parametrize("how", [event.EVBREAK_ONE, event.EVBREAK_ALL])
def test_caught_beside_a_stop(loop, how):
    """What the run was told by stop() holds."""
    late = loop.timer(3600, 0, lambda w, r: None)
    late.start()

    def inner(watcher, revents):
        if how == event.EVBREAK_ALL:
            loop.stop(how)
        raise Odd

    def outer(watcher, revents):
        if how == event.EVBREAK_ONE:
            loop.stop(how)
        fire(loop, event.fatal(inner))
        with pytest.raises(Odd):
            loop.start()

    fire(loop, outer)
    assert loop.start() is True
    late.stop()


@pytest.mark.parametrize("caught", [True, False])
@pytest.mark.parametrize("way", ["watcher.invoke", "loop.invoke", "embed.sweep", "embedded"])
def test_other_ways_to_run_it_inside_of_a_run(loop, way, caught, unraisable):
    other = event.Loop()
    embed = loop.embed(other, lambda w, r: None)
    bomb = loop.prepare(event.fatal(raises))

    def run():
        if way == "watcher.invoke":
            bomb.invoke(1)
        elif way == "loop.invoke":
            bomb.feed(1)
            loop.invoke()
        else:
            fire(other, event.fatal(raises))
            embed.sweep() if way == "embed.sweep" else other.start()

    def outer(watcher, revents):
        if caught:
            with pytest.raises(Odd):
                run()
        else:
            run()

    ends = not caught and way != "embedded"  # another loop's run is a call like any other
    fire(loop, outer)
    if ends:
        with pytest.raises(Odd):
            loop.start()
    else:
        loop.start()
    assert [type(e) for e, _ in unraisable] == ([] if caught or ends else [Odd])
    other.close()


def test_invoke_raises(loop):
    loop.debug = True
    watcher = loop.prepare(raises)
    with pytest.raises(Odd):
        watcher.invoke(1)
    watcher.feed(1)
    other = loop.prepare(raises)
    other.feed(1)
    for _ in range(2):
        with pytest.raises(Odd):
            loop.invoke()
    loop.invoke()


def test_drops_its_own_watcher_and_raises(loop, unraisable):
    box = []

    def callback(watcher, revents):
        box.clear()
        del watcher
        raise Odd

    box.append(loop.timer(0, 0, callback))
    box[0].start()
    loop.start()
    assert [o for _, o in unraisable] == [callback]


def test_error_event(loop):
    watcher = loop.timer(3600, 0, raises)
    watcher.start()
    watcher.feed(event.EV_ERROR)
    with pytest.raises(event.Error):
        loop.start()
    assert not watcher.active
    with pytest.raises(event.Error):
        watcher.invoke(event.EV_ERROR)


def test_error_event_on_a_descriptor(loop):
    """Fed, not libev's: until the run in which it is told the descriptor is guarded as before."""
    reader, writer = os.pipe()
    watcher = loop.io(reader, event.EV_READ, raises)
    watcher.start()
    fatal = loop.idle(event.fatal(raises))
    watcher.feed(event.EV_ERROR)
    fatal.feed(event.EV_CUSTOM)
    with pytest.raises(Odd):  # which puts the error aside
        loop.start(event.EVRUN_NOWAIT)
    assert watcher.clear() == event.EV_ERROR
    watcher.modify(event.EV_READ | event.EV_WRITE)
    os.close(reader)
    with pytest.raises(OSError):
        loop.start(event.EVRUN_NOWAIT)
    assert not watcher.active
    os.close(writer)


def test_closed_descriptor_behind_a_hook():
    """libev's error waits over a poll, as the hook does not take it."""
    reader, writer = os.pipe()
    with event.Loop(event.EVBACKEND_SELECT) as loop:
        watcher = loop.io(reader, event.EV_READ, raises)
        watcher.start()
        loop.start(event.EVRUN_NOWAIT)
        loop.callback = lambda loop: None
        os.close(reader)
        loop.timer(0, 0, lambda *args: None).start()
        loop.start(event.EVRUN_NOWAIT)
        loop.callback = lambda loop: setattr(loop, "callback", None)
        with pytest.raises(OSError) as info:
            loop.start(event.EVRUN_NOWAIT)
        assert info.value.errno == errno.EBADF
        assert not watcher.active
    os.close(writer)


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_mark_that_cannot_be_read(loop, unraisable, failure):
    class Callback:
        def __call__(self, watcher, revents):
            raise Odd

        def __getattr__(self, name):
            raise failure if name == "__event_fatal__" else AttributeError

    fire(loop, Callback())
    assert loop.start() is False
    assert [type(exc) for exc, _ in unraisable] == [failure, Odd]


def test_fatal_decorator():
    class Callable:
        __slots__ = ()

        def __call__(self):
            return 5

    for callback in (raises, Callable(), Callable().__call__, len, functools.partial(raises)):
        assert event.fatal(callback).__event_fatal__ is True
    assert event.fatal(Callable())() == 5
    with pytest.raises(TypeError):
        event.fatal(5)


@pytest.mark.parametrize("exception", [KeyboardInterrupt, MemoryError])
def test_end_of_a_run_swallows_none(loop, monkeypatch, exception):
    """A handler of Python's can run in signal.set_wakeup_fd(), where that is Python code."""
    real, calls = signal.set_wakeup_fd, []

    def set_wakeup_fd(fd, **kwargs):
        calls.append(fd)
        if len(calls) == 2:
            raise exception
        return real(fd, **kwargs)

    loop.start(event.EVRUN_NOWAIT)
    monkeypatch.setattr(signal, "set_wakeup_fd", set_wakeup_fd)
    with pytest.raises(exception):
        loop.start(event.EVRUN_NOWAIT)
    assert real(-1) == -1


def test_what_is_left_comes_in_its_order(loop):
    """An exception in between changes nothing of it."""
    seen = []

    def tell(watcher, revents):
        seen.append(watcher.data)
        if watcher.data == 1:
            raise KeyboardInterrupt

    watchers = [loop.prepare(tell, data=number) for number in range(6)]
    for watcher in reversed(watchers):  # libev runs the last first
        watcher.feed(event.EV_CUSTOM)
    with pytest.raises(KeyboardInterrupt):
        loop.start(event.EVRUN_NOWAIT)
    loop.start(event.EVRUN_NOWAIT)
    assert seen == [0, 1, 2, 3, 4, 5]
