"""Descriptors: readers, and the sock_* methods."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from itertools import repeat

from .callbacks import in_laps, noop
from .row import Operation

Loop = asyncio.AbstractEventLoop


@contextlib.contextmanager
def socket_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets that do not block."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield ours, theirs


def reader_churn(loop: Loop, n: int) -> None:
    """Watch a socket and stop watching it, with a turn of the loop after every hundred."""
    with socket_pair() as (ours, _):
        fd = ours.fileno()

        def lap() -> None:
            for _ in repeat(None, 100):
                loop.add_reader(fd, noop)
                loop.remove_reader(fd)

        in_laps(loop, n // 100, lap)


def reader_dispatch(loop: Loop, n: int) -> None:
    """A socket that stays readable."""
    left = n

    def readable() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            loop.stop()

    with socket_pair() as (ours, theirs):
        theirs.send(b"x")
        loop.add_reader(ours.fileno(), readable)
        loop.run_forever()
        loop.remove_reader(ours.fileno())


def reader_pingpong(loop: Loop, n: int) -> None:
    """Readers at both ends of a socket pair hand a byte to and fro."""
    left = n

    def bounce(sock: socket.socket) -> None:
        nonlocal left
        sock.send(sock.recv(16))
        left -= 1
        if left == 0:
            loop.stop()

    with socket_pair() as (ours, theirs):
        loop.add_reader(ours.fileno(), bounce, ours)
        loop.add_reader(theirs.fileno(), bounce, theirs)
        theirs.send(b"x")
        loop.run_forever()
        loop.remove_reader(ours.fileno())
        loop.remove_reader(theirs.fileno())


def sock_pingpong(loop: Loop, n: int) -> None:
    async def play(sock: socket.socket) -> None:
        for _ in repeat(None, n):
            await loop.sock_sendall(sock, await loop.sock_recv(sock, 64))

    async def main() -> None:
        with socket_pair() as (ours, theirs):
            theirs.send(b"x")
            await asyncio.gather(play(ours), play(theirs))

    loop.run_until_complete(main())


ROWS = (
    Operation(
        name="reader_churn",
        about="add_reader + remove_reader",
        run=reader_churn,
        batch=100,
        quick=True,
    ),
    Operation(name="reader_dispatch", about="a readable socket's callback", run=reader_dispatch),
    Operation(name="reader_pingpong", about="readers hand a byte to and fro", run=reader_pingpong),
    Operation(
        name="sock_pingpong", about="sock_recv + sock_sendall", run=sock_pingpong, quick=True
    ),
)
