"""A signal with several owners, who leave in any order; in processes that it would end."""

import os
import subprocess
import sys

import pytest
from support.snippet import TESTS

PRELUDE = """
import asyncio, moodloop
from moodloop import watch
got = []
def send():
    os.kill(os.getpid(), signal.SIGUSR1)
def told(ev, loop=None):
    got.clear()
    send()
    if loop is not None:
        loop.run_until_complete(asyncio.sleep(0)); loop.run_until_complete(asyncio.sleep(0))
    for _ in range(2):
        ev.start(EVRUN_NOWAIT)
    return sorted(got)
def note(ev, name="watcher", signum=signal.SIGUSR1):
    watcher = ev.signal(signum, lambda w, revents: got.append(name)); watcher.start()
    return watcher
"""


@pytest.fixture
def owners(isolated):
    return lambda code: isolated(PRELUDE + "".join(f"{x}\n" for x in code.strip().splitlines()))


@pytest.mark.parametrize("first", range(0, 120, 40))
def test_any_order(first):
    """See support/signalwalk.py for who is to be told when."""
    done = subprocess.run(
        [sys.executable, "-m", "support.signalwalk", str(first), str(first + 40), "50"],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)


def test_a_handler_that_is_refused(owners):
    """Beside a watcher of another loop: that one keeps the signal."""
    owners("""
ev = Loop(); w = note(ev); loop = moodloop.EventLoop(); before = signal.getsignal(signal.SIGUSR1)
for _ in range(2):
    try: loop.add_signal_handler(signal.SIGUSR1, print); assert False
    except RuntimeError as exc: assert "another loop" in str(exc)
    assert signal.getsignal(signal.SIGUSR1) is before
    assert told(ev, loop) == ["watcher"]
loop.close()
assert told(ev) == ["watcher"]
w.stop()
loop = moodloop.EventLoop()
loop.add_signal_handler(signal.SIGUSR1, got.append, "handler")
for other in (Loop(), moodloop.EventLoop().ev):
    try: note(other); assert False
    except event.Error: pass
assert told(ev, loop) == ["handler"]
loop.close()
""")


@pytest.mark.parametrize("how", ["remove", "close", "collect", "collect in a thread"])
@pytest.mark.parametrize("before", ["signal.SIG_DFL", "signal.SIG_IGN", "mine"])
def test_the_watchers_stay(owners, how, before):
    """The handler goes: the watcher is told, and its end puts back what was there before both."""
    owners(f"""
mine = lambda signum, frame: got.append("mine")
signal.signal(signal.SIGUSR1, {before})
ev = Loop(); loop = moodloop.EventLoop(ev=ev); w = note(ev)
loop.add_signal_handler(signal.SIGUSR1, got.append, "handler")
assert told(ev, loop) == ["handler", "watcher"]
if {how!r} == "remove":
    loop.remove_signal_handler(signal.SIGUSR1)
elif {how!r} == "close":
    loop.close()
else:
    import warnings; warnings.simplefilter("ignore")
    del loop
    if "thread" in {how!r}:
        thread = threading.Thread(target=gc.collect); thread.start(); thread.join()
    else:
        gc.collect()
if "thread" not in {how!r}:
    assert signal.getsignal(signal.SIGUSR1) == {before}
assert told(ev) == ["watcher"]
w.stop()
if "thread" in {how!r}:
    pass # Python's own table can be set in the main thread only
elif {before!r} == "mine":
    assert told(ev) == ["mine"]
elif {before!r} == "signal.SIG_IGN":
    assert told(ev) == []
else:
    pid = os.fork()
    if pid == 0:
        send(); os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGUSR1
""")


def test_a_handler_of_c_comes_back(owners):
    """Of which signal.getsignal() knows nothing."""
    out = owners("""
import faulthandler, tempfile
with tempfile.TemporaryFile() as file:
    faulthandler.register(signal.SIGUSR1, file=file)
    ev = Loop(); loop = moodloop.EventLoop(ev=ev); w = note(ev)
    loop.add_signal_handler(signal.SIGUSR1, got.append, "handler")
    assert told(ev, loop) == ["handler", "watcher"]
    loop.close()
    assert told(ev) == ["watcher"]
    assert file.tell() == 0 == os.fstat(file.fileno()).st_size
    w.stop()
    assert told(ev) == []
    print(os.fstat(file.fileno()).st_size > 0)
""")
    assert out == "True"


def test_what_the_program_sets_meanwhile_stays(owners):
    owners("""
mine = lambda signum, frame: got.append("mine")
for last in ("watcher", "handler"):
    ev = Loop(); loop = moodloop.EventLoop(ev=ev); w = note(ev)
    loop.add_signal_handler(signal.SIGUSR1, got.append, "handler")
    signal.signal(signal.SIGUSR1, mine)
    if last == "watcher":
        loop.remove_signal_handler(signal.SIGUSR1)
        assert told(ev) == ["mine"]  # watchers alone are not told
        w.stop()
        assert told(ev) == ["mine"]
    else:
        w.stop()
        assert told(ev) == ["mine"]
        loop.remove_signal_handler(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL # as asyncio
    loop.close()
# who asks after it gets the signal, and gives it back
signal.signal(signal.SIGUSR1, signal.SIG_DFL)
w = note(ev)
signal.signal(signal.SIGUSR1, mine)
again = note(ev, "again")
assert told(ev) == ["again", "watcher"]
w.stop(); again.stop()
assert told(ev) == ["mine"]
""")


def test_watch_signals_that_fails(owners):
    """One of several signals cannot be had: the others are as they were."""
    owners("""
signal.signal(signal.SIGUSR1, lambda signum, frame: got.append("mine"))
other = Loop(); theirs = note(other, "theirs", signal.SIGUSR2)
async def main():
    kept = []
    for bad in (signal.SIGKILL, signal.SIGUSR2):
        try:
            watch.signals(signal.SIGUSR1, bad)
        except Exception as exc:
            kept.append(exc)
    send()
    assert len(kept) == 2 and got == ["mine"], (kept, got)
moodloop.run(main())
""")


def test_sigchld_of_the_default_loop(owners):
    owners("""
ev = event.default_loop(); ended = []
loop = moodloop.EventLoop(ev=ev)
loop.add_signal_handler(signal.SIGCHLD, got.append, "handler")
child = ev.child(0, False, lambda w, revents: ended.append(w.rpid)); child.start()
other = moodloop.EventLoop()
try: other.add_signal_handler(signal.SIGCHLD, print); assert False
except RuntimeError as exc: assert "default loop" in str(exc)
def spawn():
    pid = os.spawnv(os.P_NOWAIT, "/bin/true", ["true"])
    while pid not in ended:
        if not loop.is_closed():
            loop.run_until_complete(asyncio.sleep(0.001))
        else:
            ev.start(EVRUN_ONCE)
spawn()
assert got
loop.close()
spawn()
child.stop()
assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
pid = os.spawnv(os.P_NOWAIT, "/bin/true", ["true"])
assert os.waitpid(pid, 0) == (pid, 0)
""")
