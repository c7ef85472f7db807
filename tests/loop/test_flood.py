"""Threads that schedule callbacks faster than the loop runs them, and those that do not."""

import asyncio
import contextlib
import threading
import time

import pytest
from support.loops import drive, run_guarded

pytestmark = pytest.mark.alone  # what others take of the machine would count


@contextlib.contextmanager
def flooding(loop, threads, callback):
    """So many threads that do nothing but call_soon_threadsafe()."""
    stop = threading.Event()

    def flood():
        while not stop.is_set():
            loop.call_soon_threadsafe(callback)

    all_of_them = [threading.Thread(target=flood) for _ in range(threads)]
    for thread in all_of_them:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in all_of_them:
            thread.join()


@pytest.mark.moodloop_only  # stock asyncio bounds nothing: on a busy machine it takes minutes
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("cost", [0, 100], ids=["light", "heavy"])
def test_timers_and_tasks_go_on(loop, threads, cost):
    """A sleep that a flood held up took seconds, and longer each time."""
    late, longest = [], 0

    def callback():
        for _ in range(cost):
            pass

    async def main():
        nonlocal longest
        with flooding(loop, threads, callback):
            for _ in range(20):
                due = time.monotonic() + 0.01
                await asyncio.sleep(0.01)
                late.append(time.monotonic() - due)
                longest = max(longest, len(loop._ready))

    drive(loop, main())
    assert sorted(late)[len(late) // 2] < 0.5
    assert longest < 200_000


@pytest.mark.moodloop_only
def test_what_waits_is_bounded(loop):
    longest = 0

    async def main():
        nonlocal longest
        with flooding(loop, 4, lambda: None):
            for _ in range(20):
                await asyncio.sleep(0.01)
                longest = max(longest, len(loop._ready))

    drive(loop, main())
    assert longest < 20_000


def test_each_thread_in_its_order(loop):
    ran = []

    def send(name):
        for i in range(3000):
            loop.call_soon_threadsafe(ran.append, (name, i))

    async def main():
        threads = [threading.Thread(target=send, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            await asyncio.sleep(0)
        for thread in threads:
            thread.join()
        await asyncio.sleep(0.01)

    drive(loop, main())
    assert len(ran) == 9000
    for name in "abc":
        assert [i for n, i in ran if n == name] == list(range(3000))


def test_in_the_order_of_all_calls(loop):
    """What a thread scheduled before and after what the loop's own thread did."""
    ran = []

    def other(number):
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(ran.append, number))
        thread.start()
        thread.join()

    def schedule():
        loop.call_soon(ran.append, 0)
        other(1)
        loop.call_soon(ran.append, 2)
        other(3)
        other(4)
        loop.call_soon_threadsafe(ran.append, 5)
        other(6)
        loop.call_soon(loop.stop)

    loop.call_soon(schedule)
    run_guarded(loop)
    assert ran == list(range(7))


def test_what_is_ready_shows_in_that_order(loop):
    seen = []

    def schedule():
        loop.call_soon(print, 0)
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(print, 1))
        thread.start()
        thread.join()
        loop.call_soon(print, 2)
        seen.extend(h._args[0] for h in loop._ready if h._callback is print)
        for handle in list(loop._ready):
            handle.cancel()
        loop.stop()

    loop.call_soon(schedule)
    run_guarded(loop)
    assert seen == [0, 1, 2]


def test_a_thread_is_not_held_up_by_a_loop_that_stands_still(loop):
    """The callback waits for the thread: that must get done all that it has to schedule."""
    done = threading.Event()

    def send():
        for _ in range(20_000):
            loop.call_soon_threadsafe(int)
        loop.call_soon_threadsafe(loop.stop)
        done.set()

    def wait():
        assert done.wait(20)

    thread = threading.Thread(target=send)
    loop.call_soon(thread.start)
    loop.call_soon(wait)
    run_guarded(loop)
    thread.join()


def test_a_thread_that_holds_a_lock_which_callbacks_want(loop):
    lock = threading.Lock()
    ran = []

    def locked():
        with lock:
            ran.append(1)

    def send():
        for _ in range(20):
            with lock:
                for _ in range(300):
                    loop.call_soon_threadsafe(locked)

    async def main():
        await asyncio.to_thread(send)
        while len(ran) < 6000:
            await asyncio.sleep(0)

    drive(loop, main())
    assert len(ran) == 6000


def test_a_closed_loop_drops_it(loop_factory):
    loop = loop_factory()
    handles = []

    def other():
        thread = threading.Thread(
            target=lambda: handles.append(loop.call_soon_threadsafe(handles.append, 1))
        )
        thread.start()
        thread.join()
        loop.stop()

    loop.call_soon(other)
    run_guarded(loop)
    loop.close()
    assert len(handles) == 1


def test_the_loop_does_not_wait_for_itself(loop):
    """Its own call_soon_threadsafe() beside a full line, however a library comes to make it."""
    took = []

    def post():
        for _ in range(1024):
            loop.call_soon_threadsafe(int)

    def callback():
        thread = threading.Thread(target=post)
        thread.start()
        while len(loop._ready) < 1024:
            pass
        start = time.monotonic()
        loop.call_soon_threadsafe(int)
        took.append(time.monotonic() - start)
        thread.join()
        loop.call_soon(callback if len(took) < 20 else loop.stop)

    loop.call_soon(callback)
    run_guarded(loop)
    assert min(took) < 0.001
