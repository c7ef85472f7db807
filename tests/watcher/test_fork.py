import contextlib
import os
import socket
import textwrap

import pytest

from moodloop import event

from .test_processes import BACKENDS, MAKE


@pytest.mark.parametrize("backend", BACKENDS)
def test_called_in_the_child_before_prepare(isolated, backend):
    code = """
        loop = make()
        seen = []
        keep = []
        def note(name):
            w = getattr(loop, name)(lambda w, r: seen.append((name, r)))
            w.start(); keep.append(w)
        for name in ("prepare", "fork", "check"): note(name)
        loop.start(EVRUN_NOWAIT)
        assert [n for n, r in seen] == ["prepare", "check"]
        seen.clear()
        def child():
            loop.start(EVRUN_NOWAIT)
            first = list(seen); seen.clear()
            loop.start(EVRUN_NOWAIT)
            ok = first == [("fork", EV_FORK), ("prepare", EV_PREPARE), ("check", EV_CHECK)]
            ok = ok and [n for n, r in seen] == ["prepare", "check"]
            os._exit(0 if ok else 1)
        def fork():
            pid = os.fork()
            if pid == 0: child()
            assert os.waitpid(pid, 0)[1] == 0
        fork()
        loop.start(EVRUN_NOWAIT)
        assert [n for n, r in seen] == ["prepare", "check"]     # the parent is not told
        seen.clear()
        pid = os.fork()
        if pid == 0:
            fork()                                               # nor lost in a grandchild
            child()
        assert os.waitpid(pid, 0)[1] == 0
        print("ok")
        """
    assert isolated(MAKE.format(backend) + textwrap.dedent(code)) in ("ok", "")


def test_fork_inside_a_run(isolated):
    code = """
        loop = Loop()
        seen = []
        loop.fork(lambda w, r: seen.append(os.getpid()), priority=-1).start()
        loop.fork(lambda w, r: seen.append("first"), priority=2).start()
        def callback(w, r):
            pid = os.fork()
            if pid:
                assert os.waitpid(pid, 0)[1] == 0
                loop.stop()
            else:
                def end(w, r): os._exit(seen != ["first", os.getpid()])
                loop.timer(0, 0, end).start()
        loop.debug = True
        loop.timer(0, 0, callback).start(); loop.start()
        assert seen == []
        print("ok")
        """
    assert isolated(code) == "ok"


