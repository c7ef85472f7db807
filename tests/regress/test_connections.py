"""Connections, servers and transports.

Covered elsewhere, at length:

- uvloop 100 and 649, aborted when a watched descriptor was closed: tests/net/test_reuse.py and
  tests/watcher/test_processes.py
- uvloop 683, no close_clients(): tests/net/test_server.py
- blazio sent a bytearray changed after write() changed: tests/net/test_write.py
- CVE-2024-12254, writelines() never paused the writer: tests/net/test_flow.py
"""

import asyncio
import contextvars
import errno
import os
import socket

import pytest
from support.loops import ASYNCIO, turns, until
from support.net import Record, connected, serving, unix_pair


def unanswered():
    """A listening socket whose backlog is full, and what fills it: connecting takes for ever."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(0)
    held = []
    for _ in range(3):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(server.getsockname())
        held.append(sock)
    return server, held


class TestCancelledConnects:
    """uvloop 645, 646, 653, 738: closed somebody else's descriptor, answered the wrong user."""

    def test_descriptor_is_not_closed_again(self, loop, run):
        async def main():
            server, held = unanswered()
            try:
                for _ in range(20):
                    task = loop.create_task(loop.create_connection(Record, *server.getsockname()))
                    await turns(3)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    # These take the numbers that have just become free.
                    ours, theirs = os.pipe()
                    await turns(5)
                    os.write(theirs, b"x")
                    assert os.read(ours, 1) == b"x"
                    os.close(ours)
                    os.close(theirs)
            finally:
                for sock in (server, *held):
                    sock.close()

        run(main())

    def test_descriptor_is_not_taken_for_used(self, loop, run):
        async def main():
            server, held = unanswered()
            try:
                task = loop.create_task(loop.create_connection(Record, *server.getsockname()))
                await turns(3)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                for pair in [socket.socketpair() for _ in range(5)]:
                    for sock in pair:
                        sock.setblocking(False)
                        loop.add_reader(sock, int)
                        loop.remove_reader(sock)
                        sock.close()
            finally:
                for sock in (server, *held):
                    sock.close()

        run(main())


def test_happy_eyeballs_was_refused(run):
    """uvloop 406."""

    async def main():
        async with serving() as (_, _, (host, port)):
            transport, protocol = await asyncio.get_running_loop().create_connection(
                Record, host, port, happy_eyeballs_delay=0.1, interleave=1
            )
            transport.close()
            await protocol.lost

    run(main())


def test_ipv6_scope_was_lost(loop, run, monkeypatch):
    """uvloop 539."""
    asked = []

    async def sock_connect(sock, address):
        asked.append(address)
        raise OSError(errno.ENETUNREACH, "")

    monkeypatch.setattr(loop, "sock_connect", sock_connect)
    index = socket.if_nametoindex("lo")

    async def main():
        for host in ("fe80::1%lo", f"fe80::1%{index}"):
            with pytest.raises(OSError):
                await loop.create_connection(Record, host, 80)
        with pytest.raises(OSError):
            await asyncio.open_connection("fe80::1%lo", 80)
        await loop.shutdown_default_executor()

    run(main())
    assert {(address[1], address[3]) for address in asked} == {(80, index)}


def test_transport_was_no_asyncio_transport(run):
    """uvloop 588."""

    async def main():
        async with connected() as (transport, _, _):
            assert isinstance(transport, asyncio.Transport)
            assert isinstance(transport, asyncio.ReadTransport)
            assert isinstance(transport, asyncio.WriteTransport)

    run(main())


def test_write_after_close_raised(run):
    """uvloop 506: RuntimeError, where the connection is merely gone."""

    async def main():
        async with connected() as (transport, protocol, _):
            transport.close()
            transport.write(b"x")
            await protocol.lost
            transport.write(b"x")
            assert transport.get_write_buffer_size() == 0

    run(main())


def test_default_limits_were_wrong(run):
    """uvloop has (16, 65536), which keeps a paused writer paused."""

    async def main():
        async with connected() as (transport, _, _):
            assert transport.get_write_buffer_limits() == (16384, 65536)

    run(main())


