"""What comes in goes back: a coroutine for each connection, with drain()."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable

from .serving import BACKLOG

EXACTLY = 1024  # bytes, the size of a message of the rows that read exactly

Read = Callable[[asyncio.StreamReader], Awaitable[bytes]]


async def _start(
    read: Read, sock: socket.socket, context: ssl.SSLContext | None = None
) -> asyncio.Server:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while data := await read(reader):
                writer.write(data)
                await writer.drain()
        writer.close()

    if sock.family == socket.AF_UNIX:
        return await asyncio.start_unix_server(echo, sock=sock, backlog=BACKLOG, ssl=context)
    return await asyncio.start_server(echo, sock=sock, backlog=BACKLOG, ssl=context)


async def read(sock: socket.socket, context: ssl.SSLContext | None = None) -> asyncio.Server:
    return await _start(lambda reader: reader.read(64 * 1024), sock, context)


async def readline(sock: socket.socket) -> asyncio.Server:
    return await _start(lambda reader: reader.readline(), sock)


async def readexactly(sock: socket.socket) -> asyncio.Server:
    return await _start(lambda reader: reader.readexactly(EXACTLY), sock)
