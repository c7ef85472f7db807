import faulthandler
import os
import textwrap
import threading

import pytest
from support import hygiene
from support.snippet import run_snippet

from moodloop import evergreen
from moodloop.evergreen.loop import _local


@pytest.fixture(autouse=True)
def _clean():
    """A test leaves no loop, descriptor or thread behind; one that hangs tells where."""
    assert _local.slot is None
    faulthandler.dump_traceback_later(60, exit=True)
    hygiene.collect()
    before, threads = hygiene.open_fds(), threading.active_count()
    yield
    faulthandler.cancel_dump_traceback_later()
    left = _local.slot
    if left is not None and not left.loop.running:
        left.loop.destroy()
    assert left is None, f"left in the thread: {left.loop}"
    hygiene.collect()
    assert not hygiene.new_fds(before)
    # The dispatcher of signals may be on its last instructions.
    for thread in threading.enumerate():
        if thread.name == "moodloop.evergreen signals":
            thread.join(20)
    assert threading.active_count() == threads


@pytest.fixture
def loop():
    loop = evergreen.EventLoop()
    yield loop
    if not loop._destroyed:
        loop.destroy()


@pytest.fixture
def pipe():
    """A non-blocking pipe: (reader, writer)."""
    ends = os.pipe2(os.O_NONBLOCK)
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            pass  # the test closed it


@pytest.fixture
def in_thread():
    """Run a function in a thread of its own; what it returns, or raises."""

    def run(function, *args):
        result, error = [], []

        def body():
            try:
                result.append(function(*args))
            except BaseException as exc:
                error.append(exc)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
        if error:
            raise error.pop()
        return result.pop()

    return run


@pytest.fixture
def isolated():
    """Run code in a process of its own; which must end with status `rc` and nothing on
    stderr. Returns the words it printed."""

    def run(code, rc=0, before="", timeout=30, **kwargs):
        prelude = textwrap.dedent(before) + "from moodloop import evergreen\nimport gc, time\n"
        done = run_snippet("asyncio", prelude + textwrap.dedent(code), timeout=timeout, **kwargs)
        assert (done.rc, done.err) == (rc, "")
        return done.out.split()

    return run