def test_number_was_written_as_zeros(run):
    """rsloop: write(3) sent three NULs."""

    async def main():
        async with connected() as (transport, _, peer):
            for wrong in (3, 3.0, None, "xyz"):
                with pytest.raises(TypeError):
                    transport.write(wrong)
            transport.write(b"end")
            assert await peer.recv_exactly(3) == b"end"

    run(main())


def test_unknown_keyword_was_swallowed(loop, run):
    """blazio."""

    async def main():
        for call in (
            lambda: loop.create_connection(Record, "127.0.0.1", 1, no_delay=True),
            lambda: loop.create_server(Record, "127.0.0.1", 0, no_delay=True),
            lambda: loop.create_unix_server(Record, "/nowhere", no_delay=True),
            lambda: loop.subprocess_exec(Record, "true", no_delay=True),
        ):
            with pytest.raises(TypeError, match="no_delay"):
                await call()

    run(main())


def test_error_had_no_errno(loop, run):
    """blazio."""

    async def main():
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError) as refused:
                await loop.create_connection(Record, *unused.getsockname())
            assert refused.value.errno == errno.ECONNREFUSED
        with pytest.raises(FileNotFoundError) as missing:
            await loop.create_unix_connection(Record, "/does/not/exist")
        assert missing.value.errno == errno.ENOENT
        with pytest.raises(OSError) as taken:
            async with serving() as (_, _, address):
                await loop.create_server(Record, *address)
        assert taken.value.errno == errno.EADDRINUSE

    run(main())


def test_blocking_socket_hung(loop, run):
    """blazio: a socket handed in that blocks."""

    async def main():
        a, b = unix_pair()
        assert a.getblocking()
        transport, protocol = await loop.create_connection(Record, sock=a)
        transport.write(bytes(4 << 20))  # more than fits: a blocking send() would wait for b
        assert not a.getblocking()
        b.close()
        await protocol.lost
        await turns()

    run(main())


def test_callbacks_lost_their_context(loop_name, loop, run):
    """blazio: what connection_made() and the others see of context variables."""
    var = contextvars.ContextVar("var", default="none")

    class Seen(Record):
        def connection_made(self, transport):
            super().connection_made(transport)
            self.seen = [var.get()]

        def data_received(self, data):
            super().data_received(data)
            self.seen.append(var.get())

        def connection_lost(self, exc):
            super().connection_lost(exc)
            self.seen.append(var.get())

    async def main():
        var.set("mine")
        a, b = socket.socketpair()
        with b:
            transport, protocol = await loop.create_connection(Seen, sock=a)
            b.send(b"x")
            await protocol.received(1)
            transport.close()
            await protocol.lost
            assert protocol.seen == ["mine"] * 3
        await turns()

    run(main())


def test_close_with_data_waiting_hung(loop, run):
    """rloop."""

    async def main():
        async with connected(pair=unix_pair) as (transport, protocol, peer):
            data = bytes(4 << 20)
            transport.write(data)
            transport.close()
            assert await peer.recv_all() == data
            await protocol.lost

    run(main())


def test_connection_lost_was_called_inside_close(run):
    """rloop."""

    async def main():
        async with connected() as (transport, protocol, _):
            transport.close()
            assert protocol.events == ["made"]
            await protocol.lost
        async with connected() as (transport, protocol, _):
            transport.abort()
            assert protocol.events == ["made"]
            await protocol.lost

    run(main())


def test_exception_of_data_received_was_dropped(run, reports):
    """rloop."""

    class Bad(Record):
        def data_received(self, data):
            raise ZeroDivisionError

    async def main():
        async with connected(Bad) as (_, protocol, peer):
            await peer.send(b"x")
            assert isinstance(await protocol.lost, ZeroDivisionError)

    run(main())
    assert [type(c["exception"]) for c in reports] == [ZeroDivisionError]


