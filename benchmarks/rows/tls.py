"""TLS: an echo of some sizes, and handshakes."""

from __future__ import annotations

from .echo import bytes_in_words
from .row import Load, Served

ROWS = (
    *(
        Served(
            name=f"tls/10/{size}",
            about=f"TLS echo, {bytes_in_words(size)}, 10 connections",
            mode="tls",
            load=Load(mode="tls", connections=10, size=size),
            quick=size == 8192,
        )
        for size in (256, 8 * 1024, 32 * 1024, 100 * 1024)
    ),
    Served(
        name="tls_handshake",
        about="TLS handshakes, connection and close",
        mode="tls",
        load=Load(mode="handshakes"),
    ),
)
