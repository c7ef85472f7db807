"""Signals, threads, forks and what kills the process in libev: each in a process of its own."""

import textwrap

import pytest

BACKENDS = ["EPOLL", "POLL", "SELECT"]
MAKE = """def make():
    try:
        return Loop(EVBACKEND_{}|EVFLAG_NOENV)
    except Error:
        os._exit(0)
"""


@pytest.mark.parametrize("where", ["process", "thread"])
def test_ctrl_c_in_an_idle_loop(isolated, where):
    code = f"""
        def kill():
            time.sleep(0.1)
            if {where!r} == "process":
                os.kill(os.getpid(), signal.SIGINT)
            else:
                signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        loop = Loop()
        loop.timer(3600, 0, print).start()
        threading.Thread(target=kill).start()
        try:
            loop.start()
        except KeyboardInterrupt:
            print("interrupted")
        class Odd(Exception): pass
        def handler(*args): raise Odd
        signal.signal(signal.SIGUSR1, handler)
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        try:
            loop.start()
        except Odd:
            print("handled")
        assert signal.set_wakeup_fd(-1) == -1
        """
    assert isolated(code).split() == ["interrupted", "handled"]


@pytest.mark.parametrize("flag", ["0", "EVFLAG_SIGNALFD"])
def test_signal_disposition_is_restored(isolated, flag):
    # with a signalfd the mask of the thread that stops is put right, and that is this one
    last = "two.stop()"
    if flag != "EVFLAG_SIGNALFD":
        last = "t = threading.Thread(target=two.stop); t.start(); t.join()"
    code = f"""
        loop = Loop(EVBACKEND_EPOLL|EVFLAG_NOENV|{flag})
        seen = []
        one = loop.signal(signal.SIGINT, lambda w, r: (seen.append(r), loop.stop()))
        two = loop.signal(signal.SIGINT, lambda w, r: None)
        one.start(); two.start()
        os.kill(os.getpid(), signal.SIGINT)
        loop.start()
        assert seen == [EV_SIGNAL]
        loop.feed_signal_event(signal.SIGINT); loop.start(EVRUN_NOWAIT)
        feed_signal(signal.SIGINT); loop.start(EVRUN_NOWAIT); loop.start(EVRUN_NOWAIT)
        assert len(seen) == 3
        one.stop()
        {last}
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        try:
            os.kill(os.getpid(), signal.SIGINT); time.sleep(1)
        except KeyboardInterrupt:
            print("interrupted")
        """
    assert isolated(code) == "interrupted"


def test_threads(isolated):
    code = """
        loop = Loop()
        hits = []
        done = threading.Event()
        a = loop.async_(lambda w, r: (hits.append(threading.get_ident()), done.set()))
        a.start()
        t = threading.Thread(target=loop.start); t.start()
        while loop.depth == 0: time.sleep(0.001)
        for call in (loop.start, loop.invoke, loop.close):
            try: call(); raise SystemExit(call)
            except Error: pass
        a.send(); assert done.wait(10)
        fired = threading.Event()
        loop.timer(0, 0, lambda w, r: fired.set()).start()
        assert fired.wait(10)
        loop.stop(); t.join(10); assert not t.is_alive()
        t = threading.Thread(target=loop.start); t.start()
        while loop.depth == 0: time.sleep(0.001)
        a.stop()                      # the last one: the run ends
        t.join(10); assert not t.is_alive()
        assert hits == [t.ident] or len(hits) == 1
        print("ok")
        """
    assert isolated(code) == "ok"


@pytest.mark.parametrize("backend", BACKENDS)
def test_fork(isolated, backend):
    code = """
        loop = make()
        r, w = os.pipe()
        seen = []
        io = loop.io(r, EV_READ, lambda x, e: (seen.append(os.read(r, 1)), loop.stop()))
        io.start(); loop.start(EVRUN_NOWAIT)
        pid = os.fork()
        if pid == 0:
            io.stop()
            t = loop.timer(0.001, 0, lambda x, e: None); t.start(); loop.start()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        os.write(w, b"x"); loop.start(); assert seen == [b"x"]
        pid = os.fork()
        if pid == 0:
            os.write(w, b"y"); loop.start(); os._exit(seen == [b"x", b"y"])
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
        print("ok")
        """
    assert isolated(MAKE.format(backend) + textwrap.dedent(code)) in ("ok", "")


