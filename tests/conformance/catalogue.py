"""Which of CPython's tests there are, and in what tier each class is."""

from __future__ import annotations

import importlib
import re
import unittest
from pathlib import Path
from typing import NamedTuple

TIERS = {
    "io": "descriptors, transports, servers, TLS, subprocesses, signals",
    "asyncio": "tasks, futures, streams' queues and locks, runners: what runs on a loop",
    "extra": "async generators, coroutines and unittest's asyncio support",
    "ssl": "the module ssl, in a process whose OpenSSL has a hook of moodloop's",
}

# Modules of test.test_asyncio that are the tier `io`; the others that count are `asyncio`.
IO = {
    "test_base_events",
    "test_buffered_proto",
    "test_context",
    "test_events",
    "test_sendfile",
    "test_server",
    "test_server_context",
    "test_sock_lowlevel",
    "test_ssl",
    "test_sslproto",
    "test_streams",
    "test_subprocess",
    "test_unix_events",
}

# Tests elsewhere in the standard library that take whatever loop asyncio gives.
EXTRA = (
    "test.test_asyncgen",
    "test.test_contextlib_async",
    "test.test_coroutines",
    "test.test_unittest.test_async_case",
    "test.test_unittest.testmock.testasync",
    "unittest.test.test_async_case",  # where the last two are in Python 3.11
    "unittest.test.testmock.testasync",
)

# Tests that no replaced loop can take part in: (pattern of module or module.Class, reason).
OUT_OF_SCOPE = (
    (r"test_(windows_\w+|proactor_events)", "Windows"),
    (r"\w+\.\w*Proactor\w*", "Windows"),
    (r"test_selector_events", "the selector loop's own methods, on mocks"),
    (r"test_(transports|protocols|pep492|tools|futures)", "no loop, or a mock of one"),
    (
        r"test_(events|sendfile|sock_lowlevel)\.(Poll|Select)EventLoopTests",
        "the EPollEventLoopTests with another selector",
    ),
    (
        r"test_events\.(Handle|Timer|AbstractEventLoop|Policy)Tests|test_events\.TestAbstractServer",
        "asyncio's classes, without a loop",
    ),
    (
        r"test_base_events\.(BaseEventTests|BaseEventLoopTests|BaseLoopSockSendfileTests"
        r"|TestSelectorUtils)",
        "BaseEventLoop alone, on mocks",
    ),
    (
        r"test_unix_events\.(SelectorEventLoopSignalTests|SelectorEventLoopUnixSockSendfileTests"
        r"|Unix(Read|Write)PipeTransportTests|PolicyTests)",
        "the selector loop's own classes, on mocks",
    ),
    (r"test_unix_events\.\w*ChildWatcher\w*", "child watchers alone, gone from Python 3.14 on"),
    (
        r"test_subprocess\.(SubprocessTransportTests|GenericWatcherTests"
        r"|Subprocess(Safe|Fast|MultiLoop)WatcherTests)",
        "on mocks; child watchers that only asyncio's loop uses",
    ),
)


class Case(NamedTuple):
    """A class of tests."""

    tier: str
    module: str  # "test_events", or a full name for the tier extra
    name: str
    tests: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.module}.{self.name}"


def full_name(module: str) -> str:
    """The name to import a case's module by."""
    return module if "." in module else f"test.test_asyncio.{module}"


def out_of_scope(name: str) -> str | None:
    """Why a module, or a class as module.Class, is left out; None if it counts."""
    for pattern, reason in OUT_OF_SCOPE:
        if re.fullmatch(pattern, name):
            return reason
    return None


def cases_of(module: str, tier: str) -> list[Case]:
    """The classes of tests of one module, in the order of their names; [] if there is none."""
    try:
        imported = importlib.import_module(full_name(module))
    except (ImportError, unittest.SkipTest):
        return []
    found = []
    for name, value in sorted(vars(imported).items()):
        if not (isinstance(value, type) and issubclass(value, unittest.TestCase)):
            continue
        tests = unittest.defaultTestLoader.getTestCaseNames(value)
        if tests and value.__module__ == imported.__name__:
            found.append(Case(tier, module, name, tuple(tests)))
    return found


def discover(tiers: list[str]) -> list[Case]:
    """All classes of the tiers. ModuleNotFoundError if this Python has no tests installed."""
    package = importlib.import_module("test.test_asyncio")
    modules = sorted(path.stem for path in Path(package.__path__[0]).glob("test_*.py"))
    found = []
    for module in modules:
        tier = "io" if module in IO else "asyncio"
        if tier in tiers and out_of_scope(module) is None:
            found += [c for c in cases_of(module, tier) if out_of_scope(c.id) is None]
    if "ssl" in tiers:
        found += cases_of("test.test_ssl", "ssl")
    if "extra" in tiers:
        for module in EXTRA:
            found += cases_of(module, "extra")
    return found
