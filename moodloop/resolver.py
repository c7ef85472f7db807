"""Names of hosts: getaddrinfo() and getnameinfo(), in threads of their own.

A look-up may take seconds, and in the default executor it waits for whatever else the program has
put there. These threads are few, start when there is something to look up, and end when there has
been nothing for a while or the loop is closed. They are daemons: neither the end of a loop nor that
of the interpreter waits for a name server.
"""

from __future__ import annotations

import os
import socket
import threading
from asyncio import base_events as _base_events
from collections import deque
from collections.abc import Callable
from typing import Any

from . import executor

base_events: Any = _base_events

VARIABLE = "MOODLOOP_DNS_THREADS"
THREADS = 8  # name servers that do not answer take one each
IDLE_SECONDS = 5.0


def thread_count() -> int:
    """How many threads a loop may have. ValueError if MOODLOOP_DNS_THREADS is no such number."""
    text = os.environ.get(VARIABLE)
    if text is None:
        return THREADS
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"{VARIABLE} must be a number of threads, 1 or more, not {text!r}")
    return int(text)


class Resolver:
    """The threads of one loop, and what waits for them."""

    __slots__ = ("_changed", "_closed", "_idle", "_most", "_pid", "_threads", "_waiting")

    def __init__(self) -> None:
        self._most = thread_count()
        self._pid = 0  # what it needs is made when it is asked

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._waiting: deque[executor.Work] = deque()
        self._changed = threading.Condition()
        self._threads = 0
        self._idle = 0
        self._closed = False

    def submit(self, loop: Any, func: Callable[..., Any], *args: Any) -> Any:
        """The future of func(*args)."""
        if self._pid != os.getpid():  # the first, or forked: the threads are in the parent
            self._begin()
        answer = loop.create_future()
        with self._changed:
            self._waiting.append(executor.Work(loop, answer, func, args))
            if len(self._waiting) > self._idle and self._threads < self._most:
                self._start_thread()
            self._changed.notify()
        return answer

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name="moodloop-names", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if self._threads == 0:  # else those that are there take it
                self._waiting.pop()
                raise
        else:
            self._threads += 1

    def _next(self) -> executor.Work | None:
        """What is to be done next; None if this thread is to end."""
        with self._changed:
            told = True
            while told and not self._waiting and not self._closed:
                self._idle += 1
                told = self._changed.wait(IDLE_SECONDS)
                self._idle -= 1
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            return None

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            work.run()
            del work  # which keeps the loop, and the answer

    def close(self) -> None:
        """Nobody waits any more: the threads end as soon as what they do has ended."""
        if self._pid != os.getpid():
            return
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()


class Names(executor.Executors):
    """The methods of EventLoop that resolve names."""

    __slots__ = ()

    _resolver: Resolver

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: int | str | bytes | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """socket.getaddrinfo(): numbers at once, names in a thread.

        Raises ValueError for a name with a NUL in it, which the C library would take for its end;
        else what socket.getaddrinfo() raises.
        """
        resolve = base_events.socket.getaddrinfo  # where tests put their own, too
        own = _is_own(resolve)
        if self._debug:
            resolve = self._getaddrinfo_debug
        if own and _is_number(host, port):
            self._check_closed()
            flags |= socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            return resolve(host, port, family, type, proto, flags)  # type: ignore[no-any-return]
        for text in (host, port):
            if (isinstance(text, str) and "\0" in text) or (isinstance(text, bytes) and 0 in text):
                raise ValueError("embedded null character")
        return await self._resolve(  # type: ignore[no-any-return]
            resolve, host, port, family, type, proto, flags
        )

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """socket.getnameinfo(), in a thread."""
        return await self._resolve(  # type: ignore[no-any-return]
            base_events.socket.getnameinfo, sockaddr, flags
        )

    def _resolve(self, func: Callable[..., Any], *args: Any) -> Any:
        submit: Any = self.run_in_executor
        # A program that chose its executor, or watches what goes there, finds names in it.
        plain = getattr(submit, "__func__", None) is type(self)._plain_submit
        if self._has_own_executor or not plain:
            return submit(None, func, *args)
        self._check_closed()
        return self._resolver.submit(self, func, *args)


def _is_number(host: Any, port: Any) -> bool:
    """True if nothing has to be looked up: an address or None, and a port's number or None."""
    if isinstance(port, (str, bytes)):
        if not port.isdigit():
            return False
    elif port is not None and type(port) is not int:
        return False
    if isinstance(host, bytes):
        host = host.decode("latin-1")
    if not isinstance(host, str):
        return host is None
    try:
        if ":" in host:
            socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
        else:
            socket.inet_aton(host)  # it knows 127.1 and 0x7f.1, as getaddrinfo() does
    except (OSError, ValueError):
        return False
    return True


def _is_own(function: Any) -> bool:
    """True for the socket module's: any other may block, whatever it is asked."""
    return getattr(function, "__globals__", None) is vars(socket)
