"""Web servers on the loops: a request with a short answer in plain text."""

from __future__ import annotations

from .row import Load, Served

ROWS = (
    Served(
        name="uvicorn",
        about="uvicorn, plaintext",
        mode="uvicorn",
        load=Load(mode="http"),
        needs=("uvicorn", "httptools"),
        quick=True,
    ),
    Served(
        name="aiohttp",
        about="aiohttp, plaintext",
        mode="aiohttp",
        load=Load(mode="http"),
        needs=("aiohttp",),
    ),
)
