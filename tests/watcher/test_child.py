"""Child watchers live on the process's default loop: each test is a process of its own."""

import textwrap

import pytest
from support import wallclock

from moodloop import event

# spawn(code, ...): a child that ends with `code`; gone(pid): wait until it is a zombie.
PRELUDE = """
import subprocess
from subprocess import Popen

def spawn(code=0, wait=None):
    pid = os.fork()
    if pid == 0:
        if wait is not None: os.read(wait, 1)
        os._exit(code)
    return pid

def gone(*pids):
    for pid in pids: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

def code(w): return os.waitstatus_to_exitcode(w.rstatus)

loop = default_loop(EVBACKEND_{}|EVFLAG_NOENV)
guard = loop.timer(20, 0, fatal(lambda w, r: 1 / 0)); guard.ref = False; guard.start()
"""


@pytest.fixture(params=["EPOLL", "POLL", "SELECT"])
def on_default(isolated, request):
    def run(code, **kwargs):
        return isolated(PRELUDE.format(request.param) + textwrap.dedent(code), **kwargs)

    return run


@pytest.fixture
def on_epoll(isolated):
    def run(code, **kwargs):
        return isolated(PRELUDE.format("EPOLL") + textwrap.dedent(code), **kwargs)

    return run


def test_reports_how_a_child_ended(on_default):
    code = """
        seen = []
        def callback(w, r):
            seen.append((w.data, r, w.rpid, code(w))); w.stop()
        pid = spawn(5)
        for p in (0, 2, -1): loop.child(pid, False, callback, p, p).start()
        assert loop.start() is False
        assert seen == [(p, EV_CHILD, pid, 5) for p in (2, 0, -1)], seen
        seen.clear()
        started = [Popen(["sh", "-c", f"exit {n}"]) for n in range(20)]
        pids = [p.pid for p in started]
        for pid in pids: Child(loop, pid, False, callback, pid).start()
        loop.start()
        assert sorted((p, c) for p, r, _, c in seen) == list(zip(pids, range(20))), seen
        pid = spawn()
        w = loop.child(pid, False, callback); w.start(); os.kill(pid, 9); loop.start()
        for p in started: p.wait()
        print(len(seen))
        """
    assert on_default(code) == "21"


def test_child_that_has_ended_before(on_default):
    code = """
        seen = []
        def callback(w, r): seen.append((w.rpid, code(w))); w.stop()
        pid = spawn(7); gone(pid)
        w = loop.child(pid, False, callback); w.start(); loop.start(EVRUN_NOWAIT)
        assert seen == [(pid, 7)] and not w.active
        pids = {spawn(n): n for n in range(5)}; gone(*pids)
        w = loop.child(0, False, lambda w, r: seen.append((w.rpid, code(w)))); w.start()
        loop.start(EVRUN_NOWAIT)
        assert dict(seen[1:]) == pids and len(seen) == 6, seen
        w.stop()
        # looked for only when the loop runs: a stop() leaves the status to others
        pid = spawn(7); gone(pid)
        w = loop.child(pid, False, callback); w.start(); w.stop()
        assert os.waitpid(pid, 0)[1] == 7 << 8
        # while the loop sleeps, from another thread
        pid = spawn(8); gone(pid)
        w = loop.child(pid, False, lambda w, r: (callback(w, r), loop.stop()))
        loop.timer(3600, 0, print).start()
        threading.Timer(0.05, w.start).start()
        loop.start()
        print(seen[-1] == (pid, 8))
        """
    assert on_default(code) == "True"


def test_any_child(on_default):
    code = """
        seen, also = [], []
        read, write = os.pipe()
        pids = {spawn(n, read): n for n in range(30)}
        one = next(iter(pids))
        w = loop.child(0, False, lambda w, r: (seen.append((w.rpid, code(w))),
                                               len(seen) == 30 and loop.stop()))
        w.start()
        v = loop.child(0, False, lambda w, r: also.append((w.rpid, code(w)))); v.start()
        u = loop.child(one, False, lambda w, r: also.append("one")); u.start()
        os.write(write, b"x" * 30)
        loop.start()
        assert dict(seen) == pids and len(seen) == 30, seen
        loop.start(EVRUN_NOWAIT)
        assert also.count("one") == 1
        also.remove("one")
        assert dict(also) == pids and len(also) == 30, also
        for x in (u, v, w): x.stop()
        print(loop.start(EVRUN_NOWAIT))
        """
    assert on_default(code) == "False"


