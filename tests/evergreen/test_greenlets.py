"""switch and task, with the package greenlet and without it."""

import gc
import weakref

import pytest
from support import optional

greenlet = optional.need("greenlet")


def spawn(function, *args):
    """A greenlet, to be switched to from the loop."""
    return greenlet.greenlet(lambda: function(*args))


def sleep(loop, seconds, value=None):
    loop.call_later(seconds, greenlet.getcurrent().switch, value)
    return loop.switch()


def test_callbacks_run_in_the_loops_greenlet(loop):
    seen = []
    assert not loop.task.dead
    loop.call_soon(lambda: seen.append(greenlet.getcurrent()))
    task = loop.task
    loop.run()
    assert seen == [task]
    assert loop.task is task and task.dead
    assert task.parent is greenlet.getcurrent()


def test_greenlets_take_turns(loop):
    seen = []

    def body(name):
        for number in range(3):
            seen.append((name, number, sleep(loop, 0.002, name + "!")))

    for name in "ab":
        loop.call_soon(spawn(body, name).switch)
    loop.run()
    assert seen == [(name, number, name + "!") for number in range(3) for name in "ab"]


def test_switch_starts_the_loop(loop):
    """From the main greenlet: a program without any other."""
    main = greenlet.getcurrent()
    loop.call_later(0.001, main.switch, "first")
    assert loop.switch() == "first"
    assert loop.running
    with pytest.raises(RuntimeError, match="already started"):
        loop.run()
    with pytest.raises(RuntimeError, match="running"):
        loop.destroy()
    loop.call_soon(main.switch, "second")
    assert loop.switch() == "second"
    loop.stop()
    loop.switch()
    assert not loop.running
    with pytest.raises(RuntimeError, match="already ended"):
        loop.switch()


def test_switch_in_main_returns_at_the_end(loop):
    loop.call_soon(lambda: None)
    assert loop.switch() is None or not loop.running
    assert not loop.running


def test_run_goes_on_after_a_greenlet_that_never_switched(loop):
    seen = []
    loop.call_soon(spawn(seen.append, 1).switch)
    loop.call_later(0.001, seen.append, 2)
    loop.run()
    assert seen == [1, 2]


def fail():
    raise ValueError("in a greenlet")


def sleep_and_fail(loop):
    sleep(loop, 0.001)
    fail()


@pytest.mark.parametrize("body", [lambda loop: fail(), sleep_and_fail])
def test_an_exception_in_a_greenlet_is_a_callbacks(loop, capsys, body):
    seen = []
    loop.call_soon(spawn(body, loop).switch)
    loop.call_later(0.01, seen.append, 1)
    loop.run()
    assert seen == [1]
    err = capsys.readouterr().err
    assert err.count("Traceback") == 1
    assert "in fail\n" in err and "ValueError: in a greenlet" in err


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, SystemError])
@pytest.mark.parametrize("first", [False, True])
def test_an_exception_that_leaves_run_from_a_greenlet(loop, kind, first):
    def body():
        if first:
            sleep(loop, 0.001)
        raise kind("out")

    loop.call_soon(spawn(body).switch)
    with pytest.raises(kind, match="out"):
        loop.run_forever()
    assert not loop.running and loop.task.dead


def test_killing_the_loops_greenlet_ends_it(loop):
    main = greenlet.getcurrent()
    loop.call_soon(main.switch)
    loop.switch()
    loop.task.throw()
    assert not loop.running and loop.task.dead


def test_throw_into_a_greenlet_that_waits(loop):
    seen = []

    class Timeout(Exception):
        pass

    def body():
        handler = loop.call_later(0.001, greenlet.getcurrent().throw, Timeout)
        try:
            loop.switch()
        except Timeout:
            seen.append("timeout")
        handler.cancel()

    loop.call_soon(spawn(body).switch)
    loop.run()
    assert seen == ["timeout"]


def test_run_outside_of_the_main_greenlet(loop):
    def body():
        for start in (loop.run, loop.run_forever, loop.switch):
            with pytest.raises(RuntimeError, match="main greenlet"):
                start()
        return "done"

    assert spawn(body).switch() == "done"
    loop.run()


def test_a_loop_made_outside_of_the_main_greenlet():
    from moodloop import evergreen

    loop = spawn(evergreen.EventLoop).switch()
    assert loop.task.parent is greenlet.getcurrent()
    seen = []
    loop.call_soon(seen.append, 1)
    loop.run()
    assert seen == [1]
    loop.destroy()


def test_switch_in_the_loops_own_greenlet(loop):
    seen = []

    def callback():
        with pytest.raises(RuntimeError, match="own greenlet"):
            loop.switch()
        seen.append(1)

    loop.call_soon(callback)
    loop.run()
    assert seen == [1]


def test_switch_in_another_thread(loop, in_thread):
    with pytest.raises(RuntimeError, match="thread"):
        in_thread(loop.switch)
    loop.call_soon(greenlet.getcurrent().switch)
    loop.switch()
    with pytest.raises(RuntimeError, match="thread"):
        in_thread(loop.switch)
    loop.stop()
    loop.switch()


def test_greenlets_that_wait_when_the_loop_ends_are_freed(loop):
    seen = []

    class Local:
        pass

    def body():
        local = Local()
        seen.append(weakref.ref(local))
        try:
            loop.switch()
        finally:
            seen.append("freed")

    loop.call_soon(spawn(body).switch)
    loop.run()
    loop.destroy()
    gc.collect()
    assert seen[0]() is None and seen[1] == "freed"


def test_a_killed_greenlet_does_not_end_the_loop(loop):
    seen = []

    def body():
        loop.switch()

    waiting = spawn(body)
    loop.call_soon(waiting.switch)
    loop.call_later(0.001, waiting.throw)
    loop.call_later(0.005, seen.append, 1)
    loop.run()
    assert seen == [1] and waiting.dead
