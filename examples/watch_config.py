"""moodloop.watch: a configuration file is read again whenever it changes, beside other work."""

# Output: level = info
# Output: level = debug
# Output: stopped by SIGTERM

import asyncio
import os
import signal
import tempfile
from pathlib import Path

import moodloop
from moodloop import watch


async def follow(path, loaded):
    text = None
    async for stat in watch.path(path):
        if stat.nlink == 0:
            continue  # it is gone
        before, text = text, path.read_text()
        if text != before:  # a change of owner, mode or times is one, too
            await loaded.put(text)


async def replace(path, text):
    """As editors and tools do: no reader ever sees half a file."""
    new = path.with_name("new")
    await asyncio.to_thread(new.write_text, text)
    new.replace(path)


async def main(path):
    loaded = asyncio.Queue()
    follower = asyncio.create_task(follow(path, loaded))
    signals = watch.signals(signal.SIGTERM)  # watches from here on
    await asyncio.sleep(0)  # the follower watches, too
    for level in ("info", "debug"):
        await replace(path, f"level = {level}")
        print(await loaded.get())
    os.kill(os.getpid(), signal.SIGTERM)
    async for signum in signals:
        print("stopped by", signum.name)
        break
    follower.cancel()  # leaving the loop over it ends a watch


with tempfile.TemporaryDirectory() as directory:
    moodloop.run(main(Path(directory) / "settings"))
