"""A task that only waits for a watch is kept by the loop, as one that sleeps is."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import weakref

import pytest

import moodloop
from moodloop import watch

pytestmark = pytest.mark.moodloop_only

ENDS_WITH_INPUT = (sys.executable, "-c", "input()")


class Happens:
    """Something to wait for: a watch of it, and how to make it happen."""

    def __init__(self, start, happen):
        self.start = start
        self.happen = happen


def file_changes(tmp_path):
    path = tmp_path / "file"
    return Happens(lambda: watch.path(path), lambda: path.write_text("new"))


def tick(tmp_path):
    return Happens(lambda: watch.every(0.05), lambda: None)


def signal_comes(tmp_path):
    return Happens(
        lambda: watch.signals(signal.SIGUSR2), lambda: os.kill(os.getpid(), signal.SIGUSR2)
    )


def cron_time(tmp_path):
    pytest.importorskip("croniter")
    return Happens(lambda: watch.cron("* * * * * *"), lambda: None)


@pytest.fixture(params=[file_changes, tick, signal_comes, cron_time])
def happens(request, tmp_path):
    return request.param(tmp_path)


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def test_background_task_goes_on(happens):
    async def main():
        got = []

        async def background():
            async for event in happens.start():
                got.append(event)

        asyncio.create_task(background())
        await asyncio.sleep(0)
        gc.collect()
        happens.happen()
        await until(lambda: got)
        [task] = asyncio.all_tasks() - {asyncio.current_task()}
        task.cancel()
        await asyncio.wait([task])

    moodloop.run(main())


def test_one_wait_is_kept(happens):
    async def main():
        got = []

        async def background():
            got.append(await anext(happens.start()))

        asyncio.create_task(background())
        await asyncio.sleep(0)
        gc.collect()
        happens.happen()
        await until(lambda: got)
        gc.collect()
        assert not asyncio.get_running_loop().ev.watchers()

    moodloop.run(main())


def test_process_is_waited_for():
    async def main():
        got = []

        async def background(pid):
            got.append(await watch.process(pid))

        child = subprocess.Popen(ENDS_WITH_INPUT, stdin=subprocess.PIPE)
        asyncio.create_task(background(child.pid))
        await asyncio.sleep(0)
        gc.collect()
        child.communicate(b"\n")
        await until(lambda: got)

    moodloop.run(main())


def test_nobody_is_kept_who_has_stopped_waiting(happens):
    async def main():
        watching = happens.start()
        task = asyncio.ensure_future(anext(watching))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        references = [weakref.ref(watching), weakref.ref(task)]
        watching.me = watching
        del watching, task
        gc.collect()
        assert [reference() for reference in references] == [None, None]
        assert not asyncio.get_running_loop().ev.watchers()

    moodloop.run(main())


def test_waits_go_with_their_loop(happens):
    async def main():
        async def background():
            async for _ in happens.start():
                pass

        task = asyncio.create_task(background())
        task._log_destroy_pending = False
        await asyncio.sleep(0)
        return weakref.ref(task)

    loop = moodloop.new_event_loop()
    reference = loop.run_until_complete(main())
    loop.close()
    del loop
    gc.collect()
    assert reference() is None
