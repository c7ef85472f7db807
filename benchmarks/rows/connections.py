"""Connections: names, making them, and ending them."""

from __future__ import annotations

import asyncio
import socket
from itertools import repeat

from .row import Load, Operation, Served

Loop = asyncio.AbstractEventLoop


def getaddrinfo(loop: Loop, n: int) -> None:
    """An address that needs no name server."""

    async def main() -> None:
        for _ in repeat(None, n):
            await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)

    loop.run_until_complete(main())


class Ending(asyncio.Protocol):
    """Resolves a future when its connection has ended."""

    def __init__(self, ended: asyncio.Future[None]) -> None:
        self.ended = ended

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)


def connect_close(loop: Loop, n: int) -> None:
    """Connect to a server of the same loop, and close; both ends see it."""

    async def main() -> None:
        accepted: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

        def accept() -> Ending:
            ended = loop.create_future()
            accepted.put_nowait(ended)
            return Ending(ended)

        server = await loop.create_server(accept, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        for _ in repeat(None, n):
            ended = loop.create_future()
            transport, _ = await loop.create_connection(lambda: Ending(ended), *address)  # noqa: B023
            transport.close()
            await ended
            await (await accepted.get())
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


ROWS = (
    Operation(name="getaddrinfo", about="getaddrinfo of an address", run=getaddrinfo, quick=True),
    Operation(
        name="connect_close",
        about="connect + close",
        run=connect_close,
        transports=True,
        quick=True,
    ),
    Served(
        name="accept_storm",
        about="connections in bursts of 200, closed at once",
        mode="closing",
        load=Load(mode="storm", connections=200),
    ),
)
