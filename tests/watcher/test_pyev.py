"""moodloop.pyev: programs written for pyev 0.8 (and 0.6) run with another import."""

import signal

import pytest

import moodloop
from moodloop import event, pyev


@pytest.fixture
def loop():
    loop = pyev.Loop(pyev.EVBACKEND_EPOLL)
    yield loop
    loop.close()


def quiet(watcher, revents):
    """A callback."""


def test_every_name_of_event_is_there():
    missing = [name for name in event.__all__ if not hasattr(pyev, name)]
    assert missing == []


def test_version():
    major, minor = pyev.abi_version()
    assert pyev.version() == (moodloop.__version__, f"{major}.{minor}")


def test_names_of_0_6(loop):
    assert (pyev.EVLOOP_NONBLOCK, pyev.EVLOOP_ONESHOT) == (pyev.EVRUN_NOWAIT, pyev.EVRUN_ONCE)
    assert pyev.EVUNLOOP_CANCEL == pyev.EVBREAK_CANCEL
    assert (pyev.EVUNLOOP_ONE, pyev.EVUNLOOP_ALL) == (pyev.EVBREAK_ONE, pyev.EVBREAK_ALL)
    fired = []

    def fire(watcher, revents):
        fired.append(revents)
        watcher.loop.unloop(pyev.EVUNLOOP_ALL)

    timer = pyev.Timer(0.001, 5.0, loop, fire)
    timer.start()
    assert loop.loop() is True
    assert fired == [pyev.EV_TIMER]
    assert loop.loop(pyev.EVLOOP_NONBLOCK) is True


@pytest.mark.parametrize(
    "kind, args",
    [
        ("Io", (0, event.EV_READ)),
        ("Timer", (1.0, 2.0)),
        ("Periodic", (1.0, 2.0)),
        ("Scheduler", (lambda watcher, now: now + 1,)),
        ("Signal", (signal.SIGUSR1,)),
        ("Stat", ("/", 0.0)),
        ("Idle", ()),
        ("Prepare", ()),
        ("Check", ()),
        ("Fork", ()),
        ("Async", ()),
        ("Cleanup", ()),
    ],
)
def test_the_loop_comes_after_the_arguments(loop, kind, args):
    watcher = getattr(pyev, kind)(*args, loop, quiet, "data", 1)
    assert watcher.loop is loop
    assert watcher.callback is quiet
    assert watcher.data == "data"
    assert watcher.priority == 1
    made = getattr(loop, kind.lower())(*args, quiet, "data", 1)
    assert type(made) is getattr(pyev, kind)
    assert made.data == "data"
    keywords = getattr(pyev, kind)(*args, loop=loop, callback=quiet, data="data", priority=1)
    assert keywords.priority == 1


def test_embed_has_the_other_loop_first(loop):
    other = pyev.Loop(pyev.EVBACKEND_EPOLL)
    assert pyev.Embed(other, loop).other is other
    assert loop.embed(other).other is other
    assert pyev.Embed(other=other, loop=loop).loop is loop
    other.close()


def test_child(isolated):
    isolated(
        """
        import os
        import moodloop.pyev as pyev
        loop = pyev.default_loop()
        pid = os.fork()
        if not pid:
            os._exit(3)
        ended = []
        child = pyev.Child(pid, False, loop, lambda w, r: (ended.append(w.rstatus), w.stop()))
        child.start()
        loop.start()
        assert [os.waitstatus_to_exitcode(status) for status in ended] == [3]
        """
    )


def test_numbers_that_can_be_called(loop):
    timer = loop.timer(5.0, 0.0, quiet)
    assert timer.remaining() == timer.remaining
    assert 4.0 < timer.remaining() <= 5.0
    assert type(timer.remaining()) is float
    assert timer.at == timer.at()
    periodic = loop.periodic(0.0, 3600.0, quiet)
    assert periodic.at == periodic.at() == 0.0
    periodic.start()
    assert periodic.at() > event.time()
    scheduler = loop.scheduler(lambda watcher, now: now + 10, quiet)
    scheduler.start()
    assert scheduler.at() == scheduler.at > event.time()


def test_debug_in_fourth_place():
    with pyev.Loop(0, None, "data", True, 0.25, 0.5) as loop:
        assert loop.debug is True
        assert (loop.data, loop.io_interval, loop.timeout_interval) == ("data", 0.25, 0.5)
        timer = loop.timer(0, 0, lambda watcher, revents: 1 / 0)
        timer.start()
        with pytest.raises(ZeroDivisionError):
            loop.start()
    with pyev.Loop(debug=False) as loop:
        assert loop.debug is False


def test_default_loop(isolated):
    isolated(
        """
        import moodloop.pyev as pyev
        loop = pyev.default_loop(0, None, "data", True)
        assert type(loop) is pyev.Loop and loop.default and loop.debug and loop.data == "data"
        loop.sigint = pyev.Signal(signal.SIGINT, loop, print)  # programs keep watchers there
        import warnings
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert pyev.default_loop() is loop
            assert not caught
            assert pyev.default_loop(debug=True) is loop
            assert [w.category for w in caught] == [RuntimeWarning]
        assert pyev.loop is pyev.default_loop
        assert event.default_loop() is loop
        loop.close()
        again = pyev.default_loop(debug=False)
        assert again is not loop and type(again) is pyev.Loop
        """
    )


@pytest.mark.parametrize("call", ["(0, None, None, True, debug=True)", "(1, 2, 3, 4, 5, 6, 7)"])
def test_default_loop_refuses(isolated, call):
    isolated(
        f"""
        import moodloop.pyev as pyev
        try:
            pyev.default_loop{call}
        except TypeError:
            pass
        else:
            raise AssertionError
        """
    )


def test_default_loop_as_wants_a_loop_type():
    from moodloop import _core

    for wrong in [(), (int,), (5,)]:
        with pytest.raises(TypeError, match="subclass of Loop"):
            _core._default_loop_as(*wrong)


def test_a_program_for_pyev(isolated):
    """As people wrote them: signals, I/O, a timer that counts, everything in loop.data."""
    out = isolated(
        """
        import os
        import moodloop.pyev as pyev

        r, w = os.pipe()

        def sig_cb(watcher, revents):
            print("signal", watcher.signum == signal.SIGUSR1)
            loop = watcher.loop
            while loop.data:
                loop.data.pop().stop()
            loop.stop(pyev.EVBREAK_ALL)

        def io_cb(watcher, revents):
            print("read", os.read(watcher.fd, 100))
            os.kill(os.getpid(), signal.SIGUSR1)

        def timer_cb(watcher, revents):
            watcher.data += 1
            if watcher.data == 3:
                watcher.stop()
                os.write(w, b"three ticks")

        loop = pyev.default_loop()
        timer = loop.timer(0, 0.001, timer_cb, 0)
        io = pyev.Io(r, pyev.EV_READ, loop, io_cb)
        sig = loop.signal(signal.SIGUSR1, sig_cb)
        loop.data = [timer, io, sig]
        for watcher in loop.data:
            watcher.start()
        print(loop.start())
        """
    )
    assert out.splitlines() == ["read b'three ticks'", "signal True", "False"]
