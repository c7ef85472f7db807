"""The client process: all workloads, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

from .errors import BenchError
from .servers import HOST
from .window import Sample, Window, sample_of
from .workloads import WORKLOADS, Workload


@dataclass(frozen=True)
class Plan:
    """What a client process is to do."""

    ports: dict[str, int]
    server: int
    warmup: float
    seconds: float
    silence: float  # seconds without an answer that count as an error


async def warm(ports: dict[str, int]) -> None:
    """Let both servers and this process see connections come and end.

    asyncio reads into a large block that the C library maps anew each time until one such block
    has been freed whole, as at the end of a connection.
    """
    for port in ports.values():
        for _ in range(2):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"GET warm\r\n")
            await reader.readline()
            writer.write_eof()
            await reader.read()
            writer.close()
            await writer.wait_closed()


async def unless_silent(work: Awaitable[None], window: Window, silence: float) -> None:
    """Await the work; an error if for long not one answer comes."""
    task = asyncio.ensure_future(work)
    seen = -1
    while not task.done():
        await asyncio.wait({task}, timeout=silence)
        if not task.done() and window.answers == seen:
            task.cancel()
            raise BenchError(f"no answer within {silence:g} s")
        seen = window.answers
    task.result()


async def run_workload(workload: Workload, plan: Plan) -> Sample:
    """Warm up, then count for some seconds."""
    window = Window(plan.server)
    asyncio.get_running_loop().call_later(plan.warmup, window.open, plan.seconds)
    work = workload.run(window, plan.ports[workload.service], workload.size)
    await unless_silent(work, window, plan.silence)
    return sample_of(window)


async def run_client(plan: Plan, tell: Callable[[Any], None]) -> None:
    """Run all workloads and tell each one's sample, or the first error."""
    name = "warm-up"
    try:
        await asyncio.wait_for(warm(plan.ports), plan.silence)
        for workload in WORKLOADS:
            name = workload.name
            tell({"sample": asdict(await run_workload(workload, plan))})
    except TimeoutError:
        tell({"workload": name, "error": f"no answer within {plan.silence:g} s"})
    except (BenchError, OSError, BaseExceptionGroup) as exc:
        first = first_of(exc)
        if not isinstance(first, (BenchError, OSError)):
            raise
        tell({"workload": name, "error": str(first)})


def first_of(exc: BaseException) -> BaseException:
    """The first exception within groups of exceptions."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    return exc
