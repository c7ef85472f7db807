"""Sockets that keep the bounds of messages, used as pipes, and pipes that keep them."""

import asyncio
import os
import socket

import pytest
from support.loops import turns, until
from support.pipes import pipe_writer

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


def test_lines_are_one_message(loop, run, pair):
    a, b = pair

    async def main():
        transport, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, a)
        transport.write(b"one")
        transport.writelines([b"t", bytearray(b"w"), memoryview(b"o")])
        await turns()
        assert [b.recv(100), b.recv(100)] == [b"one", b"two"]
        transport.close()
        await turns()

    run(main())


class TestPackets:
    """A pipe of packets: one for each write of up to PIPE_BUF bytes."""

    def test_each_write_is_a_packet(self, run):
        async def main():
            async with pipe_writer(pair=packets) as (transport, _, peer):
                transport.write(b"one")
                transport.write(b"two")
                transport.writelines([b"th", b"ree"])
                await turns()
                fd = peer.fileno()
                assert [os.read(fd, 99) for _ in range(3)] == [b"one", b"two", b"three"]

        run(main())

    @pytest.mark.moodloop_only  # asyncio joins what it could not send at once
    def test_packets_that_had_to_wait(self, run):
        async def main():
            async with pipe_writer(pair=packets) as (transport, _, peer):
                transport.set_write_buffer_limits(high=1 << 30)
                for packet in sent:
                    transport.write(packet)
                assert transport.get_write_buffer_size()
                got = []
                while len(got) < len(sent):
                    try:
                        got.append(os.read(peer.fileno(), 1 << 16))
                    except BlockingIOError:
                        await turns(1)
                assert got == sent

        sent = [b"%d" % i + bytes(i) for i in range(200)]
        run(main())

    @pytest.mark.parametrize("size", [4097, 10_000, 150_000])
    def test_longer_ones_stay_in_order(self, run, size):
        async def main():
            async with pipe_writer(pair=packets) as (transport, _, peer):
                got = bytearray()
                for data in sent:
                    transport.write(data)
                while len(got) < size * len(sent):
                    try:
                        got += os.read(peer.fileno(), 1 << 16)
                    except BlockingIOError:
                        await turns(1)
                assert got == b"".join(sent)

        sent = [bytes([i]) * size for i in range(8)]
        run(main())


def packets():
    return os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
