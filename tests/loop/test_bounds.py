"""What waits for a busy loop is served within a turn or two, however long turns take and whatever
they took before. Counted in turns, so that no clock decides.
"""

import itertools
import os
import signal
import socket
import threading
import time

import pytest
from support.loops import run_guarded

pytestmark = pytest.mark.alone  # what others take of the machine would count

# A turn polls at the latest when it finds what came during the one before; stock asyncio has a
# signal's handler, which takes a byte through its self-pipe, one turn later.
TURNS = 3


def busy_then_slow(loop, arrive, served, turn):
    """Many quick turns, then slow ones; `arrive` is called in the first of those. How many turns
    passed until `served` was true."""
    count = itertools.count(1)
    until = time.monotonic() + 0.03
    took = []

    def quick():
        if time.monotonic() < until:
            loop.call_soon(quick)
        else:
            arrive()
            slow()

    def slow():
        number = next(count)
        if served():
            took.append(number - 1)
            loop.stop()
        elif number == 30:
            loop.stop()
        else:
            time.sleep(turn)
            loop.call_soon(slow)

    loop.call_soon(quick)
    run_guarded(loop)
    assert took, "it was never served"
    return took[0]


@pytest.fixture(params=[0.0002, 0.002, 0.02], ids=["200us", "2ms", "20ms"])
def turn(request):
    """How long each turn takes, in seconds."""
    return request.param


def test_timer(loop, turn):
    ran = []

    def arrive():
        loop.call_at(loop.time() + turn / 2, ran.append, 1)

    assert busy_then_slow(loop, arrive, lambda: ran, turn) <= TURNS


def test_reader(loop, turn):
    ours, theirs = socket.socketpair()
    ran = []
    with ours, theirs:
        ours.setblocking(False)
        loop.add_reader(ours, lambda: ran.append(ours.recv(1)))
        assert busy_then_slow(loop, lambda: theirs.send(b"x"), lambda: ran, turn) <= TURNS
        loop.remove_reader(ours)


def test_signal(loop, turn):
    ran = []
    loop.add_signal_handler(signal.SIGUSR1, ran.append, 1)
    kill = lambda: os.kill(os.getpid(), signal.SIGUSR1)
    assert busy_then_slow(loop, kill, lambda: ran, turn) <= TURNS
    loop.remove_signal_handler(signal.SIGUSR1)


def test_other_thread(loop, turn):
    ran = []

    def arrive():
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(ran.append, 1))
        thread.start()
        thread.join()

    assert busy_then_slow(loop, arrive, lambda: ran, turn) <= TURNS


@pytest.mark.parametrize("turn", [0.002, 0.02], ids=["2ms", "20ms"])
def test_a_thread_that_wants_to_run(loop, turn):
    """It gets the GIL although no callback ever waits for anything."""
    steps = []
    start = threading.Event()

    def work():
        start.wait()
        steps.append(1)

    def compute():
        end = time.monotonic() + turn
        while time.monotonic() < end:
            pass

    thread = threading.Thread(target=work)
    thread.start()
    count = itertools.count(1)

    def slow():
        compute()
        if steps or next(count) > 100:
            loop.stop()
        else:
            loop.call_soon(slow)

    loop.call_soon(start.set)
    loop.call_soon(slow)
    run_guarded(loop)
    thread.join()
    assert steps


def test_timers_never_overtake_each_other(loop):
    """One that is made later and due later, but due at once when it is made."""
    for _ in range(20):
        order = []
        until = time.monotonic() + 0.002

        def spin():
            if time.monotonic() < until:  # noqa: B023
                loop.call_soon(spin)
                return
            first = loop.call_later(2e-6, order.append, "first")  # noqa: B023
            end = time.perf_counter() + 10e-6
            while time.perf_counter() < end:
                pass
            second = loop.call_later(0, order.append, "second")  # noqa: B023
            assert first.when() < second.when()
            loop.call_later(0.001, loop.stop)

        loop.call_soon(spin)
        run_guarded(loop)
        assert order == ["first", "second"]


@pytest.mark.moodloop_only
def test_cancelled_short_timers_do_not_end_the_wait(loop):
    for _ in range(50):
        loop.call_later(0.001 + 0.0001 * _, print).cancel()
    loop.call_later(0.05, loop.stop)
    before = loop.ev.iteration
    run_guarded(loop)
    assert loop.ev.iteration - before < 10
