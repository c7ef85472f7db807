import gc
import threading
import weakref

import pytest

from moodloop import event


class Odd(Exception):
    pass


def nothing(*args):
    pass


def test_called_once_when_the_loop_is_closed(any_loop):
    seen = []
    watchers = [
        any_loop.cleanup(lambda w, r: seen.append((w.data, r, w.active)), data=p, priority=p)
        for p in (0, -2, 2)
    ]
    stopped = any_loop.cleanup(lambda *args: seen.append("stopped"))
    for watcher in (*watchers, stopped):
        watcher.start()
    stopped.stop()
    any_loop.close()
    any_loop.close()
    assert seen == [(p, event.EV_CLEANUP, False) for p in (2, 0, -2)]


def test_never_keeps_the_loop_running(loop):
    watcher = loop.cleanup(nothing)
    for ref in (True, False, True):
        watcher.ref = ref
        watcher.start()
        assert loop.start() is False
        with pytest.raises(event.Error):
            loop.unref()
        watcher.ref = not ref
        assert loop.start() is False
        watcher.stop()
        assert loop.start() is False
        loop.verify()
    timer = loop.timer(3600, 0, nothing)
    timer.start()
    watcher.start()
    assert loop.start(event.EVRUN_NOWAIT) is True
    watcher.stop()
    timer.stop()
    assert loop.start() is False


def test_callback_may_use_the_loop(loop):
    seen = []

    def callback(watcher, revents):
        assert not loop.closed and loop.watchers() == []
        with pytest.raises(event.Error):
            loop.close()
        loop.timer(0, 0, lambda w, r: seen.append("timer")).start()
        loop.start()
        watcher.start()  # not called again
        loop.cleanup(lambda *args: seen.append("late")).start()
        loop.timer(3600, 0, nothing).start()
        loop.once(None, 0, 3600, nothing)
        watcher.feed(event.EV_CUSTOM)
        seen.append("done")

    loop.cleanup(callback).start()
    loop.close()
    assert seen == ["timer", "done"] and loop.closed


def test_callback_stops_and_moves_others(loop):
    seen = []
    with event.Loop() as other:
        moved = loop.cleanup(lambda *args: seen.append("moved"), priority=-1)
        dropped = loop.cleanup(lambda *args: seen.append("dropped"), priority=-2)

        def callback(watcher, revents):
            dropped.stop()
            moved.stop()
            moved.__init__(other, moved.callback)
            moved.start()
            gc.collect()

        for watcher in (moved, dropped, loop.cleanup(callback)):
            watcher.start()
        loop.close()
        assert seen == [] and moved.active
    assert seen == ["moved"]


def test_exceptions(loop, unraisable):
    def odd(watcher, revents):
        raise Odd(watcher.data)

    loop.cleanup(event.fatal(lambda w, r: odd(w, r)), "fatal", 2).start()
    loop.cleanup(odd, "reported", 1).start()
    loop.cleanup(lambda w, r: odd(w, r), "reported", 0).start()
    with pytest.raises(Odd, match="fatal"):
        loop.close()
    assert loop.closed
    assert [(type(e), str(e)) for e, _ in unraisable] == [(Odd, "reported")] * 2


@pytest.mark.parametrize("how", ["debug", "hook", "base"])
def test_exceptions_that_close_raises(loop, how):
    exc = KeyboardInterrupt() if how == "base" else Odd()

    def callback(watcher, revents):
        raise exc

    loop.debug = how == "debug"
    loop.callback = (lambda got: got.invoke()) if how == "hook" else None
    loop.cleanup(callback).start()
    with pytest.raises(type(exc)) as caught:
        loop.close()
    assert caught.value is exc and loop.closed
    loop.close()


def test_context_manager(loop):
    seen = []
    with loop:
        loop.cleanup(lambda w, r: seen.append(r)).start()
    assert seen == [event.EV_CLEANUP]


def test_loop_that_is_collected(unraisable):
    seen = []

    def make():
        loop = event.Loop()
        loop.cleanup(lambda w, r: seen.append(loop.closed)).start()
        loop.cleanup(event.fatal(lambda w, r: 1 / 0)).start()
        return weakref.ref(loop)

    ref = make()
    assert ref() is not None
    gc.collect()
    assert seen == [False] and ref() is None
    assert [type(e) for e, _ in unraisable] == [ZeroDivisionError]


