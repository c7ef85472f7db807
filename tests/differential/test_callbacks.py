"""The same program on stock asyncio and on moodloop: the traces are the same, event by event."""

import asyncio

import pytest
from hypothesis import given

import moodloop

from .machine import trace
from .programs import programs

pytestmark = pytest.mark.moodloop_only

# What is easy to get wrong, whatever hypothesis thinks of.
CORPUS = {
    "batch": [("soon", [("soon", [("stop",)], None), ("later", 0, [], None)], None), ("stop",)],
    "timer before its time": [("later", 2, [("time",)], None), ("at", 1, [("time",)], None)],
    "cancel in one turn": [("soon", [], None), ("later", 0, [], None), ("cancel_handle", 0)],
    "cancelled by a timer": [
        ("later", 1, [("cancel_handle", 1)], None),
        ("later", 1, [("raise", "Failure")], None),
    ],
    "left by SystemExit": [
        ("soon", [("raise", "SystemExit")], None),
        ("soon", [("time",)], None),
        ("later", 0, [("raise", "KeyboardInterrupt")], None),
    ],
    "oddity in a task": [("task", [("ops", [("raise", "Oddity")])])],
    "interrupt in a task": [("task", [("ops", [("raise", "KeyboardInterrupt")])]), ("time",)],
    "contexts": [
        ("copy_context",),
        ("set", "red"),
        ("soon", [("set", "green"), ("soon", [], None)], 0),
        ("soon", [], 0),
        ("threadsafe", [], None),
    ],
    "reader that is replaced": [
        ("add_reader", [("add_reader", [("remove_reader",)])]),
        ("send", b"bc"),
    ],
    "reader that raises": [("add_reader", [("raise", "Failure")]), ("send", b"bc")],
    "writer": [("add_writer", [("add_writer", [("raise", "SystemExit")])]), ("stop",)],
    "queue": [
        ("task", [("get",), ("get",), ("get",)]),
        ("task", [("put", 1), ("put", 2), ("put", 3)]),
    ],
    "lock": [
        ("task", [("lock", [("sleep", 2)])]),
        ("task", [("lock", [("sleep", 0)])]),
        ("task", [("lock", [])]),
        ("soon", [("cancel_task", 1)], None),
    ],
    "timeouts": [
        ("future",),
        ("task", [("wait_for", 0, 2), ("timeout", 1, [("event", "wait")]), ("sleep", 1)]),
        ("later", 1, [("cancel_task", 0)], None),
    ],
    "group": [("task", [("group", [[("sleep", 1), ("ops", [("raise", "Failure")])]])])],
    "shield": [
        ("future",),
        ("task", [("shield", 0)]),
        ("later", 1, [("cancel_task", 0), ("resolve", 0, "exception")], None),
    ],
}


def compare(program):
    expected = trace(asyncio.SelectorEventLoop, program)
    got = trace(moodloop.EventLoop, program)
    assert got == expected


@pytest.mark.parametrize("name", CORPUS)
def test_corpus(name):
    compare(CORPUS[name])


@given(programs)
def test_programs(program):
    compare(program)
