"""Pipes within a process."""

from __future__ import annotations

import asyncio
import os

from .row import Operation

Loop = asyncio.AbstractEventLoop


class Counter(asyncio.Protocol):
    """Resolves a future when so many bytes have come."""

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.left = 0
        self.done = done

    def data_received(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left <= 0 and not self.done.done():
            self.done.set_result(None)


def pipe_messages(loop: Loop, n: int) -> None:
    """64 bytes through a pipe, each message when the last has come."""

    async def main() -> None:
        inlet, outlet = os.pipe()
        counter = Counter(loop.create_future())
        reading, _ = await loop.connect_read_pipe(lambda: counter, os.fdopen(inlet, "rb", 0))
        writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(outlet, "wb", 0))
        message = bytes(64)
        for _ in range(n):
            counter.left, counter.done = len(message), loop.create_future()
            writing.write(message)
            await counter.done
        writing.close()
        reading.close()
        await asyncio.sleep(0)

    loop.run_until_complete(main())


ROWS = (Operation(name="pipe_messages", about="64 B through a pipe", run=pipe_messages),)
