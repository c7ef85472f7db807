"""Counting what a scenario leaves behind."""

import gc
import sys
from collections import Counter

from support import hygiene

# What belongs to a loop, of any kind, by the name of its type.
NAMES = (
    "Handle",
    "TimerHandle",
    "Server",
    "EventLoop",
    "Transport",
    "Loop",
    "Io",
    "Timer",
    "Periodic",
    "Scheduler",
    "Signal",
    "Stat",
    "Async",
    "Context",
    "Future",
    "Task",
    "socket",
    "TransportSocket",
)


def census():
    """How many objects of the types of interest are alive."""
    hygiene.collect()
    found = Counter()
    for thing in gc.get_objects():
        name = type(thing).__name__
        if name in NAMES or name.endswith(("Transport", "EventLoop", "Record", "Protocol")):
            found[name] += 1
    return found


def growth(scenario, warm=3, rounds=20):
    """The descriptors, objects and references that repeating a scenario adds.

    A scenario takes one sentinel object and may hand it to anything it likes.
    """
    sentinel = object()
    for _ in range(warm):
        scenario(sentinel)
    hygiene.collect()
    fds, objects, refs = len(hygiene.open_fds()), census(), sys.getrefcount(sentinel)
    for _ in range(rounds):
        scenario(sentinel)
    added = {}
    now = census()
    for name in now:
        if now[name] > objects[name]:
            added[name] = now[name] - objects[name]
    if len(hygiene.open_fds()) > fds:
        added["descriptors"] = len(hygiene.open_fds()) - fds
    if sys.getrefcount(sentinel) != refs:
        added["references"] = sys.getrefcount(sentinel) - refs
    return added
