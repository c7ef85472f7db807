import contextlib
import errno
import gc
import math
import os
import signal
import time
import weakref

import pytest

from moodloop import event


def nothing(*args):
    pass


def test_start_returns_whether_something_is_left(loop):
    assert loop.start() is False
    idle = loop.idle()
    idle.start()
    assert loop.start(event.EVRUN_NOWAIT) is True
    idle.stop()
    assert loop.start() is False


def test_stop_ends_one_or_all(loop, guarded):
    seen = []

    def inner(watcher, revents):
        seen.append(loop.depth)
        loop.stop(event.EVBREAK_ALL if len(seen) > 1 else event.EVBREAK_ONE)

    def outer(watcher, revents):
        loop.timer(0, 0, inner).start()
        loop.start()
        seen.append("outer")
        loop.timer(0, 0, inner).start()
        loop.start()

    loop.timer(0, 0, outer).start()
    loop.timer(3600, 0, nothing).start()
    assert guarded() is True
    assert seen == [2, "outer", 2]


def test_stop_outside_of_start_has_no_effect(loop):
    loop.stop()
    fired = []
    loop.timer(0, 0, lambda w, r: fired.append(r)).start()
    loop.start()
    assert fired == [event.EV_TIMER]


def test_invoke_calls_what_is_pending(loop):
    seen = []
    watcher = loop.prepare(lambda w, r: seen.append((w, r)))
    watcher.feed(event.EV_CUSTOM)
    assert (loop.pending, watcher.pending) == (1, True)
    loop.invoke()
    assert seen == [(watcher, event.EV_CUSTOM)]
    assert not watcher.pending


def test_time(loop):
    assert abs(loop.now() - event.time()) < 3600
    loop.update()
    assert isinstance(loop.now(update=True), float)


def test_suspend_and_resume_come_in_pairs(loop):
    with pytest.raises(event.Error):
        loop.resume()
    loop.suspend()
    with pytest.raises(event.Error):
        loop.suspend()
    loop.resume()


def test_unref_does_not_go_below_zero(loop):
    with pytest.raises(event.Error):
        loop.unref()
    loop.ref()
    loop.incref()
    loop.unref()
    loop.decref()
    with pytest.raises(event.Error):
        loop.decref()
    loop.verify()


def test_stops_after_unref_keep_the_count(loop):
    watchers = [loop.timer(3600, 0, nothing) for _ in range(4)]
    for watcher in watchers:
        watcher.start()
    for _ in watchers:
        loop.unref()
    assert loop.start(event.EVRUN_NOWAIT) is False
    for watcher in watchers:
        watcher.stop()
    loop.verify()
    assert loop.start() is False
    watchers[0].start()
    assert loop.start(event.EVRUN_NOWAIT) is True


def test_count_of_one_shots_that_have_not_told(loop):
    """libev has stopped them all before the first one's callback is called."""
    refused = []

    def callback(watcher, revents):
        with pytest.raises(event.Error):
            loop.unref()
        refused.append(watcher)
        loop.verify()

    for _ in range(5):
        loop.timer(0, 0, callback).start()
    assert loop.start() is False
    assert len(refused) == 5
    loop.verify()


@pytest.mark.alone
def test_unreferenced_ones_cost_no_walk():
    """Neither a start() nor an unref() looks at all active watchers: that took 1,000 times as long
    with so many of them."""

    def seconds(calls_unref):
        with event.Loop() as loop:
            watchers = [loop.timer(3600, 0, nothing) for _ in range(16000)]
            loop.ref()
            start = time.perf_counter()
            for watcher in watchers:
                watcher.start()
                (loop.unref if calls_unref else loop.ref)()
            return time.perf_counter() - start

    assert min(seconds(True) for _ in range(3)) < 50 * min(seconds(False) for _ in range(3))


def test_feeds(loop, isolated):
    with pytest.raises(ValueError):
        loop.feed_signal_event(0)
    with pytest.raises(ValueError):
        loop.feed_signal_event(10**6)
    with pytest.raises(ValueError):
        loop.feed_fd_event(-1, event.EV_READ)
    loop.feed_fd_event(10**6, event.EV_READ)
    for bad in (0, -1, 65, 10**8):
        with pytest.raises(ValueError):
            event.feed_signal(bad)


