"""Signal handlers of the loop, Python's own, and Ctrl-C."""

import asyncio
import os
import signal
import socket
import subprocess
import threading

import pytest
from support.loops import run_guarded, run_turns
from support.signals import kill, when_asleep


@pytest.fixture
def usr1():
    """SIGUSR1 as it was, whatever the test makes of it."""
    before = signal.getsignal(signal.SIGUSR1)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


class TestHandlers:
    def test_called_with_arguments(self, loop, usr1):
        got = []

        def on_signal(*args):
            got.append(args)
            loop.stop()

        loop.add_signal_handler(usr1, on_signal, 1, 2)
        loop.call_soon(kill, usr1)
        run_guarded(loop)
        assert got == [(1, 2)]
        assert loop.remove_signal_handler(usr1) is True

    def test_sent_before_the_run(self, loop, usr1):
        loop.add_signal_handler(usr1, loop.stop)
        kill(usr1)
        run_guarded(loop)
        loop.remove_signal_handler(usr1)

    def test_from_another_thread(self, loop, usr1):
        loop.add_signal_handler(usr1, loop.stop)
        thread = threading.Thread(target=kill, args=(usr1,))
        loop.call_soon(thread.start)
        run_guarded(loop)
        thread.join()
        loop.remove_signal_handler(usr1)

    def test_replaced(self, loop, usr1):
        loop.add_signal_handler(usr1, lambda: 1 / 0)
        loop.add_signal_handler(usr1, loop.stop)
        loop.call_soon(kill, usr1)
        run_guarded(loop)
        assert loop.remove_signal_handler(usr1) is True
        assert loop.remove_signal_handler(usr1) is False

    def test_remove_of_nothing(self, loop, usr1):
        assert loop.remove_signal_handler(usr1) is False

    def test_removed_in_itself(self, loop, usr1):
        ran = []

        def on_signal():
            ran.append(loop.remove_signal_handler(usr1))
            loop.stop()

        loop.add_signal_handler(usr1, on_signal)
        loop.call_soon(kill, usr1)
        run_guarded(loop)
        assert ran == [True]

    def test_several_signals(self, loop):
        got = []
        kinds = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM)

        def on_signal(signum):
            got.append(signum)
            if len(got) == len(kinds):
                loop.stop()

        for s in kinds:
            loop.add_signal_handler(s, on_signal, s)
        for s in kinds:
            loop.call_soon(kill, s)
        run_guarded(loop)
        for s in kinds:
            assert loop.remove_signal_handler(s) is True
        assert sorted(got) == sorted(kinds)

    @pytest.mark.moodloop_only  # asyncio: each time, and in their order
    def test_that_wait_are_told_once_each(self, loop):
        got = []
        kinds = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
        for s in kinds:
            loop.add_signal_handler(s, got.append, s)
        for s in kinds * 2:
            kill(s)
        run_turns(loop, 3)
        for s in kinds:
            loop.remove_signal_handler(s)
        assert got == sorted(kinds, reverse=True)

    def test_again_and_again(self, loop, usr1):
        got = []

        def on_signal():
            got.append(1)
            if len(got) == 20:
                loop.stop()
            else:
                loop.call_soon(kill, usr1)

        loop.add_signal_handler(usr1, on_signal)
        loop.call_soon(kill, usr1)
        run_guarded(loop)
        loop.remove_signal_handler(usr1)
        assert len(got) == 20

    def test_sigint(self, loop):
        before = signal.getsignal(signal.SIGINT)
        loop.add_signal_handler(signal.SIGINT, loop.stop)
        loop.call_soon(kill, signal.SIGINT)
        run_guarded(loop)
        assert loop.remove_signal_handler(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, before)

    def test_runs_as_a_callback(self, loop, usr1):
        seen = []

        def on_signal():
            seen.append(asyncio.get_running_loop())
            loop.stop()

        loop.add_signal_handler(usr1, on_signal)
        loop.call_soon(kill, usr1)
        run_guarded(loop)
        loop.remove_signal_handler(usr1)
        assert seen == [loop]

    def test_exception_is_reported(self, loop, usr1, reports):
        def on_signal():
            loop.call_soon(loop.stop)
            raise ZeroDivisionError

        loop.add_signal_handler(usr1, on_signal)
        loop.call_soon(kill, usr1)
        run_guarded(loop)
        loop.remove_signal_handler(usr1)
        assert [type(c["exception"]) for c in reports] == [ZeroDivisionError]


