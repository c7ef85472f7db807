"""Signals.

Covered elsewhere, at length: uvloop 295 and 335, and zuvloop, where Ctrl-C waited for the next
event: tests/loop/test_signals.py and tests/watcher/test_processes.py.
"""

import signal

import pytest


@pytest.mark.parametrize(
    ("signum", "error"),
    [
        (signal.SIGKILL, RuntimeError),
        (signal.SIGSTOP, RuntimeError),
        (999, ValueError),
        (0, ValueError),
    ],
)
def test_signal_that_cannot_be_caught_aborted_the_process(loop, signum, error):
    """rsloop: 9, or 999."""
    with pytest.raises(error):
        loop.add_signal_handler(signum, int)


def test_ctrl_c_was_ignored_while_idle(snippet):
    """uvloop 295 and 335; zuvloop saw it at the next event."""
    done = snippet("""
        from support.signals import kill, when_asleep
        loop = new_loop()
        thread = when_asleep(loop, kill, signal.SIGINT)
        try:
            loop.run_forever()
        except KeyboardInterrupt:
            print("interrupted")
        thread.join()
        loop.close()
    """)
    assert done.out == "interrupted\n", done.err


def test_what_a_signal_handler_raises_was_logged(loop, snippet):
    """uvloop 94: it leaves the loop, as anywhere else in Python."""
    done = snippet("""
        from support.signals import kill, when_asleep

        def handler(signum, frame):
            raise ZeroDivisionError

        signal.signal(signal.SIGUSR1, handler)
        loop = new_loop()
        thread = when_asleep(loop, kill, signal.SIGUSR1)
        try:
            loop.run_forever()
        except ZeroDivisionError:
            print("raised")
        thread.join()
        loop.close()
    """)
    assert done.out == "raised\n", done.err
