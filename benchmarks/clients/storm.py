"""Connections that come many at a time, to a server that closes each at once."""

from __future__ import annotations

from .target import Target, Window


def burst(target: Target, window: Window) -> None:
    """Open all connections, then wait until the server has closed each."""
    while window.open():
        socks = [target.connect() for _ in range(target.connections)]
        for sock in socks:
            with sock:
                if sock.recv(1):
                    raise RuntimeError("the server sent something")
        window.count += len(socks)


def bursts(target: Target) -> dict[str, float]:
    """A request is a connection from its start to its end."""
    burst(target, target.warming())
    with target.measured() as window:
        burst(target, window)
    return window.figures
