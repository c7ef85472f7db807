"""Loads that are written in Python. A mode is a function that puts a server under load for a
while and returns figures. What counts is what the server's process spent, not how fast this is.
"""

from __future__ import annotations

from collections.abc import Callable

from . import bulk, idle, storm, tls, tls_storm
from .target import Target

# A new mode is one entry here.
MODES: dict[str, Callable[[Target], dict[str, float]]] = {
    "bulk_in": bulk.into_server,
    "bulk_out": bulk.out_of_server,
    "storm": storm.bursts,
    "tls": tls.echo,
    "tls_in": tls.into_server,
    "tls_out": tls.out_of_server,
    "https": tls.web,
    "handshakes": tls.handshakes,
    "resumed": tls.resumed,
    "tls_storm": tls_storm.beside,
    "idle": idle.connections,
    "tls_idle": tls.idle,
    "wakeups": idle.wakeups,
}

__all__ = ["MODES", "Target"]
