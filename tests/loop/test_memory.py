"""What a burst took is given back: arrays grow with what is in them, and shrink with it."""

import asyncio
import gc
import socket
import tracemalloc

import pytest
from support.loops import run_turns

pytestmark = pytest.mark.moodloop_only

MANY = 200_000
LEFT = 600_000  # bytes; each of the arrays has at least 8 for an entry


@pytest.fixture
def traced():
    """How many bytes are there more than before."""
    gc.collect()
    tracemalloc.start(1)
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield lambda: gc.collect() + tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("order", ["first", "last", "all due"])
def test_timers(loop, traced, order):
    delay = 0 if order == "all due" else 3600
    handles = [loop.call_later(delay, int) for _ in range(MANY)]
    if order != "all due":
        for handle in handles if order == "first" else reversed(handles):
            handle.cancel()
    del handles
    handle = None
    run_turns(loop, 3)
    assert traced() < LEFT


def test_callbacks(loop, traced):
    for _ in range(MANY):
        loop.call_soon(int)
    run_turns(loop, 3)
    assert traced() < LEFT


def test_callbacks_of_a_loop_that_is_never_idle(loop, traced):
    for _ in range(MANY):
        loop.call_soon(int)
    seen = []

    def again(left):
        if left:
            loop.call_soon(again, left - 1)
        else:
            seen.append(traced())
            loop.stop()

    loop.call_soon(again, 50)
    loop.run_forever()
    assert seen[0] < LEFT


def test_callbacks_of_another_thread(loop, traced):
    async def main():
        def flood():
            for _ in range(MANY):
                loop.call_soon_threadsafe(int)

        await asyncio.to_thread(flood)
        await loop.shutdown_default_executor()

    loop.run_until_complete(main())
    run_turns(loop, 3)
    assert traced() < LEFT


def test_writes(loop, traced):
    async def main():
        a, b = socket.socketpair()
        a.setblocking(False)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
        for _ in range(MANY):
            transport.write(b"x" * 10)
        with b:
            b.setblocking(False)
            got = 0
            while got < MANY * 10:
                got += len(await loop.sock_recv(b, 1 << 16))
        left = traced()
        transport.close()
        return left

    assert loop.run_until_complete(main()) < LEFT
    run_turns(loop, 3)
