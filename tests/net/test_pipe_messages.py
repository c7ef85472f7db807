"""Sockets that keep the bounds of messages, used as pipes."""

import asyncio
import os
import socket

import pytest
from support.loops import turns, until

KINDS = [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def pair(request):
    a, b = socket.socketpair(socket.AF_UNIX, request.param)
    with a, b:
        a.setblocking(False)
        b.setblocking(False)
        yield a, b


class Pieces(asyncio.Protocol):
    def __init__(self):
        self.got = []

    def data_received(self, data):
        self.got.append(bytes(data))


class Buffered(asyncio.BufferedProtocol):
    def __init__(self):
        self.buffer = bytearray(1 << 18)
        self.got = []

    def get_buffer(self, hint):
        return self.buffer

    def buffer_updated(self, count):
        self.got.append(bytes(self.buffer[:count]))


MESSAGES = [os.urandom(size) for size in (200_000, 1, 180_000, 200_000, 190_000)]


async def receive(loop, pair, protocol):
    a, b = pair
    transport, record = await loop.connect_read_pipe(protocol, a)
    for count, message in enumerate(MESSAGES, 1):
        b.send(message)
        await until(lambda count=count: len(record.got) == count)
    transport.close()
    await turns()
    assert record.got == MESSAGES


def test_messages_come_whole(loop, run, pair):
    run(receive(loop, pair, Pieces))


@pytest.mark.moodloop_only  # asyncio's pipes know no BufferedProtocol
def test_messages_come_whole_into_a_buffer(loop, run, pair):
    run(receive(loop, pair, Buffered))


def test_each_write_is_a_message(loop, run, pair):
    a, b = pair

    async def main():
        transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, a)
        for message in (b"one", b"two", b"three", b"four"):
            transport.write(message)
        await turns()
        got = [b.recv(100) for _ in range(4)]
        transport.close()
        await turns()
        assert got == [b"one", b"two", b"three", b"four"]

    run(main())


@pytest.mark.moodloop_only  # asyncio joins what it could not send at once
def test_messages_that_had_to_wait(loop, run, pair):
    a, b = pair
    sent = [b"%d" % i + bytes(50_000) for i in range(30)]

    async def main():
        transport, _ = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, a)
        transport.set_write_buffer_limits(high=100_000_000)
        for message in sent:
            transport.write(message)
        got = []
        while len(got) < len(sent):
            try:
                got.append(b.recv(100_000))
            except BlockingIOError:
                await asyncio.sleep(0)
        transport.close()
        await turns()
        assert got == sent

    run(main())
