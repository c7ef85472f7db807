"""The loops that the tests can run on, and how the tests come to use one."""

from __future__ import annotations

import asyncio
import importlib
import os
from asyncio import events, unix_events
from typing import Any

# Name on the command line: (distribution, "module:callable" that makes a loop).
LOOPS = {
    "asyncio": (None, "asyncio.unix_events:_UnixSelectorEventLoop"),
    "moodloop": ("moodloop", "moodloop:new_event_loop"),
    "moodloop-python": ("moodloop", "moodloop:new_event_loop"),  # with TLS by sslproto
    "moodloop-streams": ("moodloop", "moodloop:new_event_loop"),  # with its streams as asyncio's
    "uvloop": ("uvloop", "uvloop:new_event_loop"),
}

made = 0  # loops made so far: a test that makes none tests no loop


def resolve(name: str) -> Any:
    """The callable that makes a loop; name is a key of LOOPS or "module:callable"."""
    module, _, attribute = LOOPS.get(name, (None, name))[1].partition(":")
    return getattr(importlib.import_module(module), attribute)


def choose_tls(name: str) -> str:
    """Have this process, and those that it starts, use the loop's engine of TLS; which it is."""
    if not name.startswith("moodloop"):
        return "stock"
    if name == "moodloop-python":
        os.environ["MOODLOOP_TLS"] = "python"
    from support import engines

    # Where it can be had, asking hooks into OpenSSL, as the first connection would.
    return "python" if engines.why_not_native() or name == "moodloop-python" else "native"


def version(name: str) -> str:
    """The version of the distribution that a loop comes from; Python's own for asyncio."""
    from importlib import metadata
    from platform import python_version

    distribution = LOOPS.get(name, (name.partition(":")[0].partition(".")[0], ""))[0]
    try:
        return metadata.version(distribution) if distribution else python_version()
    except metadata.PackageNotFoundError:
        return "of unknown version"


class _AnyLoop(type):
    """isinstance(loop, asyncio.EventLoop) holds for the loop under test."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, asyncio.AbstractEventLoop)


def install(name: str) -> None:
    """Give the loop to whoever asks asyncio for one.

    The tests ask in three ways: by the class (asyncio.SelectorEventLoop, asyncio.EventLoop), by
    the policy (new_event_loop(), run(), Runner, IsolatedAsyncioTestCase), which their module
    fixtures reset to the default one, and by subclassing neither. So the classes become one that
    makes the loop under test, and so does what the default policy calls.
    """
    factory = resolve(name)
    if name == "moodloop-streams":
        _install_streams()

    class EventLoop(metaclass=_AnyLoop):
        def __new__(cls, selector: Any = None) -> Any:
            global made
            if selector is not None:
                selector.close()
            made += 1
            return factory()

    for module in (asyncio, unix_events):
        for attribute in ("SelectorEventLoop", "EventLoop"):
            if hasattr(module, attribute):
                setattr(module, attribute, EventLoop)
    for attribute in ("_UnixDefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
        policy = vars(unix_events).get(attribute)
        if policy is not None:
            policy._loop_factory = staticmethod(EventLoop)
    if not hasattr(events, "_BaseDefaultEventLoopPolicy") and not hasattr(
        events, "BaseDefaultEventLoopPolicy"
    ):
        asyncio.new_event_loop = events.new_event_loop = EventLoop  # no policies any more
    _close_any_loop()


def _install_streams() -> None:
    """Give moodloop's streams to tests that ask asyncio for its classes, or for connections."""
    import moodloop.streams

    moodloop.streams.install()
    for module in (asyncio, asyncio.streams):
        for attribute in ("StreamReader", "StreamWriter", "StreamReaderProtocol"):
            setattr(module, attribute, getattr(moodloop, attribute))


def _close_any_loop() -> None:
    """Let the tests' close_loop() do without `_default_executor`, which other loops lack."""
    from test.test_asyncio import utils

    stock = utils.TestCase.close_loop

    def close_loop(loop: Any) -> None:
        if hasattr(loop, "_default_executor"):
            stock(loop)
            return
        if not loop.is_closed():
            loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    utils.TestCase.close_loop = staticmethod(close_loop)
