"""A server on any event loop, in one of several modes; prints the port it listens on.

    python server.py --loop uvloop --mode proto [--unix PATH]

The code of a mode is the same for every loop. It ends when it is told to (SIGTERM).
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import socket

from servers import MODES
from servers.serving import BACKLOG
from suite import loops

# With the protocol, as getaddrinfo() gives it: asyncio sets TCP_NODELAY where it is named.
KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
}


def bound_socket(mode: str, unix: str | None) -> tuple[socket.socket, str]:
    """A socket that clients can reach from now on, and how to name it to them."""
    if unix is not None:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(unix)
        name = unix
    else:
        sock = socket.socket(socket.AF_INET, *KINDS["udp" if mode == "udp" else "tcp"])
        sock.bind(("127.0.0.1", 0))
        name = str(sock.getsockname()[1])
    if sock.type == socket.SOCK_STREAM:
        sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock, name


async def serve(mode: str, unix: str | None) -> None:
    """Print where the server listens, and serve until the process is ended."""
    sock, name = bound_socket(mode, unix)
    # Held for as long as it serves: a server that nothing refers to may be closed.
    server = await MODES[mode](sock)
    print(name, flush=True)
    if isinstance(server, asyncio.Task):
        await server
    else:
        await asyncio.get_running_loop().create_future()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loop", required=True, help="a name, or module:callable")
    parser.add_argument("--mode", choices=sorted(MODES), default="proto")
    parser.add_argument("--unix", metavar="PATH", help="listen there rather than on a TCP port")
    options = parser.parse_args()
    loops.use_this_tree()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with asyncio.Runner(loop_factory=loops.loop_factory(options.loop)) as runner:
        runner.run(serve(options.mode, options.unix))


if __name__ == "__main__":
    main()