def test_no_event_is_lost_by_exceptions(on_default):
    code = """
        pids = {spawn(n): n for n in range(10)}; gone(*pids)
        seen = []
        @fatal
        def callback(w, r):
            seen.append((w.rpid, code(w)))
            raise ValueError
        other = loop.child(0, False, lambda w, r: None, priority=1); other.start()
        w = loop.child(0, False, callback); w.start()
        raised = 0
        while True:
            try: loop.start(EVRUN_NOWAIT)
            except ValueError: raised += 1
            else: break
        print(dict(seen) == pids, len(seen), raised)
        """
    assert on_default(code) == "True 10 10"


def test_trace(on_default):
    code = """
        seen = []
        def callback(w, r):
            seen.append((os.WIFSTOPPED(w.rstatus), os.WIFCONTINUED(w.rstatus)))
            if os.WIFSTOPPED(w.rstatus): os.kill(w.rpid, signal.SIGCONT)
            elif os.WIFCONTINUED(w.rstatus): os.kill(w.rpid, signal.SIGKILL)
            else: w.stop()
        read, write = os.pipe()
        pid = spawn(0, read)
        ends = []
        def end(w, r): ends.append(w.rstatus); w.stop()
        for p in (pid, 0): loop.child(p, False, end).start()
        loop.child(pid, True, callback).start()
        loop.timer(0, 0, lambda w, r: os.kill(pid, signal.SIGSTOP)).start()
        loop.start()
        assert seen == [(True, False), (False, True), (False, False)], seen
        assert ends == [9, 9]
        # not traced: the stop is left to whoever waits for it
        pid = spawn(0, read)
        w = loop.child(pid, False, end); w.start()
        os.kill(pid, signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
        os.kill(pid, signal.SIGKILL); loop.start()
        # stopped before the start
        seen.clear(); pid = spawn(0, read)
        os.kill(pid, signal.SIGSTOP); os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        loop.child(0, True, callback).start()
        loop.start()
        print(seen)
        """
    assert on_default(code) == "[(True, False), (False, True), (False, False)]"


def test_other_children_are_left_alone(on_default):
    code = """
        def status(): return Popen(["sh", "-c", "exit 5"]).wait()
        read, write = os.pipe()
        pid = spawn(3, read)
        first = loop.child(pid, False, lambda w, r: (w.stop(), loop.stop())); first.start()
        second = loop.child(pid, False, print)
        second.start()
        late = Popen(["sh", "-c", "exit 6"]); gone(late.pid)
        loop.start(EVRUN_NOWAIT)
        assert status() == 5 and late.wait() == 6
        second.stop()
        os.write(write, b"x"); loop.start()
        assert os.waitstatus_to_exitcode(first.rstatus) == 3 and first.rpid == pid
        assert status() == 5
        everything = loop.child(0, False, print)
        everything.start(); everything.stop(); loop.start(EVRUN_NOWAIT)
        late = Popen(["sh", "-c", "exit 6"]); gone(late.pid)
        loop.start(EVRUN_NOWAIT)
        print(late.wait(), status())
        """
    assert on_default(code) == "6 5"


def test_sigchld_is_given_back(on_epoll):
    code = """
        def ours():
            with open("/proc/self/status") as lines:
                caught, = [int(l[7:], 16) for l in lines if l.startswith("SigCgt")]
            return bool(caught >> (signal.SIGCHLD - 1) & 1)
        assert not ours()
        pid = spawn()
        a = loop.child(pid, False, print); b = loop.child(pid, False, print)
        assert not ours()
        a.start(); b.start(); assert ours()
        a.stop(); assert ours()
        t = threading.Thread(target=b.stop); t.start(); t.join()
        assert not ours() and signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
        hits = []
        signal.signal(signal.SIGCHLD, lambda *args: hits.append(args[0]))
        a.start(); os.kill(os.getpid(), signal.SIGCHLD); time.sleep(0); assert not hits
        a.stop(); os.kill(os.getpid(), signal.SIGCHLD); assert hits == [signal.SIGCHLD]
        a.start(); loop.close(); os.kill(os.getpid(), signal.SIGCHLD); assert len(hits) == 2
        assert not a.active
        for call in (a.start, a.stop, lambda: a.pid, lambda: a.rpid, lambda: a.set(1, 0)):
            try: call()
            except Error: pass
            else: raise SystemExit(call)
        print("ok")
        """
    assert on_epoll(code) == "ok"


def test_with_a_signalfd(isolated):
    code = PRELUDE.format("EPOLL|EVFLAG_SIGNALFD") + textwrap.dedent("""
        def mask(): return signal.pthread_sigmask(signal.SIG_BLOCK, [])
        before = mask()
        seen = []
        def callback(w, r): seen.append(code(w)); w.stop()
        read, write = os.pipe()
        for n in (3, 4):
            w = loop.child(spawn(n, read), False, callback); w.start()
            loop.timer(0.05, 0, lambda w, r: os.write(write, b"x")).start()
            loop.start()
            assert mask() == before
        print(seen, Popen(["sh", "-c", "exit 5"]).wait())
        """)
    assert isolated(code) == "[3, 4] 5"


