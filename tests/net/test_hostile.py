"""Protocols and arguments that change things while they are being used."""

import asyncio
import errno
import gc
import os
import socket
import sys
import warnings

import pytest
from support.loops import TIMEOUT, run_guarded, turns
from support.net import BufferedRecord, connected, unix_pair


@pytest.mark.parametrize("kind", [ValueError, TypeError])
def test_protocol_replaced_in_connection_lost(loop, run, reports, kind):
    class Leaving(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def connection_lost(self, exc):
            transport, self.transport = self.transport, None
            transport.set_protocol(asyncio.Protocol())
            raise kind

    async def main():
        a, b = socket.socketpair()
        a.setblocking(False)
        await loop.create_connection(Leaving, sock=a)
        b.close()
        while not reports:
            await turns(1)

    run(main())
    assert [type(c["exception"]) for c in reports] == [kind]


@pytest.mark.moodloop_only
def test_list_changed_by_what_is_in_it(loop, run):
    """Stock asyncio believes __len__(), and so loses or repeats what is written."""

    async def main():
        a, b = socket.socketpair()
        a.setblocking(False)
        b.setblocking(False)
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)

        class Odd(bytes):
            def __len__(self):
                lines.clear()
                return 0

        lines = [Odd(b"odd")] + [b"%d" % i for i in range(10)]
        transport.writelines(lines)
        await turns(2)
        assert b.recv(100) == b"odd0123456789"
        transport.close()
        b.close()
        await turns(3)

    run(main())


