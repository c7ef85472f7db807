"""Streams over sockets: the same body on asyncio's functions and on moodloop's."""

import asyncio
import gc
import socket
import weakref

import pytest
from support import loops, tls
from support.loops import turns, until


@pytest.fixture
def pair(api, run):
    """open(handler) -> a reader and a writer of a client, all closed in the end."""

    def go(main, handler, **options):
        async def guarded():
            server = await api.start_server(handler, "127.0.0.1", 0, **options)
            port = server.sockets[0].getsockname()[1]
            reader, writer = await api.open_connection("127.0.0.1", port, **options)
            try:
                return await main(reader, writer)
            finally:
                writer.close()
                try:
                    await writer.wait_closed()
                except ConnectionError:
                    pass
                server.close()
                await server.wait_closed()

        return run(guarded())

    return go


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


def test_the_classes(api, pair):
    made = []

    async def handler(reader, writer):
        made.extend([reader, writer])
        writer.close()

    async def main(reader, writer):
        assert await reader.read() == b""
        made.extend([reader, writer])

    pair(main, handler)
    assert [type(one) for one in made] == [api.StreamReader, api.StreamWriter] * 2


def test_what_a_program_sees(api, pair):
    async def main(reader, writer):
        transport = writer.transport
        protocol = transport.get_protocol()
        assert type(protocol) is api.StreamReaderProtocol
        assert protocol._stream_reader is reader
        assert protocol._stream_reader_wr() is reader
        assert reader._transport is transport is writer._transport
        assert writer._protocol is protocol
        assert writer.get_extra_info("peername") == transport.get_extra_info("peername")
        assert writer.can_write_eof()
        assert not writer.is_closing()
        assert writer._complete_fut.done()
        assert repr(writer).startswith("<StreamWriter transport=")

    pair(main, echo)


@pytest.mark.parametrize("size", [1, 1024, 300_000])
def test_echo(pair, size):
    async def main(reader, writer):
        for i in range(5):
            data = bytes([i]) * size
            writer.write(data)
            await writer.drain()
            assert await reader.readexactly(size) == data
        writer.writelines([b"a", b"b\n"])
        assert await reader.readline() == b"ab\n"
        writer.write_eof()
        assert await reader.read() == b""
        assert reader.at_eof()

    pair(main, echo)


def test_pipelined_lines(pair):
    lines = [b"%d\n" % i for i in range(1000)]

    async def main(reader, writer):
        writer.write(b"".join(lines))
        writer.write_eof()
        assert [line async for line in reader] == lines

    pair(main, echo)


def test_more_than_the_limit_waits_in_the_socket(pair):
    async def main(reader, writer):
        writer.write(b"x" * 500_000)
        writer.write_eof()
        await until(lambda: reader._paused)
        assert not writer.transport.is_reading()
        assert len(await reader.read()) == 500_000
        assert not reader._paused

    pair(main, echo, limit=1000)


def test_drain_waits_for_the_peer(pair):
    go_on = asyncio.Event()

    async def handler(reader, writer):
        await go_on.wait()
        assert len(await reader.read()) == 10_000_000
        writer.close()

    async def main(reader, writer):
        writer.write(b"x" * 10_000_000)
        task = asyncio.ensure_future(writer.drain())
        await turns()
        assert not task.done()
        go_on.set()
        await task
        writer.write_eof()
        assert await reader.read() == b""

    pair(main, handler)


def test_drain_after_close_takes_a_turn(pair):
    async def main(reader, writer):
        writer.close()
        with pytest.raises(ConnectionResetError, match="Connection lost"):
            for _ in range(5):
                writer.write(b"x")
                await writer.drain()

    pair(main, echo)


def test_drain_tells_the_readers_exception(pair):
    async def main(reader, writer):
        reader.set_exception(KeyError("mine"))
        with pytest.raises(KeyError, match="mine"):
            await writer.drain()

    pair(main, echo)


def test_a_reset(pair):
    async def handler(reader, writer):
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async def main(reader, writer):
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        with pytest.raises(ConnectionResetError):
            await writer.drain()

    pair(main, handler)


def test_a_task_that_only_waits_is_kept(pair):
    held = []

    async def handler(reader, writer):
        held.append(writer)
        assert await reader.readline() == b"go\n"
        writer.write(b"gone\n")
        await reader.read()
        writer.close()

    async def main(reader, writer):
        writer.write(b"go\n")
        await turns()
        for _ in range(3):
            gc.collect()
        assert await reader.readline() == b"gone\n"
        writer.write_eof()

    pair(main, handler)


@pytest.mark.moodloop_only
def test_a_client_that_only_waits_is_kept(loop, run):
    import moodloop

    ends = socket.socketpair()
    seen = []

    async def client():
        reader, writer = await moodloop.open_connection(sock=ends[0])
        seen.append(await reader.readline())
        writer.close()
        await writer.wait_closed()

    async def main():
        task = weakref.ref(asyncio.create_task(client()))
        await turns()
        gc.collect()
        assert task() is not None
        ends[1].send(b"line\n")
        await until(lambda: task() is None or task().done())

    with ends[1]:
        run(main())
    assert seen == [b"line\n"]


