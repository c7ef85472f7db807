"""Much data one way."""

from __future__ import annotations

from .row import Load, Served

ROWS = (
    Served(
        name="bulk_in",
        about="bulk TCP, received by the server (per MiB)",
        mode="sink",
        load=Load(mode="bulk_in"),
        quick=True,
    ),
    Served(
        name="bulk_out",
        about="bulk TCP, sent by the server (per MiB)",
        mode="source",
        load=Load(mode="bulk_out"),
    ),
)
