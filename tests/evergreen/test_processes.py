"""The end of the interpreter, and forks."""

import pytest
from support import optional


@pytest.mark.parametrize("end", ["pass", "loop.run()", "loop.call_soon(sys.exit); loop.run()"])
def test_exit_with_a_live_loop(isolated, end):
    isolated(
        f"""
        reader, writer = os.pipe()
        loop = evergreen.current.loop
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.call_later(60, print)
        loop.add_reader(reader, print)
        loop.call_soon(loop.stop)
        {end}
        """,
        args=("-X", "dev"),
    )


def test_exit_inside_of_a_callback(isolated):
    isolated(
        """
        loop = evergreen.current.loop
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.call_soon(sys.exit, 3)
        loop.run_forever()
        """,
        rc=3,
        args=("-X", "dev"),
    )


def test_exit_with_a_loop_in_a_daemon_thread(isolated):
    isolated(
        """
        ready = threading.Event()
        def body():
            loop = evergreen.EventLoop()
            loop.add_signal_handler(signal.SIGUSR1, print)
            loop.call_soon(ready.set)
            loop.run_forever()
        threading.Thread(target=body, daemon=True).start()
        ready.wait()
        """,
        args=("-X", "dev"),
    )


def test_exit_with_a_suspended_loop(isolated):
    optional.need("greenlet")
    isolated(
        """
        import greenlet
        loop = evergreen.current.loop
        loop.add_signal_handler(signal.SIGUSR1, print)
        loop.call_soon(greenlet.getcurrent().switch)
        loop.switch()
        assert loop.running
        """,
        args=("-X", "dev"),
    )


def test_a_signal_while_nothing_handles_it_any_more(isolated):
    """The disposition that kills is back."""
    isolated(
        """
        loop = evergreen.current.loop
        loop.add_signal_handler(signal.SIGTERM, print).cancel()
        os.kill(os.getpid(), signal.SIGTERM)
        """,
        rc=-15,
    )


def test_fork(isolated):
    """The child has a copy of this thread's loop and handlers, and none of other threads'."""
    out = isolated("""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork() beside threads
        parent = os.getpid()
        ready = threading.Event()
        others = []
        def body():
            others.append(evergreen.EventLoop())
            for signum in (signal.SIGUSR1, signal.SIGUSR2):
                others[0].add_signal_handler(signum, os.write, 1, b"other\\n")
            others[0].call_soon(ready.set)
            others[0].run_forever()
            others[0].destroy()
        thread = threading.Thread(target=body)
        thread.start()
        ready.wait()
        loop = evergreen.current.loop
        def caught():
            os.write(1, b"main\\n")
            loop.stop()
        loop.add_signal_handler(signal.SIGUSR1, caught)
        def fork():
            pid = os.fork()
            if pid:
                status = os.waitpid(pid, 0)[1]
                os.write(1, b"%d\\n" % os.waitstatus_to_exitcode(status))
                others[0].call_from_thread(others[0].stop)
                loop.stop()
            else:
                os.kill(os.getpid(), signal.SIGUSR1)
        loop.call_soon(fork)
        loop.run_forever()
        loop.destroy()
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGUSR2)  # nobody is left to handle it
        thread.join()
    """)
    assert out == ["main", "-12"]


def test_a_child_that_gives_the_handlers_up_leaves_the_parents(isolated):
    out = isolated("""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        loop = evergreen.current.loop
        loop.add_signal_handler(signal.SIGUSR1, lambda: (print("parent"), loop.stop()))
        pid = os.fork()
        if not pid:
            loop.destroy()
            loop = evergreen.current.loop
            loop.call_later(0.001, os._exit, 7)
            loop.run()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        loop.run_forever()
    """)
    assert out == ["parent"]


def test_fork_in_another_thread(isolated):
    """That thread is the child's main thread; the loop of the former one is gone."""
    out = isolated("""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        loop = evergreen.current.loop
        loop.add_signal_handler(signal.SIGUSR1, print)
        def body():
            mine = evergreen.EventLoop()
            pid = os.fork()
            if pid:
                print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                mine.destroy()
            else:
                assert evergreen.current.loop is mine
                mine.destroy()
                assert evergreen.current.loop is not mine  # made: this is the main thread
                os.kill(os.getpid(), signal.SIGUSR1)  # nobody is left to handle it
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        loop.destroy()
    """)
    assert out == ["-10"]
