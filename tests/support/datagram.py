"""Datagram endpoints that keep a record, and plain sockets: some of them full."""

import asyncio
import contextlib
import socket
import sys

from support.loops import TIMEOUT

LOCAL = ("127.0.0.1", 0)


class DatagramRecord(asyncio.DatagramProtocol):
    """Writes down what a datagram endpoint tells it."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.events = []
        self.got = []
        self.errors = []
        self.transport = None
        self.lost = self.loop.create_future()
        self._more = asyncio.Event()

    def connection_made(self, transport):
        self.events.append("made")
        self.transport = transport

    def datagram_received(self, data, addr):
        assert type(data) is bytes
        self.events.append("datagram")
        self.got.append((data, addr))
        self._more.set()

    def error_received(self, exc):
        self.events.append("error")
        self.errors.append(exc)
        self._more.set()

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")
        self._more.set()

    def connection_lost(self, exc):
        self.events.append("lost")
        self._more.set()
        self.lost.set_result(exc)

    async def until(self, condition):
        """Wait for events until the condition holds."""
        while not condition():
            self._more.clear()
            await asyncio.wait_for(self._more.wait(), TIMEOUT)

    async def datagrams(self, count):
        """Wait for that many datagrams and take their data."""
        await self.until(lambda: len(self.got) >= count)
        taken = [data for data, _ in self.got[:count]]
        del self.got[:count]
        return taken


@contextlib.asynccontextmanager
async def endpoint(factory=DatagramRecord, **kwargs):
    """A datagram endpoint, which is gone in the end."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(factory, **kwargs)
    try:
        yield transport, protocol
    finally:
        if not protocol.lost.done():
            transport.abort()
        await asyncio.wait_for(protocol.lost, TIMEOUT)
        for _ in range(3):
            await asyncio.sleep(0)


def udp_socket():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(LOCAL)
    return sock


def unix_socket(path=None):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    if path:
        sock.bind(str(path))
    return sock


def full_socket(tmp_path):
    """A Unix datagram socket connected to one that takes few datagrams, and that one.

    UDP on the loopback drops what does not fit; a Unix socket makes the sender wait.
    """
    reader = unix_socket(tmp_path / "reader")
    sender = unix_socket()
    sender.connect(str(tmp_path / "reader"))
    return sender, reader


def link_local_address():
    """A host and the index of its interface, or None."""
    try:
        with open("/proc/net/if_inet6") as table:
            lines = [line.split() for line in table]
    except OSError:
        return None
    for host, index, _, scope, _, _ in lines:
        if scope == "20":
            return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(host)), int(index, 16)
    return None


def jam(transport, size=1000):
    """Send until one datagram had to be queued; how many were sent at once, and the one queued."""
    for i in range(10000):
        transport.sendto(b"%05d" % i + bytes(size - 5))
        if transport.get_write_buffer_size():
            return i
    raise AssertionError("the socket never was full")


async def drained(reader, count):
    """Read that many datagrams from a plain socket while the loop goes on."""
    loop = asyncio.get_running_loop()
    return [await loop.sock_recv(reader, 1 << 18) for _ in range(count)]


def forgets_headers():
    """Stock asyncio 3.13 adds the header of a queued datagram and never takes it off again."""
    stock = isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop)
    return stock and sys.version_info[:2] == (3, 13)
