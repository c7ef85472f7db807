"""Subprocesses."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE

from .row import Operation

Loop = asyncio.AbstractEventLoop
CHUNK = 64 * 1024


def spawn(loop: Loop, n: int) -> None:
    """A process that ends at once."""

    async def main() -> None:
        for _ in range(n):
            process = await asyncio.create_subprocess_exec(
                "true", stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
            )
            if await process.wait() != 0:
                raise RuntimeError("true is false")

    loop.run_until_complete(main())


def cat(loop: Loop, n: int) -> None:
    """64 KiB into `cat` and out again, so many times, through one process."""

    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        assert process.stdin is not None and process.stdout is not None
        chunk = bytes(CHUNK)
        for _ in range(n):
            process.stdin.write(chunk)
            await process.stdin.drain()
            if await process.stdout.readexactly(CHUNK) != chunk:
                raise RuntimeError("cat gave something else back")
        process.stdin.close()
        await process.wait()

    loop.run_until_complete(main())


ROWS = (
    Operation(name="spawn", about="a subprocess that ends at once", run=spawn, quick=True),
    Operation(name="cat", about="64 KiB through cat", run=cat, batch=10),
)
