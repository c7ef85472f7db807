"""Protocols that keep a record, peers that are plain sockets, connected pairs of both."""

import asyncio
import contextlib
import socket

from support.loops import TIMEOUT


class Record(asyncio.Protocol):
    """Writes down what it is told, and lets a test wait for it."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.events = []
        self.data = bytearray()
        self.transport = None
        self.exc = "never lost"
        self.made = self.loop.create_future()
        self.lost = self.loop.create_future()
        self.eof = asyncio.Event()
        self._more = asyncio.Event()
        self.keep_open = False

    def connection_made(self, transport):
        self.events.append("made")
        self.transport = transport
        if not self.made.done():
            self.made.set_result(transport)

    def data_received(self, data):
        assert type(data) is bytes and data
        self.events.append("data")
        self.data += data
        self._more.set()

    def eof_received(self):
        self.events.append("eof")
        self.eof.set()
        self._more.set()
        return self.keep_open

    def connection_lost(self, exc):
        self.events.append("lost")
        self.exc = exc
        self._more.set()
        if not self.lost.done():
            self.lost.set_result(exc)

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")
        self._more.set()

    @property
    def kinds(self):
        """The events, each run of data as one."""
        return [e for i, e in enumerate(self.events) if e != "data" or self.events[i - 1] != "data"]

    async def change(self):
        """Wait for the next event."""
        self._more.clear()
        await asyncio.wait_for(self._more.wait(), TIMEOUT)

    async def received(self, count):
        """Wait for that many bytes in all and take them."""
        while len(self.data) < count:
            assert "lost" not in self.events, "lost before the data came"
            await self.change()
        taken = bytes(self.data[:count])
        del self.data[:count]
        return taken

    async def happened(self, event):
        while event not in self.events:
            await self.change()


class BufferedRecord(Record, asyncio.BufferedProtocol):
    """The same over a buffer of its own."""

    size = 4096

    def __init__(self):
        super().__init__()
        self.buffer = bytearray(self.size)
        self.hints = []

    def get_buffer(self, sizehint):
        self.hints.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes):
        assert 0 < nbytes <= len(self.buffer)
        self.events.append("data")
        self.data += self.buffer[:nbytes]
        self._more.set()

    data_received = None


class Peer:
    """The other end of a connection: a plain non-blocking socket, awaited through the loop."""

    def __init__(self, sock):
        sock.setblocking(False)
        self.sock = sock

    async def send(self, data):
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def recv(self, count=1 << 18):
        return await asyncio.get_running_loop().sock_recv(self.sock, count)

    async def recv_exactly(self, count):
        got = bytearray()
        while len(got) < count:
            chunk = await self.recv(min(count - len(got), 1 << 18))
            assert chunk, f"end of file after {len(got)} of {count} bytes"
            got += chunk
        return bytes(got)

    async def recv_all(self):
        got = bytearray()
        while chunk := await self.recv():
            got += chunk
        return bytes(got)

    def reset(self):
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def shutdown(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()


def tcp_pair():
    """Two connected TCP sockets."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        a = socket.create_connection(server.getsockname())
        b, _ = server.accept()
    for sock in (a, b):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return a, b


def unix_pair():
    return socket.socketpair(socket.AF_UNIX)


async def end(transport, protocol):
    """Abort a transport and wait for connection_lost()."""
    if not isinstance(protocol, Record):
        transport.abort()
    elif not protocol.lost.done():
        transport.abort()
        await asyncio.wait_for(protocol.lost, TIMEOUT)


@contextlib.asynccontextmanager
async def connected(factory=Record, pair=tcp_pair):
    """A transport with its protocol on one end, a Peer at the other; both are gone in the end."""
    a, b = pair()
    peer = Peer(b)
    loop = asyncio.get_running_loop()
    protocol = None
    try:
        a.setblocking(False)
        transport, protocol = await loop.create_connection(factory, sock=a)
        yield transport, protocol, peer
    finally:
        if protocol is None:
            a.close()
        else:
            await end(transport, protocol)
        peer.close()
        # One more turn: the transport closes its socket after connection_lost().
        for _ in range(3):
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def serving(factory=Record, host="127.0.0.1", **kwargs):
    """A TCP server, the list of its protocols, and its address."""
    protocols = []

    def make():
        protocol = factory()
        protocols.append(protocol)
        return protocol

    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, host, 0, **kwargs)
    try:
        yield server, protocols, server.sockets[0].getsockname()
    finally:
        server.close()
        for protocol in protocols:
            if getattr(protocol, "transport", None) is not None:
                await end(protocol.transport, protocol)
        await asyncio.wait_for(server.wait_closed(), TIMEOUT)
        for _ in range(3):
            await asyncio.sleep(0)


async def jam(transport):
    """Write more than the kernel takes; how many bytes that was.

    For a Unix socket whose peer does not read: the buffers of TCP grow by themselves.
    """
    transport.write(bytes(8 << 20))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert transport.get_write_buffer_size() > 0
    return 8 << 20
