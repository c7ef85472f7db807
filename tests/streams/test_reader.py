"""StreamReader without a transport: the same body on asyncio's class and on moodloop's."""

import asyncio
import collections.abc
import gc
import sys
import weakref

import pytest
from support.loops import turns


@pytest.fixture
def reader(api, loop):
    return api.StreamReader(limit=16, loop=loop)


def started(loop, awaitable):
    task = loop.create_task(awaitable)
    loop.run_until_complete(turns())
    return task


def test_is_asyncios(api, reader):
    assert isinstance(reader, asyncio.StreamReader)
    assert issubclass(api.StreamWriter, asyncio.StreamWriter)
    assert issubclass(api.StreamReaderProtocol, asyncio.StreamReaderProtocol)


def test_what_is_there_is_read_at_once(reader, run):
    reader.feed_data(b"one\ntwo\nthree")

    async def main():
        first = await reader.readline()
        second = await reader.readexactly(2)
        third = await reader.readuntil(b"\n")
        return first, second, third, await reader.read(100)

    assert run(main()) == (b"one\n", b"tw", b"o\n", b"three")


def test_read_ends_in_its_first_send(reader):
    reader.feed_data(b"data")
    coroutine = reader.read(2)
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value == b"da"


def test_nothing_is_done_before_it_is_awaited(reader, run):
    reader.feed_data(b"data")
    later = reader.read(2)
    assert bytes(reader._buffer) == b"data"

    async def main():
        return await later

    assert run(main()) == b"da"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        run(main())


def test_a_coroutine_that_nobody_awaits(reader):
    with pytest.warns(RuntimeWarning, match=r"coroutine 'StreamReader.read' was never awaited"):
        reader.read(2)
        gc.collect()


def test_close_of_one_that_was_not_begun(reader):
    coroutine = reader.read(2)
    coroutine.close()
    assert isinstance(coroutine, collections.abc.Coroutine)
    assert asyncio.iscoroutine(coroutine)


def test_throw_into_one_that_was_not_begun(reader):
    coroutine = reader.read(2)
    with pytest.raises(KeyError):
        coroutine.throw(KeyError("mine"))
    with pytest.raises(RuntimeError):
        coroutine.send(None)


def test_as_a_task(reader, loop, run):
    task = started(loop, reader.readexactly(4))
    assert "readexactly" in repr(task)
    assert task.get_stack(limit=3) is not None
    reader.feed_data(b"da")
    loop.run_until_complete(turns())
    assert not task.done()
    reader.feed_data(b"ta!")
    assert run(task) == b"data"
    assert reader._buffer == b"!"


def test_the_waiter(reader, loop, run):
    assert reader._waiter is None
    task = started(loop, reader.read(4))
    assert isinstance(reader._waiter, asyncio.Future)
    reader.feed_data(b"x")
    assert reader._waiter is None
    assert run(task) == b"x"


def test_cancelled_before_data_comes(reader, loop, run):
    task = started(loop, reader.read(4))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        run(task)
    assert reader._waiter is None
    reader.feed_data(b"data")
    assert run(reader.read(4)) == b"data"


def test_cancelled_when_data_has_come(reader, loop, run):
    task = started(loop, reader.read(4))
    reader.feed_data(b"data")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        run(task)
    assert run(reader.read(4)) == b"data"


def test_two_that_wait(reader, loop, run):
    first = started(loop, reader.read(4))
    with pytest.raises(RuntimeError) as found:
        run(reader.readline())
    assert str(found.value) == (
        "readuntil() called while another coroutine is already waiting for incoming data"
    )
    reader.feed_eof()
    assert run(first) == b""


@pytest.mark.parametrize("when", ["before", "while it waits"])
def test_an_exception(reader, loop, run, when):
    error = ValueError("mine")
    if when == "before":
        reader.set_exception(error)
    task = started(loop, reader.read(4))
    if when != "before":
        reader.set_exception(error)
    with pytest.raises(ValueError, match="mine") as found:
        run(task)
    assert found.value is error is reader.exception()


def test_read_to_the_end(reader, loop, run):
    task = started(loop, reader.read())
    for part in (b"a" * 20, b"b", b"c" * 40):
        reader.feed_data(part)
        loop.run_until_complete(turns())
    reader.feed_eof()
    assert run(task) == b"a" * 20 + b"b" + b"c" * 40
    assert reader.at_eof()
    assert run(reader.read()) == b""


