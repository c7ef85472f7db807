"""Servers that only take, only give, close at once, or do nothing."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from .serving import serve

BLOCK = bytes(256 * 1024)


class Sink(asyncio.Protocol):
    """Takes all there is."""

    def data_received(self, data: bytes) -> None:
        pass


class Source(asyncio.Protocol):
    """Gives for as long as the peer takes."""

    paused = False
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.loop = asyncio.get_running_loop()
        self.give()

    def give(self) -> None:
        # Not in a loop of its own: a transport that takes everything at once must not keep it.
        if self.transport.is_closing():
            return
        self.transport.write(BLOCK)
        if not self.paused:
            self.loop.call_soon(self.give)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.give()


class Closing(asyncio.Protocol):
    """Ends its connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).close()


async def sink(sock: socket.socket) -> asyncio.Server:
    return await serve(Sink, sock)


async def source(sock: socket.socket) -> asyncio.Server:
    return await serve(Source, sock)


async def closing(sock: socket.socket) -> asyncio.Server:
    return await serve(Closing, sock)


async def idle(sock: socket.socket) -> asyncio.Server:
    """One protocol for all connections, so that the memory is the loop's."""
    protocol = asyncio.Protocol()
    return await serve(lambda: protocol, sock)