def test_close(loop):
    timer = loop.timer(1, 0, nothing, data="kept")
    timer.start()
    loop.data = 5
    loop.close()
    loop.close()
    assert (loop.closed, loop.data) == (True, 5)
    assert (timer.active, timer.pending, timer.data) == (False, False, "kept")
    for name in ("start", "stop", "invoke", "reset", "now", "update", "suspend", "resume", "ref"):
        with pytest.raises(event.Error):
            getattr(loop, name)()
    for name in ("callback", "debug", "backend", "backend_name", "pending", "iteration", "depth"):
        with pytest.raises(event.Error):
            getattr(loop, name)
    for call in (timer.start, timer.stop, timer.reset, timer.clear, lambda: timer.feed(1)):
        with pytest.raises(event.Error):
            call()
    for name in ("callback", "priority", "ref", "repeat", "remaining", "at"):
        with pytest.raises(event.Error):
            getattr(timer, name)
    with pytest.raises(event.Error):
        event.Timer(loop, 1, 0, nothing)
    assert "closed" in repr(loop) and "closed" in repr(timer)


@pytest.mark.parametrize("how", ["start", "invoke", "watcher"])
def test_close_inside_a_callback_is_an_error(loop, how):
    caught = []

    def callback(watcher, revents):
        with pytest.raises(event.Error):
            loop.close()
        caught.append(how)

    watcher = loop.timer(0, 0, callback)
    if how == "start":
        watcher.start()
        loop.start()
    elif how == "invoke":
        watcher.feed(1)
        loop.invoke()
    else:
        watcher.invoke(1)
    assert caught == [how]


def test_destructors_that_use_the_loop_while_it_closes(loop):
    class Again:
        def __call__(self, *args):
            pass

        def __del__(self):
            with pytest.raises(event.Error):
                loop.timer(1, 0, nothing).start()
            loop.close()

    loop.timer(1, 0, Again()).start()
    loop.once(None, 0, 10, Again())
    loop.close()
    assert loop.closed


def test_context_manager():
    with event.Loop() as loop:
        loop.timer(0, 0, nothing).start()
        loop.start()
    assert loop.closed
    with pytest.raises(event.Error), loop:
        pass


def test_watchers_lists_the_active_ones(loop):
    one, two = loop.idle(), loop.timer(1, 0, nothing)
    one.start()
    two.start()
    loop.prepare(nothing).feed(1)
    assert set(loop.watchers()) == {one, two}


def test_hook_is_called_when_something_is_pending(loop):
    calls = []

    def hook(got):
        calls.append(got.pending)
        got.invoke()

    loop.callback = hook
    fired = []
    loop.timer(0, 0, lambda w, r: fired.append(r)).start()
    loop.start()
    assert fired == [event.EV_TIMER] and calls and all(calls)


def test_hook_replaces_itself(loop):
    class Hook:
        def __call__(self, got):
            got.callback = None
            gc.collect()
            got.invoke()

    loop.callback = Hook()
    loop.timer(0, 0, nothing).start()
    loop.start()
    assert loop.callback is None


def test_hook_that_raises_ends_the_run(loop):
    loop.callback = lambda got: 1 / 0
    fired = []
    loop.timer(0, 0, lambda w, r: fired.append(r)).start()
    with pytest.raises(ZeroDivisionError):
        loop.start()
    loop.callback = None
    loop.start()
    assert fired == [event.EV_TIMER]


@pytest.mark.parametrize("name", ["io_interval", "timeout_interval"])
def test_intervals(loop, name):
    setattr(loop, name, 0.25)
    assert getattr(loop, name) == 0.25
    for bad in (-1, math.nan):
        with pytest.raises(ValueError):
            setattr(loop, name, bad)
        with pytest.raises(ValueError):
            event.Loop(**{name: bad})
    with pytest.raises(TypeError):
        setattr(loop, name, "x")