def test_factory_that_raises_aborted_the_process(loop_name, run, reports):
    """rloop."""

    def factory():
        raise ZeroDivisionError

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as sock:
            sock.setblocking(False)
            if loop_name != ASYNCIO:  # which leaves the socket to the collector
                assert await loop.sock_recv(sock, 10) == b""
            await turns(10)
        server.close()
        await server.wait_closed()
        a, b = socket.socketpair()
        with a, b, pytest.raises(ZeroDivisionError):
            await loop.create_connection(factory, sock=a)

    if loop_name == ASYNCIO:
        pytest.skip("asyncio tells nobody of it, and leaves the socket open")
    run(main())
    assert [type(c["exception"]) for c in reports] == [ZeroDivisionError]


def test_serve_forever_did_not_listen(run):
    """rloop: a server made with start_serving=False."""

    async def main():
        loop = asyncio.get_running_loop()
        protocols = []

        def make():
            protocols.append(Record())
            return protocols[0]

        server = await loop.create_server(make, "127.0.0.1", 0, start_serving=False)
        task = loop.create_task(server.serve_forever())
        await until(server.is_serving)
        with socket.create_connection(server.sockets[0].getsockname()):
            await until(lambda: protocols and protocols[0].transport)
        await protocols[0].lost
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.wait_closed()
        await turns()

    run(main())


def test_futures_where_coroutines_are_promised(loop, tmp_path):
    """rsloop: asyncio.create_task(loop.create_connection(...)) failed."""
    a, b = socket.socketpair()
    with a, b, open(tmp_path / "file", "wb") as file:
        for coro in (
            loop.create_connection(Record, sock=a),
            loop.create_server(Record, "127.0.0.1", 0),
            loop.create_unix_server(Record, str(tmp_path / "s")),
            loop.create_datagram_endpoint(Record, ("127.0.0.1", 0)),
            loop.connect_read_pipe(Record, a),
            loop.connect_write_pipe(Record, a),
            loop.subprocess_exec(Record, "true"),
            loop.subprocess_shell(Record, "true"),
            loop.start_tls(None, None, None),
            loop.sendfile(None, file),
            loop.sock_sendfile(a, file),
            loop.sock_recv(a, 1),
            loop.sock_sendall(a, b"x"),
            loop.sock_accept(a),
            loop.sock_connect(a, "x"),
            loop.getaddrinfo("127.0.0.1", 80),
            loop.getnameinfo(("127.0.0.1", 80)),
            loop.shutdown_asyncgens(),
            loop.shutdown_default_executor(),
        ):
            assert asyncio.iscoroutine(coro)
            coro.close()


class TestSendfile:
    """uvloop 228 and 549: there was none."""

    @pytest.fixture
    def file(self, tmp_path):
        (tmp_path / "file").write_bytes(bytes(range(256)) * 4096)
        with open(tmp_path / "file", "rb") as file:
            yield file

    def test_on_a_transport(self, loop, run, file):
        async def main():
            async with connected() as (transport, _, peer):
                sending = loop.create_task(loop.sendfile(transport, file, 100, 500_000))
                assert await peer.recv_exactly(500_000) == (bytes(range(256)) * 4096)[100:500_100]
                assert await sending == 500_000
                assert file.tell() == 500_100

        run(main())

    def test_on_a_socket(self, loop, run, file):
        async def main():
            a, b = socket.socketpair()
            with a, b:
                a.setblocking(False)
                b.setblocking(False)
                sending = loop.create_task(loop.sock_sendfile(a, file))
                got = bytearray()
                while len(got) < 1 << 20:
                    got += await loop.sock_recv(b, 1 << 18)
                assert await sending == 1 << 20
                assert got == bytes(range(256)) * 4096

        run(main())

    def test_of_what_is_no_file(self, loop, run):
        """os.sendfile() cannot read from it, so it is read and sent in pieces."""
        import io

        async def main():
            async with connected() as (transport, _, peer):
                source = io.BytesIO(b"x" * 100_000)
                sending = loop.create_task(loop.sendfile(transport, source))
                assert await peer.recv_exactly(100_000) == b"x" * 100_000
                assert await sending == 100_000
                with pytest.raises(RuntimeError):
                    await loop.sendfile(transport, source, fallback=False)

        run(main())
