"""An echo server on any event loop, in one of several styles; prints the port it listens on.

    python servers.py --loop uvloop --mode proto [--unix PATH]

The code of a style is the same for every loop. It ends when it is told to (SIGTERM).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import common

MODES: dict[str, Callable[[socket.socket], Awaitable[asyncio.Server]]] = {}


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
    """mode proto: what comes in goes back."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(FlowControl, asyncio.BufferedProtocol):
    """mode buffered: the loop reads into a buffer of ours."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(256 * 1024))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        # A copy: the next read may come before all of this is sent.
        self.transport.write(bytes(self.buffer[:nbytes]))


async def stream_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """mode stream: a coroutine for each connection, with drain()."""
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _protocol_server(
    protocol: Callable[[], asyncio.BaseProtocol], sock: socket.socket
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    if sock.family == socket.AF_UNIX:
        return await loop.create_unix_server(protocol, sock=sock, backlog=4096)
    return await loop.create_server(protocol, sock=sock, backlog=4096)


async def _stream_server(sock: socket.socket) -> asyncio.Server:
    if sock.family == socket.AF_UNIX:
        return await asyncio.start_unix_server(stream_echo, sock=sock, backlog=4096)
    return await asyncio.start_server(stream_echo, sock=sock, backlog=4096)


# A new style is one entry here.
MODES["proto"] = lambda sock: _protocol_server(Echo, sock)
MODES["buffered"] = lambda sock: _protocol_server(BufferedEcho, sock)
MODES["stream"] = _stream_server


def listening_socket(unix: str | None) -> tuple[socket.socket, str]:
    """A bound socket, and how to name it to a client."""
    if unix is not None:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(unix)
        return sock, unix
    sock = socket.socket(socket.AF_INET)
    sock.bind(("127.0.0.1", 0))
    return sock, str(sock.getsockname()[1])


async def serve(mode: str, unix: str | None) -> None:
    """Print where the server listens, and serve until the process is ended."""
    sock, name = listening_socket(unix)
    # Held for as long as it serves: a server that nothing refers to may be closed.
    server = await MODES[mode](sock)
    print(name, flush=True)
    await asyncio.get_running_loop().create_future()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loop", required=True, help="a name, or module:callable")
    parser.add_argument("--mode", choices=sorted(MODES), default="proto")
    parser.add_argument("--unix", metavar="PATH", help="listen there rather than on a TCP port")
    options = parser.parse_args()
    common.use_this_tree()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with asyncio.Runner(loop_factory=common.loop_factory(options.loop)) as runner:
        runner.run(serve(options.mode, options.unix))


if __name__ == "__main__":
    main()
