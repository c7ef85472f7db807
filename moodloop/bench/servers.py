"""The program that is measured: its two servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from typing import cast

HOST = "127.0.0.1"
LINE_LIMIT = 64 * 1024


class Echo(asyncio.Protocol):
    """Sends back what it gets, and stops reading from a peer that does not read."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)

    def pause_writing(self) -> None:
        """Read no more until the peer has read."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        self.transport.resume_reading()


class KeyValueStore:
    """A small database behind a line protocol.

    ======================  =========================================
    SET key value           ``OK``
    GET key                 ``VALUE value``, or ``NONE``
    INCR key                ``INT number`` after adding 1 (absent: 0)
    DEL key                 ``DELETED``, or ``NONE``
    QUIT                    ``BYE``, and the connection ends
    ======================  =========================================

    Lines end with CR LF or LF; anything else is answered ``ERROR reason``.
    """

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}

    def answer(self, line: bytes) -> bytes:
        """The reply to one line, both without their line ends."""
        command, *words = line.split(b" ", 2)
        match command.upper(), words:
            case b"SET", [key, value]:
                self.data[key] = value
                return b"OK"
            case b"GET", [key]:
                found = self.data.get(key)
                return b"NONE" if found is None else b"VALUE " + found
            case b"INCR", [key]:
                return self._increment(key)
            case b"DEL", [key]:
                return b"NONE" if self.data.pop(key, None) is None else b"DELETED"
            case b"QUIT", []:
                return b"BYE"
        return b"ERROR not understood"

    def _increment(self, key: bytes) -> bytes:
        try:
            number = int(self.data.get(key, b"0")) + 1
        except ValueError:
            return b"ERROR not a number"
        self.data[key] = b"%d" % number
        return b"INT %d" % number

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until it ends or says QUIT."""
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                answer = self.answer(line.rstrip(b"\r\n"))
                writer.write(answer + b"\r\n")
                await writer.drain()
                if answer == b"BYE":
                    break
        writer.close()


async def serve(announce: Callable[[dict[str, int]], None]) -> None:
    """Run both servers; tell their ports; end when standard input does."""
    loop = asyncio.get_running_loop()
    echo = await loop.create_server(Echo, HOST, 0)
    store = await asyncio.start_server(KeyValueStore().serve, HOST, 0, limit=LINE_LIMIT)
    announce({"echo": port_of(echo), "kv": port_of(store)})
    await input_end()
    for server in (echo, store):
        server.close()


async def input_end() -> None:
    """Wait until standard input ends: the parent, however it ends, does not leave us behind."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    def wait() -> None:
        os.read(0, 1)
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, daemon=True).start()
    await ended.wait()


def port_of(server: asyncio.Server) -> int:
    """The port of a server's first socket."""
    return int(server.sockets[0].getsockname()[1])
