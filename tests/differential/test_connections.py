"""The same stream connections on stock asyncio and on moodloop: each end sees the same."""

import asyncio

import pytest
from hypothesis import given

import moodloop

from .connections import trace
from .programs import connections

pytestmark = pytest.mark.moodloop_only


def compare(program):
    expected = trace(asyncio.SelectorEventLoop, program)
    got = trace(moodloop.EventLoop, program)
    assert got == expected


@given(connections)
def test_connections(program):
    compare(program)