class TestBadInput:
    @pytest.mark.parametrize("signum", [0, -1, 65, 999, 2**40])
    def test_out_of_range(self, loop, signum):
        with pytest.raises(ValueError):
            loop.add_signal_handler(signum, print)
        with pytest.raises(ValueError):
            loop.remove_signal_handler(signum)

    @pytest.mark.parametrize("signum", ["x", None, 1.5, b"1"])
    def test_not_a_number(self, loop, signum):
        with pytest.raises(TypeError):
            loop.add_signal_handler(signum, print)
        with pytest.raises(TypeError):
            loop.remove_signal_handler(signum)

    @pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
    def test_cannot_be_caught(self, loop, signum):
        with pytest.raises(RuntimeError, match=f"sig {int(signum)} cannot be caught"):
            loop.add_signal_handler(signum, print)

    def test_kill_can_be_asked_to_be_removed(self, loop):
        assert loop.remove_signal_handler(signal.SIGKILL) is False

    def test_coroutine_function(self, loop, usr1):
        async def handler():
            pass

        with pytest.raises(TypeError, match="coroutines cannot be used with add_signal_handler"):
            loop.add_signal_handler(usr1, handler)

    def test_coroutine(self, loop, usr1):
        async def handler():
            pass

        coro = handler()
        with pytest.raises(TypeError):
            loop.add_signal_handler(usr1, coro)
        coro.close()

    def test_no_arguments(self, loop, usr1):
        with pytest.raises(TypeError):
            loop.add_signal_handler()
        with pytest.raises(TypeError):
            loop.add_signal_handler(usr1)
        with pytest.raises(TypeError):
            loop.remove_signal_handler()

    def test_closed_loop(self, loop, usr1):
        loop.close()
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            loop.add_signal_handler(usr1, print)

    def test_off_the_main_thread(self, loop, usr1):
        raised = []

        def call():
            try:
                loop.add_signal_handler(usr1, print)
            except RuntimeError as exc:
                raised.append(exc)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert len(raised) == 1
        assert signal.getsignal(usr1) is signal.SIG_DFL


class TestRestore:
    def test_default_action(self, loop, usr1):
        loop.add_signal_handler(usr1, print)
        assert signal.getsignal(usr1) is not signal.SIG_DFL
        loop.remove_signal_handler(usr1)
        assert signal.getsignal(usr1) is signal.SIG_DFL

    def test_default_action_is_real(self, snippet):
        done = snippet(
            """
            loop = new_loop()
            loop.add_signal_handler(signal.SIGUSR1, print)
            run_turns(loop)
            loop.remove_signal_handler(signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGUSR1)
            """
        )
        assert done.rc == -signal.SIGUSR1, done.err

    def test_close_restores(self, new_loop, usr1):
        loop = new_loop()
        loop.add_signal_handler(usr1, print)
        loop.close()
        assert signal.getsignal(usr1) is signal.SIG_DFL

    def test_close_restores_sigint(self, new_loop):
        loop = new_loop()
        loop.add_signal_handler(signal.SIGINT, print)
        loop.close()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_wakeup_fd_after_the_last_handler(self, loop, usr1):
        loop.add_signal_handler(usr1, print)
        loop.remove_signal_handler(usr1)
        assert signal.set_wakeup_fd(-1) == -1

    def test_wakeup_fd_after_a_run(self, loop):
        run_turns(loop)
        assert signal.set_wakeup_fd(-1) == -1

    def test_wakeup_fd_of_another_is_put_back(self, loop):
        a, b = socket.socketpair()
        with a, b:
            a.setblocking(False)
            before = signal.set_wakeup_fd(a.fileno(), warn_on_full_buffer=False)
            try:
                run_turns(loop, 3)
            finally:
                left = signal.set_wakeup_fd(before)
            assert left == a.fileno()

    def test_handler_for_one_signal_leaves_another(self, loop, usr1):
        def mine(*_):
            pass

        before = signal.signal(signal.SIGUSR2, mine)
        try:
            loop.add_signal_handler(usr1, print)
            loop.remove_signal_handler(usr1)
            assert signal.getsignal(signal.SIGUSR2) is mine
        finally:
            signal.signal(signal.SIGUSR2, before)

    def test_system_calls_are_restarted(self, loop, usr1):
        """A handler of the loop does not break a blocking call elsewhere with EINTR."""
        r, w = os.pipe()
        loop.add_signal_handler(usr1, loop.stop)
        got = []
        thread = threading.Thread(target=lambda: got.append(os.read(r, 1)))
        thread.start()
        kill(usr1)
        run_guarded(loop)
        os.write(w, b"x")
        thread.join()
        loop.remove_signal_handler(usr1)
        os.close(r)
        os.close(w)
        assert got == [b"x"]


