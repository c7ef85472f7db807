"""The same servers with TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

from . import streams, web
from .echo import Echo
from .serving import serve
from .transfer import Sink, Source

DIRECTORY = Path(__file__).resolve().parent.parent / "tls"
FILES = DIRECTORY / "cert.pem", DIRECTORY / "key.pem"


def context() -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(*FILES)
    return found


async def echo(sock: socket.socket) -> asyncio.Server:
    return await serve(Echo, sock, context())


async def stream(sock: socket.socket) -> asyncio.Server:
    return await streams.read(sock, context())


async def sink(sock: socket.socket) -> asyncio.Server:
    return await serve(Sink, sock, context())


async def source(sock: socket.socket) -> asyncio.Server:
    return await serve(Source, sock, context())


async def idle(sock: socket.socket) -> asyncio.Server:
    """One protocol for all connections, so that the memory is that of TLS and the loop."""
    protocol = asyncio.Protocol()
    return await serve(lambda: protocol, sock, context())


async def uvicorn(sock: socket.socket) -> Any:
    return await web.uvicorn(sock, ssl_certfile=str(FILES[0]), ssl_keyfile=str(FILES[1]))