def test_incomplete(reader, run):
    reader.feed_data(b"par")
    reader.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError) as found:
        run(reader.readexactly(4))
    assert (found.value.partial, found.value.expected) == (b"par", 4)
    assert reader._buffer == b""
    with pytest.raises(asyncio.IncompleteReadError) as found:
        run(reader.readuntil(b"x"))
    assert (found.value.partial, found.value.expected) == (b"", None)


def test_lines(reader, run):
    async def main():
        return [line async for line in reader]

    reader.feed_data(b"a\nbb\n\nccc")
    reader.feed_eof()
    assert run(main()) == [b"a\n", b"bb\n", b"\n", b"ccc"]


@pytest.mark.parametrize("data", [b"x" * 17 + b"\nrest", b"x" * 18])
def test_a_line_that_is_too_long(reader, run, data):
    reader.feed_data(data)
    with pytest.raises(ValueError, match="limit") as found:
        run(reader.readline())
    assert type(found.value) is ValueError
    assert isinstance(found.value.__context__, asyncio.LimitOverrunError)
    assert reader._buffer == data.partition(b"\n")[2]


@pytest.mark.parametrize("data", [b"x" * 17 + b"ENDrest", b"x" * 19])
def test_too_far_to_the_separator(reader, run, data):
    reader.feed_data(data)
    for _ in range(2):  # what is there stays
        with pytest.raises(asyncio.LimitOverrunError) as found:
            run(reader.readuntil(b"END"))
        assert found.value.consumed == 17
    assert reader._buffer == data


@pytest.mark.parametrize("separator", [b"", 3, "x", None, (), (b"",), (b"a", b""), (b"a", "b")])
def test_separators_that_are_none(reader, run, separator):
    reader.feed_data(b"data")
    reader.feed_eof()
    stock = asyncio.StreamReader(limit=16, loop=reader._loop)
    stock.feed_data(b"data")
    stock.feed_eof()

    async def main(reader):
        try:
            return await reader.readuntil(separator)
        except Exception as exc:
            return type(exc), str(exc)

    assert run(main(reader)) == run(main(stock))


@pytest.mark.skipif(sys.version_info < (3, 13), reason="tuples of separators came in 3.13")
def test_several_separators(reader, run):
    reader.feed_data(b"one;two\r\nthree")

    async def main():
        return [await reader.readuntil((b"\r\n", b";")) for _ in range(2)]

    assert run(main()) == [b"one;", b"two\r\n"]


@pytest.mark.parametrize("separator", [bytearray(b"--"), memoryview(b"--")])
def test_a_separator_that_is_no_bytes(reader, run, separator):
    reader.feed_data(b"a--b")
    assert run(reader.readuntil(separator)) == b"a--"


def test_what_can_be_fed(reader, run):
    for data in (b"a", bytearray(b"b"), memoryview(b"c"), [100], b"", bytearray()):
        reader.feed_data(data)
    with pytest.raises(TypeError):
        reader.feed_data("text")
    assert run(reader.read(9)) == b"abcd"
    reader.feed_eof()
    with pytest.raises(AssertionError, match="feed_data after feed_eof"):
        reader.feed_data(b"more")


def test_the_buffer_is_the_programs_too(reader, run):
    buffer = reader._buffer
    reader.feed_data(b"0123456789")
    assert buffer == b"0123456789"
    del buffer[:3]
    assert run(reader.read(2)) == b"34"
    assert reader._buffer is buffer
    buffer.clear()
    reader.feed_data(b"x")
    assert run(reader.readexactly(1)) == b"x"
    reader._buffer = bytearray(b"other")
    assert run(reader.read(99)) == b"other"


def test_a_view_of_the_buffer_keeps_it(reader, run):
    reader.feed_data(b"data")
    with memoryview(reader._buffer), pytest.raises(BufferError):
        run(reader.read(2))
    assert reader._buffer == b"data"


@pytest.mark.parametrize("size", [2.0, None, "1", True])
def test_sizes_that_are_none(reader, run, size):
    stock = asyncio.StreamReader(limit=16, loop=reader._loop)

    async def main(reader, name):
        reader.feed_data(b"data")
        try:
            return await getattr(reader, name)(size)
        except Exception as exc:
            return type(exc), str(exc)

    for name in ("read", "readexactly"):
        assert run(main(reader, name)) == run(main(stock, name))


