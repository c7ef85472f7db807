"""Pipes of all sorts, and transports on one end of them."""

import asyncio
import contextlib
import io
import os
import pty
import socket
import tty

from support.net import Record

BIG = 1 << 20  # more than a pipe holds


def socket_pair():
    a, b = socket.socketpair()
    return a.detach(), b.detach()


def fifo(path):
    """The two ends of a FIFO."""
    os.mkfifo(path)
    r = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    return r, os.open(path, os.O_WRONLY)


def raw_terminal():
    """A terminal and its other end, which passes bytes on as they are."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    return slave, master


async def read_all(peer, count):
    """Read that many bytes from the other end, while the loop goes on."""
    os.set_blocking(peer.fileno(), False)
    got = bytearray()
    while len(got) < count:
        chunk = peer.read(1 << 16)
        if chunk is None:
            await asyncio.sleep(0)
            continue
        assert chunk, f"end of file after {len(got)} of {count} bytes"
        got += chunk
    return bytes(got)


class PipeRecord(Record):
    """A Record of one end of a pipe."""

    def eof_received(self):
        self.events.append("eof")
        self.eof.set()


@contextlib.asynccontextmanager
async def pipe_reader(factory=PipeRecord, pair=os.pipe):
    """A read pipe transport, its protocol, and a file object of the write end."""
    r, w = pair()
    async with _pipe(asyncio.get_running_loop().connect_read_pipe, factory, r, w) as made:
        yield made


@contextlib.asynccontextmanager
async def pipe_writer(factory=PipeRecord, pair=os.pipe):
    """A write pipe transport, its protocol, and a file object of the read end."""
    r, w = pair()
    async with _pipe(asyncio.get_running_loop().connect_write_pipe, factory, w, r) as made:
        yield made


@contextlib.asynccontextmanager
async def _pipe(connect, factory, fd, other):
    with io.FileIO(fd, "r+") as pipe, io.FileIO(other, "r+") as peer:
        transport, protocol = await connect(factory, pipe)
        try:
            yield transport, protocol, peer
        finally:
            if not transport.is_closing():
                getattr(transport, "abort", transport.close)()
            for _ in range(4):
                await asyncio.sleep(0)
        assert pipe.closed
