"""One measurement of a server: the process that serves, and the one that loads it."""

from __future__ import annotations

import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rows import Served

from .cprogram import build_c
from .loops import HERE
from .process import Failed, core_pair, pinned, run_json, server

# By the kind of rows that they are compared with.
C_ARMS = {
    "plain": {"C epoll": "echo_epoll", "C libev": "echo_libev"},
    "tls": {"C epoll": "echo_tls"},
}
# What the one for TLS is told to do in the modes of servers/.
TLS_MODES = {"tls_sink": "sink", "tls_source": "source"}


@dataclass(frozen=True)
class Programs:
    """The interpreter, and the C programs."""

    python: str
    loadgen: Path
    c_servers: dict[str, dict[str, Path]]

    def serve(self, arm: str, row: Served) -> list[str]:
        """The command of an arm's server."""
        if arm in self.c_servers.get(row.in_c, {}):
            program = str(self.c_servers[row.in_c][arm])
            if row.in_c != "tls":
                return [program]
            files = [str(HERE / "tls" / name) for name in ("cert.pem", "key.pem")]
            return [program, *files, TLS_MODES.get(row.mode, "echo")]
        return [self.python, str(HERE / "server.py"), "--loop", arm, "--mode", row.mode]


def build(python: str) -> Programs:
    """Compile the C programs; without libev's or OpenSSL's header there is one arm less."""
    servers: dict[str, dict[str, Path]] = {kind: {} for kind in C_ARMS}
    for kind, arms in C_ARMS.items():
        for arm, name in arms.items():
            try:
                servers[kind][arm] = build_c(name)
            except Failed as exc:
                print(f"without {arm} ({name}): {exc}", file=sys.stderr)
    return Programs(python, build_c("loadgen"), servers)


def connect(address: str) -> socket.socket:
    """A connection to a port of 127.0.0.1, or to a path."""
    if address.isdigit():
        return socket.create_connection(("127.0.0.1", int(address)), timeout=10)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(address)
    return sock


def warm(address: str, message: bytes) -> None:
    """Have the server see two connections come, send and end, as in a life that began earlier.

    asyncio reads into a block of 256 KiB which the C library maps and unmaps every time until one
    such block has been freed whole, which the end of a connection does.
    """
    for _ in range(2):
        with connect(address) as sock:
            sock.sendall(message)
            answer = b""
            while len(answer) < len(message):
                part = sock.recv(len(message) - len(answer))
                if not part:
                    raise Failed("the server closed the first connection")
                answer += part
            if answer != message:
                raise Failed(f"sent {message[:20]!r}, got {answer[:20]!r}")


def answer_length(address: str) -> int:
    """How many bytes a web server answers `GET /` with: head and body."""
    with connect(address) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while True:
            head, end, body = answer.partition(b"\r\n\r\n")
            if end:
                fields = [line.partition(b":") for line in head.lower().split(b"\r\n")[1:]]
                length = next(int(v) for name, _, v in fields if name == b"content-length")
                if len(body) >= length:
                    return len(head) + len(end) + length
            part = sock.recv(65536)
            if not part:
                raise Failed(f"no whole answer: {answer[:200]!r}")
            answer += part


def load_command(
    programs: Programs, row: Served, address: str, pid: int, seconds: float
) -> list[str]:
    """The command that puts a server under a row's load."""
    load = row.load
    common = ["--cpu-of", str(pid), "--seconds", str(seconds), "--warmup", str(min(0.3, seconds))]
    common += ["--connections", str(load.connections)]
    if load.mode not in ("loadgen", "http"):
        python = [programs.python, str(HERE / "client.py"), load.mode, "--port", address]
        return [*python, *common, "--size", str(load.size)]
    target = address if row.network == "unix" else f"127.0.0.1:{address}"
    command = [str(programs.loadgen), f"--{row.network}", target, *common, *load.flags]
    if load.mode == "http":
        return [*command, "--http", "/", "--size", str(answer_length(address))]
    command += ["--size", str(load.size), "--pipeline", str(load.pipeline)]
    return [*command, "--idle", str(load.idle)] if load.idle else command


def figures_of(answer: dict[str, Any]) -> dict[str, float]:
    """The figures of a measurement that are kept, whichever program made it."""
    if "latency_us" not in answer:
        return answer
    return {
        "cpu_us": round(answer["cpu_seconds"] / answer["requests"] * 1e6, 4),
        "requests_per_second": answer["requests_per_second"],
        "p50_us": answer["latency_us"]["p50"],
        "p99_us": answer["latency_us"]["p99"],
    }


def measure(programs: Programs, arm: str, row: Served, seconds: float) -> dict[str, float]:
    """One server, one load, one sample."""
    server_core, client_core = core_pair()
    seconds *= row.seconds
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        command = programs.serve(arm, row)
        if row.network == "unix":
            command += ["--unix", str(Path(directory) / "socket")]
        with server(command, server_core) as (pid, address):
            if row.warm is not None:
                warm(address, row.warm)
            load = load_command(programs, row, address, pid, seconds)
            with pinned(client_core):
                patience = 60 + row.load.connections / 50  # a handshake takes some milliseconds
                return figures_of(run_json(load, timeout=seconds + patience))