def test_interrupted_connection_made_reads_all_the_same(loop):
    got = []

    class Interrupting(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            raise KeyboardInterrupt

        def data_received(self, data):
            got.append(data)
            self.transport.close()
            loop.stop()

    a, b = socket.socketpair()
    a.setblocking(False)
    task = loop.create_task(loop.create_connection(Interrupting, sock=a))
    with pytest.raises(KeyboardInterrupt):
        run_guarded(loop)
    b.send(b"still read")
    run_guarded(loop)
    assert got == [b"still read"]
    assert task.done()
    b.close()
    loop.run_until_complete(turns(3))


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_sendfile_to_a_peer_that_goes(run, tmp_path, when):
    """Told, not waited for."""
    path = tmp_path / "data"
    path.write_bytes(bytes(1 << 20))

    async def main():
        sendfile = asyncio.get_running_loop().sendfile
        with open(path, "rb") as file:
            async with connected(pair=unix_pair) as (transport, _, peer):
                if when == "before":
                    peer.close()
                    transport.write(b"head")
                sending = asyncio.ensure_future(sendfile(transport, file))
                if when == "meanwhile":
                    await peer.recv_exactly(1000)
                    peer.close()
                with pytest.raises((RuntimeError, ConnectionError)):
                    await sending

    run(main())


@pytest.mark.parametrize("method", ["data_received", "get_buffer", "eof_received", "pause_writing"])
def test_protocol_replaced_while_its_own_method_runs(snippet, method):
    """A method in C may go on to use its object, of which the transport had the last reference."""
    done = snippet(
        f"""
        import gc

        class Item:
            def __eq__(self, other):
                transport.set_protocol(asyncio.Protocol())
                gc.collect()
                return False

        kind = asyncio.BufferedProtocol if {method!r} == "get_buffer" else asyncio.Protocol

        class Searching(list, kind):
            pass

        if {method!r} in ("data_received", "get_buffer"):
            Searching.{method} = list.count
        else:
            Searching.{method} = functools.partialmethod(list.count, None)

        async def main():
            global transport
            a, b = socket.socketpair()
            a.setblocking(False)
            loop.set_exception_handler(lambda loop, context: None)  # of the buffer that is none
            transport, _ = await loop.create_connection(
                lambda: Searching(Item() for _ in range(3)), sock=a
            )
            del _
            if {method!r} == "pause_writing":
                transport.write(bytes(10_000_000))
            b.send(b"x")
            b.shutdown(socket.SHUT_WR)
            await turns(3)
            transport.abort()
            await turns(2)
            b.close()

        loop = new_loop()
        drive(loop, main())
        loop.close()
        print("done")
        """.replace("import gc", "import functools, gc")
    )
    assert (done.rc, done.out) == (0, "done\n"), done.err


NO_PROTOCOLS = pytest.mark.parametrize("factory", [lambda: None, lambda: 5, object])


@NO_PROTOCOLS
@pytest.mark.parametrize("family", ["tcp", "unix", "datagram", "read_pipe", "write_pipe"])
def test_factory_of_no_protocol(loop, run, family, factory):
    """Whoever asked for the connection is told, and it is not made."""

    async def main():
        if family == "tcp":
            with socket.create_server(("127.0.0.1", 0)) as server:
                await refused(loop.create_connection(factory, *server.getsockname()))
        elif family == "unix":
            a, b = unix_pair()
            with a, b:
                await refused(loop.create_connection(factory, sock=a))
        elif family == "datagram":
            await refused(loop.create_datagram_endpoint(factory, ("127.0.0.1", 0)))
        else:
            reader, writer = os.pipe()
            with open(reader, "rb", 0) as read_file, open(writer, "wb", 0) as write_file:
                if family == "read_pipe":
                    await refused(loop.connect_read_pipe(factory, read_file))
                else:
                    await refused(loop.connect_write_pipe(factory, write_file))

    async def refused(connecting):
        with pytest.raises(AttributeError, match="connection_made"):
            await connecting

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # asyncio leaves transport and socket
        run(main())
        gc.collect()


@pytest.mark.moodloop_only  # in asyncio the connection stays, and says so in debug mode only
@NO_PROTOCOLS
def test_servers_factory_of_no_protocol(loop, run, reports, factory):
    async def main():
        server = await loop.create_server(factory, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.read() == b""
            writer.close()

    run(main())
    assert [type(c["exception"]) for c in reports] == [AttributeError]


def take_number(fd, data):
    """A socket that has this number now, and what came for it."""
    ours, theirs = unix_pair()
    theirs.send(data)
    theirs.close()
    if ours.fileno() == fd:
        return ours
    with ours:
        return socket.socket(fileno=os.dup2(ours.fileno(), fd))


class TestNumberIsAnothers:
    """The program closes a socket while it is asked for room, and the number is given out again:
    what comes for the new one is not ours."""

    def test_get_buffer(self, run):
        class Closes(BufferedRecord):
            def get_buffer(self, sizehint):
                fd = sock.fileno()
                sock.close()
                others.append(take_number(fd, b"for another"))
                return super().get_buffer(sizehint)

        others = []
        sock, peer = unix_pair()

        async def main():
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            _, p = await loop.create_connection(Closes, sock=sock)
            peer.send(b"for us")
            exc = await asyncio.wait_for(p.lost, TIMEOUT)
            assert exc.errno == errno.EBADF
            assert p.kinds == ["made", "lost"]
            assert others[0].recv(100) == b"for another"

        with peer:
            run(main())
        others[0].close()

    @pytest.mark.moodloop_only  # asyncio leaves its reader on the number
    @pytest.mark.skipif(sys.version_info < (3, 12), reason="__buffer__() is new in 3.12")
    @pytest.mark.parametrize("method", ["sock_recv_into", "sock_recvfrom_into"])
    @pytest.mark.parametrize("waits", [False, True])
    def test_recv_into(self, run, method, waits):
        class Room:
            def __init__(self):
                self.buffer = bytearray(100)
                self.asked = 0

            def __len__(self):
                return 100

            def __buffer__(self, flags):
                self.asked += 1
                if self.asked == 1 + waits:
                    fd = sock.fileno()
                    sock.close()
                    others.append(take_number(fd, b"for another"))
                return memoryview(self.buffer)

        others = []
        sock, peer = unix_pair()

        async def main():
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            room = Room()
            if not waits:
                peer.send(b"for us")
            getting = loop.create_task(getattr(loop, method)(sock, room))
            await turns(2)
            if waits:
                assert room.asked == 1
                peer.send(b"for us")
            with pytest.raises(OSError) as info:
                await asyncio.wait_for(getting, TIMEOUT)
            assert info.value.errno == errno.EBADF
            assert others[0].recv(100) == b"for another"
            assert not any(room.buffer)

        with peer:
            run(main())
        others[0].close()
