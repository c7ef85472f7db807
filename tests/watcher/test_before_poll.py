"""Whatever runs inside of ev_run before its poll, and gives asyncio work, is seen by that poll:
with asyncio as the host and as the guest. Nothing else would end it.
"""

import asyncio
import os
import signal
import sys

import pytest

import moodloop
from moodloop import event
from watcher.conftest import BACKENDS

TIMEOUT = 20.0


def by_prepare(ev, give):
    def callback(watcher, revents):
        watcher.stop()
        give()

    watcher = event.Prepare(ev, callback)
    watcher.start()
    return watcher


def by_feed(ev, give):
    watcher = event.Timer(ev, 1000.0, 0.0, lambda watcher, revents: give())
    watcher.feed(event.EV_TIMER)
    return watcher


def by_what_an_exception_left(ev, give):
    """Two events are pending: the first raises what ends the run, the other comes in the next."""

    def leave(watcher, revents):
        raise SystemExit("left")

    first = event.Timer(ev, 1000.0, 0.0, leave, priority=event.EV_MAXPRI)
    second = event.Timer(ev, 1000.0, 0.0, lambda watcher, revents: give())
    first.feed(event.EV_TIMER)
    second.feed(event.EV_TIMER)
    return first, second


def by_async(ev, give):
    watcher = event.Async(ev, lambda watcher, revents: give())
    watcher.start()
    watcher.send()
    return watcher


def by_scheduler(ev, give):
    """The callable is asked for the next time just before the poll."""
    gave = []

    def reschedule(watcher, now):
        if not gave:
            gave.append(True)
            give()
        return now + 1000.0

    watcher = event.Scheduler(ev, reschedule, lambda watcher, revents: None)
    watcher.start()
    return watcher


def by_signal_handler(ev, give):
    """Python's handlers run after the watchers'."""
    old = signal.signal(signal.SIGUSR2, lambda signum, frame: give())

    def callback(watcher, revents):
        watcher.stop()
        os.kill(os.getpid(), signal.SIGUSR2)

    watcher = event.Prepare(ev, callback)
    watcher.start()
    return watcher, old


WAYS = [
    by_prepare,
    by_feed,
    by_what_an_exception_left,
    by_async,
    by_scheduler,
    by_signal_handler,
]


def soon(loop, future):
    loop.call_soon(future.set_result, None)


def at_once(loop, future):
    future.set_result(None)


def later(loop, future):
    loop.call_later(0.002, future.set_result, None)


def threadsafe(loop, future):
    loop.call_soon_threadsafe(future.set_result, None)


GIFTS = [soon, at_once, later, threadsafe]


def run_as_host(loop, coro):
    while True:
        try:
            return loop.run_until_complete(coro)
        except SystemExit:
            continue


def run_as_guest(loop, coro):
    with loop.attached():
        while not coro.done():
            try:
                loop.ev.start(event.EVRUN_ONCE)
            except SystemExit:
                continue
    return coro.result()


@pytest.mark.parametrize("run", [run_as_host, run_as_guest], ids=["host", "guest"])
@pytest.mark.parametrize("gift", GIFTS, ids=lambda gift: gift.__name__)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_work_that_comes_before_the_poll(way, gift, run):
    loop = moodloop.EventLoop(ev=event.Loop())
    kept = []

    async def main():
        future = loop.create_future()
        kept.append(way(loop.ev, lambda: gift(loop, future)))
        await future

    async def guarded():
        await asyncio.wait_for(main(), TIMEOUT)

    old = signal.getsignal(signal.SIGUSR2)
    try:
        run(loop, loop.create_task(guarded()))
    finally:
        signal.signal(signal.SIGUSR2, old)
        for watcher in loop.ev.watchers():
            watcher.stop()
        ev = loop.ev
        loop.close()
        ev.close()


def test_stop_in_a_prepare_watcher():
    loop = moodloop.new_event_loop()
    late = loop.call_later(TIMEOUT, sys.exit, "the loop slept on")

    def callback(watcher, revents):
        watcher.stop()
        loop.stop()

    watcher = event.Prepare(loop.ev, callback)
    watcher.start()
    loop.run_forever()
    late.cancel()
    loop.close()


ENDS = {
    "stop": "loop.stop()",
    "exception": "raise SystemExit",
    "all": "loop.stop(EVBREAK_ALL)",
}


@pytest.mark.parametrize("backend", ["epoll", "poll", "select"])
@pytest.mark.parametrize("how", ENDS)
def test_run_that_ends_before_its_poll(isolated, backend, how):
    """What changed is for the next run to tell the kernel, and may be closed by then."""
    isolated(
        f"""
        loop = Loop({BACKENDS[backend]} | EVFLAG_NOENV)
        loop.start(EVRUN_NOWAIT)
        r, w = os.pipe()
        io = loop.io(r, EV_READ, print)
        io.start()

        def prepare(watcher, revents):
            watcher.stop()
            {ENDS[how]}

        loop.prepare(prepare).start()
        try:
            loop.start(EVRUN_NOWAIT)
        except SystemExit:
            pass
        os.close(r)
        try:
            loop.start(EVRUN_NOWAIT)
        except OSError as exc:
            assert exc.errno == 9
        else:
            raise AssertionError
        assert not io.active
        """
    )


def test_default_loop_closed_after_a_run_without_a_poll(isolated):
    """What keeps that poll from waiting is in libev's loop, which stays."""
    isolated(
        """
        for _ in range(3):
            with default_loop() as loop:
                loop.start(EVRUN_NOWAIT)
                r, w = os.pipe()
                loop.io(r, EV_READ, print).start()
                os.close(r)
                try:
                    loop.start()
                except OSError:
                    pass
            gc.collect()
            others = [Loop() for _ in range(3)]
            with default_loop() as loop:
                idle = [loop.idle(priority=EV_MAXPRI) for _ in range(3)]
                for watcher in idle:
                    watcher.start()
                loop.verify()
        """
    )