@pytest.mark.parametrize("how", ["prepare", "fed", "nested"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_fork_just_before_the_poll(isolated, backend, how):
    """libev looks at forks before Prepare watchers, and then makes the epoll set anew in any case:
    here a descriptor that was closed is among it, and its Fork watchers are to be told."""
    code = f"""
        loop = make()
        seen = []
        loop.fork(lambda w, r: seen.append(r)).start()
        read, write = os.pipe()
        keep = os.dup(read)  # so that epoll does not tell
        io = loop.io(read, EV_READ, print); io.start()
        loop.start(EVRUN_NOWAIT)
        os.close(read)
        pids = []
        def fork(watcher, revents):
            watcher.stop()
            pids.append(os.fork())
        def prepared(watcher, revents):
            watcher.stop()
            timer = loop.timer(0, 0, fork)
            if {how!r} == "prepare":
                fork(watcher, revents)
            elif {how!r} == "fed":
                timer.feed(EV_TIMER)
            else:
                timer.start()
                loop.update()
                run()
        def run():
            try:
                loop.start(EVRUN_NOWAIT)
            except OSError:
                pass
        loop.prepare(prepared).start()
        while not pids:  # poll finds the closed descriptor before it comes to that
            run()
        if pids[0] == 0:
            run(); run(); run()
            loop.verify()
            os._exit(seen != [EV_FORK])
        assert os.waitpid(pids[0], 0)[1] == 0
        assert seen == []
        print("ok")
        """
    assert isolated(MAKE.format(backend) + textwrap.dedent(code)) == "ok"


@pytest.mark.parametrize("hook", [False, True])
def test_a_new_epoll_set_is_no_fork(loop, hook):
    """libev makes its set anew when it is told of a descriptor that it cannot take out of it, as
    its number was closed but not its file."""
    seen = []
    loop.fork(lambda w, r: seen.append(r)).start()
    read, write = socket.socketpair()
    with contextlib.closing(read.dup()) as keep, write:
        watcher = loop.io(read, event.EV_READ, lambda w, r: None)
        watcher.start()
        loop.start(event.EVRUN_NOWAIT)
        watcher.stop()
        read.close()
        write.send(b"x")
        assert keep.fileno() >= 0
        if hook:
            loop.callback = lambda loop: seen.append("hook")
        for _ in range(5):
            loop.start(event.EVRUN_NOWAIT)
    assert seen == []


def test_after_reset(loop):
    seen = []
    watcher = loop.fork(lambda w, r: seen.append(r))
    watcher.start()
    loop.start(event.EVRUN_NOWAIT)
    loop.reset()
    loop.start(event.EVRUN_NOWAIT)
    loop.start(event.EVRUN_NOWAIT)
    assert seen == [event.EV_FORK] and watcher.active
    loop.reset()
    watcher.stop()
    loop.start(event.EVRUN_NOWAIT)
    assert len(seen) == 1


def test_what_the_callback_may_do(any_loop, unraisable):
    loop = any_loop
    seen = []
    read, write = os.pipe()
    os.write(write, b"x")

    def callback(watcher, revents):
        seen.append("fork")
        watcher.stop()
        with pytest.raises(event.Error):
            loop.close()
        loop.io(read, event.EV_READ, lambda w, r: (seen.append("io"), w.stop())).start()
        loop.reset()
        raise ValueError

    loop.fork(callback).start()
    loop.reset()
    assert loop.start() is False
    assert seen == ["fork", "io"]
    assert [type(e) for e, _ in unraisable] == [ValueError]
    for fd in (read, write):
        os.close(fd)


def test_fatal_exception(loop):
    loop.fork(event.fatal(lambda w, r: 1 / 0)).start()
    later = loop.fork(lambda w, r: w.stop())
    later.start()
    loop.reset()
    with pytest.raises(ZeroDivisionError):
        loop.start(event.EVRUN_NOWAIT)
    for watcher in loop.watchers():
        if watcher is not later:
            watcher.stop()
    loop.start()
    assert not later.active


@pytest.mark.parametrize("how", ["invoke", "reschedule", "prepare"])
def test_fork_beside_a_callback_in_another_thread(isolated, how):
    """The child does not have that thread: its loop can be reset, closed and run."""
    code = f"""
        loop = Loop()
        inside, end = threading.Event(), threading.Event()
        def callback(*args):
            inside.set()
            end.wait()
            return time.time() + 3600
        def run():
            if {how!r} == "invoke":
                loop.timer(0, 0, callback).invoke(0)
            elif {how!r} == "reschedule":
                loop.scheduler(callback, lambda *args: None).start()
            else:
                watcher = loop.prepare(callback)
                watcher.start()
                loop.start(EVRUN_NOWAIT)
        thread = threading.Thread(target=run)
        thread.start()
        inside.wait()
        def forked_here(*args):
            pid = os.fork()
            if pid == 0:
                try: loop.close()
                except Error: pass
                else: os._exit(2)                 # from inside of its callback
            else:
                assert os.waitpid(pid, 0)[1] == 0
            return pid
        if {how!r} == "invoke":
            pids = []
            loop.timer(0, 0, lambda *args: pids.append(forked_here())).invoke(0)
            if pids == [0]:
                loop.close()
                os._exit(0)
        pid = os.fork()
        if pid == 0:
            assert loop.depth == 0
            end.set()
            loop.reset()
            for watcher in loop.watchers(): watcher.stop()
            loop.start()
            loop.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        end.set()
        thread.join()
        loop.close()
    """
    isolated(code, args=("-W", "ignore"))


def test_once_waits_in_a_child(isolated):
    """The first poll after a fork does not wait, but a run for one event does."""
    code = """
    loop = event.Loop()
    loop.fork(lambda watcher, revents: None).start()
    ran = []
    pid = os.fork()
    if pid == 0:
        loop.timer(0.01, 0.0, lambda watcher, revents: ran.append(1)).start()
        loop.start(event.EVRUN_ONCE)
        os._exit(0 if ran else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    assert isolated(code) == "0"
