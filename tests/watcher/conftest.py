import sys
import textwrap

import pytest
from support import hygiene, wallclock
from support.snippet import run_snippet

from moodloop import event

BACKENDS = {
    "epoll": event.EVBACKEND_EPOLL,
    "poll": event.EVBACKEND_POLL,
    "select": event.EVBACKEND_SELECT,
}


@pytest.fixture(autouse=True)
def unraisable(monkeypatch, request):
    """What went to sys.unraisablehook, as (exception, object), for tests that ask for it."""
    found = []
    monkeypatch.setattr(sys, "unraisablehook", lambda u: found.append((u.exc_value, u.object)))
    hygiene.collect()
    before = hygiene.open_fds()
    yield found
    asked = "unraisable" in request.node.function.__code__.co_varnames
    assert asked or not found, f"unraisable: {found}"
    found.clear()
    hygiene.collect()
    left = hygiene.new_fds(before)
    assert not left, f"descriptors left open: {left}"


def make_loop(name):
    try:
        return event.Loop(BACKENDS[name] | event.EVFLAG_NOENV)
    except event.Error:
        pytest.skip(f"no {name} here")


@pytest.fixture(params=list(BACKENDS))
def any_loop(request):
    """A loop on each backend."""
    loop = make_loop(request.param)
    yield loop
    loop.close()


@pytest.fixture
def loop():
    loop = make_loop("epoll")
    yield loop
    loop.close()


@pytest.fixture
def guarded(loop):
    """Run `loop`, but not for ever."""

    def run(flags=0, seconds=20):
        late = []
        guard = loop.timer(seconds, 0, lambda w, r: (late.append(1), loop.stop(event.EVBREAK_ALL)))
        guard.ref = False
        guard.start()
        try:
            result = loop.start(flags)
        finally:
            if not loop.closed:
                guard.stop()
        assert not late, "the loop did not end"
        return result

    return run


@pytest.fixture
def jumping(isolated, tmp_path):
    """As `isolated`, in a process whose code can jump(seconds) on the wall clock."""
    if not wallclock.compiler():
        pytest.skip("no C compiler to build the clock with")
    env = wallclock.build(tmp_path)
    return lambda code: isolated(wallclock.PRELUDE + textwrap.dedent(code), env=env)


@pytest.fixture
def isolated():
    """Run code in a process of its own; it must end with status 0. Returns what it printed."""

    def run(code, timeout=30, **kwargs):
        prelude = (
            "from moodloop import event\nfrom moodloop.event import *\nimport gc, time\n"
            # ignored in what a shell runs in the background
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        )
        done = run_snippet("asyncio", prelude + textwrap.dedent(code), timeout=timeout, **kwargs)
        assert done.rc == 0, (done.rc, done.err)
        return done.out.strip()

    return run