def test_callback_that_resurrects_its_loop():
    kept = []

    def make():
        loop = event.Loop()
        loop.cleanup(lambda w, r: kept.append(w.loop)).start()

    make()
    gc.collect()
    assert [loop.closed for loop in kept] == [False]
    kept[0].timer(0, 0, nothing).start()
    assert kept[0].start() is False
    kept.pop().close()
    gc.collect()
    assert kept == []


def test_interpreter_exit(isolated):
    code = """
        import atexit
        loop = Loop(); default = default_loop(); closed = Loop()
        atexit.register(lambda: print("first", loop.closed))
        def bye(watcher, revents): print("bye", watcher.data, time is not None)
        for n, l in enumerate((loop, default, closed)): l.cleanup(bye, n).start()
        loop.cleanup(lambda w, r: sys.exit(3)).start()
        closed.close()
        """
    lines = isolated(code).splitlines()
    assert lines[:2] == ["bye 2 True", "first False"]
    assert sorted(lines[2:]) == ["bye 0 True", "bye 1 True"]


def test_interpreter_exit_while_a_thread_runs_the_loop(isolated):
    code = """
        loop = Loop(); loop.timer(3600, 0, print).start()
        loop.cleanup(lambda w, r: print("bye")).start()
        threading.Thread(target=loop.start, daemon=True).start()
        while loop.depth == 0: time.sleep(0.001)
        """
    assert isolated(code) == ""


def test_default_loop(isolated):
    code = """
        seen = []
        for n in range(2):
            loop = default_loop()
            loop.cleanup(lambda w, r: seen.append(n)).start()
            assert loop.start() is False
            loop.close()
        print(seen)
        """
    assert isolated(code) == "[0, 1]"


def test_loop_started_by_another_thread_meanwhile(isolated):
    code = """
        loop = Loop(); loop.timer(3600, 0, print).start()
        thread = threading.Thread(target=loop.start)
        def callback(w, r):
            thread.start()
            while loop.depth == 0: time.sleep(0.001)
        loop.cleanup(callback).start()
        try:
            loop.close()
        except Error as exc:
            print(exc)
        loop.stop(); thread.join(); loop.close()
        """
    assert isolated(code) == "another thread is inside start() of this loop"


def test_loop_that_an_asyncio_loop_runs_on(isolated):
    code = """
        import moodloop
        for close in (True, False):
            loop = moodloop.new_event_loop()
            loop.ev.cleanup(lambda w, r: print(loop.is_closed())).start()
            loop.ev.cleanup(fatal(lambda w, r: 1 / 0), priority=-1).start()
            sys.unraisablehook = lambda u: print(type(u.exc_value).__name__)
            if close: loop.close()
        print("exit")
        """
    lines = isolated(code).split()
    assert lines == ["True", "ZeroDivisionError", "exit", "False", "ZeroDivisionError"]


def test_another_thread_invokes_meanwhile(loop):
    """The loop is not closed under it."""
    closing, inside, end = threading.Event(), threading.Event(), threading.Event()

    def invoke():
        closing.wait()
        loop.invoke()

    for _ in range(3):
        loop.timer(0, 0, lambda *args: (inside.set(), end.wait())).feed(event.EV_CUSTOM)
    loop.cleanup(lambda *args: (closing.set(), inside.wait())).start()
    thread = threading.Thread(target=invoke)
    thread.start()
    with pytest.raises(event.Error):
        loop.close()
    end.set()
    thread.join()
    assert not loop.closed


@pytest.mark.parametrize("which", ["Loop()", "default_loop()"])
def test_makes_an_asyncio_loop_on_it(isolated, which):
    """That has watchers in libev, which keeps its default loop beyond close()."""
    isolated(
        f"""
        import moodloop

        loop = {which}
        made = []
        loop.cleanup(lambda w, r: made.append(moodloop.EventLoop(ev=w.loop))).start()
        try:
            loop.close()
        except Error as exc:
            assert "asyncio" in str(exc)
        else:
            raise AssertionError
        made[0].call_later(0.0, made[0].stop)
        made[0].run_forever()
        made.pop().close()
        loop.close()
        gc.collect()
        loop = {which}
        others = [loop.timer(9, 0, print) for _ in range(9)]
        for timer in others:
            timer.start()
        loop.verify()
        loop.close()
        """
    )
