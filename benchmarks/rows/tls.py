"""TLS: echoes of some sizes, streams, much data one way, handshakes, idle connections, the web."""

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
            in_c="tls",
            quick=size == 8192,
        )
        for size in (256, 8 * 1024, 32 * 1024, 100 * 1024)
    ),
    Served(
        name="tls_stream/10/1024",
        about="TLS, streams, read, 1 KiB, 10 connections",
        mode="tls_stream",
        load=Load(mode="tls", connections=10, size=1024),
    ),
    Served(
        name="tls_in",
        about="bulk TLS, received by the server (per MiB)",
        mode="tls_sink",
        load=Load(mode="tls_in"),
        in_c="tls",
    ),
    Served(
        name="tls_out",
        about="bulk TLS, sent by the server (per MiB)",
        mode="tls_source",
        load=Load(mode="tls_out"),
        in_c="tls",
    ),
    Served(
        name="tls_handshake",
        about="TLS handshakes, connection and close",
        mode="tls",
        load=Load(mode="handshakes"),
        in_c="tls",
    ),
    Served(
        name="tls_resumed",
        about="... of a session that is resumed",
        mode="tls",
        load=Load(mode="resumed"),
        in_c="tls",
    ),
    Served(
        name="tls_storm",
        about="computed before a 256 B echo beside 1,000 TLS handshakes at once, p99",
        figure="ahead_us",
        mode="tls",
        also={"p50_us": "... time, p50", "p99_us": "... p99", "most_us": "... the longest"},
        load=Load(mode="tls_storm", connections=1_000),
        rounds=3,
    ),
    Served(
        name="tls_idle",
        about="memory for each of 10,000 idle TLS connections",
        figure="rss_bytes",
        mode="tls_idle",
        also={"idle_cpu_ms": "... and CPU time while they are idle"},
        load=Load(mode="tls_idle", connections=10_000),
        in_c="tls",
        rounds=2,
    ),
    Served(
        name="uvicorn_tls",
        about="uvicorn, plaintext over TLS",
        mode="uvicorn_tls",
        load=Load(mode="https", connections=10),
        needs=("uvicorn", "httptools"),
    ),
)