def test_limits(api, loop):
    for limit in (0, -1):
        with pytest.raises(ValueError, match="Limit cannot be <= 0"):
            api.StreamReader(limit=limit, loop=loop)
    assert api.StreamReader(loop=loop)._limit == 65536
    assert api.StreamReader(7, loop)._limit == 7


def test_a_limit_without_end(api, loop, run):
    for limit in (float("inf"), 2**80):
        reader = api.StreamReader(limit, loop)
        reader.feed_data(b"x" * 1000 + b"\n")
        assert len(run(reader.readline())) == 1001


class Transport:
    def __init__(self, can=True):
        self.calls, self.can = [], can

    def pause_reading(self):
        if not self.can:
            raise NotImplementedError
        self.calls.append("pause")

    def resume_reading(self):
        self.calls.append("resume")


def test_pauses_over_twice_the_limit(reader, run):
    transport = Transport()
    reader.set_transport(transport)
    reader.feed_data(b"x" * 32)
    assert transport.calls == []
    reader.feed_data(b"x")
    assert transport.calls == ["pause"]
    assert reader._paused
    run(reader.read(16))
    assert transport.calls == ["pause"]
    run(reader.read(1))
    assert transport.calls == ["pause", "resume"]
    assert not reader._paused


def test_reads_on_for_who_waits(reader, loop, run):
    transport = Transport()
    reader.set_transport(transport)
    task = started(loop, reader.readexactly(40))
    reader.feed_data(b"x" * 33)
    loop.run_until_complete(turns())
    assert transport.calls == ["pause", "resume"]
    reader.feed_data(b"x" * 7)
    assert run(task) == b"x" * 40


def test_a_transport_that_cannot_pause(reader):
    reader.set_transport(Transport(can=False))
    reader.feed_data(b"x" * 33)
    assert reader._transport is None
    assert not reader._paused


def test_what_a_subclass_replaces_is_called(api, loop, run):
    class Reader(api.StreamReader):
        def __init__(self):
            super().__init__(loop=loop, limit=16)
            self.asked = []

        async def readuntil(self, separator=b"\n"):
            self.asked.append(separator)
            return await super().readuntil(separator)

        async def read(self, n=-1):
            self.asked.append(n)
            return await super().read(n)

    reader = Reader()
    reader.feed_data(b"line\nrest")
    reader.feed_eof()
    assert run(reader.readline()) == b"line\n"
    assert run(reader.read()) == b"rest"
    assert reader.asked == [b"\n", -1, 16, 16]


def test_repr(reader):
    reader.feed_data(b"data")
    reader.feed_eof()
    assert repr(reader) == "<StreamReader 4 bytes eof limit=16>"


def test_debug_mode_tells_where_it_was_made(api, loop):
    loop.set_debug(True)
    reader = api.StreamReader(loop=loop)
    assert reader._source_traceback[-1].name == "test_debug_mode_tells_where_it_was_made"


def test_goes_with_its_last_reference(api, loop):
    reader = api.StreamReader(loop=loop)
    reader.feed_data(b"data")
    gone = weakref.ref(reader)
    del reader
    assert gone() is None


def test_a_line_that_trickles_in(reader, loop):
    """Each read is given up, and the next finds the separator, or the limit, all the same."""

    def trickle(data):
        for byte in data:
            reader.feed_data(bytes([byte]))
            task = started(loop, reader.readuntil(b"\r\n"))
            if task.done():
                return task
            task.cancel()
            loop.run_until_complete(turns())
        return None

    assert trickle(b"one\r\n").result() == b"one\r\n"
    assert trickle(b"x\r\r\n").result() == b"x\r\r\n"
    assert trickle(b"x" * 50).exception().consumed == 17


def test_a_subclass_that_sets_nothing_up(api, run):
    class Reader(api.StreamReader):
        def __init__(self):
            pass

    class Writer(api.StreamWriter):
        def __init__(self):
            pass

        def __del__(self):
            pass

    for coroutine in (Reader().read(1), Reader().readline(), Writer().drain()):
        with pytest.raises(AttributeError):
            run(coroutine)
    with pytest.raises(AttributeError):
        Writer().write(b"x")
