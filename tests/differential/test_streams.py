"""Random programs on asyncio's reader and on moodloop's, step by step: they agree in all."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

import moodloop

pytestmark = pytest.mark.moodloop_only

DATA = st.binary(max_size=12).map(lambda data: bytes(b"ab\n;"[byte % 4] for byte in data))
SEPARATORS = st.one_of(
    st.sampled_from([b"\n", b";", b"ab", b"a\nb", b"", bytearray(b"ab"), (b"ab", b";"), ()]),
    st.lists(st.sampled_from([b"a", b"ba", b"\n;", b";;;"]), max_size=3).map(tuple),
)
STEPS = st.one_of(
    st.tuples(st.just("feed"), DATA),
    st.tuples(st.just("read"), st.integers(-1, 9)),
    st.tuples(st.just("exactly"), st.integers(-1, 9)),
    st.tuples(st.just("line")),
    st.tuples(st.just("next")),
    st.tuples(st.just("until"), SEPARATORS),
    st.tuples(st.just("cancel")),
    st.tuples(st.just("turn")),
    st.tuples(st.just("eof")),
    st.tuples(st.just("error")),
    st.tuples(st.just("look")),
)


class Transport:
    def __init__(self):
        self.calls = []

    def pause_reading(self):
        self.calls.append("pause")

    def resume_reading(self):
        self.calls.append("resume")


def outcome(task):
    if task is None or not task.done():
        return "waits" if task else None
    if task.cancelled():
        return "cancelled"
    exc = task.exception()
    if exc is None:
        return task.result()
    more = {name: getattr(exc, name, None) for name in ("partial", "expected", "consumed")}
    return type(exc).__name__, str(exc), more, type(exc.__context__).__name__


async def play(cls, limit, steps, paused):
    """What each step shows, and what is left."""
    loop = asyncio.get_running_loop()
    reader, transport, seen, task = cls(limit=limit, loop=loop), Transport(), [], None
    if paused:
        reader.set_transport(transport)
    reads = {
        "read": reader.read,
        "exactly": reader.readexactly,
        "line": reader.readline,
        "next": reader.__anext__,
        "until": reader.readuntil,
    }
    for name, *args in steps:
        if name in reads:
            if task is None or task.done():

                async def read(name=name, args=args):
                    return await reads[name](*args)

                task = loop.create_task(read())
        elif name == "feed":
            if not reader._eof:
                reader.feed_data(*args)
        elif name == "turn":
            await asyncio.sleep(0)
        elif name == "cancel":
            if task is not None:
                task.cancel()
        elif name == "eof":
            reader.feed_eof()
        elif name == "error":
            reader.set_exception(OSError("mine"))
        elif name == "look":
            seen.append(bytes(reader._buffer))
        seen.append((outcome(task), list(transport.calls), reader.at_eof(), reader._paused))
    for _ in range(4):
        await asyncio.sleep(0)
    seen.append((outcome(task), reader._waiter is None, bytes(reader._buffer), transport.calls))
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return seen


@given(limit=st.integers(1, 8), steps=st.lists(STEPS, max_size=30), paused=st.booleans())
def test_readers_agree(limit, steps, paused):
    async def both():
        ours = await play(moodloop.StreamReader, limit, steps, paused)
        assert ours == await play(asyncio.StreamReader, limit, steps, paused)

    moodloop.run(both())
