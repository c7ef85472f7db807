"""The loops under test: one test body runs on each of them, stock asyncio being the reference."""

import asyncio
import os
import sys

ASYNCIO = "asyncio"
MOODLOOP = "moodloop"
NAMES = (ASYNCIO, MOODLOOP)

# MOODLOOP_TEST_LOOP=asyncio (or moodloop) runs one loop's half of the suite.
SELECTED = os.environ.get("MOODLOOP_TEST_LOOP", "").split() or list(NAMES)

PY312 = sys.version_info >= (3, 12)
PY313 = sys.version_info >= (3, 13)
PY314 = sys.version_info >= (3, 14)
PY315 = sys.version_info >= (3, 15)

TIMEOUT = 20.0


def factory(name):
    """The zero-argument callable that makes a loop of that name."""
    if name == ASYNCIO:
        return asyncio.SelectorEventLoop
    if name == MOODLOOP:
        import moodloop

        return moodloop.new_event_loop
    raise ValueError(f"no loop named {name!r}")


def drive(loop, awaitable, timeout=TIMEOUT):
    """Run a loop until the awaitable is done; a hang becomes a TimeoutError."""

    async def guarded():
        return await asyncio.wait_for(awaitable, timeout)

    return loop.run_until_complete(guarded())


def run_guarded(loop, timeout=TIMEOUT):
    """run_forever(), which a hang leaves with a TimeoutError."""
    late = []

    def expire():
        late.append(True)
        loop.stop()

    guard = loop.call_later(timeout, expire)
    try:
        loop.run_forever()
    finally:
        guard.cancel()
    if late:
        raise TimeoutError("the loop was not stopped in time")


def run_turns(loop, count=1):
    """Let the loop take that many turns."""
    for _ in range(count):
        loop.call_soon(loop.stop)
        loop.run_forever()


async def turns(count=5):
    """Give other callbacks that many turns."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition, timeout=TIMEOUT):
    """Take turns until the condition holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while not condition():
        if loop.time() > deadline:
            raise TimeoutError("the condition never came true")
        await asyncio.sleep(0.001)