class TestBesidePythonHandlers:
    """signal.signal() after add_signal_handler(): asyncio's handler is called as well."""

    @pytest.fixture
    def got(self, loop, usr1):
        got = []
        loop.add_signal_handler(usr1, got.append, "loop")
        yield got
        loop.remove_signal_handler(usr1)

    @pytest.fixture
    def mine(self, got):
        return lambda signum, frame: got.append("mine")

    def test_both_are_called(self, loop, usr1, got, mine):
        signal.signal(usr1, mine)
        loop.call_soon(kill, usr1)
        run_turns(loop, 4)
        assert got == ["mine", "loop"]

    def test_put_back(self, loop, usr1, got, mine):
        """As uvicorn does while it serves; then it sends itself what it got."""
        signal.signal(usr1, signal.signal(usr1, mine))
        loop.call_soon(kill, usr1)
        run_turns(loop, 4)
        assert got == ["loop"]

    def test_put_back_while_asleep(self, loop, usr1, mine):
        loop.add_signal_handler(usr1, loop.stop)
        signal.signal(usr1, signal.signal(usr1, mine))
        thread = when_asleep(loop, kill, usr1)
        run_guarded(loop)
        thread.join()

    def test_put_back_and_sent_before_the_run(self, loop, usr1, got, mine):
        signal.signal(usr1, signal.signal(usr1, mine))
        kill(usr1)
        run_turns(loop, 4)
        assert got == ["loop"]

    def test_added_again(self, loop, usr1, got, mine):
        signal.signal(usr1, mine)
        loop.add_signal_handler(usr1, got.append, "again")
        loop.call_soon(kill, usr1)
        run_turns(loop, 4)
        assert got == ["again"]
        kill(usr1)
        run_turns(loop, 4)
        assert got == ["again"] * 2

    def test_removed(self, loop, usr1, got, mine):
        signal.signal(usr1, mine)
        loop.remove_signal_handler(usr1)
        assert signal.getsignal(usr1) is signal.SIG_DFL
        signal.signal(usr1, mine)
        loop.call_soon(kill, usr1)
        run_turns(loop, 4)
        assert got == ["mine"]

    def test_ignored(self, loop, usr1, got):
        signal.signal(usr1, signal.SIG_IGN)
        loop.call_soon(kill, usr1)
        run_turns(loop, 4)
        assert got == []

    def test_added_after_it_ended_a_run(self, loop, usr1):
        def interrupt(signum, frame):
            raise KeyboardInterrupt

        signal.signal(usr1, interrupt)
        loop.call_soon(kill, usr1)
        with pytest.raises(KeyboardInterrupt):
            run_turns(loop, 4)
        got = []
        loop.add_signal_handler(usr1, got.append, "loop")
        run_turns(loop, 4)
        loop.remove_signal_handler(usr1)
        assert got == []

    def test_sent_as_the_run_ends(self, loop, usr1, got, mine):
        signal.signal(usr1, mine)
        loop.call_soon(kill, usr1)
        loop.call_soon(loop.stop)
        loop.run_forever()
        run_turns(loop, 4)
        assert got == ["mine", "loop"]

    def test_the_loop_that_asked_last_gets_it(self, loop, new_loop, usr1, got, mine):
        other = new_loop()
        other.add_signal_handler(usr1, got.append, "other")
        signal.signal(usr1, signal.signal(usr1, mine))
        other.call_soon(kill, usr1)
        run_turns(other, 4)
        run_turns(loop, 4)
        assert got == ["other"]
        other.remove_signal_handler(usr1)


