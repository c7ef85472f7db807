"""Descriptors that outlive their number: copies of them, in this process or in a child."""

import os
import socket

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
