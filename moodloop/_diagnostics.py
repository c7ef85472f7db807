"""What the C core calls when something is to be told: errors, slow callbacks, tracebacks.

Cold paths all, so in Python, and with asyncio's own formatting of the running version.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from asyncio import base_events, constants, format_helpers, trsock
from asyncio.log import logger
from typing import Any


def source_traceback() -> traceback.StackSummary:
    """Where the caller of the C function is: a handle's `_source_traceback`."""
    return format_helpers.extract_stack(sys._getframe(1))


def callback_failed(loop: Any, handle: Any, exc: BaseException) -> None:
    """A handle's callback raised: as stock Handle._run() reports it."""
    info = asyncio.Handle._repr_info(handle)  # type: ignore[attr-defined]
    known = [part for part in info[1:] if part != "cancelled"]
    if handle._callback is not None and known:
        source = known[0]
    else:
        source = "(cancelled)" if handle._cancelled else "None()"
    context = {
        "message": f"Exception in callback {source}",
        "exception": exc,
        "handle": handle,
    }
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    loop.call_exception_handler(context)


def slow_callback(handle: Any, seconds: float) -> None:
    """Debug mode: the callback took longer than loop.slow_callback_duration."""
    # By way of the module, as asyncio's own: programs and tests replace the logger there.
    stock: Any = base_events
    stock.logger.warning("Executing %s took %.3f seconds", stock._format_handle(handle), seconds)


def slow_event(owner: Any, protocol: Any, seconds: float) -> None:
    """Debug mode: the same for an event that is no handle, such as data for a transport."""
    whom = f" for {protocol!r}" if protocol is not None else ""
    stock: Any = base_events
    stock.logger.warning("Executing an event of %r%s took %.3f seconds", owner, whom, seconds)


def connection_error(transport: Any, message: str, exc: BaseException) -> None:
    """Debug mode: the connection failed, which is no error of the program."""
    logger.debug("%r: %s", transport, message, exc_info=exc)


def received_eof(transport: Any) -> None:
    """Debug mode."""
    logger.debug("%r received EOF", transport)


def pauses_reading(transport: Any) -> None:
    """Debug mode."""
    logger.debug("%r pauses reading", transport)


def resumes_reading(transport: Any) -> None:
    """Debug mode."""
    logger.debug("%r resumes reading", transport)


def accepted(server: Any, transport: Any) -> None:
    """Debug mode."""
    logger.debug(
        "%r got a new connection from %r: %r",
        server,
        transport.get_extra_info("peername"),
        transport,
    )


def write_after_lost(message: str) -> None:
    """The program goes on writing to a connection that is gone."""
    logger.warning(message)


def closed_by_peer(transport: Any) -> None:
    """Debug mode: the other end of a pipe is gone."""
    logger.info("%r was closed by peer", transport)


def accept_failed(loop: Any, listener: Any, sock: Any, exc: OSError) -> None:
    """accept() is out of descriptors or memory: tell, and pause the listener for a second."""
    loop.call_exception_handler(
        {
            "message": "socket.accept() out of system resource",
            "exception": exc,
            "socket": trsock.TransportSocket(sock),
        }
    )
    loop._remove_reader(sock.fileno())
    loop.call_later(constants.ACCEPT_RETRY_DELAY, _resume_accept, loop, listener, sock)


def _resume_accept(loop: Any, listener: Any, sock: Any) -> None:
    if sock.fileno() >= 0 and loop._listeners.get(sock) is listener:
        loop._add_reader(sock.fileno(), listener.accept)


def watch_failed(loop: Any, fd: int, exc: OSError) -> None:
    """The kernel cannot watch a descriptor, for want of memory: tell, and try again in a second."""
    loop.call_exception_handler(
        {"message": f"File descriptor {fd} cannot be watched for now", "exception": exc}
    )
    loop.call_later(constants.ACCEPT_RETRY_DELAY, loop._rewatch, fd)


def starts_handshake(transport: Any) -> float:
    """Debug mode: the time, for what follows."""
    logger.debug("%r starts SSL handshake", transport)
    return time.monotonic()


def handshake_took(transport: Any, since: float) -> None:
    """Debug mode."""
    logger.debug("%r: SSL handshake took %.1f ms", transport, (time.monotonic() - since) * 1e3)
