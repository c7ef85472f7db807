import math
import sys

import pytest

from moodloop import event

LEAST = 1 / 8192


def nothing(*args):
    pass


def test_once_at_a_point_in_time(any_loop):
    seen = []
    when = event.time() + 0.02
    watcher = any_loop.periodic(when, 0, lambda w, r: seen.append((r, w.active, any_loop.now())))
    assert (watcher.at, watcher.offset, watcher.interval) == (0.0, when, 0.0)
    watcher.start()
    assert watcher.active and watcher.at == when
    any_loop.start()
    ((revents, active, now),) = seen
    assert (revents, active) == (event.EV_PERIODIC, False) and now >= when
    assert not watcher.active and watcher.at == when


def test_a_time_in_the_past_fires_at_once(any_loop):
    seen = []
    for offset in (0, -1e300, -5, event.time()):
        any_loop.periodic(offset, 0, lambda w, r: seen.append(r)).start()
        any_loop.start()
    assert seen == [event.EV_PERIODIC] * 4


def test_repeats_on_multiples_of_the_interval(any_loop):
    seen = []

    def callback(watcher, revents):
        seen.append(watcher.at)
        assert any_loop.now() < watcher.at <= any_loop.now() + 0.02
        if len(seen) == 3:
            watcher.stop()

    watcher = any_loop.periodic(0.005, 0.02, callback)
    watcher.start()
    first = watcher.at
    any_loop.start()
    assert first < seen[0] < seen[1] < seen[2]
    for at in (first, *seen):
        assert math.isclose(math.remainder(at - 0.005, 0.02), 0, abs_tol=1e-5)


def test_arguments(loop):
    bad = [
        (math.nan, 0),
        (math.inf, 0),
        (-math.inf, 0),
        (0, math.nan),
        (0, math.inf),
        (0, -math.inf),
        (0, -1),
        (0, LEAST / 2),
        (0, sys.float_info.min),
        (-0.1, 1),
        (1.5, 1),
    ]
    watcher = loop.periodic(0.5, 1, nothing)
    for offset, interval in bad:
        with pytest.raises(ValueError):
            loop.periodic(offset, interval, nothing)
        with pytest.raises(ValueError):
            watcher.set(offset, interval)
        assert (watcher.offset, watcher.interval) == (0.5, 1.0)
    for offset, interval in ((0, 1), (1, 1), (0, LEAST), (1e300, 1e300), (-1e300, 0), (True, 1)):
        watcher.set(offset, interval)
        assert (watcher.offset, watcher.interval) == (offset, interval)
    for wrong in ("1", None, b"", 1j):
        with pytest.raises(TypeError):
            loop.periodic(wrong, 0, nothing)
        with pytest.raises(TypeError):
            loop.periodic(0, wrong, nothing)
    with pytest.raises(OverflowError):
        loop.periodic(10**400, 0, nothing)
    made = event.Periodic(offset=0.25, interval=2, loop=loop, callback=nothing, priority=1)
    assert (made.offset, made.interval, made.priority) == (0.25, 2.0, 1)
    assert repr(made).endswith("stopped offset=0.25 interval=2.0>")


def test_attributes(loop):
    watcher = loop.periodic(0.5, 10, nothing)
    for name, values in (
        ("offset", (-0.1, 11, math.nan, math.inf)),
        ("interval", (0.1, -1, math.nan, math.inf, LEAST / 2)),
    ):
        for value in values:
            with pytest.raises(ValueError):
                setattr(watcher, name, value)
        with pytest.raises(TypeError):
            setattr(watcher, name, "1")
        with pytest.raises(AttributeError):
            delattr(watcher, name)
    with pytest.raises(AttributeError):
        watcher.at = 1.0
    with pytest.raises(AttributeError):
        del watcher.at
    watcher.interval = 0  # now the offset is a point in time
    watcher.offset = -7
    assert (watcher.offset, watcher.interval) == (-7.0, 0.0)
    with pytest.raises(ValueError):
        watcher.interval = 1


def test_reset_takes_up_what_was_set_while_active(loop):
    watcher = loop.periodic(0, 1000, nothing)
    watcher.start()
    before = watcher.at
    watcher.offset = 500
    assert watcher.at == before
    with pytest.raises(event.Error):
        watcher.set(0, 1000)
    watcher.reset()
    assert watcher.active and math.isclose(watcher.at % 1000, 500)
    watcher.feed(event.EV_CUSTOM)
    watcher.reset()
    assert watcher.active and not watcher.pending
    watcher.stop()
    watcher.reset()  # starts it
    assert watcher.active and loop.watchers() == [watcher]
    watcher.stop()


def test_interval_taken_away_while_active(loop, guarded):
    seen = []

    def callback(watcher, revents):
        seen.append(watcher.active)
        watcher.interval = 0

    loop.periodic(0, 0.01, callback).start()
    guarded()
    assert seen == [True, False]


