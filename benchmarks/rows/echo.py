"""Echo servers under load. A row is mode/connections/bytes, then /pipeline if more than one
message of a connection is in flight, and unix/ before it for Unix sockets.
"""

from __future__ import annotations

from dataclasses import replace

from .row import Load, Served

QUICK = {"proto/10/64", "proto/10/10240", "proto/10/64/16", "stream/10/1024", "udp/10/64"}

SIZES = (64, 1024, 10 * 1024, 100 * 1024)
CONNECTIONS = (1, 10, 200, 5000)
TOO_MUCH = {(5000, 100 * 1024)}  # 500 MB in flight: measures the kernel's memory

ABOUT = {
    "proto": "Protocol",
    "buffered": "BufferedProtocol",
    "stream": "streams, read",
    "line": "streams, readline",
    "exact": "streams, readexactly",
    "udp": "datagrams",
}


def bytes_in_words(size: int) -> str:
    """A size as the tables show it."""
    return f"{size // 1024} KiB" if size >= 1024 else f"{size} B"


def echo(mode: str, connections: int, size: int, pipeline: int = 1, network: str = "tcp") -> Served:
    """One row."""
    name = "/".join([mode, str(connections), str(size)] + ([str(pipeline)] if pipeline > 1 else []))
    name = f"unix/{name}" if network == "unix" else name
    about = f"{ABOUT[mode]}, {bytes_in_words(size)}, {connections:,} connections"
    about = about.removesuffix("s") if connections == 1 else about
    about += f", pipeline {pipeline}" if pipeline > 1 else ""
    about += ", Unix" if network == "unix" else ""
    warm = {"udp": None, "line": b"warm\n", "exact": bytes(size)}.get(mode, b"warm")
    return Served(
        name=name,
        about=about,
        mode=mode,
        load=Load(
            connections=connections,
            size=size,
            pipeline=pipeline,
            flags=("--lines",) if mode == "line" else (),
        ),
        network=network,
        warm=warm,
        in_c="plain" if mode == "proto" else "",
        quick=name in QUICK,
        transports=network == "tcp",
    )


def beside_idle(idle: int) -> Served:
    """10 busy connections, and so many on which nothing happens."""
    row = echo("proto", 10, 64)
    return replace(
        row,
        name=f"beside_idle/{idle}",
        about=f"{row.about} beside {idle:,} idle ones",
        load=replace(row.load, idle=idle),
        quick=False,
    )


ROWS = (
    *(
        echo(mode, connections, size)
        for mode in ("proto", "buffered")
        for connections in CONNECTIONS
        for size in SIZES
        if (connections, size) not in TOO_MUCH
    ),
    *(echo(mode, 10, size, pipeline=16) for mode in ("proto", "buffered") for size in (64, 1024)),
    echo("stream", 10, 1024),
    echo("line", 10, 1024),
    echo("exact", 10, 1024),
    echo("proto", 10, 1024, network="unix"),
    echo("stream", 10, 1024, network="unix"),
    echo("udp", 10, 64, network="udp"),
    echo("udp", 10, 1024, network="udp"),
)