def test_fork_beside_a_running_thread_and_inside_a_run(isolated):
    code = """
        loop = Loop(); loop.timer(3600, 0, print).start()
        t = threading.Thread(target=loop.start, daemon=True); t.start()
        while loop.depth == 0: time.sleep(0.001)
        pid = os.fork()
        if pid == 0:
            loop.timer(0, 0, lambda w, r: os._exit(5)).start(); loop.start(); os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
        loop.stop(); t.join(10)
        def callback(w, r):
            pid = os.fork()
            if pid == 0:
                signal.signal(signal.SIGUSR1, lambda *a: os._exit(6))
                os.kill(os.getpid(), signal.SIGUSR1); loop.start(); os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 6
            loop.stop()
        loop.debug = True
        loop.timer(0, 0, callback).start(); loop.start()
        print("ok")
        """
    assert isolated(code) == "ok"


@pytest.mark.parametrize("backend", BACKENDS)
def test_closed_backend(isolated, backend):
    code = """
        loop = make()
        r, w = os.pipe()
        loop.io(r, EV_READ, print).start()
        loop.timer(0.05, 0, lambda *a: None).start()
        loop.start(EVRUN_NOWAIT)
        os.closerange(3, 100)
        for _ in range(4):
            try:
                loop.start(EVRUN_NOWAIT)
            except (OSError, Error):
                print("error")
        loop.close()
        print("ok")
        """
    assert isolated(MAKE.format(backend) + textwrap.dedent(code))[-2:] in ("ok", "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_descriptor_replaced_behind_the_loop(isolated, backend):
    code = """
        loop = make()
        for order in range(20):
            r, w = os.pipe(); r2, w2 = os.pipe()
            io = loop.io(r, EV_READ, lambda x, e: None); io.start(); loop.start(EVRUN_NOWAIT)
            if order % 2: keep = os.dup(r); os.write(w, b"x")
            os.dup2(r2, r) if order % 4 < 2 else os.close(r)
            os.write(w2, b"x")
            for _ in range(3):
                try: loop.start(EVRUN_NOWAIT)
                except (OSError, Error): pass
            try: io.modify(EV_READ | EV_WRITE); loop.start(EVRUN_NOWAIT)
            except (OSError, Error): pass
            if order % 3: io.stop()
        loop.close(); print("ok")
        """
    assert isolated(MAKE.format(backend) + textwrap.dedent(code)) in ("ok", "")


@pytest.mark.parametrize(
    "code",
    [
        "loop = Loop(); loop.timer(3600, 0, print).start(); loop.idle().start()",
        "loop = default_loop(); loop.timer(3600, 0, print).start()",
        "loop = Loop(); loop.idle().start()\n"
        "threading.Thread(target=loop.start, daemon=True).start(); time.sleep(0.05)",
        "loop = Loop(); loop.timer(3600, 0, print).start()\n"
        "threading.Thread(target=loop.start, daemon=True).start(); time.sleep(0.05)",
        "loop = Loop(); sys.modules['x'] = loop\nloop.signal(10, print).start(); loop.data = loop",
    ],
)
def test_interpreter_exit(isolated, code):
    isolated(code)


def test_loop_of_an_unprivileged_environment(isolated):
    code = (
        "print(Loop(EVBACKEND_EPOLL).backend_name, Loop(EVBACKEND_EPOLL|EVFLAG_NOENV).backend_name)"
    )
    assert isolated(code, env={"LIBEV_FLAGS": "1"}) == "select epoll"


def test_no_descriptors_left(isolated):
    code = """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        loop, files = Loop(), []
        try:
            while True: files.append(os.dup(0))
        except OSError: pass
        for call in (Loop, default_loop, loop.start):
            try: call()
            except OSError: print("refused")
        """
    assert isolated(code).split() == ["refused"] * 3


def test_loops_in_other_threads_need_no_descriptors(isolated):
    """Only the main thread gets signals, so only there a loop has the pair that ends its poll."""
    code = """
        loop = Loop(EVBACKEND_EPOLL|EVFLAG_NOENV)
        loop.timer(0, 0, lambda w, r: counts.append(len(os.listdir("/proc/self/fd")))).start()
        counts = [len(os.listdir("/proc/self/fd"))]
        t = threading.Thread(target=loop.start); t.start(); t.join()
        print(counts[1] - counts[0])
        """
    assert isolated(code) == "0"


EPOLLS = """
        def epolls():
            names = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
            names = [n for n in names if os.path.exists(n)]
            return {int(n[14:]) for n in names if "eventpoll" in os.readlink(n)}
"""


def test_own_descriptor_closed(isolated):
    code = f"""
{EPOLLS}
        for first in (False, True):
            before = epolls()
            loop = Loop(EVBACKEND_EPOLL|EVFLAG_NOENV)
            polls = list(epolls() - before)
            r, w = os.pipe()
            io = loop.io(r, EV_READ, print); io.start()
            if first: loop.start(EVRUN_NOWAIT)
            os.close(polls[0])
            try: loop.start(EVRUN_NOWAIT)
            except OSError as exc: print(exc.errno == 9)
            io.stop(); os.close(r); os.close(w)
        """
    assert set(isolated(code).split()) == {"True"}


@pytest.mark.parametrize("backend", ["SELECT", "POLL", "EPOLL"])
def test_wake_up_closed_before_the_first_run(isolated, backend):
    code = f"""
        loop = Loop(EVBACKEND_{backend}|EVFLAG_NOENV)
        fds = [int(n) for n in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + n)]
        os.close(next(fd for fd in fds if "eventfd" in os.readlink(f"/proc/self/fd/{{fd}}")))
        try: loop.start(EVRUN_NOWAIT)
        except OSError as exc: print(exc.errno == 9)
        """
    assert isolated(code) == "True"


@pytest.mark.parametrize("backend", ["SELECT", "POLL", "EPOLL"])
@pytest.mark.parametrize("inside", [False, True])
def test_all_descriptors_closed(isolated, backend, inside):
    """As a program does that makes itself a daemon: also the loop's wake-up is gone then."""
    code = f"""
        loop = Loop(EVBACKEND_{backend}|EVFLAG_NOENV)
        timer = loop.timer(0.001, 0.001, lambda w, r: {inside} and os.closerange(3, 64))
        timer.start()
        loop.start(EVRUN_NOWAIT)
        if not {inside}: os.closerange(3, 64)
        try: loop.start()
        except OSError as exc: print(exc.errno == 9)
        loop.close()
        """
    assert isolated(code) == "True"


def test_copy_of_the_own_descriptor(isolated):
    code = f"""
{EPOLLS}
        loop = Loop(EVBACKEND_EPOLL|EVFLAG_NOENV)
        polls = list(epolls())
        io = loop.io(os.dup(polls[0]), EV_READ, print); io.start()
        try: loop.start(EVRUN_NOWAIT)
        except OSError as exc: print("refused", exc.errno == 22)
        """
    assert isolated(code) == "refused True"


def test_default_loop_leaves_children_alone(isolated):
    code = """
        import subprocess
        loop = default_loop()
        one = loop.signal(signal.SIGCHLD, lambda w, r: loop.stop()); one.start()
        child = subprocess.Popen(["sh", "-c", "exit 5"])
        loop.start()
        print(child.wait())
        """
    assert isolated(code) == "5"


def test_handler_set_meanwhile_is_kept(isolated):
    code = """
        loop = Loop()
        one = loop.signal(signal.SIGUSR1, print); one.start()
        signal.signal(signal.SIGUSR1, lambda *args: print("kept"))
        one.stop()
        os.kill(os.getpid(), signal.SIGUSR1)
        """
    assert isolated(code) == "kept"
