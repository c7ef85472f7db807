"""The program that is measured: its clients, one kind for each workload."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import cast

from .errors import BenchError, cut_off, wrong
from .servers import HOST
from .window import Window

CONNECTIONS = 10


class EchoClient(asyncio.Protocol):
    """Sends a message, checks that it comes back, and so on until the window's end.

    The messages of a connection are pieces of one random text, each from another place on.
    """

    transport: asyncio.Transport

    def __init__(self, window: Window, text: bytes, size: int, number: int) -> None:
        self.window = window
        self.text = text
        self.size = size
        self.count = number * 17
        self.expected = b""
        self.got = bytearray()
        self.sent = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first message."""
        self.transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        """Send the next message."""
        self.count += 31
        start = self.count % (len(self.text) - self.size)
        self.expected = self.text[start : start + self.size]
        self.sent = time.perf_counter()
        self.transport.write(self.expected)

    def data_received(self, data: bytes) -> None:
        """Check what came back, when it is whole."""
        if self.got or len(data) < self.size:
            self.got += data
            if len(self.got) < self.size:
                return
            data = bytes(self.got)
            self.got.clear()
        if data != self.expected:
            self.finish(BenchError(wrong(self.expected, data, self.expected)))
        elif self.window.answered(self.sent):
            self.send()
        else:
            self.finish(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """An error, unless it is over."""
        self.finish(BenchError(cut_off(self.expected, exc)))

    def finish(self, error: Exception | None) -> None:
        """Let `run_echo` go on, once."""
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
            self.transport.close()


async def run_echo(window: Window, port: int, size: int) -> None:
    """Echo clients, each with one message of `size` bytes in flight."""
    loop = asyncio.get_running_loop()
    text = random.Random(size).randbytes(size + 4096)
    clients = []
    for number in range(CONNECTIONS):
        client_of = partial(EchoClient, window, text, size, number)
        _, client = await loop.create_connection(client_of, HOST, port)
        clients.append(client)
    await asyncio.gather(*(client.done for client in clients))


def conversation(name: bytes, number: int) -> Iterator[tuple[bytes, bytes]]:
    """The lines that one connection says, without end, and the answer to each."""
    key, counter = b"key:%b:%d" % (name, number), b"count:%b:%d" % (name, number)
    count = 0
    while True:
        value = b"value %d of %d" % (count, number)
        count += 1
        yield b"SET %b %b" % (key, value), b"OK"
        yield b"GET %b" % key, b"VALUE " + value
        yield b"INCR %b" % counter, b"INT %d" % count
        yield b"GET %b" % counter, b"VALUE %d" % count
        yield b"DEL %b" % key, b"DELETED"
        yield b"GET %b" % key, b"NONE"


async def ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes, expected: bytes
) -> None:
    """Say one line and check the answer."""
    writer.write(line + b"\r\n")
    try:
        answer = await reader.readline()
    except ConnectionError as exc:
        raise BenchError(cut_off(line, exc)) from None
    if answer != expected + b"\r\n":
        if not answer.endswith(b"\n"):
            raise BenchError(cut_off(line, None))
        raise BenchError(wrong(line, answer, expected + b"\r\n"))


async def kv_client(window: Window, port: int, name: bytes, number: int) -> None:
    """One connection to the key-value server."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        for line, expected in conversation(name, number):
            sent = time.perf_counter()
            await ask(reader, writer, line, expected)
            if not window.answered(sent):
                break
        await ask(reader, writer, b"QUIT", b"BYE")
    finally:
        writer.close()


async def run_key_value(window: Window, port: int, size: int) -> None:
    """Key-value clients, each with one line in flight."""
    name = b"%d" % time.monotonic_ns()
    async with asyncio.TaskGroup() as group:
        for number in range(CONNECTIONS):
            group.create_task(kv_client(window, port, name, number))


@dataclass(frozen=True)
class Workload:
    """One kind of load."""

    name: str
    service: str
    run: Callable[[Window, int, int], Awaitable[None]]
    size: int = 0


# A new workload is one line here.
WORKLOADS = (
    Workload("echo 64 B", "echo", run_echo, 64),
    Workload("echo 10 KiB", "echo", run_echo, 10 * 1024),
    Workload("key-value lines", "kv", run_key_value),
)
