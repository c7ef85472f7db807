"""Servers on any event loop. A mode is a coroutine function that takes a bound socket, starts to
serve on it, and returns what has to be kept for as long as it serves.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

from . import echo, streams, tls, transfer, web

Mode = Callable[[socket.socket], Awaitable[Any]]

# A new mode is one entry here.
MODES: dict[str, Mode] = {
    "proto": echo.protocol,
    "buffered": echo.buffered,
    "tls": tls.echo,
    "tls_stream": tls.stream,
    "tls_sink": tls.sink,
    "tls_source": tls.source,
    "tls_idle": tls.idle,
    "uvicorn_tls": tls.uvicorn,
    "udp": echo.datagrams,
    "stream": streams.read,
    "line": streams.readline,
    "exact": streams.readexactly,
    "sink": transfer.sink,
    "source": transfer.source,
    "closing": transfer.closing,
    "idle": transfer.idle,
    "uvicorn": web.uvicorn,
    "aiohttp": web.aiohttp,
}