def test_extreme_values(loop):
    pairs = [(1e308, 0), (-1e308, 0), (0, 1e308), (1e308, 1e308), (5e-324, 1), (0, LEAST)]
    watchers = [loop.periodic(*pair, nothing) for pair in pairs]
    for watcher in watchers:
        watcher.start()
        assert math.isfinite(watcher.at)
    for _ in range(5):
        loop.start(event.EVRUN_NOWAIT)
    loop.suspend()
    loop.resume()
    loop.verify()
    for watcher in watchers:
        watcher.stop()


def test_priorities_and_order(loop):
    order = []

    def note(name):
        return lambda w, r: order.append(name)

    for priority in (-1, 1, 0):
        loop.periodic(0, 0, note(priority), priority=priority).start()
    loop.timer(0, 0, note("timer")).start()
    loop.periodic(2, 0, note("later")).start()
    loop.periodic(1, 0, note("earlier")).start()
    idle = loop.idle(lambda w, r: (order.append("idle"), w.stop()))
    idle.start()
    loop.start()
    assert order == [1, 0, "earlier", "later", "timer", -1, "idle"]


def test_ref(loop):
    watcher = loop.periodic(0, 3600, nothing)
    watcher.ref = False
    watcher.start()
    assert loop.start() is False and watcher.active
    once = loop.periodic(0, 0, nothing)
    once.ref = False
    once.start()
    loop.start(event.EVRUN_NOWAIT)
    assert not once.active
    loop.verify()
    watcher.reset()
    assert loop.start() is False
    watcher.stop()
    loop.verify()
    assert loop.start() is False


def test_conversions_that_start_or_close(loop):
    class Starts:
        def __float__(self):
            watcher.start()
            return 0.0

    class Closes:
        def __float__(self):
            other.close()
            return 0.0

    watcher = loop.periodic(0, 3600, nothing)
    for use in (lambda: watcher.set(0, Starts()), lambda: watcher.set(Starts(), 3600)):
        with pytest.raises(event.Error):
            use()
        watcher.stop()
    for use in (
        lambda w: w.set(Closes(), 0),
        lambda w: setattr(w, "offset", Closes()),
        lambda w: setattr(w, "interval", Closes()),
        lambda w: event.Periodic(w.loop, Closes(), 0, nothing),
    ):
        other = event.Loop()
        with pytest.raises(event.Error):
            use(other.periodic(0, 0, nothing))
        other.close()


def test_closed_loop():
    loop = event.Loop()
    watcher = loop.periodic(0, 3600, nothing, data=5)
    watcher.start()
    loop.close()
    assert (watcher.active, watcher.pending, watcher.data) == (False, False, 5)
    for use in (watcher.start, watcher.reset, lambda: watcher.set(0, 1), lambda: watcher.offset):
        with pytest.raises(event.Error):
            use()
    for name in ("interval", "at"):
        with pytest.raises(event.Error):
            getattr(watcher, name)


@pytest.mark.parametrize("flags", ["0", "EVFLAG_NOTIMERFD"])
def test_follows_the_clock(jumping, flags):
    code = f"""
        loop = Loop(EVBACKEND_EPOLL | EVFLAG_NOENV | {flags})
        hour = loop.periodic(0, 3600, print); hour.start()
        appointment = loop.now() + 7200
        once = loop.periodic(appointment, 0, lambda w, r: print("once")); once.start()
        for seconds in (-3600 * 100, 3600 * 99):
            before = hour.at
            jump(seconds)
            loop.start(EVRUN_NOWAIT)
            assert abs(hour.at - before) >= 3600 * 98, (before, hour.at)
            assert loop.now() < hour.at <= loop.now() + 3600
            assert once.at == appointment
        jump(3600 * 4); loop.start(EVRUN_NOWAIT); loop.start(EVRUN_NOWAIT)
        assert not once.active
        """
    assert jumping(code) == "once"


def test_fork(isolated):
    code = """
        for backend in EVBACKEND_EPOLL, EVBACKEND_POLL, EVBACKEND_SELECT:
            loop = Loop(backend | EVFLAG_NOENV)
            seen = []
            watcher = loop.periodic(0, 0.02, lambda w, r: (seen.append(r), loop.stop()))
            watcher.start(); loop.start()
            pid = os.fork()
            loop.start()
            if pid == 0:
                watcher.stop(); loop.verify(); loop.close()
                os._exit(len(seen))
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2 == len(seen)
            loop.close()
        print("ok")
        """
    assert isolated(code) == "ok"


def test_exit_while_active(isolated):
    isolated("loop = Loop(); loop.periodic(0, 0.001, lambda w, r: None).start()")
    isolated("loop = default_loop(); loop.periodic(0, 3600, print).start(); loop.data = loop")


def test_without_descriptors(isolated):
    """libev then does without the timerfd that tells it of clock changes."""
    code = """
        import resource
        loop = Loop()
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))
        watcher = loop.periodic(0, 0.01, lambda w, r: (print("ok"), w.stop())); watcher.start()
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        loop.start()
        """
    assert isolated(code) == "ok"
