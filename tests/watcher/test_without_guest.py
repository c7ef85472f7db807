"""A program's own event.Loop that has an asyncio loop on it, and runs without that."""

import asyncio
import contextlib
import socket

import pytest

import moodloop
from moodloop import event


@pytest.fixture
def guest(loop):
    """An asyncio loop on `loop`."""
    guest = moodloop.EventLoop(ev=loop)
    yield guest
    guest.close()


@pytest.fixture
def pair():
    a, b = socket.socketpair()
    with a, b:
        a.setblocking(False)
        b.setblocking(False)
        yield a, b


def start_sees_nothing(loop):
    """start() has no reason to go on, however much has arrived."""
    ticks = []
    timer = event.Timer(loop, 0.02, 0.0, lambda *args: ticks.append(loop.iteration))
    timer.start()
    before = loop.iteration
    assert loop.start() is False
    assert len(ticks) == 1
    assert loop.iteration - before < 20


async def leave(coro):
    """Begin, and give it some turns; the task."""
    task = asyncio.ensure_future(coro)
    for _ in range(3):
        await asyncio.sleep(0)
    return task


WAITS = {
    "recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(10)),
    "recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "sendall": lambda loop, sock: loop.sock_sendall(sock, bytes(10_000_000)),
}


@pytest.mark.parametrize("wait", WAITS)
def test_closed_with_an_operation_that_waits(loop, pair, wait):
    guest = moodloop.EventLoop(ev=loop)
    guest.set_exception_handler(lambda *_: None)  # its task is destroyed
    a, b = pair
    task = guest.run_until_complete(leave(WAITS[wait](guest, a)))
    guest.close()
    b.send(b"x")
    with contextlib.suppress(BlockingIOError):
        while b.recv(1 << 20):
            pass
    start_sees_nothing(loop)
    assert not task.done()
