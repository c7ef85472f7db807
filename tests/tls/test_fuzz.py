"""Somebody in between who changes what goes over the wire, both ways, in any state.

Each episode is one connection between two transports, made up from a seed. Whatever is done to its
bytes: both ends end, nothing crashes, and what a protocol gets is what the other one has written,
from the first byte on, and perhaps not to the last. MOODLOOP_TEST_FUZZ is how many episodes there
are (default 40 of each kind); the number of the first follows a colon, as in 100000:7000.
"""

import asyncio
import contextlib
import os
import random
import socket
import ssl

import pytest
from support.loops import TIMEOUT, turns
from support.net import BufferedRecord, Record
from support.tls import client_context, server_context

# Methods of stock asyncio's transports raise AttributeError after the second close().
pytestmark = [pytest.mark.tls, pytest.mark.moodloop_only]

COUNT, _, FIRST = os.environ.get("MOODLOOP_TEST_FUZZ", "40").partition(":")
EPISODES = int(COUNT)
FIRST = int(FIRST or 0)


def flip(rng, records, at):
    raw = bytearray(records[at])
    for _ in range(rng.choice([1, 1, 1, 5, 50])):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    records[at] = bytes(raw)


def flip_head(rng, records, at):
    raw = bytearray(records[at])
    raw[rng.randrange(min(6, len(raw)))] ^= 1 << rng.randrange(8)
    records[at] = bytes(raw)


def drop(rng, records, at):
    records[at] = b""


def shorten(rng, records, at):
    cut = rng.randrange(len(records[at]) + 1)
    records[at] = records[at][:cut] if rng.random() < 0.5 else records[at][cut:]


def replay(rng, records, at):
    records[at] = records[rng.randrange(at + 1)] + records[at]


def swap(rng, records, at):
    if at:
        records[at] += records[at - 1]
        records[at - 1] = b""


def insert(rng, records, at):
    size = rng.choice([0, 1, 2, 5, 100, 16384, 16640, 16641])
    kind = rng.choice([20, 21, 22, 23, 24, 0, 128, 255])
    record = bytes([kind, 3, rng.randrange(5)]) + size.to_bytes(2, "big") + rng.randbytes(size)
    records[at] = record + records[at]


def garbage(rng, records, at):
    records[at] = rng.randbytes(rng.choice([1, 10, 1000, 100_000]))


CHANGES = (flip, flip_head, drop, shorten, replay, swap, insert, garbage)


class Wire:
    """One direction: takes records, and passes on what becomes of them."""

    def __init__(self, rng, source, sink):
        self.rng, self.source, self.sink = rng, source, sink
        self.buffer = bytearray()
        self.records = []  # all so far, as they were sent on
        self.plan = {}
        for _ in range(rng.choice([0, 1, 1, 1, 2, 4])):
            self.plan[int(rng.expovariate(1 / 4))] = rng.choice(CHANGES)
        self.cut = int(rng.expovariate(1 / 8)) if rng.random() < 0.3 else None
        self.reset = rng.random() < 0.3
        self.piece = rng.choice([1, 7, 100, 1 << 16, 1 << 16, 1 << 16])
        self.progress = 0

    def take(self, data):
        """Whole records of what came; as bytes to pass on. None: the wire is cut."""
        self.buffer += data
        out = b""
        while len(self.buffer) >= 5:
            size = 5 + int.from_bytes(self.buffer[3:5], "big")
            if len(self.buffer) < size:
                break
            self.records.append(bytes(self.buffer[:size]))
            del self.buffer[:size]
            at = len(self.records) - 1
            if at == self.cut:
                return None
            if at in self.plan:
                self.plan[at](self.rng, self.records, at)
            out += self.records[at]
        return out

    async def run(self):
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            while data := await loop.sock_recv(self.source, 1 << 16):
                out = self.take(data)
                if out is None:
                    break
                if len(out) > 200 * self.piece:
                    self.piece = 1 << 16
                for start in range(0, len(out), self.piece):
                    await loop.sock_sendall(self.sink, out[start : start + self.piece])
                    self.progress += 1
        with contextlib.suppress(OSError):
            self.sink.shutdown(socket.SHUT_WR)


