"""Descriptors that outlive their number: copies of them, in this process or in a child."""

import asyncio
import os
import socket

import pytest
from support.loops import run_turns


def test_copy_of_a_closed_descriptor_broke_the_loop(new_loop):
    """epoll goes on reporting a closed descriptor while a copy of it is open, as in a child that
    another thread has just forked; libev then replaces its epoll descriptor, whose number may
    change. (moodloop, before its first release.)"""
    lower = os.open(os.devnull, os.O_RDONLY)
    loop = new_loop()
    for _ in range(3):
        ours, theirs = os.pipe()
        copy = os.dup(ours)
        loop.add_reader(ours, int)
        run_turns(loop)
        loop.remove_reader(ours)
        os.close(ours)
        os.write(theirs, b"x")
        os.close(lower)  # free for the new one
        run_turns(loop, 5)
        got = []
        a, b = socket.socketpair()
        loop.add_reader(a, got.append, 1)
        run_turns(loop, 3)
        b.send(b"x")
        run_turns(loop, 3)
        assert got
        loop.remove_reader(a)
        for sock in (a, b):
            sock.close()
        for fd in (copy, theirs):
            os.close(fd)
        run_turns(loop, 3)
        lower = os.open(os.devnull, os.O_RDONLY)
    os.close(lower)


@pytest.mark.moodloop_only
@pytest.mark.parametrize("direction", ["reader", "writer"])
def test_copy_of_a_closed_descriptor_made_the_loop_spin(loop, run, direction):
    """A reader left on a closed number, of which a copy is open, was told again and again: stock
    asyncio and uvloop spin so until it is removed. (moodloop, before its first release.)"""
    calls = []
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    getattr(loop, f"add_{direction}")(number, calls.append, 1)
    copy = ours.dup()
    theirs.send(b"x")
    run_turns(loop)
    ours.close()

    async def until_silent():
        before = -1
        while before != len(calls):
            before = len(calls)
            for _ in range(1000):
                await asyncio.sleep(0)
            await asyncio.sleep(0.05)

    run(until_silent())
    assert 0 < len(calls) < 1000
    iterations = loop.ev.iteration
    run(asyncio.sleep(0.1))
    assert loop.ev.iteration - iterations < 100
    # the number's next owner is heard
    heard = []
    left, right = os.pipe()
    again = left if left == number else os.dup2(left, number)
    loop.add_reader(again, heard.append, 1)
    os.write(right, b"x")
    run_turns(loop, 4)
    assert heard
    loop.remove_reader(again)
    loop.remove_writer(again)
    copy.close()
    theirs.close()
    for fd in {left, right, again}:
        os.close(fd)


@pytest.mark.moodloop_only
def test_busy_reader_is_none_of_those(loop, run):
    """Told thousands of times, and open."""
    ours, theirs = os.pipe()
    os.write(theirs, b"x")
    calls = []
    loop.add_reader(ours, calls.append, 1)

    async def many():
        while len(calls) < 2000:
            await asyncio.sleep(0)

    run(many())
    assert loop.remove_reader(ours)
    os.close(ours)
    os.close(theirs)
