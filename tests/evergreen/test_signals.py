"""Signal handlers: any number, on the loops of any threads."""

import contextlib
import signal
import threading
import time

import pytest
from support.signals import kill, when_asleep

from moodloop import event, evergreen

USR1, USR2 = signal.SIGUSR1, signal.SIGUSR2


def caught(signum):
    """Whether the process has a handler for the signal, as the kernel sees it."""
    with open("/proc/self/status") as status:
        (mask,) = [int(line.split()[1], 16) for line in status if line.startswith("SigCgt")]
    return bool(mask & 1 << signum - 1)


@contextlib.contextmanager
def loop_in_thread(*signums):
    """A loop that runs in a thread; the (signum, thread) pairs of its handlers' calls; an Event."""
    seen, made, ready = [], [], threading.Event()

    def note(signum):
        seen.append((signum, threading.get_ident()))
        changed.set()

    def body():
        loop = evergreen.EventLoop()
        made.append(loop)
        for signum in signums:
            loop.add_signal_handler(signum, note, signum)
        loop.call_soon(ready.set)
        loop.run_forever()
        loop.destroy()

    changed = threading.Event()
    thread = threading.Thread(target=body)
    thread.start()
    assert ready.wait(20)
    try:
        yield made[0], seen, changed
    finally:
        made[0].call_from_thread(made[0].stop)
        thread.join(20)
        assert not thread.is_alive()


def test_handlers_of_one_signal_in_order(loop):
    seen = []
    for number in range(3):
        loop.add_signal_handler(USR1, seen.append, number)
    loop.add_signal_handler(USR2, seen.append, "other signal")
    loop.add_signal_handler(USR1, lambda *, key: (seen.append(key), loop.stop()), key="last")
    loop.call_soon(kill, USR1)
    loop.run_forever()
    assert seen == [0, 1, 2, "last"]


def test_a_sleeping_loop_wakes(loop):
    seen = []
    loop.add_signal_handler(USR1, lambda: (seen.append(1), loop.stop()))
    thread = when_asleep(loop, kill, USR1)
    loop.run_forever()
    thread.join()
    assert seen == [1]


def test_handlers_do_not_keep_run_going(loop):
    loop.add_signal_handler(USR1, print)
    loop.run()


def test_a_signal_before_the_start_is_told_after_it(loop):
    seen = []
    loop.add_signal_handler(USR1, seen.append, 1)
    kill(USR1)
    # the dispatcher has passed it on
    deadline = time.monotonic() + 20
    while not loop._caught and time.monotonic() < deadline:
        time.sleep(0.001)
    loop.run()
    assert seen == [1]


def test_only_the_cancelled_one_goes(loop):
    seen = []
    first = loop.add_signal_handler(USR1, seen.append, 1)
    loop.add_signal_handler(USR1, lambda: (seen.append(2), loop.stop()))
    first.cancel()
    loop.call_soon(kill, USR1)
    loop.run_forever()
    assert seen == [2]
    assert loop.remove_signal_handler(USR1)
    assert not caught(USR1)


def test_cancelled_by_the_handler_before_it(loop):
    seen = []
    loop.add_signal_handler(USR1, lambda: (seen.append(1), second.cancel(), loop.stop()))
    second = loop.add_signal_handler(USR1, seen.append, 2)
    loop.call_soon(kill, USR1)
    loop.run_forever()
    assert seen == [1]


def test_remove_takes_all_of_this_loop(loop):
    seen = []
    with loop_in_thread(USR1) as (_, others, changed):
        for number in range(3):
            loop.add_signal_handler(USR1, seen.append, number)
        assert loop.remove_signal_handler(USR1)
        assert not loop.remove_signal_handler(USR1)
        kill(USR1)
        assert changed.wait(20)
        assert len(others) == 1
        loop.run()
    assert seen == []
    assert not caught(USR1)


def test_one_signal_on_three_threads(loop):
    """Each is called on its own thread; those of a thread that goes do not take the others'."""
    main = []
    with loop_in_thread(USR1) as (_, first, first_changed):
        with loop_in_thread(USR1) as (_, second, second_changed):
            loop.add_signal_handler(USR1, lambda: (main.append(threading.get_ident()), loop.stop()))
            loop.call_soon(kill, USR1)
            loop.run_forever()
            assert first_changed.wait(20) and second_changed.wait(20)
        first_changed.clear()
        loop.destroy()
        kill(USR1)
        assert first_changed.wait(20)
    threads = [ident for _, ident in first + second]
    assert main == [threading.get_ident()]
    assert len(first) == 2 and len(second) == 1
    assert threads[0] == threads[1] != threads[2] and main[0] not in threads
    assert not caught(USR1)


def test_told_while_the_loop_that_was_first_is_blocked(loop):
    """No loop depends on another one's being free."""
    loop.add_signal_handler(USR1, loop.stop)
    with loop_in_thread(USR1) as (_, seen, changed):

        def block():
            kill(USR1)
            assert changed.wait(20)  # the other thread has it while this callback goes on
            assert seen

        loop.call_soon(block)
        loop.run_forever()


