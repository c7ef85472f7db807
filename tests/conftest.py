"""Fixtures of the tests that run on a loop.

`loop_factory`, `loop` and `snippet` are parametrised: the same body runs on stock asyncio, the
reference, and on moodloop. `-k asyncio` or MOODLOOP_TEST_LOOP=asyncio takes one half. A test with
the mark `tls` runs on moodloop with each engine of TLS that it has: see support/engines.py.
"""

import asyncio
import faulthandler
import gc
import logging
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from support import engines, hygiene, loops
from support.snippet import run_snippet

pytest_plugins = ["support.parallel", "support.progress"]

HANG_SECONDS = int(os.environ.get("MOODLOOP_TEST_HANG", "180"))
hang_report = None


def pytest_configure(config):
    global hang_report
    hang_report = os.dup(2)  # the real one: nothing is captured yet
    config.addinivalue_line("markers", "moodloop_only: about what only moodloop has")
    config.addinivalue_line("markers", "is_reading: calls is_reading() of a pipe or datagrams")
    config.addinivalue_line("markers", "tls: uses TLS, and so runs with each of its engines")
    config.addinivalue_line("markers", "engines(*names, reason): about these engines of TLS only")
    config.addinivalue_line("markers", "known(*names, reason): a fault of these engines of TLS")
    for line in (
        "error::pytest.PytestUnraisableExceptionWarning",
        "error::pytest.PytestUnhandledThreadExceptionWarning",
        "error::ResourceWarning",
    ):
        config.addinivalue_line("filterwarnings", line)


def engine_params(definition):
    """The engines of TLS that a test runs on, as parameters: name of the loop, engine."""
    only = definition.get_closest_marker("engines")
    for engine in engines.selected():
        loop_name = engines.LOOPS[engine]
        if only and engine not in only.args:
            continue
        if loop_name != loops.MOODLOOP and definition.get_closest_marker("moodloop_only"):
            continue
        faults = [m for m in definition.iter_markers("known") if engine in m.args]
        marks = [pytest.mark.xfail(reason=m.kwargs["reason"], strict=True) for m in faults]
        if reason := engines.why_not(engine):
            marks.append(pytest.mark.skip(reason=reason))
        name = f"{loop_name}-{engine}" if loop_name == loops.MOODLOOP else loop_name
        yield pytest.param(loop_name, engine, marks=marks, id=name)


def pytest_generate_tests(metafunc):
    if metafunc.definition.get_closest_marker("tls"):
        names = metafunc.fixturenames
        names += [name for name in ("loop_name", "engine") if name not in names]
        metafunc.parametrize(
            ("loop_name", "engine"), list(engine_params(metafunc.definition)), scope="session"
        )
    elif "loop_name" in metafunc.fixturenames:
        names = loops.SELECTED
        if metafunc.definition.get_closest_marker("moodloop_only"):
            names = [n for n in names if n == loops.MOODLOOP]
        metafunc.parametrize("loop_name", names, scope="session")


def pytest_runtest_setup(item):
    callspec = getattr(item, "callspec", None)
    stock = callspec is not None and callspec.params.get("loop_name") == "asyncio"
    if stock and item.get_closest_marker("is_reading"):
        if "is_reading" not in vars(asyncio.unix_events._UnixReadPipeTransport):
            pytest.skip("early asyncio of 3.11, such as 3.11.2's, has no is_reading() there")


def pytest_collection_modifyitems(config, items):
    if loops.MOODLOOP in loops.SELECTED:
        return
    dropped = [i for i in items if i.get_closest_marker("moodloop_only")]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [i for i in items if i not in set(dropped)]


@pytest.fixture(scope="session", autouse=True)
def _frozen_heap():
    """What pytest itself holds is never garbage: leave it out of the many collections."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _hygiene(request):
    """A test on a loop leaves no descriptor open; one that hangs tells where."""
    if "loop_name" not in request.fixturenames:
        yield
        return
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=hang_report)
    hygiene.collect()
    before = hygiene.open_fds()
    yield
    hygiene.collect()
    faulthandler.cancel_dump_traceback_later()
    left = hygiene.new_fds(before)
    assert not left, f"descriptors left open: {left}"


@pytest.fixture(autouse=True)
def _engine(request):
    """The engine of TLS that a test marked `tls` is about."""
    callspec = getattr(request.node, "callspec", None)
    engine = callspec.params.get("engine") if callspec is not None else None
    if engine is not None:  # if none is, a test's own patches end before its loop
        engines.force(engine, request.getfixturevalue("monkeypatch"))


@pytest.fixture
def loop_factory(loop_name):
    """The callable that makes a loop of the kind under test."""
    return loops.factory(loop_name)


@pytest.fixture
def reports():
    """The contexts given to the handler of `loop`: a test that asks for them checks them."""
    return []


@pytest.fixture
def new_loop(loop_factory):
    """Make loops that are closed in the end, whatever is left in them."""
    made = []

    def new(cls=loop_factory, *args, **kwargs):
        loop = cls(*args, **kwargs)
        made.append(loop)
        return loop

    yield new
    for loop in made:
        hygiene.verify(loop)
        if not loop.is_closed():
            loop.close()
    made.clear()


@pytest.fixture
def loop(loop_factory, request):
    """A loop that must end with nothing waiting in it and nothing reported."""
    loop = loop_factory()
    asked = "reports" in request.fixturenames
    found = request.getfixturevalue("reports") if asked else []
    loop.set_exception_handler(lambda _, context: found.append(context))
    yield loop
    left = hygiene.close_clean(loop)
    assert loop.is_closed()
    assert not left, f"left in the loop: {left}"
    if not asked:
        assert not found, f"reported to the exception handler: {found}"


@pytest.fixture
def run(loop):
    """Run a coroutine on `loop`; a hang becomes a TimeoutError."""

    def run(awaitable, timeout=loops.TIMEOUT):
        return loops.drive(loop, awaitable, timeout)

    return run


@pytest.fixture
def snippet(loop_name):
    """Run code in a process of its own, on the loop under test."""

    def run(code, **kwargs):
        return run_snippet(loop_name, code, **kwargs)

    return run


@pytest.fixture
def log(caplog):
    """The messages of asyncio's logger so far, with its warnings and errors."""
    caplog.set_level(logging.DEBUG, logger="asyncio")

    def messages(level=logging.WARNING):
        return [
            r.getMessage() for r in caplog.records if r.name == "asyncio" and r.levelno >= level
        ]

    return messages