class Talker:
    """Writes when it begins, and when it gets something; pauses, resumes and closes by chance."""

    def set_up(self, rng):
        self.rng, self.sent = rng, bytearray()
        self.all = bytearray()
        self.left = rng.choice([0, 1, 3, 10])

    def talk(self):
        for _ in range(self.rng.choice([0, 1, 1, 3])):
            if self.left and not self.transport.is_closing():
                self.left -= 1
                data = self.rng.randbytes(self.rng.choice([1, 100, 1000, 16384, 16385, 60_000]))
                self.sent += data
                self.transport.write(data)
        if self.rng.random() < 0.1:
            self.transport.pause_reading()
            self.loop.call_soon(self.loop.call_soon, self.transport.resume_reading)
        if self.rng.random() < 0.1 or not self.left:
            self.transport.abort() if self.rng.random() < 0.2 else self.transport.close()

    def connection_made(self, transport):
        super().connection_made(transport)
        self.talk()


class Plain(Talker, Record):
    def data_received(self, data):
        super().data_received(data)
        self.talk()


class Buffered(Talker, BufferedRecord):
    def buffer_updated(self, nbytes):
        super().buffer_updated(nbytes)
        self.talk()


async def episode(seed, versions, upgrade):
    rng = random.Random(seed)
    loop = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(2)]
    for pair in pairs:
        for sock in pair:
            sock.setblocking(False)
    protocols = []

    def make():
        protocols.append(rng.choice([Plain, Buffered])())
        protocols[-1].set_up(random.Random(rng.random()))
        return protocols[-1]

    server, client = server_context(), client_context()
    client.maximum_version = rng.choice(versions)
    if rng.random() < 0.2:
        server.num_tickets = rng.choice([0, 10])
    options = {"ssl_handshake_timeout": 5, "ssl_shutdown_timeout": 5}

    async def connect(sock, context, **side):
        try:
            if not upgrade:
                if "server_side" in side:
                    return await loop.connect_accepted_socket(make, sock, ssl=context, **options)
                return await loop.create_connection(make, sock=sock, ssl=context, **side, **options)
            transport, protocol = await loop.create_connection(Record, sock=sock)
            protocol = make()
            transport.set_protocol(protocol)
            transport = await loop.start_tls(transport, protocol, context, **side, **options)
            protocol.connection_made(transport)
            return transport, protocol
        except OSError as exc:
            return exc

    wires = [
        Wire(rng, pairs[0][1], pairs[1][1]),
        Wire(rng, pairs[1][1], pairs[0][1]),
    ]
    ends = [
        loop.create_task(connect(pairs[0][0], server, server_side=True)),
        loop.create_task(connect(pairs[1][0], client, server_hostname="localhost")),
    ]
    running = [loop.create_task(wire.run()) for wire in wires]
    # The wire is cut when nothing has gone over it for a while.
    quiet, before = 0, -1
    while quiet < 30 and not all(task.done() for task in running):
        await asyncio.sleep(0 if quiet < 20 else 0.001)
        now = sum(wire.progress for wire in wires)
        quiet, before = (quiet + 1 if now == before else 0), now
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    for sock in (pairs[0][1], pairs[1][1]):
        if wires[0].reset:
            with contextlib.suppress(OSError):
                sock.recv(1 << 16)
        sock.close()
    results = await asyncio.wait_for(asyncio.gather(*ends), TIMEOUT)
    for result in results:
        if not isinstance(result, OSError):
            transport, protocol = result
            protocol.left = 0
            transport.resume_reading()
            done, _ = await asyncio.wait([protocol.lost], timeout=2)
            if not done:
                assert transport.is_reading(), "neither ended nor reading"
                transport.abort()
                await asyncio.wait_for(protocol.lost, TIMEOUT)
            assert protocol.events.count("lost") == 1
            exc = protocol.exc
            assert exc is None or isinstance(exc, OSError), exc
    both = [result[1] for result in results if not isinstance(result, OSError)]
    if len(both) == 2:
        for one, other in (both, both[::-1]):
            assert other.sent.startswith(one.data), "what arrives was not sent"
    else:
        assert all("data" not in p.events for p in protocols if p not in both)


VERSIONS = {
    "1.3": [ssl.TLSVersion.TLSv1_3],
    "1.2": [ssl.TLSVersion.TLSv1_2],
}


@pytest.mark.parametrize("upgrade", [False, True], ids=["from the start", "start_tls"])
@pytest.mark.parametrize("version", VERSIONS)
def test_changed_bytes(loop, run, reports, version, upgrade):
    async def main():
        for seed in range(FIRST, FIRST + EPISODES):
            try:
                await asyncio.wait_for(episode(seed, VERSIONS[version], upgrade), 2 * TIMEOUT)
            except BaseException as exc:
                exc.add_note(f"episode {seed}")
                raise
            assert not reports, f"episode {seed} was reported"
        await turns(10)

    run(main(), timeout=60 + EPISODES)