def test_told_while_the_loop_that_was_first_does_not_run(loop):
    loop.add_signal_handler(USR1, print)
    with loop_in_thread(USR1) as (_, seen, changed):
        kill(USR1)
        assert changed.wait(20)
    assert len(seen) == 1


def test_the_last_handler_puts_the_disposition_back(loop):
    got = []
    before = signal.signal(USR1, lambda *args: got.append(1))
    try:
        handlers = [loop.add_signal_handler(USR1, print) for _ in range(2)]
        handlers[0].cancel()
        kill(USR1)
        assert got == []
        handlers[1].cancel()
        kill(USR1)
        assert got == [1]
        loop.add_signal_handler(USR1, print)
        loop.destroy()
        kill(USR1)
        assert got == [1, 1]
    finally:
        signal.signal(USR1, before)


def test_the_end_of_a_thread_removes_its_handlers():
    made = []

    def body():
        made.append(evergreen.EventLoop())
        made[0].add_signal_handler(USR1, print)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert not caught(USR1)
    with pytest.raises(RuntimeError, match=r"^event loop has been destroyed$"):
        made[0].call_from_thread(print)
    assert not [t for t in threading.enumerate() if isinstance(t, threading._DummyThread)]


def test_interrupt_can_be_handled_and_given_back(loop):
    seen = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        handler = loop.add_signal_handler(signal.SIGINT, seen.append, 1)
        loop.call_soon(kill, signal.SIGINT)
        loop.call_later(0.05, lambda: (handler.cancel(), kill(signal.SIGINT)))
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert seen == [1]
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_of_the_module_signal_work_beside_it(loop):
    """In a loop that sleeps: one that stops it, and Ctrl-C."""
    before = signal.signal(USR1, lambda *args: loop.stop())
    try:
        thread = when_asleep(loop, kill, USR1)
        loop.run_forever()
        thread.join()
    finally:
        signal.signal(USR1, before)
    loop.destroy()
    again = evergreen.EventLoop()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread = when_asleep(again, kill, signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            again.run_forever()
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
        again.destroy()


@pytest.mark.parametrize(
    "signum, error",
    [
        ("x", TypeError),
        (None, TypeError),
        (1.0, TypeError),
        (0, ValueError),
        (-1, ValueError),
        (signal.NSIG, ValueError),
        (10**10, ValueError),
    ],
)
def test_no_signal(loop, signum, error):
    with pytest.raises(error):
        loop.add_signal_handler(signum, print)
    with pytest.raises(error):
        loop.remove_signal_handler(signum)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP, 32])
def test_cannot_be_caught(loop, signum):
    with pytest.raises(RuntimeError, match="cannot be caught"):
        loop.add_signal_handler(signum, print)
    assert not loop.remove_signal_handler(signum)


def test_a_watcher_has_it(loop):
    with event.Loop() as other:
        other.signal(USR1, print).start()
        with pytest.raises(RuntimeError, match="another loop"):
            loop.add_signal_handler(USR1, print)
        loop.add_signal_handler(USR2, print)
    loop.add_signal_handler(USR1, print)
    loop.remove_signal_handler(USR1)


def test_no_descriptors_or_thread_left(isolated):
    """Each failure is raised, and leaves nothing behind."""
    out = isolated("""
        import resource
        def count():
            return len(os.listdir("/proc/self/fd")) - 1  # without the listing's own
        loop = evergreen.EventLoop()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        before = count()
        for spare in range(20):
            resource.setrlimit(resource.RLIMIT_NOFILE, (before + spare, hard))
            try:
                loop.add_signal_handler(signal.SIGUSR1, print)
            except OSError as exc:
                assert exc.errno == 24, exc
            else:
                break
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert count() == before
            assert not loop.remove_signal_handler(signal.SIGUSR1)
        assert 1 < spare < 10, spare
        loop.remove_signal_handler(signal.SIGUSR1)
        def refuse(thread):
            raise RuntimeError("can't start new thread")
        threading.Thread.start = refuse
        try:
            loop.add_signal_handler(signal.SIGUSR1, print)
        except RuntimeError as exc:
            print(exc)
        assert count() == before
        loop.destroy()
    """)
    assert out == ["can't", "start", "new", "thread"]


def test_churn_while_signals_come(loop):
    """Handlers come and go; the process is never without one while there is one to be told."""
    seen = []
    loop.add_signal_handler(USR1, seen.append, 1)
    with loop_in_thread() as (other, _, _):
        done = threading.Event()

        def churn(left):
            other.add_signal_handler(USR1, print).cancel()
            other.add_signal_handler(USR2, print)
            other.remove_signal_handler(USR2)
            if left:
                other.call_soon(churn, left - 1)
            else:
                done.set()

        def send():
            kill(USR1)
            loop.call_soon(loop.stop if done.is_set() and seen else send)

        other.call_from_thread(churn, 200)
        loop.call_soon(send)
        loop.run_forever()
    assert seen
