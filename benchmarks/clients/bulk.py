"""Much data one way; a request is one MiB."""

from __future__ import annotations

import socket

from .target import Target, Window

BLOCK = 256 * 1024


def give(sock: socket.socket, window: Window) -> None:
    block = bytes(BLOCK)
    while window.open():
        sock.sendall(block)
        window.count += BLOCK / 2**20


def take(sock: socket.socket, window: Window) -> None:
    buffer = bytearray(BLOCK)
    while window.open():
        got = sock.recv_into(buffer)
        if not got:
            raise ConnectionError("the server closed the connection")
        window.count += got / 2**20


def into_server(target: Target) -> dict[str, float]:
    """The server receives."""
    with target.connect() as sock:
        give(sock, target.warming())
        with target.measured() as window:
            give(sock, window)
    return window.figures


def out_of_server(target: Target) -> dict[str, float]:
    """The server sends."""
    with target.connect() as sock:
        take(sock, target.warming())
        with target.measured() as window:
            take(sock, window)
    return window.figures
