import copy
import gc
import math
import pickle
import weakref

import pytest

from moodloop import event

KINDS = [
    "Io",
    "Timer",
    "Periodic",
    "Scheduler",
    "Signal",
    "Stat",
    "Idle",
    "Prepare",
    "Check",
    "Async",
    "Fork",
    "Cleanup",
]
OWN = {
    "Io": (0, event.EV_READ),
    "Timer": (0.0, 0.0),
    "Periodic": (0.0, 0.0),
    "Scheduler": (lambda watcher, now: now + 3600,),
    "Signal": (10,),
    "Stat": (".", 0.0),
}


def nothing(*args):
    pass


@pytest.fixture(params=KINDS)
def watcher(request, loop):
    kind = getattr(event, request.param)
    return kind(loop, *OWN.get(request.param, ()), nothing)


def test_both_orders_and_factories(loop):
    for name, own in OWN.items():
        kind = getattr(event, name)
        first = kind(*own, loop, nothing, "data", 1)
        assert (first.loop, first.callback, first.data, first.priority) == (
            loop,
            nothing,
            "data",
            1,
        )
    for name in KINDS:
        for factory in (name.lower(), f"__{name.lower()}__"):
            made = getattr(loop, factory)(*OWN.get(name, ()), callback=nothing)
            assert type(made) is getattr(event, name) and made.loop is loop
    assert type(loop.async_(nothing)) is event.Async


def test_arguments(watcher, loop):
    kind, own = type(watcher), OWN.get(type(watcher).__name__, ())
    for args in ((), (loop,), (1, *own, nothing), (loop, *own, 5), (loop, *own, nothing, 1, 2, 3)):
        if args == (loop,) and kind is event.Idle:
            continue
        with pytest.raises(TypeError):
            kind(*args)
    with pytest.raises(TypeError):
        kind(loop, *own, nothing, wrong=1)
    with pytest.raises(TypeError):
        kind(loop, *own, nothing, priority="x")
    with pytest.raises(OverflowError):
        kind(loop, *own, nothing, priority=2**40)


def test_attributes(watcher):
    for name in ("callback", "data", "priority", "ref", "loop", "active", "pending"):
        with pytest.raises(AttributeError):
            delattr(watcher, name)
    watcher.priority = 10**6
    assert watcher.priority == event.EV_MAXPRI
    watcher.priority = -(10**6)
    assert watcher.priority == event.EV_MINPRI
    assert weakref.ref(watcher)() is watcher
    assert type(watcher).__name__ in repr(watcher) and "stopped" in repr(watcher)
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            action(watcher)


def test_feed_clear_and_pending(watcher, loop):
    seen = []
    watcher.callback = lambda *args: seen.append(args)
    assert watcher.clear() == 0
    watcher.feed(event.EV_CUSTOM)
    assert watcher.pending and "pending" in repr(watcher)
    with pytest.raises(event.Error):
        watcher.priority = 1
    with pytest.raises(event.Error):
        watcher.__init__(loop, *OWN.get(type(watcher).__name__, ()), nothing)
    assert watcher.clear() == event.EV_CUSTOM
    watcher.feed(event.EV_CUSTOM)
    watcher.stop()
    loop.invoke()
    assert seen == []
    watcher.priority = 10**6
    watcher.feed(event.EV_CUSTOM)
    loop.invoke()
    watcher.invoke(5)
    assert seen == [(watcher, event.EV_CUSTOM), (watcher, 5)]


def test_active_is_protected(watcher, loop):
    if isinstance(watcher, event.Io):
        import os

        read, write = os.pipe()
        watcher.set(read, event.EV_READ)
    watcher.start()
    watcher.start()
    own = OWN.get(type(watcher).__name__, ())
    with pytest.raises(event.Error):
        watcher.priority = 1
    with pytest.raises(event.Error):
        watcher.__init__(loop, *own, nothing)
    if own:
        with pytest.raises(event.Error):
            watcher.set(*own)
    assert watcher.active and "active" in repr(watcher)
    watcher.ref = False
    assert loop.start(event.EVRUN_NOWAIT) is False
    watcher.ref = True
    watcher.stop()
    watcher.stop()
    assert not watcher.active
    loop.verify()
    if isinstance(watcher, event.Io):
        os.close(read)
        os.close(write)


def test_missing_super_init(loop):
    for name in KINDS:

        class Lazy(getattr(event, name)):
            def __init__(self):
                pass

        lazy = Lazy()
        assert "uninitialised" in repr(lazy)
        for call in (lazy.start, lazy.stop, lazy.clear, lambda w=lazy: w.feed(1)):
            with pytest.raises(event.Error):
                call()
        with pytest.raises(event.Error):
            lazy.invoke(1)
        for attribute in ("callback", "priority", "ref"):
            with pytest.raises(event.Error):
                getattr(lazy, attribute)


