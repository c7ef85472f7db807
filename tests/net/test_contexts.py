"""The contextvars.Context that a protocol's methods run in."""

import asyncio
import contextvars
import socket

import pytest
from support.loops import PY315, until

var = contextvars.ContextVar("var", default="unset")
ONE_CONTEXT = pytest.mark.skipif(
    not PY315, reason="in asyncio a connection has one context from Python 3.15 on"
)


class Seer(asyncio.Protocol):
    """Writes down what `var` is in each method, and changes it if told to."""

    made = []

    def __init__(self, change=None):
        Seer.made.append(self)
        self.change = change
        self.seen = {}

    def connection_made(self, transport):
        self.transport = transport
        self.seen["made"] = var.get()
        if self.change is not None:
            var.set(self.change)

    def data_received(self, data):
        self.seen["data"] = var.get()

    def pause_writing(self):
        self.seen["pause"] = var.get()

    def resume_writing(self):
        self.seen["resume"] = var.get()

    def eof_received(self):
        self.seen["eof"] = var.get()

    def connection_lost(self, exc):
        self.seen["lost"] = var.get()


@pytest.fixture(autouse=True)
def _fresh():
    Seer.made.clear()
    yield
    Seer.made.clear()


async def connect(server):
    """A plain socket that is connected to the server, and the server's protocol."""
    before = len(Seer.made)
    client = socket.create_connection(server.sockets[0].getsockname())
    client.setblocking(False)
    await until(lambda: len(Seer.made) > before and "made" in Seer.made[-1].seen)
    return client, Seer.made[-1]


async def talk(client, protocol):
    """Make the peer's protocol see each kind of event."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, b"data")
    await until(lambda: "data" in protocol.seen)
    client.shutdown(socket.SHUT_WR)
    await until(lambda: "lost" in protocol.seen)
    client.close()


def test_accepted_connection_has_the_servers_context(loop, run):
    async def main():
        var.set("server")
        server = await loop.create_server(Seer, "127.0.0.1", 0)
        var.set("later")
        client, protocol = await connect(server)
        await talk(client, protocol)
        server.close()
        assert protocol.seen == dict.fromkeys(("made", "data", "eof", "lost"), "server")
        assert var.get() == "later"

    run(main())


def test_stream_handler_has_the_servers_context(loop, run):
    async def main():
        seen = []

        async def handle(reader, writer):
            seen.append(var.get())
            var.set("handler")
            await reader.read()
            seen.append(var.get())
            writer.close()

        var.set("server")
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        var.set("later")
        for _ in range(2):
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.close()
            await writer.wait_closed()
        await until(lambda: len(seen) == 4)
        server.close()
        assert sorted(seen) == ["handler", "handler", "server", "server"]

    run(main())


def test_connections_do_not_see_each_others_changes(loop, run):
    async def main():
        var.set("server")
        server = await loop.create_server(lambda: Seer("changed"), "127.0.0.1", 0)
        pairs = [await connect(server) for _ in range(3)]
        for client, protocol in pairs:
            await talk(client, protocol)
        server.close()
        assert [protocol.seen["made"] for _, protocol in pairs] == ["server"] * 3
        assert var.get() == "server"

    run(main())


@ONE_CONTEXT
def test_a_connection_keeps_its_changes(loop, run):
    async def main():
        var.set("server")
        server = await loop.create_server(lambda: Seer("changed"), "127.0.0.1", 0)
        client, protocol = await connect(server)
        await talk(client, protocol)
        server.close()
        assert protocol.seen["data"] == protocol.seen["eof"] == protocol.seen["lost"] == "changed"

    run(main())


def test_outgoing_connection_has_a_copy_of_its_callers(loop, run):
    async def main():
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        var.set("caller")
        address = server.sockets[0].getsockname()
        transport, protocol = await loop.create_connection(lambda: Seer("changed"), *address)
        assert var.get() == "caller"
        transport.close()
        await until(lambda: "lost" in protocol.seen)
        server.close()
        assert protocol.seen["made"] == "caller"

    run(main())


def test_flow_control_runs_in_the_writers_context(loop, run):
    """pause_writing() is called inside write(), by whoever writes."""

    async def main():
        var.set("server")
        server = await loop.create_server(Seer, "127.0.0.1", 0)
        client, protocol = await connect(server)
        protocol.transport.set_write_buffer_limits(high=0)
        var.set("writer")
        while "pause" not in protocol.seen:
            protocol.transport.write(bytes(1 << 20))
        protocol.transport.abort()
        await until(lambda: "lost" in protocol.seen)
        client.close()
        server.close()
        return protocol.seen["pause"]

    assert run(main()) == "writer"