class TestSeveralOwners:
    """Whoever leaves takes nothing from those who stay; who fails to come changes nothing."""

    def test_in_a_subinterpreter(self, snippet, loop_name):
        done = snippet(f"""
            try:
                import _interpreters as interpreters
                interpreter = interpreters.create("legacy")
            except ImportError:
                import _xxsubinterpreters as interpreters
                interpreter = interpreters.create(isolated=False)
            code = '''if True:
                import signal
                from support.loops import factory
                loop = factory({loop_name!r})()
                for _ in range(2):
                    try:
                        loop.add_signal_handler(signal.SIGUSR1, print)
                    except RuntimeError as exc:
                        print("main thread of the main interpreter" in str(exc), flush=True)
                print(loop.remove_signal_handler(signal.SIGUSR1), flush=True)
                loop.close()
            '''
            failed = interpreters.run_string(interpreter, code)
            assert failed is None, failed
            os.kill(os.getpid(), signal.SIGUSR1)
        """)
        assert done.rc == -signal.SIGUSR1, done.err
        assert done.out.split() == ["True", "True", "False"]

    def test_the_loops_of_a_forked_child(self, snippet):
        """One that the parent has does not keep the child's own from giving the signal back."""
        done = snippet("""
            theirs = new_loop()
            theirs.add_signal_handler(signal.SIGUSR1, print)
            run_turns(theirs, 2)
            pid = os.fork()
            if pid == 0:
                mine = new_loop()
                mine.add_signal_handler(signal.SIGUSR1, mine.stop)
                mine.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
                run_guarded(mine)
                mine.remove_signal_handler(signal.SIGUSR1)
                print(signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL, flush=True)
                os.kill(os.getpid(), signal.SIGUSR1)
                os._exit(0)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGUSR1)
            theirs.close()
        """)
        assert (done.rc, done.out.split()) == (0, ["True", "True"]), done.err

    @pytest.mark.moodloop_only  # asyncio: the process is killed
    def test_a_loop_that_leaves_gives_it_back(self, loop, new_loop, usr1):
        got = []
        loop.add_signal_handler(usr1, got.append, "first")
        other = new_loop()
        other.add_signal_handler(usr1, got.append, "second")
        other.close()
        loop.call_soon(kill, usr1)
        run_turns(loop, 4)
        assert got == ["first"]
        loop.remove_signal_handler(usr1)
        assert signal.getsignal(usr1) is signal.SIG_DFL

    @pytest.mark.moodloop_only  # asyncio: the process is killed
    def test_a_loop_that_waits_takes_nothing_along(self, loop, new_loop, usr1):
        got = []
        other = new_loop()
        other.add_signal_handler(usr1, got.append, "first")
        loop.add_signal_handler(usr1, got.append, "second")
        assert other.remove_signal_handler(usr1) is True
        loop.call_soon(kill, usr1)
        run_turns(loop, 4)
        assert got == ["second"]
        loop.remove_signal_handler(usr1)

    @pytest.mark.moodloop_only
    @pytest.mark.parametrize("there", ["nobody", "itself", "another loop", "signal.signal()"])
    def test_one_that_fails(self, loop, new_loop, usr1, monkeypatch, there):
        """A handler of another signal may run within, and raise."""
        got = []
        other = new_loop()
        if there == "itself":
            loop.add_signal_handler(usr1, got.append, "itself")
        elif there == "another loop":
            other.add_signal_handler(usr1, got.append, "another loop")
        elif there == "signal.signal()":
            signal.signal(usr1, lambda *args: got.append("signal.signal()"))
        before = signal.getsignal(usr1)

        def interrupted(*args):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("_signal.signal", interrupted)
            with pytest.raises(KeyboardInterrupt):
                loop.add_signal_handler(usr1, got.append, "failed")
            if there == "itself":
                with pytest.raises(KeyboardInterrupt):
                    loop.remove_signal_handler(usr1)
        assert signal.getsignal(usr1) is before
        assert (usr1 in loop._signal_handlers) == (there == "itself")
        if there != "nobody":
            runs = other if there == "another loop" else loop
            runs.call_soon(kill, usr1)
            run_turns(runs, 4)
            assert got == [there]
        loop.remove_signal_handler(usr1)
        other.remove_signal_handler(usr1)

    @pytest.mark.moodloop_only
    def test_removed_by_a_handler_that_runs_within(self, loop, usr1, monkeypatch):
        import _signal

        real = _signal.signal

        def remove_first(*args):
            monkeypatch.setattr("_signal.signal", real)
            assert loop.remove_signal_handler(usr1)
            return real(*args)

        for _ in range(2):
            monkeypatch.setattr("_signal.signal", remove_first)
            loop.add_signal_handler(usr1, print)
            assert usr1 not in loop._signal_handlers
            assert signal.getsignal(usr1) is signal.SIG_DFL
        loop.add_signal_handler(usr1, print)
        monkeypatch.setattr("_signal.signal", remove_first)
        assert loop.remove_signal_handler(usr1)
        assert signal.getsignal(usr1) is signal.SIG_DFL
        assert not loop.remove_signal_handler(usr1)


