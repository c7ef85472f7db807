"""The engines of TLS under test: stock asyncio's, and each of moodloop's.

A test marked `tls` runs on all of them. MOODLOOP_TLS, which the package reads, says which one a
loop of moodloop's uses; MOODLOOP_TEST_TLS="stock native" runs those parts of the suite.
"""

import functools
import os

from support.loops import ASYNCIO, MOODLOOP, SELECTED

STOCK = "stock"
PYTHON = "python"
NATIVE = "native"
LOOPS = {STOCK: ASYNCIO, PYTHON: MOODLOOP, NATIVE: MOODLOOP}

VARIABLE = "MOODLOOP_TLS"


def selected():
    """The engines of the loops that are to be tested."""
    chosen = os.environ.get("MOODLOOP_TEST_TLS", "").split() or list(LOOPS)
    return [name for name in chosen if LOOPS[name] in SELECTED]


@functools.cache
def why_not_native():
    """Why there is no native engine here, as `python -m moodloop info` says it; "" if there is."""
    from moodloop import tls

    ask = getattr(tls, "why_not_native", None)
    if ask is None:
        return "this moodloop has no native TLS engine"
    return ask() or ""


def why_not(engine):
    """Why an engine cannot be tested here; "" if it can."""
    return why_not_native() if engine == NATIVE else ""


def force(engine, monkeypatch):
    """Have the loops of a test, and the programs that it starts, use that engine."""
    if engine == STOCK:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, engine)
