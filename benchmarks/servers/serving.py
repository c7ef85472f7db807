"""How a mode listens: on a TCP socket or a Unix one."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

BACKLOG = 4096


async def serve(
    protocol: Callable[[], asyncio.BaseProtocol],
    sock: socket.socket,
    context: ssl.SSLContext | None = None,
) -> asyncio.Server:
    """A server with a protocol for each connection."""
    loop = asyncio.get_running_loop()
    if sock.family == socket.AF_UNIX:
        return await loop.create_unix_server(protocol, sock=sock, backlog=BACKLOG, ssl=context)
    return await loop.create_server(protocol, sock=sock, backlog=BACKLOG, ssl=context)
