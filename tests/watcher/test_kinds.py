import errno
import math
import os

import pytest

from moodloop import event


def nothing(*args):
    pass


@pytest.fixture
def pipe():
    ends = list(os.pipe())
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass


def test_io(any_loop, pipe):
    seen = []

    def callback(watcher, revents):
        seen.append((watcher.fd, revents))
        os.read(watcher.fd, 10)
        watcher.stop()

    watcher = any_loop.io(pipe[0], event.EV_READ, callback)
    watcher.start()
    os.write(pipe[1], b"x")
    any_loop.start()
    assert seen == [(pipe[0], event.EV_READ)]
    with open(pipe[0], closefd=False) as file:
        assert any_loop.io(file, event.EV_READ, nothing).fd == pipe[0]


def test_io_arguments(loop, pipe):
    for bad, exc in ((-1, ValueError), ("x", TypeError)):
        with pytest.raises(exc):
            loop.io(bad, event.EV_READ, nothing)
    for events in (4, event.EV_TIMER, event.EV_READ | 128):
        with pytest.raises(event.Error):
            loop.io(0, events, nothing)
    watcher = loop.io(pipe[0], event.EV_READ, nothing)
    watcher.events = event.EV_READ | event.EV_WRITE
    watcher.start()
    assert watcher.events == 3
    with pytest.raises(event.Error):
        watcher.events = 1
    watcher.modify(event.EV_READ)
    assert (watcher.events, watcher.active) == (1, True)
    watcher.modify(0)
    assert not watcher.active
    os.close(pipe[1])
    with pytest.raises(OSError):
        loop.io(pipe[1], event.EV_READ, nothing).start()
    with pytest.raises(OSError):
        loop.io(2**31 - 1, event.EV_READ, nothing).start()


def test_io_set_while_pending(loop, pipe):
    watcher = loop.io(pipe[0], event.EV_READ, nothing, priority=1)
    watcher.feed(event.EV_READ)
    watcher.set(pipe[1], event.EV_WRITE)
    assert (watcher.pending, watcher.fd, watcher.priority) == (True, pipe[1], 1)


def test_io_closed_before_the_first_run(any_loop, pipe):
    """What start() opens for the loop itself must not take the closed number."""
    watcher = any_loop.io(pipe[0], event.EV_READ, nothing)
    watcher.start()
    os.close(pipe[0])
    with pytest.raises(OSError) as caught:
        any_loop.start(event.EVRUN_NOWAIT)
    assert caught.value.errno == errno.EBADF and not watcher.active
    any_loop.start(event.EVRUN_NOWAIT)


def test_io_closed_before_and_between_runs(any_loop, pipe):
    loop = any_loop
    loop.start(event.EVRUN_NOWAIT)  # what start() itself opens must not take the closed number
    watcher = loop.io(pipe[0], event.EV_READ, nothing)
    watcher.start()
    os.close(pipe[0])
    if loop.backend != event.EVBACKEND_SELECT:
        with pytest.raises(OSError):
            loop.start(event.EVRUN_NOWAIT)
        assert not watcher.active
    pipe[0] = os.dup(pipe[1])
    other = loop.io(pipe[1], event.EV_READ, nothing)
    other.start()
    loop.start(event.EVRUN_NOWAIT)
    os.close(pipe[1])
    try:
        loop.start(event.EVRUN_NOWAIT)
    except (OSError, event.Error):
        pass
    loop.reset()
    try:
        loop.start(event.EVRUN_NOWAIT)
    except (OSError, event.Error):
        pass
    other.stop()


def test_io_dead_watcher_that_only_the_loop_held(any_loop, pipe, unraisable):
    any_loop.start(event.EVRUN_NOWAIT)
    for _ in range(5):
        any_loop.io(pipe[0], event.EV_READ, lambda w, r: None).start()
    any_loop.once(pipe[0], event.EV_READ, None, nothing)
    os.close(pipe[0])
    for _ in range(3):
        try:
            any_loop.start(event.EVRUN_NOWAIT)
        except (OSError, event.Error):
            pass
    for watcher in any_loop.watchers():
        watcher.stop()


def test_timer(loop):
    timer = loop.timer(0.001, 0.001, nothing)
    seen = []

    def callback(watcher, revents):
        seen.append(revents)
        if len(seen) == 3:
            watcher.repeat = 0
            watcher.reset()

    timer.callback = callback
    timer.start()
    assert timer.remaining <= 0.01 and timer.at > 0
    loop.start()
    assert seen == [event.EV_TIMER] * 3 and not timer.active
    timer.set(5, 7)
    assert timer.remaining == 5 and timer.repeat == 7
    timer.reset()
    assert timer.active
    assert repr(timer).endswith("after=5.0 repeat=7.0>")


def test_timer_arguments(loop):
    for after, repeat in ((math.nan, 0), (0, math.nan), (0, -1)):
        with pytest.raises(ValueError):
            loop.timer(after, repeat, nothing)
    timer = loop.timer(0, 0, nothing)
    for bad in (-1, math.nan):
        with pytest.raises(ValueError):
            timer.repeat = bad
    with pytest.raises(TypeError):
        timer.repeat = None


def test_extreme_timers(loop):
    values = (-math.inf, -1e308, 0.0, 1e308, math.inf)
    timers = [loop.timer(a, r, nothing) for a in values for r in (0.0, 1e308, math.inf)]
    for timer in timers:
        timer.start()
    loop.start(event.EVRUN_NOWAIT)
    loop.suspend()
    loop.resume()
    loop.verify()
    for timer in timers:
        timer.stop()


def test_unreferenced_one_shots(loop):
    for _ in range(5):
        timer = loop.timer(0, 0, nothing)
        timer.ref = False
        timer.start()
    loop.start(event.EVRUN_NOWAIT)
    loop.verify()
    assert loop.start() is False


def test_signal_arguments(loop):
    for bad in (0, -1, 65, 1000, 9, 19, 32, 10**30):
        with pytest.raises(ValueError):
            loop.signal(bad, nothing)
    with event.Loop() as other:
        mine, theirs = loop.signal(10, nothing), other.signal(10, nothing)
        mine.start()
        with pytest.raises(event.Error):
            theirs.start()
        mine.stop()
        theirs.start()


def test_idle_prepare_check_order(loop):
    order = []

    def note(name):
        def callback(watcher, revents):
            order.append(name)
            watcher.stop()

        return callback

    loop.idle(note("idle")).start()
    loop.timer(0, 0, note("timer")).start()
    loop.check(note("check"), priority=2).start()
    loop.prepare(note("prepare")).start()
    keep = loop.idle(None)
    keep.start()
    loop.start(event.EVRUN_NOWAIT)
    loop.start(event.EVRUN_NOWAIT)
    assert order == ["prepare", "check", "timer", "idle"]


def test_async(any_loop):
    seen = []
    watcher = any_loop.async_(lambda w, r: (seen.append(r), w.stop()))
    watcher.send()
    assert not watcher.sent
    watcher.start()
    watcher.send()
    assert watcher.sent
    any_loop.start()
    assert seen == [event.EV_ASYNC]


def test_module_functions():
    event.sleep(-1)
    event.sleep(math.nan)
    with pytest.raises(TypeError):
        event.sleep("x")
    assert event.abi_version()[0] == event.header_version()[0] == 4
    assert event.supported_backends() & event.EVBACKEND_SELECT
    assert event.recommended_backends() and isinstance(event.embeddable_backends(), int)
    assert event.Error is event.EventError and set(event.__all__) <= set(dir(event))