def test_base_is_not_instantiable():
    class Mine(event.Watcher):
        pass

    for kind in (event.Watcher, Mine):
        with pytest.raises(TypeError):
            kind()


def test_active_watcher_is_kept_alive(loop):
    fired = []
    event.Timer(loop, 0.001, 0, lambda w, r: fired.append(r)).start()
    gc.collect()
    loop.start()
    assert fired == [event.EV_TIMER]


def test_loop_and_watchers_are_collected_together():
    def make():
        loop = event.Loop()
        watcher = loop.timer(1, 0, lambda w, r: loop)
        watcher.start()
        loop.data = watcher
        loop.once(None, 0, 100, lambda *args: loop)
        return [weakref.ref(loop), weakref.ref(watcher)]

    refs = make()
    gc.collect()
    assert [r() for r in refs] == [None, None]


def test_long_chain_of_watchers(loop):
    head = None
    for _ in range(200_000):
        head = event.Idle(loop, None, head)
    del head


def test_callback_frees_and_stops_others(loop, guarded):
    others = [loop.timer(0, 0, nothing) for _ in range(50)]
    seen = []

    def callback(watcher, revents):
        seen.append(1)
        for other in others:
            other.stop()
        others.clear()
        gc.collect()
        with event.Loop() as inner:
            inner.timer(0, 0, nothing).start()
            inner.start()
        loop.start(event.EVRUN_NOWAIT)

    first = loop.timer(0, 0, callback, priority=2)
    first.start()
    del first
    for other in others:
        other.start()
    del other
    guarded()
    assert seen == [1]


def test_reinit_on_another_loop_in_its_callback(loop):
    with event.Loop() as other:
        seen = []

        def callback(watcher, revents):
            watcher.__init__(other, 0, 0, lambda w, r: seen.append(w.loop))
            watcher.start()

        timers = [loop.timer(0, 0, callback) for _ in range(3)]
        for timer in timers:
            timer.start()
        loop.start()
        assert loop.watchers() == [] and len(other.watchers()) == 3
        other.start()
        assert seen == [other] * 3


def test_failed_reinit_leaves_it_as_it_was(loop):
    timer = loop.timer(1, 0, nothing)
    with event.Loop() as other, pytest.raises(ValueError):
        timer.__init__(other, math.nan, 0, nothing)
    assert timer.loop is loop
    timer.start()
    timer.stop()


def test_conversions_that_start_or_close(loop):
    class Starts:
        def __float__(self):
            timer.start()
            return 0.0

    class Closes:
        def __float__(self):
            loop.close()
            return 0.0

        __index__ = lambda self: (loop.close(), 1)[1]
        fileno = __index__

    timer = loop.timer(1, 0, nothing)
    with pytest.raises(event.Error):
        timer.set(Starts(), 0)
    timer.stop()
    with pytest.raises(event.Error):
        timer.__init__(loop, Starts(), 0, nothing)
    timer.stop()
    for use in (
        lambda w: w.set(Closes(), 0),
        lambda w: w.feed(Closes()),
        lambda w: w.invoke(Closes()),
        lambda w: setattr(w, "repeat", Closes()),
        lambda w: w.loop.once(Closes(), 1, 1, nothing),
        lambda w: w.loop.feed_fd_event(Closes(), 1),
        lambda w: w.loop.feed_signal_event(Closes()),
        lambda w: setattr(w.loop, "io_interval", Closes()),
        lambda w: event.Timer(w.loop, Closes(), 0, nothing),
        lambda w: event.Io(w.loop, Closes(), 1, nothing),
    ):
        loop = event.Loop()
        with pytest.raises((event.Error, OSError)):
            use(loop.timer(1, 0, nothing))
        loop.close()


def test_names_of_arguments_run_no_code(loop):
    class Name(str):
        __hash__ = str.__hash__

        def __eq__(self, other):
            raise AssertionError

    timer = loop.timer(1, 0, nothing)
    timer.__init__(loop, 1, 0, nothing, **{Name("priority"): 2})
    timer.set(1, **{Name("repeat"): 3})
    assert timer.priority == 2 and timer.repeat == 3
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        timer.set(1, **{Name("other"): 3})


def test_priorities_and_order(loop):
    order = []
    watchers = [
        loop.timer(0, 0, lambda w, r, p=p: order.append(p), priority=p) for p in (-2, 2, 0, 1, -1)
    ]
    for watcher in watchers:
        watcher.start()
    loop.start()
    assert order == [2, 1, 0, -1, -2]
