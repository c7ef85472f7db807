"""The thread's place for a loop, and the life of a loop."""

import threading

import pytest

from moodloop import evergreen
from moodloop.evergreen.loop import EventLoop

DESTROYED = "event loop has been destroyed"


def test_names():
    assert evergreen.EventLoop is EventLoop
    assert set(evergreen.__all__) == {"EventLoop", "Handler", "current"}


def test_one_loop_for_each_thread(loop, in_thread):
    with pytest.raises(
        RuntimeError, match=r"^cannot instantiate more than one event loop per thread$"
    ):
        EventLoop()

    def other():
        mine = EventLoop()
        assert EventLoop.current() is evergreen.current.loop is mine is not loop
        mine.destroy()
        return True

    assert in_thread(other)
    assert EventLoop.current() is loop


def test_current_makes_one_in_the_main_thread():
    loop = evergreen.current.loop
    assert type(loop) is EventLoop
    assert evergreen.current.loop is EventLoop.current() is loop
    loop.destroy()
    again = EventLoop.current()
    assert again is not loop
    again.destroy()


def test_current_in_another_thread_is_an_error(in_thread):
    message = "^there is no event loop created in the current thread$"
    for get in (EventLoop.current, lambda: evergreen.current.loop):
        with pytest.raises(RuntimeError, match=message):
            in_thread(get)


def test_current_of_a_thread_named_as_the_main_one(in_thread):
    def other():
        threading.current_thread().name = "MainThread"
        EventLoop.current()

    with pytest.raises(RuntimeError, match="there is no event loop"):
        in_thread(other)


def test_current_of_a_subclass():
    class Mine(EventLoop):
        pass

    loop = Mine.current()
    assert type(loop) is Mine
    assert evergreen.current.loop is loop
    loop.destroy()


def test_current_is_read_only():
    with pytest.raises(AttributeError):
        evergreen.current.loop = None


def test_a_loop_that_could_not_be_made_takes_no_place(isolated):
    out = isolated("""
        import resource
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
        try:
            evergreen.EventLoop()
        except OSError as exc:
            print(exc.errno)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        evergreen.EventLoop().destroy()
        print("made")
    """)
    assert out == ["24", "made"]


# ---- run and stop ----------------------------------------------------------------------------


def test_run_ends_when_nothing_is_scheduled(loop):
    assert not loop.running
    loop.run()
    assert not loop.running


def test_run_ends_after_the_last_callback(loop, pipe):
    seen = []

    def later():
        seen.append(loop.running)
        loop.add_writer(pipe[1], write)

    def write():
        seen.append("writable")
        loop.remove_writer(pipe[1])

    loop.call_later(0.001, later)
    loop.run()
    assert seen == [True, "writable"]


def test_stop_before_the_start(loop):
    with pytest.raises(RuntimeError, match=r"^event loop has not been started yet$"):
        loop.stop()


def test_stop_lets_the_pass_end(loop):
    seen = []
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, 1)
    loop.call_soon(lambda: loop.call_soon(seen.append, "never"))
    loop.call_later(60, print)
    loop.run()
    assert seen == [1]
    loop.stop()  # nothing to do, and no error


def test_run_forever_waits_for_stop(loop):
    seen = []
    timer = threading.Timer(0.05, loop.call_from_thread, (seen.append, 1))
    timer.start()
    threading.Timer(0.1, loop.call_from_thread, (loop.stop,)).start()
    loop.run_forever()
    assert seen == [1]


@pytest.mark.parametrize("again", ["run", "run_forever"])
def test_a_loop_runs_once(loop, again):
    seen = []

    def nested():
        with pytest.raises(RuntimeError, match="already started"):
            getattr(loop, again)()
        seen.append(1)

    loop.call_soon(nested)
    loop.run()
    assert seen == [1]
    with pytest.raises(RuntimeError, match="already ended"):
        getattr(loop, again)()


def test_run_in_another_thread(loop, in_thread):
    for start in (loop.run, loop.run_forever):
        with pytest.raises(RuntimeError, match="thread"):
            in_thread(start)
    loop.run()


# ---- destroy ---------------------------------------------------------------------------------


def test_destroy_while_running(loop):
    seen = []

    def callback():
        with pytest.raises(RuntimeError, match="running"):
            loop.destroy()
        seen.append(1)

    loop.call_soon(callback)
    loop.run()
    assert seen == [1]


def test_destroy_in_another_thread(loop, in_thread):
    with pytest.raises(RuntimeError, match="thread"):
        in_thread(loop.destroy)
    loop.run()


@pytest.mark.parametrize("ran", [False, True])
def test_all_but_running_raises_after_destroy(loop, pipe, ran):
    loop.call_later(60, print)
    loop.call_soon(print)
    loop.add_reader(pipe[0], print)
    loop.add_signal_handler(10, print)
    if ran:
        loop.call_soon(loop.stop)
        loop.run()
    loop.destroy()
    assert loop.running is False
    calls = {
        "call_soon": (print,),
        "call_from_thread": (print,),
        "call_later": (1, print),
        "call_at": (1, print),
        "time": (),
        "add_reader": (0, print),
        "add_writer": (0, print),
        "remove_reader": (0,),
        "remove_writer": (0,),
        "add_signal_handler": (10, print),
        "remove_signal_handler": (10,),
        "run": (),
        "run_forever": (),
        "stop": (),
        "switch": (),
        "destroy": (),
    }
    public = {n for n in dir(EventLoop) if not n.startswith("_")}
    assert public == {*calls, "running", "task", "current"}
    for name, args in calls.items():
        with pytest.raises(RuntimeError, match=f"^{DESTROYED}$"):
            getattr(loop, name)(*args)
    with pytest.raises(RuntimeError, match=f"^{DESTROYED}$"):
        _ = loop.task


def test_a_destroyed_loop_calls_nothing(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_from_thread(seen.append, 1)
    loop.call_later(0.001, seen.append, 1)
    loop.destroy()
    again = EventLoop()
    again.call_later(0.01, again.stop)
    again.run_forever()
    again.destroy()
    assert seen == []