class TestPythonHandlers:
    def test_runs_while_the_loop_is_idle(self, loop, usr1):
        got = []

        def on_signal(signum, frame):
            got.append(signum)
            loop.call_soon_threadsafe(loop.stop)

        signal.signal(usr1, on_signal)
        thread = when_asleep(loop, kill, usr1)
        run_guarded(loop)
        thread.join()
        assert got == [usr1]

    def test_what_it_raises_leaves_run_forever(self, loop, usr1):
        class Mine(Exception):
            pass

        def on_signal(signum, frame):
            raise Mine

        signal.signal(usr1, on_signal)
        thread = when_asleep(loop, kill, usr1)
        with pytest.raises(Mine):
            run_guarded(loop)
        thread.join()
        assert not loop.is_running()
        run_turns(loop, 2)

    def test_idle_keyboard_interrupt(self, snippet):
        done = snippet(
            """
            from support.signals import kill, when_asleep
            loop = new_loop()
            when_asleep(loop, kill, signal.SIGINT)
            try:
                loop.run_forever()
            except KeyboardInterrupt:
                print("interrupted", loop.is_running())
            run_turns(loop)
            loop.close()
            """
        )
        assert (done.rc, done.out) == (0, "interrupted False\n"), done.err

    def test_busy_keyboard_interrupt(self, snippet):
        done = snippet(
            """
            loop = new_loop()
            def spin():
                loop.call_soon(spin)
            spin()
            loop.call_later(0.001, os.kill, os.getpid(), signal.SIGINT)
            try:
                loop.run_forever()
            except KeyboardInterrupt:
                print("interrupted")
            loop.close()
            """
        )
        assert (done.rc, done.out) == (0, "interrupted\n"), done.err

    def test_runner_cancels_the_main_task(self, snippet):
        done = snippet(
            """
            async def main():
                loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    print("cancelled")
                    raise
            with asyncio.Runner(loop_factory=new_loop) as runner:
                loop = runner.get_loop()
                try:
                    runner.run(main())
                except KeyboardInterrupt:
                    print("interrupted")
            """
        )
        assert (done.rc, done.out) == (0, "cancelled\ninterrupted\n"), done.err

    def test_ignored_signal_does_nothing(self, loop, usr1):
        signal.signal(usr1, signal.SIG_IGN)
        loop.call_soon(kill, usr1)
        run_turns(loop, 3)
        assert signal.getsignal(usr1) is signal.SIG_IGN

    def test_children_are_left_alone(self, loop):
        """A loop does not reap the children of others."""
        child = subprocess.Popen(["sh", "-c", "exit 7"])
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        run_turns(loop, 5)
        assert child.wait() == 7


class TestOffMain:
    def test_loop_in_a_thread_leaves_signals_to_the_main_thread(self, loop_factory, usr1):
        before = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(before)

        def work():
            loop = loop_factory()
            run_turns(loop, 3)
            loop.close()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        after = signal.set_wakeup_fd(before)
        assert after == before