def test_beside_signal_watchers(on_default):
    code = """
        seen = []
        s = loop.signal(signal.SIGCHLD, lambda w, r: seen.append("signal")); s.start()
        def callback(w, r): seen.append(code(w)); w.stop(); loop.stop()
        for n in range(3):
            loop.child(spawn(n), False, callback).start(); loop.start(); loop.start(EVRUN_NOWAIT)
        s.stop()
        assert seen.count("signal") >= 3 and [n for n in seen if n != "signal"] == [0, 1, 2]
        c = loop.child(0, False, print); c.start()
        other = Loop(); o = other.signal(signal.SIGCHLD, print)
        try: o.start()
        except Error: seen.append("refused")
        c.stop(); s.start(); s.stop()
        assert Popen(["false"]).wait() == 1
        print(seen[-1])
        """
    assert on_default(code) == "refused"


def test_fork_with_active_watchers(on_default):
    code = """
        seen = []
        def callback(w, r): seen.append((w.rpid, code(w))); w.stop()
        read, write = os.pipe()
        pid = spawn(4, read)
        w = loop.child(pid, False, callback); w.start(); loop.start(EVRUN_NOWAIT)
        fork = os.fork()
        if fork == 0:
            mine = spawn(5)
            loop.child(mine, False, lambda w, r: (callback(w, r), loop.stop())).start()
            loop.start()
            assert seen == [(mine, 5)] and w.active, seen
            assert Popen(["sh", "-c", "exit 5"]).wait() == 5
            w.stop(); os._exit(9)
        assert os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]) == 9
        os.write(write, b"x"); loop.start()
        print(seen == [(pid, 4)])
        """
    assert on_default(code) == "True"


def test_closed_default_loop_and_the_next(on_epoll):
    code = """
        seen = []
        pid = spawn(4); gone(pid)
        w = loop.child(pid, False, print); w.start(); w.feed(EV_CHILD)
        v = loop.child(0, False, print); v.start()
        loop.close()
        assert not w.active and not w.pending
        again = default_loop()
        def callback(w, r): seen.append((w.rpid, code(w))); w.stop()
        w.__init__(again, pid, False, callback); w.start(); again.start()
        assert seen == [(pid, 4)]
        with again: again.child(0, False, print).start()
        print(Popen(["sh", "-c", "exit 5"]).wait())
        """
    assert on_epoll(code) == "5"


def test_what_callbacks_may_do(on_default):
    code = """
        pids = [spawn(n) for n in range(10)]; gone(*pids)
        watchers = [loop.child(pid, False, print) for pid in pids]
        seen = []
        def callback(w, r):
            seen.append(w.rpid)
            for v in watchers: v.stop()
            watchers.clear(); gc.collect()
            loop.child(0, False, lambda w, r: (seen.append(w.rpid), w.feed(EV_CHILD))).start()
            loop.start(EVRUN_NOWAIT)
            raise SystemExit
        for w in watchers: w.callback = callback; w.start()
        del w
        try: loop.start()
        except SystemExit: seen.append("exit")
        loop.verify(); loop.close()
        print("exit" in seen)
        """
    assert on_default(code) == "True"


def test_events_by_hand(on_epoll):
    code = """
        seen = []
        w = loop.child(0, True, lambda w, r: seen.append((r, w.rpid, w.rstatus)), priority=-2)
        w.feed(EV_CUSTOM); w.start(); w.feed(EV_CHILD)
        w.rpid, w.rstatus = 5, 6
        pid = spawn(1); gone(pid)
        loop.start(EVRUN_NOWAIT)
        assert seen == [(EV_CUSTOM | EV_CHILD, 5, 6), (EV_CHILD, pid, 256)], seen
        w.invoke(EV_CHILD); w.stop(); w.feed(EV_CHILD); assert w.clear() == EV_CHILD
        w.set(pid=5, trace=False); assert w.pid == 5 and "pid=5 trace=False" in repr(w)
        assert w.priority == -2
        loop.verify(); print(len(seen))
        """
    assert on_epoll(code) == "3"


