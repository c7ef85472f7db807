"""Servers: making, serving, closing, waiting, and accepting under pressure."""

import asyncio
import errno
import gc
import os
import resource
import socket
import ssl
import subprocess
import weakref

import pytest
from support.loops import PY312, PY313, turns, until
from support.net import Peer, Record, end, serving


@pytest.fixture(autouse=True)
def executor(loop, run):
    yield
    if not loop.is_closed():
        run(loop.shutdown_default_executor())


async def client(address):
    _, protocol = await asyncio.get_running_loop().create_connection(Record, *address[:2])
    return protocol


class TestCreate:
    def test_serves(self, run):
        async def main():
            async with serving() as (server, protocols, address):
                assert server.is_serving()
                mine = await client(address)
                await until(lambda: protocols and protocols[0].transport)
                theirs = protocols[0]
                mine.transport.write(b"hello")
                assert await theirs.received(5) == b"hello"
                theirs.transport.write(b"world")
                assert await mine.received(5) == b"world"
                await end(mine.transport, mine)
                await theirs.lost

        run(main())

    def test_sockets(self, run):
        async def main():
            async with serving() as (server, _, address):
                assert isinstance(server, asyncio.AbstractServer)
                assert type(server.sockets) is tuple
                (sock,) = server.sockets
                assert isinstance(sock, asyncio.trsock.TransportSocket)
                assert sock.getsockname() == address
                assert sock.family == socket.AF_INET
                server.close()
                assert server.sockets == ()

        run(main())

    def test_several_hosts(self, run, ipv6):
        async def main():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(Record, ["127.0.0.1", "::1"], 0)
            assert {s.family for s in server.sockets} == {socket.AF_INET, socket.AF_INET6}
            for s in server.sockets:
                mine = await client(s.getsockname())
                await end(mine.transport, mine)
            server.close()
            await server.wait_closed()
            await turns()

        run(main())

    def test_every_interface(self, run):
        async def main():
            async with serving(host=None) as (server, protocols, _):
                for s in server.sockets:
                    if s.family == socket.AF_INET:
                        mine = await client(("127.0.0.1", s.getsockname()[1]))
                        await until(lambda: protocols and protocols[0].transport)
                        await end(mine.transport, mine)

        run(main())

    def test_socket_given(self, loop, run):
        async def main():
            sock = socket.create_server(("127.0.0.1", 0))
            address = sock.getsockname()
            server = await loop.create_server(Record, sock=sock)
            mine = await client(address)
            await end(mine.transport, mine)
            await turns(10)
            server.close()
            await server.wait_closed()
            await turns()
            assert sock.fileno() == -1

        run(main())

    def test_not_started(self, loop, run):
        async def main():
            server = await loop.create_server(Record, "127.0.0.1", 0, start_serving=False)
            assert not server.is_serving()
            await server.start_serving()
            assert server.is_serving()
            await server.start_serving()
            mine = await client(server.sockets[0].getsockname())
            await end(mine.transport, mine)
            await turns(10)
            server.close()
            await server.wait_closed()

        run(main())

    def test_reuse_address_by_default(self, run):
        async def main():
            async with serving() as (server, _, _):
                assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)

        run(main())

    def test_reuse_port(self, loop, run):
        async def main():
            async with serving(reuse_port=True) as (_, _, address):
                other = await loop.create_server(Record, *address, reuse_port=True)
                other.close()
                await other.wait_closed()

        run(main())

    def test_address_in_use(self, loop, run):
        async def main():
            async with serving() as (_, _, address):
                with pytest.raises(OSError, match="error while attempting to bind on address"):
                    await loop.create_server(Record, *address)

        run(main())

    def test_bad_arguments(self, loop, run):
        with socket.socket() as sock, socket.socket(type=socket.SOCK_DGRAM) as udp:
            for args, kwargs in (
                ((Record,), {}),
                ((Record, "127.0.0.1", 0), {"sock": sock}),
                ((Record,), {"sock": udp}),
            ):
                with pytest.raises(ValueError):
                    run(loop.create_server(*args, **kwargs))
            with pytest.raises(TypeError):
                run(loop.create_server(Record, "127.0.0.1", 0, ssl=True))
            with pytest.raises(TypeError):
                loop.create_server(Record, "127.0.0.1", 0, colour="red")

    def test_weakref_and_loop(self, loop, run):
        async def main():
            async with serving() as (server, _, _):
                assert weakref.ref(server)() is server
                assert server.get_loop() is loop
                assert "sockets" in repr(server)

        run(main())


