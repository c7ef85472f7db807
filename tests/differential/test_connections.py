"""The same stream connections on stock asyncio and on moodloop: each end sees the same."""

import asyncio
import sys

import pytest
from hypothesis import given

import moodloop

from .connections import trace
from .programs import connections

pytestmark = pytest.mark.moodloop_only

PLAIN = ("plain", ())
WRITE = ("write", "bytes", 5)


def reacting(**reactions):
    return "plain", tuple(reactions.items())


# Two ends, and what is done to them. What is easy to get wrong, or was.
CORPUS = {
    "last words": (reacting(data=[WRITE, ("raise",)]), PLAIN, [(1, [WRITE])]),
    "last words to nobody": (PLAIN, reacting(eof=[WRITE, ("raise",)]), [(0, [("close",)])]),
    "EOF to nobody": (PLAIN, reacting(eof=[WRITE, ("write_eof",), WRITE]), [(0, [("close",)])]),
    "write and abort": (PLAIN, PLAIN, [(0, [WRITE, ("abort",)])]),
    "write, EOF, close": (PLAIN, PLAIN, [(0, [WRITE, ("write_eof",), WRITE, ("close",), WRITE])]),
    "lines after close": (
        PLAIN,
        PLAIN,
        [(0, [WRITE, ("close",), ("lines", [3, 4]), ("state",)])],
    ),
    "lines after close, while others wait": (
        PLAIN,
        PLAIN,
        [(0, [("large", "bytes"), ("close",), ("lines", [3, 4]), ("state",)])],
    ),
    "lines after abort": (PLAIN, PLAIN, [(0, [("abort",), ("lines", [3, 4]), ("state",)])]),
    "half open": (
        reacting(eof=[("keep_open", True), ("state",)]),
        PLAIN,
        [(1, [("write_eof",)]), (0, [WRITE, ("state",), ("close",)])],
    ),
    "closed at once": (reacting(made=[WRITE, ("close",)]), reacting(made=[WRITE]), []),
    "raises at once": (reacting(made=[WRITE, ("raise",)]), PLAIN, [(1, [WRITE])]),
    "back pressure": (
        reacting(pause=[("state",)], resume=[WRITE, ("state",)]),
        PLAIN,
        [(1, [("pause",)]), (0, [("large", "bytes"), WRITE]), (1, [("resume",)])],
    ),
    "EOF after back pressure": (
        reacting(resume=[("write_eof",)]),
        PLAIN,
        [(1, [("pause",)]), (0, [("large", "bytearray")]), (1, [("resume",)])],
    ),
    "closed in resume_writing": (reacting(resume=[("close",)]), PLAIN, [(0, [("large", "bytes")])]),
    "limits": (
        PLAIN,
        PLAIN,
        [(0, [("limits", 0, None), WRITE, ("limits", 1, 100), ("limits", None, 1), ("state",)])],
    ),
    "another protocol": (
        reacting(data=[("protocol", "buffered"), ("pause",)]),
        PLAIN,
        [(1, [WRITE]), (1, [WRITE]), (0, [("resume",)]), (0, [("protocol", "plain")])],
    ),
    "paused at EOF": (
        PLAIN,
        PLAIN,
        [(0, [("pause",)]), (1, [WRITE, ("close",)]), (0, [("resume",)])],
    ),
    "closed by the peer's reaction": (
        reacting(data=[("peer", ("close",)), WRITE]),
        reacting(lost=[("peer", WRITE)]),
        [(1, [WRITE])],
    ),
    "raises in the end": (reacting(lost=[("raise",)]), PLAIN, [(0, [("close",), ("close",)])]),
}


def compare(program):
    expected = trace(asyncio.SelectorEventLoop, program)
    got = trace(moodloop.EventLoop, program)
    assert got == expected


@pytest.mark.parametrize("name", CORPUS)
def test_corpus(name):
    first, second, stimuli = CORPUS[name]
    compare(([(first, second)], stimuli))


@pytest.mark.skipif(
    sys.version_info < (3, 11, 5), reason="asyncio read on after pausing in connection_made() then"
)
@given(connections)
def test_connections(program):
    compare(program)
