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
    guest.set_exception_handler(lambda *_: None)  # a task is destroyed
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


async def connection(guest, a):
    transport, _ = await guest.create_connection(asyncio.Protocol, sock=a)
    return transport.abort


async def reader(guest, a):
    guest.add_reader(a, lambda: a.recv(100))


async def writer(guest, a):
    guest.add_writer(a, lambda: None)


async def server(guest, a):
    return (await guest.create_server(asyncio.Protocol, "127.0.0.1", 0)).close


async def operation(guest, a):
    await leave(guest.sock_recv(a, 10))


async def timer(guest, a):
    guest.call_later(3600, print)


THINGS = [connection, reader, writer, server, operation, timer]


@pytest.mark.parametrize("make", THINGS)
def test_what_asyncio_watches_rests(loop, guest, pair, make):
    a, b = pair
    end = guest.run_until_complete(make(guest, a))
    b.send(b"x")
    start_sees_nothing(loop)
    start_sees_nothing(loop)
    loop.verify()
    if end is not None:
        end()
        guest.run_until_complete(asyncio.sleep(0.001))


class Told(asyncio.Protocol):
    def __init__(self):
        self.data = asyncio.Event()

    def data_received(self, data):
        self.data.set()


@pytest.mark.parametrize("way", ["run", "attached", "run inside", "attached inside"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_what_rested_is_served_again(loop, guest, pair, way, when):
    """What was made before a run without asyncio, or in it."""
    a, b = pair

    async def connect():
        return await guest.create_connection(Told, sock=a)

    def run(coro):
        if way.startswith("run"):
            return guest.run_until_complete(coro)
        with guest.attached():
            task = guest.create_task(coro)
            task.add_done_callback(lambda _: guest.stop())
            loop.start()
            return task.result()

    def use(*_):
        if when == "meanwhile":
            made.append(run(connect()))
        b.send(b"x")
        run(asyncio.wait_for(made[0][1].data.wait(), 20))
        used.append(True)

    made, used = [], []
    if when == "before":
        made.append(guest.run_until_complete(connect()))
    if way.endswith("inside"):
        begin = event.Timer(loop, 0.0, 0.0, use)
        begin.start()
        assert loop.start() is False
    else:
        start_sees_nothing(loop)
        use()
    assert used
    b.send(b"more")
    start_sees_nothing(loop)
    made[0][0].abort()
    guest.run_until_complete(asyncio.sleep(0))


def test_reader_added_and_removed_in_a_run_without_asyncio(loop, guest, pair):
    a, b = pair
    got = []

    def change(*_):
        guest.add_reader(a, got.append, "first")
        guest.add_writer(a, got.append, "writer")
        guest.remove_writer(a)
        guest.add_reader(a, lambda: got.append(a.recv(10)))

    b.send(b"x")
    begin = event.Timer(loop, 0.0, 0.0, change)
    begin.start()
    start_sees_nothing(loop)
    assert not got
    guest.run_until_complete(asyncio.sleep(0.01))
    assert got == [b"x"]
    assert guest.remove_reader(a)


def test_number_closed_while_it_rested(loop, guest, pair):
    a, _ = pair
    guest.add_reader(a, print)
    start_sees_nothing(loop)
    number = a.fileno()
    a.close()
    start_sees_nothing(loop)
    guest.run_until_complete(asyncio.sleep(0.001))
    guest.remove_reader(number)


@pytest.mark.parametrize("delay", [1e-9, 0.001])
def test_is_not_woken_for_timers_of_before(loop, guest, delay):
    guest.run_until_complete(asyncio.sleep(delay))
    event.Timer(loop, 0.3, 0.0, lambda *args: None).start()
    before = loop.iteration
    assert loop.start() is False
    assert loop.iteration - before < 20


def test_what_rests_is_in_order(loop, guest, pair):
    """After a run of asyncio's own in a callback of the program's run, which goes on."""

    def use(*_):
        made.append(guest.run_until_complete(connection(guest, pair[0])))
        guest._verify()

    made = []
    event.Timer(loop, 0.0, 0.0, use).start()
    loop.start()
    guest._verify()
    made[0]()
    guest.run_until_complete(asyncio.sleep(0.001))
