"""Much data one way."""

from __future__ import annotations

import asyncio
import resource

from .row import Load, NewLoop, Probe, Served

CHUNK = 10 << 20
CHUNKS = 20


async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    data = bytes(CHUNK)
    for _ in range(CHUNKS):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def receive(port: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    size = 0
    while data := await reader.read(CHUNK):
        size += len(data)
    writer.close()
    await writer.wait_closed()
    return size


async def through_streams() -> None:
    async with await asyncio.start_server(send, "127.0.0.1", 0) as server:
        assert await receive(server.sockets[0].getsockname()[1]) == CHUNK * CHUNKS


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def one_loop(new_loop: NewLoop, seconds: float) -> dict[str, float]:
    """CPU time of 200 MiB from a StreamWriter to a StreamReader, both on one loop."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(through_streams())
        start = cpu_seconds()
        runner.run(through_streams())
        return {"cpu_us": (cpu_seconds() - start) / (CHUNK * CHUNKS >> 20) * 1e6}


ROWS = (
    Probe(
        name="streams_one_loop",
        about="bulk through streams, both ends on one loop (per MiB)",
        figure="cpu_us",
        run=one_loop,
        quick=True,
    ),
    Served(
        name="bulk_in",
        about="bulk TCP, received by the server (per MiB)",
        mode="sink",
        load=Load(mode="bulk_in"),
        quick=True,
    ),
    Served(
        name="bulk_out",
        about="bulk TCP, sent by the server (per MiB)",
        mode="source",
        load=Load(mode="bulk_out"),
    ),
)
