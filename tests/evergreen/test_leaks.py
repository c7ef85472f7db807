"""Descriptors and references after every kind of end."""

import os
import signal
import threading

import pytest
from support.leaks import growth

from moodloop import evergreen


def fill(loop, sentinel, pipe):
    loop.call_soon(lambda thing: None, sentinel)
    loop.call_soon(lambda *, thing: None, thing=sentinel).cancel()
    loop.call_from_thread(lambda thing: None, sentinel)
    loop.call_later(0.001, lambda thing: None, sentinel)
    loop.call_later(60, lambda thing: None, sentinel)
    loop.call_later(60, lambda thing: None, sentinel).cancel()
    loop.add_reader(pipe[0], lambda thing: None, sentinel)
    loop.add_writer(pipe[1], lambda thing: None, sentinel).cancel()
    loop.add_signal_handler(signal.SIGUSR1, lambda thing: None, sentinel)
    loop.add_signal_handler(signal.SIGUSR2, lambda thing: None, sentinel).cancel()


def never_run(sentinel, pipe):
    loop = evergreen.EventLoop()
    fill(loop, sentinel, pipe)
    loop.destroy()


def stopped(sentinel, pipe):
    loop = evergreen.EventLoop()
    fill(loop, sentinel, pipe)
    loop.call_later(0.003, loop.stop)
    loop.call_later(0.001, os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    loop.destroy()


def left_with_an_exception(sentinel, pipe):
    loop = evergreen.EventLoop()
    fill(loop, sentinel, pipe)
    loop.call_soon(exec, "raise KeyboardInterrupt")
    fill_more = loop.call_soon(lambda thing: None, sentinel)
    try:
        loop.run()
    except KeyboardInterrupt:
        pass
    loop.destroy()
    fill_more.cancel()


def end_of_thread(sentinel, pipe):
    thread = threading.Thread(target=lambda: fill(evergreen.EventLoop(), sentinel, pipe))
    thread.start()
    thread.join()


@pytest.mark.parametrize("scenario", [never_run, stopped, left_with_an_exception, end_of_thread])
def test_nothing_is_left(scenario, pipe):
    assert growth(lambda sentinel: scenario(sentinel, pipe)) == {}
