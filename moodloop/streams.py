"""asyncio's streams with a C half: StreamReader, StreamWriter and what makes them.

What runs for each message is in C (`src/streams`); what runs per connection is asyncio's own code,
of the Python that runs, with these classes in place of its own.
"""

from __future__ import annotations

import asyncio
import functools
import os
import types
from asyncio import events
from asyncio import streams as _stock
from typing import Any, TypeVar

from . import _core

_F = TypeVar("_F")


class StreamReader(_core.StreamReaderBase, asyncio.StreamReader):
    """An asyncio.StreamReader whose reads are in C; see asyncio's documentation for the methods.

    What is there is returned without suspending the task. A task that waits is kept by the loop.
    """


class StreamWriter(_core.StreamWriterBase, asyncio.StreamWriter):
    """An asyncio.StreamWriter whose write(), writelines() and drain() are in C."""


def _with_ours(function: _F, **names: Any) -> _F:
    """asyncio's function, whose global names are ours."""
    stock: Any = function
    made = types.FunctionType(
        stock.__code__,
        {**stock.__globals__, **names},
        stock.__name__,
        stock.__defaults__,
        stock.__closure__,
    )
    made.__kwdefaults__ = stock.__kwdefaults__
    made.__doc__ = stock.__doc__
    made.__module__ = "moodloop"
    return made  # type: ignore[return-value]


class StreamReaderProtocol(_core.StreamProtocolBase, asyncio.StreamReaderProtocol):
    """What feeds a StreamReader; transports of this package do it without calling its methods."""

    connection_made = _with_ours(
        asyncio.StreamReaderProtocol.connection_made, StreamWriter=StreamWriter
    )


_core.StreamProtocolBase._use_classes(StreamReader, StreamReaderProtocol)


class SubprocessStreamProtocol(asyncio.subprocess.SubprocessStreamProtocol):
    """What makes the reader and writers of a child process."""

    connection_made = _with_ours(
        asyncio.subprocess.SubprocessStreamProtocol.connection_made,
        streams=types.SimpleNamespace(StreamReader=StreamReader, StreamWriter=StreamWriter),
    )


_NAMES: dict[str, Any] = {
    "StreamReader": StreamReader,
    "StreamWriter": StreamWriter,
    "StreamReaderProtocol": StreamReaderProtocol,
    "SubprocessStreamProtocol": SubprocessStreamProtocol,
}

open_connection = _with_ours(_stock.open_connection, **_NAMES)
start_server = _with_ours(_stock.start_server, **_NAMES)
open_unix_connection = _with_ours(_stock.open_unix_connection, **_NAMES)
start_unix_server = _with_ours(_stock.start_unix_server, **_NAMES)
create_subprocess_exec = _with_ours(asyncio.create_subprocess_exec, **_NAMES)
create_subprocess_shell = _with_ours(asyncio.create_subprocess_shell, **_NAMES)

# ---- asyncio's own names --------------------------------------------------------------------

_CONNECTIONS = (open_connection, start_server, open_unix_connection, start_unix_server)
_CHILDREN = (create_subprocess_exec, create_subprocess_shell)
_PLACES: dict[Any, tuple[Any, ...]] = {
    asyncio: (*_CONNECTIONS, *_CHILDREN),
    _stock: _CONNECTIONS,
    asyncio.subprocess: _CHILDREN,
}
_replaced: list[tuple[Any, str, Any, Any]] = []  # module, name, asyncio's, what is there now


def _on_our_loops(ours: Any, stock: Any) -> Any:
    @functools.wraps(stock)
    async def function(*args: Any, **kwargs: Any) -> Any:
        on_ours = isinstance(events.get_running_loop(), _core.LoopBase)
        return await (ours if on_ours else stock)(*args, **kwargs)

    return function


def install() -> None:
    """Have asyncio's functions of these names give our streams on our loops. Idempotent."""
    if _replaced:
        return
    made: dict[Any, Any] = {}
    for module, functions in _PLACES.items():
        for ours in functions:
            name = ours.__name__
            stock = getattr(module, name)
            if stock not in made:
                made[stock] = _on_our_loops(ours, stock)
            setattr(module, name, made[stock])
            _replaced.append((module, name, stock, made[stock]))


def uninstall() -> None:
    """Undo install(), but for what somebody else has replaced since. Idempotent."""
    for module, name, stock, function in _replaced:
        if getattr(module, name) is function:
            setattr(module, name, stock)
    _replaced.clear()


def installed() -> bool:
    """Whether install() was called, and not undone."""
    return bool(_replaced)


def wanted() -> bool:
    """What the environment says: MOODLOOP_STREAMS=1. ValueError if that is neither 0 nor 1."""
    asked = os.environ.get("MOODLOOP_STREAMS", "")
    if asked not in ("", "0", "1"):
        raise ValueError(f"MOODLOOP_STREAMS must be 0 or 1, not {asked!r}")
    return asked == "1"


if wanted():
    install()
