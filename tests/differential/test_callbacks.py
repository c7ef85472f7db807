"""The same program on stock asyncio and on moodloop: the traces are the same, event by event."""

import asyncio

import pytest
from hypothesis import example, given

import moodloop

from .machine import trace
from .programs import programs

pytestmark = pytest.mark.moodloop_only


def compare(program):
    expected = trace(asyncio.SelectorEventLoop, program)
    got = trace(moodloop.EventLoop, program)
    assert got == expected


@given(programs)
def test_programs(program):
    compare(program)
