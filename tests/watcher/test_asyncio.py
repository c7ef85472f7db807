"""Watchers on `loop.ev` of an asyncio loop."""

import asyncio
import os

import pytest

import moodloop
from moodloop import event


def test_watchers_run_beside_asyncio():
    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        read, write = os.pipe()
        ticks = []
        timer = loop.ev.timer(0.001, 0.001, lambda w, r: ticks.append(r))
        timer.start()
        watcher = loop.ev.io(
            read, event.EV_READ, lambda w, r: (w.stop(), done.set_result(os.read(read, 9)))
        )
        watcher.start()
        loop.call_soon(os.write, write, b"x")
        assert await asyncio.wait_for(done, 10) == b"x"
        while not ticks:
            await asyncio.sleep(0.001)
        timer.stop()
        os.close(read)
        os.close(write)
        with pytest.raises(event.Error):
            loop.ev.close()

    moodloop.run(main())


def test_exceptions_reach_the_handler():
    async def main():
        loop = asyncio.get_running_loop()
        seen = loop.create_future()
        loop.set_exception_handler(lambda _, context: seen.set_result(context["exception"]))
        loop.ev.timer(0, 0, lambda w, r: 1 / 0).start()
        assert isinstance(await asyncio.wait_for(seen, 10), ZeroDivisionError)

    moodloop.run(main())


def test_fatal_ends_the_loop():
    async def main():
        asyncio.get_running_loop().ev.timer(0, 0, event.fatal(lambda w, r: 1 / 0)).start()
        await asyncio.sleep(10)

    with pytest.raises(ZeroDivisionError):
        moodloop.run(main())


def test_start_inside_a_running_asyncio_loop():
    async def main():
        ev = asyncio.get_running_loop().ev
        with pytest.raises(event.Error, match="asyncio loop is running"):
            ev.start()

    moodloop.run(main())


@pytest.mark.parametrize("kind", ["prepare", "timer"])
def test_a_timer_made_by_a_watcher(kind):
    """The poll that comes next waits no longer than for that."""

    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def make(watcher, revents):
            watcher.stop()
            loop.call_later(0.001, done.set_result, kind)

        arguments = (0.0, 0.0) if kind == "timer" else ()
        getattr(loop.ev, kind)(*arguments, make).start()
        assert await asyncio.wait_for(done, 10) == kind

    moodloop.run(main())


def test_start_between_runs_leaves_timers_alone():
    """They are asyncio's, which does not run: they neither end that wait nor make it go on."""
    loop = moodloop.new_event_loop()
    ran = []

    def make():
        loop.call_later(0.001, ran.append, "due")
        loop.stop()

    loop.call_soon(make)
    loop.run_forever()
    assert loop.ev.start() is False
    assert ran == []
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    loop.close()
    assert ran == ["due"]
