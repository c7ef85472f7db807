"""What comes in goes back: protocols, datagrams."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

from .serving import serve


class FlowControl(asyncio.BaseProtocol):
    """Stops reading from a peer that does not read."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class Echo(FlowControl, asyncio.Protocol):
    """Gets bytes."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(FlowControl, asyncio.BufferedProtocol):
    """Has the loop read into a buffer of its own."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(256 * 1024))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        # A copy: the next read may come before all of this is sent.
        self.transport.write(bytes(self.buffer[:nbytes]))


class DatagramEcho(asyncio.DatagramProtocol):
    """Answers to where a datagram came from."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


async def protocol(sock: socket.socket) -> asyncio.Server:
    return await serve(Echo, sock)


async def buffered(sock: socket.socket) -> asyncio.Server:
    return await serve(BufferedEcho, sock)


async def datagrams(sock: socket.socket) -> Any:
    return await asyncio.get_running_loop().create_datagram_endpoint(DatagramEcho, sock=sock)