def test_arguments():
    for args in (("x",), (0, 5)):
        with pytest.raises(TypeError):
            event.Loop(*args)
    with pytest.raises(OverflowError):
        event.Loop(2**40)
    with pytest.raises(event.Error):
        event.Loop(event.EVBACKEND_PORT | event.EVFLAG_NOENV)
    with event.Loop(0, None, "data", 0.1, 0.2, debug=True) as loop:
        assert (loop.data, loop.io_interval, loop.timeout_interval) == ("data", 0.1, 0.2)
        assert loop.debug and not loop.default
        with pytest.raises(event.Error):
            loop.__init__()


def test_conversions_that_initialise_again():
    class Sly:
        def __float__(self):
            loop.__init__()
            return 0.0

    loop = event.Loop.__new__(event.Loop)
    with pytest.raises(event.Error):
        loop.__init__(io_interval=Sly())
    loop.close()


def test_hook_whose_destructor_initialises_again():
    class Hook:
        def __call__(self, loop):
            pass

        def __del__(self):
            with contextlib.suppress(event.Error):
                loop.__init__(event.EVFLAG_NOENV)

    loop = event.Loop.__new__(event.Loop)
    with pytest.raises(event.Error):
        loop.__init__(event.EVBACKEND_PORT | event.EVFLAG_NOENV, Hook())
    with contextlib.suppress(event.Error):
        loop.__init__(event.EVFLAG_NOENV)
    loop.verify()
    loop.close()


def test_no_attribute_can_be_deleted(loop):
    for name in ("callback", "data", "debug", "io_interval", "timeout_interval", "closed"):
        with pytest.raises(AttributeError):
            delattr(loop, name)


def test_subclass():
    class Mine(event.Loop):
        def __init__(self, name):
            super().__init__()
            self.name = name

    class Lazy(event.Loop):
        def __init__(self):
            pass

    with Mine("x") as loop:
        assert weakref.ref(loop)() is loop
    with pytest.raises(event.Error):
        Lazy().start()
    with pytest.raises(event.Error):
        event.Timer(Lazy(), 0, 0, nothing)


def test_default_loop(isolated):
    assert (
        isolated(
            """
        import warnings
        from subprocess import Popen
        first = default_loop(data=1)
        assert first is loop() and first.default and first.data == 1
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            assert default_loop(0) is first
        assert [w.category for w in seen] == [RuntimeWarning]
        assert Popen(["false"]).wait() == 1          # its exit status is not libev's
        first.ref()
        first.timer(3600, 0, print).start()
        first.close()
        again = default_loop()
        assert again is not first and not again.closed
        assert again.start() is False
        hits = []
        child = again.signal(signal.SIGCHLD, lambda w, r: (hits.append(r), again.stop()))
        child.start()
        os.kill(os.getpid(), signal.SIGCHLD)
        again.start()
        child.stop()
        assert hits == [EV_SIGNAL]
        assert Popen(["false"]).wait() == 1
        other = Loop()
        try:
            other.signal(signal.SIGCHLD, print).start()
        except Error:
            print("refused")
        """
        )
        == "refused"
    )


def test_default_loop_closed_by_the_warning_about_it(isolated):
    code = """
        import warnings
        first = default_loop()
        warnings.simplefilter("always")
        warnings.showwarning = lambda *args, **kwargs: first.close()
        again = default_loop(0)
        assert again is first and first.closed
        assert not default_loop().closed
        print("ok")
        """
    assert isolated(code) == "ok"


def test_default_loop_is_that_of_the_process(isolated):
    """Also for a second instance of the module: libev has one, which cannot be wrapped twice."""
    code = """
        import importlib.util
        from moodloop import _core
        spec = importlib.util.spec_from_file_location("moodloop._core", _core.__file__)
        other = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(other)
        first = default_loop()
        try:
            other.default_loop()
        except other.Error:
            first.close()
        again = other.default_loop()
        again.timer(0, 0, lambda w, r: print("ok")).start()
        again.start()
        again.close()
        assert not default_loop().closed
        """
    assert isolated(code) == "ok"


