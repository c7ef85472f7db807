"""The tests on several cores: what pytest-xdist's workers agree on.

`pytest -n auto` starts a worker for each core, but at least two, as many tests wait more than they
compute. A test marked `alone` runs while no other worker runs any: the lock that all tests share,
and such a test has to itself, is in a file. Locks of this kind (POSIX's) belong to a process, not
to a descriptor: what a test forks does not hold them, and a worker that crashes leaves none behind.

The distribution is `--dist worksteal`: a worker begins with a run of tests of the same files, and
of all of pytest-xdist's kinds only this one and `load` go on as they should after a crash.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile

import pytest

GATE, ROOM = 0, 1  # bytes of the file


def cores():
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


@contextlib.contextmanager
def held(file, byte, how):
    fcntl.lockf(file, how, 1, byte)
    try:
        yield
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, byte)


class Controller:
    """In the process that gives the tests to workers: where the lock is."""

    def __init__(self, names):
        # Workers find that out, too, and nobody hears it of them: no test would have run.
        for name in names:
            if not os.path.exists(name.partition("::")[0]):
                raise pytest.UsageError(f"file or directory not found: {name}")
        self.directory = tempfile.mkdtemp(prefix="moodloop-tests-")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):
        node.workerinput["lock"] = os.path.join(self.directory, "lock")

    def pytest_unconfigure(self):
        shutil.rmtree(self.directory, ignore_errors=True)


class Worker:
    """In a worker: takes the lock around each test, with what it sets up and tears down."""

    def __init__(self, path):
        self.file = open(path, "a+")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item):
        if item.get_closest_marker("alone"):
            # Who waits for the room keeps the gate, so that a crowd does not keep it out.
            with held(self.file, GATE, fcntl.LOCK_EX), held(self.file, ROOM, fcntl.LOCK_EX):
                return (yield)
        with held(self.file, GATE, fcntl.LOCK_SH):
            fcntl.lockf(self.file, fcntl.LOCK_SH, 1, ROOM)
        try:
            return (yield)
        finally:
            fcntl.lockf(self.file, fcntl.LOCK_UN, 1, ROOM)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    return max(2, cores())


def pytest_configure(config):
    config.addinivalue_line("markers", "alone: no other test runs beside it")
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        config.pluginmanager.register(Worker(workerinput["lock"]))
    elif getattr(config.option, "numprocesses", None):
        config.pluginmanager.register(Controller(config.args))