class TestClose:
    def test_twice(self, run):
        async def main():
            async with serving() as (server, _, _):
                server.close()
                server.close()
                assert not server.is_serving()
                assert server.sockets == ()

        run(main())

    def test_no_more_connections(self, run):
        async def main():
            async with serving() as (server, _, address):
                server.close()
                await turns()
                with pytest.raises(ConnectionRefusedError):
                    await client(address)

        run(main())

    def test_open_connections_go_on(self, run):
        async def main():
            async with serving() as (server, protocols, address):
                mine = await client(address)
                await until(lambda: protocols and protocols[0].transport)
                server.close()
                mine.transport.write(b"still")
                assert await protocols[0].received(5) == b"still"
                await end(mine.transport, mine)

        run(main())

    def test_wait_closed_without_connections(self, run):
        async def main():
            async with serving() as (server, _, _):
                server.close()
                await server.wait_closed()
                await server.wait_closed()

        run(main())

    if PY312:

        def test_wait_closed_waits_for_connections(self, run):
            async def main():
                async with serving() as (server, protocols, address):
                    mine = await client(address)
                    await until(lambda: protocols and protocols[0].transport)
                    server.close()
                    waiter = asyncio.create_task(server.wait_closed())
                    await turns(10)
                    assert not waiter.done()
                    await end(mine.transport, mine)
                    await waiter
                    assert protocols[0].lost.done()

            run(main())

    def test_async_with(self, loop, run):
        async def main():
            server = await loop.create_server(Record, "127.0.0.1", 0)
            async with server as same:
                assert same is server
            assert not server.is_serving()
            await turns()

        run(main())

    def test_pending_connections_are_not_lost_descriptors(self, run):
        """Clients in the backlog of a server that closes see an end."""

        async def main():
            async with serving() as (server, _, address):
                socks = [socket.create_connection(address) for _ in range(5)]
                server.close()
                await server.wait_closed()
                await turns()
                for s in socks:
                    peer = Peer(s)
                    try:
                        assert await peer.recv() == b""
                    except ConnectionResetError:
                        pass
                    peer.close()

        run(main())

    @pytest.mark.moodloop_only  # an assertion of stock asyncio fails, and its socket stays open
    def test_closed_in_the_protocol_factory(self, run, reports):
        async def main():
            servers = []

            class Closing(Record):
                def __init__(self):
                    super().__init__()
                    servers[0].close()

            async with serving(Closing) as (server, protocols, address):
                servers.append(server)
                mine = await client(address)
                await until(lambda: protocols)
                await turns(5)
                assert not server.is_serving()
                await end(mine.transport, mine)

        run(main())

    def test_start_serving_after_close(self, loop, run):
        async def main():
            async with serving() as (server, _, _):
                server.close()
                with pytest.raises(RuntimeError, match="is closed"):
                    await server.serve_forever()

        run(main())


class TestServeForever:
    def test_cancel_closes(self, run):
        async def main():
            async with serving(start_serving=False) as (server, _, address):
                task = asyncio.create_task(server.serve_forever())
                await turns(3)
                assert server.is_serving()
                mine = await client(address)
                await end(mine.transport, mine)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert not server.is_serving()

        run(main())

    def test_twice(self, run):
        async def main():
            async with serving() as (server, _, _):
                task = asyncio.create_task(server.serve_forever())
                await turns(3)
                with pytest.raises(RuntimeError, match="is already being awaited"):
                    await server.serve_forever()
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        run(main())

    def test_close_ends_it(self, run):
        async def main():
            async with serving() as (server, _, _):
                task = asyncio.create_task(server.serve_forever())
                await turns(3)
                server.close()
                with pytest.raises(asyncio.CancelledError):
                    await task

        run(main())