@pytest.mark.skipif(
    not hasattr(asyncio.StreamWriter, "__del__"), reason="the first releases of 3.11 leave it open"
)
def test_who_drops_a_client_loses_the_connection(api, run, recwarn):
    async def main():
        ends = socket.socketpair()
        with ends[1]:
            ends[1].setblocking(False)
            reader, writer = await api.open_connection(sock=ends[0])
            gone = weakref.ref(reader)
            del reader, writer
            gc.collect()
            await turns()
            assert gone() is None
            assert await asyncio.get_running_loop().sock_recv(ends[1], 10) == b""

    run(main())
    assert any("unclosed <StreamWriter" in str(one.message) for one in recwarn)


def test_unix(api, run, tmp_path):
    async def main():
        path = str(tmp_path / "socket")
        server = await api.start_unix_server(echo, path)
        reader, writer = await api.open_unix_connection(path)
        writer.write(b"line\n")
        assert await reader.readline() == b"line\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_a_plain_callback(pair):
    async def main(reader, writer):
        assert await reader.read() == b"hello"

    def handler(reader, writer):
        writer.write(b"hello")
        writer.close()

    pair(main, handler)


@pytest.mark.skipif(
    not any(
        getattr(const, "co_name", "") == "callback"
        for const in asyncio.StreamReaderProtocol.connection_made.__code__.co_consts
    ),
    reason="the first releases of 3.11 tell nobody, and leave the connection open",
)
def test_a_handler_that_fails(pair, reports):
    async def main(reader, writer):
        assert await reader.read() == b""

    async def handler(reader, writer):
        raise KeyError("mine")

    pair(main, handler)
    assert [r["message"] for r in reports] == ["Unhandled exception in client_connected_cb"]


def test_a_protocol_of_the_programs(api, loop, run):
    """A class derived from it is called, whatever it replaces."""
    seen = []

    class Protocol(api.StreamReaderProtocol):
        def data_received(self, data):
            seen.append(data)
            super().data_received(data.upper())

    async def main():
        ends = socket.socketpair()
        with ends[1]:
            reader = api.StreamReader(loop=loop)
            protocol = Protocol(reader, loop=loop)
            transport, _ = await loop.create_connection(lambda: protocol, sock=ends[0])
            writer = api.StreamWriter(transport, protocol, reader, loop)
            ends[1].send(b"line\n")
            assert await reader.readline() == b"LINE\n"
            writer.close()
            await writer.wait_closed()

    run(main())
    assert seen == [b"line\n"]


def test_asyncios_reader_behind_our_protocol(api, loop, run):
    async def main():
        ends = socket.socketpair()
        with ends[1]:
            reader = asyncio.StreamReader(loop=loop)
            protocol = api.StreamReaderProtocol(reader, loop=loop)
            transport, _ = await loop.create_connection(lambda: protocol, sock=ends[0])
            writer = api.StreamWriter(transport, protocol, reader, loop)
            ends[1].send(b"line\n")
            assert await reader.readline() == b"line\n"
            writer.close()
            await writer.wait_closed()

    run(main())


def test_names_of_the_module(api, loop_name):
    if loop_name == loops.MOODLOOP:
        import moodloop

        assert api.open_connection.__module__ == "moodloop"
        assert api.open_connection is moodloop.open_connection


@pytest.mark.tls
def test_tls(api, run):
    async def main():
        server = await api.start_server(echo, "127.0.0.1", 0, ssl=tls.server_context())
        port = server.sockets[0].getsockname()[1]
        reader, writer = await api.open_connection(
            "127.0.0.1", port, ssl=tls.client_context(), server_hostname="localhost"
        )
        for size in (1, 1024, 300_000):
            data = b"x" * (size - 1) + b"\n"
            writer.write(data)
            await writer.drain()
            assert await reader.readexactly(size) == data
        assert writer.get_extra_info("ssl_object") is not None
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


@pytest.mark.tls
def test_start_tls(api, run):
    async def handler(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.start_tls(tls.server_context())
        await echo(reader, writer)

    async def main():
        server = await api.start_server(handler, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await api.open_connection("127.0.0.1", port)
        plain = writer.transport
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(tls.client_context(), server_hostname="localhost")
        assert writer.transport is not plain
        writer.write(b"secret\n")
        assert await reader.readline() == b"secret\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main())


def test_a_child_process(api, run):
    async def main():
        pipe = asyncio.subprocess.PIPE
        child = await api.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
        assert type(child.stdout) is api.StreamReader
        assert type(child.stdin) is api.StreamWriter
        child.stdin.write(b"line\n")
        await child.stdin.drain()
        assert await child.stdout.readline() == b"line\n"
        assert await child.communicate(b"x" * 300_000) == (b"x" * 300_000, None)
        assert child.returncode == 0
        child = await api.create_subprocess_shell(
            "echo out; echo err >&2", stdout=pipe, stderr=pipe
        )
        assert await child.communicate() == (b"out\n", b"err\n")

    run(main())
