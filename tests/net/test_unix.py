"""Unix stream sockets: paths, abstract names, what lies in the way."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.loops import PY313, turns, until
from support.net import Record, connected, end, unix_pair


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "socket")


async def served(path, **kwargs):
    protocols = []

    def factory():
        protocols.append(Record())
        return protocols[-1]

    server = await asyncio.get_running_loop().create_unix_server(factory, path, **kwargs)
    return server, protocols


async def exchange(path, protocols, server):
    loop = asyncio.get_running_loop()
    transport, mine = await loop.create_unix_connection(Record, path)
    transport.write(b"hello")
    await until(lambda: protocols and protocols[-1].transport)
    theirs = protocols[-1]
    assert await theirs.received(5) == b"hello"
    theirs.transport.write(b"world")
    assert await mine.received(5) == b"world"
    await end(transport, mine)
    await theirs.lost


async def finish(server):
    server.close()
    await server.wait_closed()
    await turns()


class TestPaths:
    @pytest.mark.parametrize("kind", [str, os.fsencode, Path])
    def test_works(self, run, path, kind):
        async def main():
            server, protocols = await served(kind(path))
            assert stat.S_ISSOCK(os.stat(path).st_mode)
            assert server.sockets[0].getsockname() == path
            await exchange(path, protocols, server)
            await finish(server)

        run(main())

    @pytest.mark.parametrize("text", [True, False])
    def test_abstract(self, run, text):
        name = f"\0moodloop-test-{os.getpid()}"
        if not text:
            name = name.encode()

        async def main():
            server, protocols = await served(name)
            await exchange(name, protocols, server)
            await finish(server)

        run(main())

    def test_stale_socket_is_removed(self, run, path):
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(path)

        async def main():
            server, protocols = await served(path)
            await exchange(path, protocols, server)
            await finish(server)

        run(main())

    def test_regular_file_in_the_way(self, run, path):
        with open(path, "w") as file:
            file.write("mine")

        async def main():
            with pytest.raises(OSError, match=r"Address .* is already in use"):
                await served(path)

        run(main())
        with open(path) as file:
            assert file.read() == "mine"

    def test_directory_that_is_missing(self, run, path):
        async def main():
            with pytest.raises(FileNotFoundError):
                await served(path + "/deeper")

        run(main())

    def test_path_too_long(self, run, tmp_path):
        async def main():
            with pytest.raises(OSError):
                await served(str(tmp_path / ("x" * 200)))

        run(main())

    def test_nobody_listens(self, loop, run, path):
        with pytest.raises(FileNotFoundError):
            run(loop.create_unix_connection(Record, path))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
            with pytest.raises(ConnectionRefusedError):
                run(loop.create_unix_connection(Record, path))

    if PY313:

        def test_unlinked_on_close(self, run, path):
            async def main():
                server, _ = await served(path)
                assert os.path.exists(path)
                await finish(server)
                assert not os.path.exists(path)

            run(main())

        def test_kept_when_asked(self, run, path):
            async def main():
                server, _ = await served(path, cleanup_socket=False)
                await finish(server)
                assert os.path.exists(path)

            run(main())

        def test_not_unlinked_when_replaced(self, run, path):
            async def main():
                server, _ = await served(path)
                os.unlink(path)
                with socket.socket(socket.AF_UNIX) as other:
                    other.bind(path)
                    await finish(server)
                    assert os.path.exists(path)

            run(main())

        def test_unlinked_by_someone_else(self, run, path):
            async def main():
                server, _ = await served(path)
                os.unlink(path)
                await finish(server)

            run(main())

        @pytest.mark.moodloop_only
        @pytest.mark.parametrize("asked", [False, True])
        def test_another_process_listened(self, run, path, asked):
            """As systemd hands sockets over: the path is not this server's to look at or unlink."""
            with socket.socket(socket.AF_UNIX) as sock:
                sock.bind(path)
                listen = f"import socket; socket.socket(fileno={sock.fileno()}).listen()"
                subprocess.run([sys.executable, "-c", listen], pass_fds=[sock.fileno()], check=True)

                async def main():
                    options = {"cleanup_socket": True} if asked else {}
                    server, protocols = await served(None, sock=sock, **options)
                    await exchange(path, protocols, server)
                    await finish(server)

                run(main())
            assert os.path.exists(path) is not asked

        @pytest.mark.parametrize("listens", [False, True])
        def test_socket_of_this_process(self, run, path, listens):
            async def main():
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.bind(path)
                    if listens:
                        sock.listen()
                    server, _ = await served(None, sock=sock)
                    await finish(server)
                    assert not os.path.exists(path)

            run(main())


class TestArguments:
    def test_connection(self, loop, run, path):
        with socket.socket(socket.AF_UNIX) as sock, socket.socket() as tcp:
            for args, kwargs in (
                ((Record,), {}),
                ((Record, path), {"sock": sock}),
                ((Record,), {"sock": tcp}),
                ((Record, path), {"server_hostname": "x"}),
            ):
                with pytest.raises(ValueError):
                    run(loop.create_unix_connection(*args, **kwargs))

    def test_server(self, loop, run, path):
        with socket.socket(socket.AF_UNIX) as sock, socket.socket() as tcp:
            for args, kwargs in (
                ((Record,), {}),
                ((Record, path), {"sock": sock}),
                ((Record,), {"sock": tcp}),
            ):
                with pytest.raises(ValueError):
                    run(loop.create_unix_server(*args, **kwargs))

    def test_server_on_a_socket(self, loop, run, path):
        async def main():
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(path)
            server, protocols = await served(None, sock=sock)
            await exchange(path, protocols, server)
            await finish(server)

        run(main())

    def test_connection_on_a_socket(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                await peer.send(b"hello")
                assert await protocol.received(5) == b"hello"
                transport.write(b"world")
                assert await peer.recv_exactly(5) == b"world"

        run(main())


class TestStreams:
    def test_open_and_start(self, run, path):
        async def main():
            async def handle(reader, writer):
                writer.write((await reader.readline()).upper())
                await writer.drain()
                writer.close()

            server = await asyncio.start_unix_server(handle, path)
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"line\n")
            assert await reader.readline() == b"LINE\n"
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            await finish(server)

        run(main())

    def test_half_close(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                transport.write(b"x")
                transport.write_eof()
                assert await peer.recv_all() == b"x"
                await peer.send(b"y")
                assert await protocol.received(1) == b"y"

        run(main())

    def test_peer_credentials(self, run):
        import struct

        async def main():
            async with connected(pair=unix_pair) as (transport, _, _):
                sock = transport.get_extra_info("socket")
                found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                assert struct.unpack("3i", found)[0] == os.getpid()

        run(main())