if PY313:

    class TestClients:
        @pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
        def test_ends_them_all(self, run, how):
            async def main():
                async with serving() as (server, protocols, address):
                    clients = [await client(address) for _ in range(5)]
                    await until(lambda: len([p for p in protocols if p.transport]) == 5)
                    server.close()
                    getattr(server, how)()
                    await server.wait_closed()
                    for p in clients:
                        await p.lost
                    assert [p.events.count("lost") for p in protocols] == [1] * 5

            run(main())

        def test_knows_those_that_are_there(self, run):
            async def main():
                async with serving() as (server, protocols, address):
                    clients = [await client(address) for _ in range(3)]
                    await until(lambda: len([p for p in protocols if p.transport]) == 3)
                    transports = [p.transport for p in protocols]
                    assert len(server._clients) == 3
                    assert set(server._clients) == set(server._clients.copy()) == set(transports)
                    assert all(t in server._clients for t in transports)
                    assert clients[0].transport not in server._clients
                    transports[1].abort()
                    await protocols[1].lost
                    await until(lambda: len(server._clients) == 2)
                    assert set(server._clients) == {transports[0], transports[2]}

            run(main())

        def test_transports_of_others_are_attached_too(self, run):
            class Foreign(asyncio.Transport):
                closed = 0

                def close(self):
                    self.closed += 1

            async def main():
                async with serving() as (server, protocols, address):
                    await client(address)
                    await until(lambda: protocols and protocols[0].transport)
                    foreign = Foreign()
                    for _ in range(2):
                        server._attach(foreign)
                    assert len(server._clients) == 2
                    server.close_clients()
                    assert foreign.closed == 1
                    await protocols[0].lost
                    server._detach(foreign)
                    server._detach(foreign)
                    await until(lambda: len(server._clients) == 0)
                    server._attach(Foreign())  # nobody else has it
                    gc.collect()
                    assert len(server._clients) == 0

            run(main())

        def test_attached_to_another_server_too(self, run):
            async def main():
                async with serving() as (server, protocols, address), serving() as (other, *_):
                    await client(address)
                    await until(lambda: protocols and protocols[0].transport)
                    transport = protocols[0].transport
                    for _ in range(2):
                        other._attach(transport)
                    for each in (server, other):
                        assert set(each._clients) == {transport}
                        assert len(each._clients) == 1
                    other._detach(transport)
                    assert (len(server._clients), len(other._clients)) == (1, 0)
                    other._attach(transport)
                    server.abort_clients()
                    await protocols[0].lost
                    assert len(server._clients) == 0
                    other._detach(transport)
                    assert len(other._clients) == 0

            run(main())

        @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
        def test_collected_are_not_found_any_more(self, run):
            class Late:
                """Of no interest to the collector: freed when what has it is cleared."""

                __slots__ = ()

                def __del__(self):
                    found.append([list(each._clients) for each in servers])

            async def main():
                async with serving() as (server, protocols, address), serving() as (other, *_):
                    servers.extend([server, other])
                    await client(address)
                    await until(lambda: protocols and protocols[0].transport)
                    transport = protocols[0].transport
                    transport.pause_reading()  # so that the loop has it no more
                    other._attach(transport)
                    protocols[0].late = Late()
                    protocols.clear()
                    del transport
                    gc.collect()
                    assert found == [[[], []]]
                    servers.clear()

            servers, found = [], []
            run(main())

        @pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
        def test_without_clients(self, run, how):
            async def main():
                async with serving() as (server, _, _):
                    getattr(server, how)()
                    assert server.is_serving()

            run(main())

        def test_close_clients_flushes(self, run):
            async def main():
                async with serving() as (server, protocols, address):
                    peer = Peer(socket.create_connection(address))
                    await until(lambda: protocols and protocols[0].transport)
                    protocols[0].transport.write(bytes(1 << 23))
                    server.close_clients()
                    assert len(await peer.recv_all()) == 1 << 23
                    peer.close()

            run(main())