def test_arguments(on_epoll):
    code = """
        def bad(exc, *args, **kwargs):
            try: Child(*args, **kwargs)
            except exc: pass
            else: raise SystemExit((exc, args))
        cb = lambda w, r: None
        bad(Error, Loop(), 1, False, cb)
        for pid in (-1, -2**31, -10**30): bad(ValueError, loop, pid, False, cb)
        for pid in (2**31, 10**30): bad(OverflowError, loop, pid, False, cb)
        for args in ((loop, "x", False, cb), (loop, 1, False), (loop, 1, False, 5), (loop, 1, cb)):
            bad(TypeError, *args)
        bad(TypeError, loop, 1, False, None)
        class Closes:
            def __bool__(self): loop.close(); return True
        w = Child(5, True, loop, cb, "data", 1)
        assert (w.loop, w.pid, w.data, w.priority, w.rpid, w.rstatus) == (loop, 5, "data", 1, 0, 0)
        for make in (loop.child, loop.__child__): assert make(1, trace=0, callback=cb).pid == 1
        for name, value in (("rpid", 2**31), ("rstatus", -2**40)):
            try: setattr(w, name, value)
            except OverflowError: pass
            else: raise SystemExit(name)
        for name in ("pid", "rpid", "rstatus"):
            try: delattr(w, name)
            except AttributeError: pass
            else: raise SystemExit(name)
        w.start()
        for call in (lambda: w.set(1, False), lambda: w.__init__(loop, 1, False, cb)):
            try: call()
            except Error: pass
            else: raise SystemExit(call)
        w.stop(); bad(Error, loop, 1, Closes(), cb)
        class Lazy(Child):
            def __init__(self): pass
        for use in (Lazy().start, lambda: Lazy().pid, lambda: Lazy().set(1, 0)):
            try: use()
            except Error: pass
            else: raise SystemExit(use)
        print("ok")
        """
    assert on_epoll(code) == "ok"


def test_only_on_the_default_loop(loop):
    with pytest.raises(event.Error):
        loop.child(1, False, print)
    with pytest.raises(event.Error):
        event.Child(1, False, loop, print)


def test_references_and_exit(on_epoll):
    code = """
        import weakref
        def use():
            pid = spawn(); gone(pid)
            w = loop.child(pid, False, lambda w, r: w.stop()); w.start(); loop.start()
            v = loop.child(pid, False, lambda *a: v); v.start(); v.stop()
            return weakref.ref(w), weakref.ref(v)
        use(); gc.collect(); before = len(gc.get_objects())
        for _ in range(20): assert use()[0]() is None
        gc.collect(); assert len(gc.get_objects()) - before < 5
        loop.child(0, False, lambda *a: loop).start()
        print("ok")
        """
    assert on_epoll(code) == "ok"


COUNTS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/wait.h>

static int waits;

int waits_so_far(void)
{
    return waits;
}

pid_t waitpid(pid_t pid, int *status, int options)
{
    waits++;
    return ((pid_t (*)(pid_t, int *, int))dlsym(RTLD_NEXT, "waitpid"))(pid, status, options);
}

int waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    waits++;
    return ((int (*)(idtype_t, id_t, siginfo_t *, int))dlsym(RTLD_NEXT, "waitid"))(
        type, id, info, options);
}
"""


@pytest.mark.skipif(not wallclock.compiler(), reason="no C compiler to count calls with")
@pytest.mark.parametrize("kind", ["exact", "traced", "any"])
def test_calls_for_each_child_are_few(on_epoll, tmp_path, kind):
    """However many are watched: not one for each of them whenever one ends."""
    code = f"""
        import ctypes
        waits = ctypes.CDLL(None).waits_so_far
        seen = []
        def callback(w, r):
            seen.append(w.rpid)
            if w.pid: w.stop()
            if pids: end(pids.pop())
            elif {kind!r} == "any" or not loop.watchers(): loop.stop()
        ends = {{}}
        def end(pid): os.close(ends.pop(pid))
        pids = []
        for _ in range(100):
            r, w = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(w)
                for other in ends.values(): os.close(other)
                os.read(r, 1); os._exit(0)
            os.close(r)
            ends[pid] = w
            pids.append(pid)
        if {kind!r} == "any":
            watchers = [loop.child(0, False, callback)]
        else:
            watchers = [loop.child(pid, {kind!r} == "traced", callback) for pid in pids]
        for w in watchers: w.start()
        loop.start(EVRUN_NOWAIT)
        before, count = waits(), len(pids)
        end(pids.pop())
        loop.start()
        assert len(seen) == count, len(seen)
        assert waits() - before < 10 * count, waits() - before
        """
    library = wallclock.build(tmp_path, COUNTS)
    on_epoll(code, env=library)


def test_behind_a_child_that_somebody_else_reaps(on_default):
    """The kernel goes on naming the one that ended first."""
    code = """
        first = spawn(3); gone(first)
        seen = []
        pids = [spawn(n) for n in range(5)]
        for pid in pids:
            loop.child(pid, False, lambda w, r: (seen.append((w.rpid, code(w))), w.stop())).start()
        loop.start()
        assert sorted(seen) == sorted((pid, n) for n, pid in enumerate(pids)), seen
        assert os.waitpid(first, 0)[0] == first
        print("ok")
        """
    assert on_default(code) == "ok"
