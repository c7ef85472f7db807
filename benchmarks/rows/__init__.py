"""What is measured. A new row is one entry in the file of its area, a new area one line here."""

from . import (
    bulk,
    callbacks,
    connections,
    descriptors,
    echo,
    growth,
    http,
    lifetime,
    pipes,
    processes,
    tasks,
    threads,
    timers,
    tls,
)
from .growth import SERIES
from .row import Load, Operation, Probe, Row, Served

GROUPS: dict[str, tuple[Row, ...]] = {
    "Callbacks": callbacks.ROWS,
    "Timers": timers.ROWS,
    "Threads": threads.ROWS,
    "Tasks and futures": tasks.ROWS,
    "Descriptors": descriptors.ROWS,
    "Connections": connections.ROWS,
    "Pipes and processes": (*pipes.ROWS, *processes.ROWS),
    "The loop itself": lifetime.ROWS,
    "Echo servers": echo.ROWS,
    "Bulk data": bulk.ROWS,
    "TLS": tls.ROWS,
    "Web servers": http.ROWS,
    "Growth": growth.ROWS,
}
ROWS: dict[str, Row] = {row.name: row for group in GROUPS.values() for row in group}

__all__ = ["GROUPS", "ROWS", "SERIES", "Load", "Operation", "Probe", "Row", "Served"]