class TestAccept:
    def test_many_at_once(self, run):
        async def main():
            async with serving(backlog=300) as (_, protocols, address):
                clients = await asyncio.gather(*(client(address) for _ in range(300)))
                await until(lambda: len([p for p in protocols if p.transport]) == 300)
                for i, p in enumerate(clients):
                    p.transport.write(b"%03d" % i)
                got = [await p.received(3) for p in protocols]
                assert sorted(got) == [b"%03d" % i for i in range(300)]
                await asyncio.gather(*(end(p.transport, p) for p in clients))
                for p in protocols:
                    await p.lost

        run(main())

    def test_gone_before_accepted(self, run):
        async def main():
            async with serving() as (_, protocols, address):
                for _ in range(20):
                    Peer(socket.create_connection(address)).reset()
                mine = await client(address)
                name = mine.transport.get_extra_info("sockname")
                mine.transport.write(b"x")
                await until(
                    lambda: any(
                        p.transport and p.transport.get_extra_info("peername") == name
                        for p in protocols
                    )
                )
                await end(mine.transport, mine)
                for p in protocols:
                    if p.transport:
                        await end(p.transport, p)

        run(main())

    @pytest.mark.filterwarnings("ignore::ResourceWarning")  # stock asyncio drops the socket open
    def test_factory_that_raises(self, loop, run):
        told = []

        async def main():
            loop.set_exception_handler(lambda _, context: told.append(type(context["exception"])))
            loop.set_debug(True)  # stock asyncio says nothing otherwise
            fail = [True]

            def factory():
                if fail:
                    raise ZeroDivisionError("factory")
                return Record()

            async with serving(factory) as (_, protocols, address):
                peer = Peer(socket.create_connection(address))
                await until(lambda: told)
                gc.collect()  # stock asyncio leaves the socket in a cycle
                assert await peer.recv() == b""
                peer.close()
                fail.clear()
                mine = await client(address)
                await until(lambda: protocols and protocols[0].transport)
                await end(mine.transport, mine)

        run(main())
        assert told == [ZeroDivisionError]

    def test_connection_made_that_raises(self, run, reports):
        class Raising(Record):
            def connection_made(self, transport):
                super().connection_made(transport)
                raise ZeroDivisionError

        async def main():
            async with serving(Raising) as (_, protocols, address):
                mine = await client(address)
                mine.transport.write(b"x")
                await until(lambda: protocols and protocols[0].transport)
                assert await protocols[0].received(1) == b"x"
                await end(mine.transport, mine)

        run(main())
        assert isinstance(reports[0]["exception"], ZeroDivisionError)

    def test_accepted_sockets_are_not_inherited(self, run):
        async def main():
            async with serving() as (server, protocols, address):
                mine = await client(address)
                await until(lambda: protocols and protocols[0].transport)
                for sock in (
                    server.sockets[0],
                    mine.transport.get_extra_info("socket"),
                    protocols[0].transport.get_extra_info("socket"),
                ):
                    assert not os.get_inheritable(sock.fileno())
                    assert not os.get_blocking(sock.fileno())
                await end(mine.transport, mine)

        run(main())

    def test_out_of_descriptors(self, snippet):
        """The handler is told, the loop does not spin, and accepting goes on afterwards."""
        done = snippet(
            """
            import resource
            from support.net import Record
            reports, made = [], []
            def factory():
                made.append(Record())
                return made[-1]
            async def main():
                loop = asyncio.get_running_loop()
                loop.set_exception_handler(lambda loop, context: reports.append(context))
                server = await loop.create_server(factory, "127.0.0.1", 0, backlog=1)
                address = server.sockets[0].getsockname()
                client = socket.socket()
                client.setblocking(False)
                soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                highest = max(map(int, os.listdir("/proc/self/fd")))
                resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
                fillers = []
                try:
                    while True:
                        fillers.append(os.dup(0))
                except OSError:
                    pass
                await loop.sock_connect(client, address)
                await until(lambda: reports)
                seen = len(reports)
                await asyncio.sleep(0.3)
                assert not made
                assert len(reports) <= seen + 8, len(reports)
                assert isinstance(reports[0]["exception"], OSError)
                assert reports[0]["message"] == "socket.accept() out of system resource"
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for fd in fillers:
                    os.close(fd)
                await until(lambda: made and made[0].transport)
                await loop.sock_sendall(client, b"x")
                assert await made[0].received(1) == b"x"
                client.close()
                await made[0].lost
                server.close()
                await server.wait_closed()
                print("accepted")
            loop = new_loop()
            drive(loop, main())
            loop.close()
            """
        )
        assert (done.rc, done.out) == (0, "accepted\n"), done.err

    def test_closed_while_out_of_descriptors(self, snippet):
        done = snippet(
            """
            import resource
            reports = []
            async def main():
                loop = asyncio.get_running_loop()
                loop.set_exception_handler(lambda loop, context: reports.append(context))
                server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, backlog=1)
                client = socket.socket()
                client.setblocking(False)
                soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
                await loop.sock_connect(client, server.sockets[0].getsockname())
                await until(lambda: reports)
                server.close()
                await server.wait_closed()
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                # Past the time at which it would have tried again.
                await asyncio.sleep(1.2)
                assert not server.is_serving()
                client.close()
                print("closed")
            loop = new_loop()
            drive(loop, main())
            loop.close()
            """
        )
        assert (done.rc, done.out) == (0, "closed\n"), done.err

    @pytest.mark.moodloop_only  # stock asyncio says "could not bind on any address"
    def test_no_descriptor_to_begin_with(self, loop, run):
        async def main():
            await loop.getaddrinfo("127.0.0.1", 0)
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                for start in (
                    lambda: asyncio.start_server(print, "127.0.0.1", 0),
                    lambda: loop.create_server(Record, "127.0.0.1", 0),
                    lambda: loop.create_server(Record, ["127.0.0.1", "::1"], 0),
                ):
                    with pytest.raises(OSError) as raised:
                        await start()
                    assert raised.value.errno == errno.EMFILE
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        run(main())

    def test_address_in_use(self, loop, run):
        async def main():
            async with serving() as (_, _, address):
                with pytest.raises(OSError) as raised:
                    await loop.create_server(Record, *address)
                assert raised.value.errno == errno.EADDRINUSE

        run(main())


@pytest.mark.tls
def test_tls_in_debug_mode(loop, run, reports, tmp_path):
    """An accepted connection is told of in debug mode, also when TLS comes first."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    names = "subjectAltName=DNS:localhost"
    subprocess.run(
        [*command.split(), "-addext", names, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)
    client_side = ssl.create_default_context(cafile=certificate)

    async def serve(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_side)
        for _ in range(3):
            reader, writer = await asyncio.open_connection(
                *server.sockets[0].getsockname(), ssl=client_side, server_hostname="localhost"
            )
            writer.write(b"line\n")
            assert await reader.read() == b"line\n"
            writer.close()
            await writer.wait_closed()
        server.close()
        await server.wait_closed()

    loop.set_debug(True)
    run(main())
    assert reports == []
