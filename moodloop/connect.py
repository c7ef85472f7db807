"""create_connection() in a direct way.

A host that is an address needs no look-up and has no second one to try, so what is left of
BaseEventLoop's coroutines is one. The direct way is taken only where nobody can tell: what a
program or a test has put in place of a step, to watch connections or to forbid them, is called.
Everything else is BaseEventLoop's, of the version that runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import socket
import sys
from asyncio import base_events, unix_events
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .base import Base
from .sockets import Sockets

_Base: Any = asyncio.BaseEventLoop
_base: Any = base_events
_Unix: Any = unix_events._UnixSelectorEventLoop


def _step(name: str) -> Any:
    """A step of BaseEventLoop.create_connection(); of no use if somebody has replaced it before."""
    function = getattr(_Base, name)
    return function if getattr(function, "__globals__", None) is vars(_base) else object()


_connect_sock = _step("_connect_sock")
_ensure_resolved = _step("_ensure_resolved")
_create_connection_transport = _step("_create_connection_transport")

# From 3.15 on a connection has a context of its own, which what its factory sets is not in.
_OWN_CONTEXT = sys.version_info >= (3, 15)

# Keywords that say nothing when they are None.
_OPTIONAL = frozenset(
    {
        "ssl",
        "sock",
        "local_addr",
        "server_hostname",
        "ssl_handshake_timeout",
        "ssl_shutdown_timeout",
        "happy_eyeballs_delay",
        "interleave",
    }
)


def coroutine_function(stock: Any) -> Callable[[Any], Any]:
    """Have a function that returns a coroutine seen as asyncio's own, by those who ask first."""

    def mark(function: Any) -> Any:
        if sys.version_info >= (3, 12):
            return inspect.markcoroutinefunction(functools.wraps(stock)(function))
        return _in_a_coroutine_function(stock, function)

    return mark


def _in_a_coroutine_function(stock: Any, function: Any) -> Any:
    """Before Python 3.12 nothing but `async def` is seen so: one with the signature of `stock`."""
    parameters = inspect.signature(stock).parameters.values()
    defaults = {p.name: p.default for p in parameters}
    first = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    others = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    head = [n if defaults[n] is inspect.Parameter.empty else f"{n}=None" for n in first]
    head += ["*", *(f"{n}=defaults[{n!r}]" for n in others)]
    options = ", ".join(f"{n}={n}" for n in others)
    code = f"""
async def {stock.__name__}({", ".join(head)}):
    options = dict({options})
    given = {{n: v for n, v in options.items() if v is not defaults[n]}}
    return await function({", ".join(first)}, **given)
"""
    names: dict[str, Any] = {"defaults": defaults, "function": function}
    exec(code, names)
    return functools.wraps(stock)(names[stock.__name__])


def _function(method: Any) -> Any:
    return getattr(method, "__func__", None)


def _is_direct(loop: Base) -> bool:
    """True if each step is what it was, on the class and on the loop."""
    return (
        _function(loop.sock_connect) is Sockets.sock_connect
        and _function(loop._connect_sock) is _connect_sock
        and _function(loop._ensure_resolved) is _ensure_resolved
        and _function(loop._create_connection_transport) is _create_connection_transport
        and _function(loop._make_socket_transport) is Sockets._make_socket_transport
        and _base.socket is socket
        and not loop._debug  # where each step is told
    )


async def _connect(loop: Base, protocol_factory: Any, host: Any, port: Any) -> Any:
    connecting = loop._connect(host, port) if _is_direct(loop) else None
    if connecting is None:
        return await _Base.create_connection(loop, protocol_factory, host, port)
    try:
        await connecting
        context = contextvars.copy_context() if _OWN_CONTEXT else None
        protocol = protocol_factory()
        waiter = loop.create_future()
        transport = loop._connected(connecting, protocol, waiter, context)
    except BaseException:
        connecting.close()
        raise
    try:
        await waiter
    except BaseException:
        transport.close()
        raise
    return transport, protocol


class Connections(Base):
    """The methods of EventLoop that connect."""

    __slots__ = ()

    if not TYPE_CHECKING:  # checkers have BaseEventLoop's, with its overloads

        @coroutine_function(_Base.create_connection)
        def create_connection(
            self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
        ) -> Any:
            for name in options:
                if options[name] is not None or name not in _OPTIONAL:
                    return _Base.create_connection(self, protocol_factory, host, port, **options)
            return _connect(self, protocol_factory, host, port)

    create_unix_connection = _Unix.create_unix_connection
