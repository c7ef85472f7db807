"""Watchers beside coroutines, on the same loop: Stat, Periodic and Check on `loop.ev`."""

# Output: the file has changed: b'from a coroutine'
# Output: a full quarter of a second
# Output: polled more than 10 times: True

import asyncio
import tempfile
from pathlib import Path

import moodloop
from moodloop import event


async def main(path):
    loop = asyncio.get_running_loop()
    changed = asyncio.Event()
    quarter = loop.create_future()
    polls = 0

    def on_check(watcher, revents):
        nonlocal polls
        polls += 1

    def on_quarter(watcher, revents):
        watcher.stop()
        quarter.set_result(watcher.at)  # a callback may touch anything of asyncio

    check = event.Check(loop.ev, on_check)  # or loop.ev.check(on_check)
    stat = event.Stat(loop.ev, path, 0.2, lambda watcher, revents: changed.set())
    periodic = event.Periodic(loop.ev, 0.0, 0.25, on_quarter)
    watchers = (check, stat, periodic)
    for watcher in watchers:
        watcher.start()
    try:
        path.write_bytes(b"from a coroutine")
        await changed.wait()
        print("the file has changed:", path.read_bytes())
        await quarter
        print("a full quarter of a second")
        for _ in range(10):
            await asyncio.sleep(0.001)
        print("polled more than 10 times:", polls > 10)
    finally:
        for watcher in watchers:
            watcher.stop()


with tempfile.TemporaryDirectory() as directory:
    moodloop.run(main(Path(directory) / "settings"))