def test_default_loop_beside_a_sigchld_watcher(isolated):
    code = """
        loop = Loop(); w = loop.signal(signal.SIGCHLD, print); w.start()
        try:
            default_loop()
        except Error:
            print("refused")
        """
    assert isolated(code) == "refused"


@pytest.mark.parametrize("running", [False, True])
def test_once_on_a_descriptor_that_is_closed(any_loop, running):
    """It must not be told as ready, nor stay in the tables of its loop."""
    loop, pipe = any_loop, os.pipe()
    fd = os.dup(pipe[0])
    keep = loop.timer(3600, 0, nothing)
    keep.start()
    loop.start(event.EVRUN_NOWAIT)
    loop.once(fd, event.EV_READ, None, lambda *args: pytest.fail("called"))
    if running and loop.backend_name != "epoll":
        loop.start(event.EVRUN_NOWAIT)  # epoll drops a closed descriptor in silence
    os.close(fd)
    with pytest.raises(OSError) as caught:
        loop.start(event.EVRUN_NOWAIT)
    assert caught.value.errno == errno.EBADF
    fd = os.dup(pipe[0])
    watcher = loop.io(fd, event.EV_READ, nothing)
    watcher.start()
    loop.start(event.EVRUN_NOWAIT)
    watcher.stop()
    for number in (fd, *pipe):
        os.close(number)


def test_io_on_a_descriptor_that_is_closed_but_has_a_copy(any_loop):
    """epoll goes on telling of it: that ends, as for one without a copy, with the error."""
    loop, pipe = any_loop, os.pipe()
    fd = os.dup(pipe[0])
    told = []
    watcher = loop.io(fd, event.EV_READ, lambda *args: told.append(args))
    watcher.start()
    loop.start(event.EVRUN_NOWAIT)
    os.write(pipe[1], b"x")
    os.close(fd)
    with pytest.raises(OSError) as caught:
        while len(told) < 1000:
            loop.start(event.EVRUN_NOWAIT)
    assert caught.value.errno == errno.EBADF
    assert not watcher.active
    assert loop.start() is False
    for number in pipe:
        os.close(number)


def test_once(any_loop):
    loop, seen = any_loop, []
    read, write = os.pipe()
    loop.once(write, event.EV_WRITE, None, lambda *args: seen.append(args))
    loop.once(read, event.EV_READ, 0, lambda *args: seen.append(args))
    loop.once(None, 0, 0, lambda *args: seen.append(args))
    loop.once(-1, 0, 0.001, lambda *args: seen.append(args))
    loop.start()
    os.close(read)
    os.close(write)
    assert sorted(r for _, r in seen) == sorted([event.EV_WRITE] + [event.EV_TIMER] * 3)
    with pytest.raises(OSError):
        loop.once(read, event.EV_READ, None, nothing)
    with pytest.raises(TypeError):
        loop.once(None, 0, 1, None)
    with pytest.raises(event.Error):
        loop.once(None, 64, 1, nothing)
    with pytest.raises(ValueError):
        loop.once(None, 0, math.nan, nothing)


def test_reset_inside_prepare_is_an_error(loop):
    seen = []

    def callback(watcher, revents):
        watcher.stop()
        with pytest.raises(event.Error):
            loop.reset()
        seen.append(1)

    loop.prepare(callback).start()
    loop.start()
    loop.reset()
    assert seen


@pytest.mark.parametrize("call", [1, 2])
def test_closed_by_another_thread_while_a_run_begins(loop, monkeypatch, call):
    """start() runs Python code before libev: setting the wakeup fd."""
    real, calls = signal.set_wakeup_fd, []

    def set_wakeup_fd(*args, **kwargs):
        calls.append(args)
        try:
            return real(*args, **kwargs)
        finally:
            if len(calls) == call:
                loop.close()

    monkeypatch.setattr(signal, "set_wakeup_fd", set_wakeup_fd)
    with pytest.raises(event.Error):
        loop.start()
    assert loop.closed
