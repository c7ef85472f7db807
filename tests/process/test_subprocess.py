"""Child processes: spawning, talking to them, how they end, signals, closing."""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import warnings

import pytest
from support import hygiene
from support.debugger import PTRACE_TRACEME, libc, traced
from support.leaks import growth
from support.loops import ASYNCIO, PY314, TIMEOUT, drive, turns, until

from moodloop import pidfd

PIPE = subprocess.PIPE


class Child(asyncio.SubprocessProtocol):
    """Writes down what it is told."""

    def __init__(self):
        self.events = []
        self.output = {1: bytearray(), 2: bytearray()}
        loop = asyncio.get_running_loop()
        self.exited, self.lost = loop.create_future(), loop.create_future()

    def connection_made(self, transport):
        self.events.append("made")
        self.transport = transport

    def pipe_data_received(self, fd, data):
        self.output[fd] += data

    def pipe_connection_lost(self, fd, exc):
        self.events.append(f"pipe {fd} lost")

    def process_exited(self):
        self.events.append("exited")
        self.exited.set_result(self.transport.get_returncode())

    def connection_lost(self, exc):
        self.events.append("lost")
        self.lost.set_result(exc)


@contextlib.asynccontextmanager
async def sleeping():
    """A child that sleeps until it is killed, as (transport, protocol)."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(
        Child, "sleep", "1000", stdin=None, stdout=None, stderr=None
    )
    try:
        yield transport, protocol
    finally:
        transport.close()
        await protocol.lost
        await turns()


async def result(*args, **kwargs):
    """The exit status and what is written."""
    process = await asyncio.create_subprocess_exec(*args, stdout=PIPE, stderr=PIPE, **kwargs)
    out, err = await process.communicate()
    return process.returncode, out, err


def skip_stock_before_314(loop_name, what):
    if loop_name == ASYNCIO and not PY314:
        pytest.skip(f"asyncio before 3.14: {what}")


class TestSpawning:
    def test_exec(self, run):
        assert run(result("sh", "-c", "echo out; echo err >&2; exit 3")) == (3, b"out\n", b"err\n")

    def test_shell(self, run):
        async def main():
            process = await asyncio.create_subprocess_shell("echo $((6*7))", stdout=PIPE)
            return await process.communicate()

        assert run(main()) == (b"42\n", None)

    def test_bytes_arguments(self, run):
        assert run(result(b"echo", b"\xff"))[1] == b"\xff\n"

    def test_directory_and_environment(self, run, tmp_path):
        code, out, _ = run(
            result("sh", "-c", "pwd; echo $WHO", cwd=tmp_path, env={**os.environ, "WHO": "me"})
        )
        assert (code, out.decode().split()) == (0, [os.path.realpath(tmp_path), "me"])

    def test_order_of_events(self, loop, run):
        async def main():
            transport, protocol = await loop.subprocess_exec(
                Child, "sh", "-c", "echo out; echo err >&2", stdin=None
            )
            await protocol.lost
            transport.close()
            return protocol

        protocol = run(main())
        assert protocol.events[0] == "made" and protocol.events[-1] == "lost"
        assert sorted(protocol.events[1:-1]) == ["exited", "pipe 1 lost", "pipe 2 lost"]
        assert protocol.output == {1: b"out\n", 2: b"err\n"}

    def test_order_of_data(self, loop, run):
        """Nothing overtakes what waits: connection_made() first, a pipe's data before its end."""

        class Ordered(Child):
            def pipe_data_received(self, fd, data):
                assert "made" in self.events and "lost" not in self.events
                assert f"pipe {fd} lost" not in self.events
                super().pipe_data_received(fd, data)

        numbers = b"".join(b"%d\n" % i for i in range(1, 20_001))

        async def main():
            pairs = await asyncio.gather(
                *(
                    loop.subprocess_exec(
                        Ordered, "sh", "-c", "seq 20000; seq 20000 >&2", stdin=None
                    )
                    for _ in range(3)
                )
            )
            for transport, protocol in pairs:
                await protocol.lost
                transport.close()
                assert protocol.output == {1: numbers, 2: numbers}

        run(main())

    def test_protocol_that_raises(self, loop, run, reports):
        """It is told, and the pipe stays open."""

        class Raises(Child):
            def pipe_data_received(self, fd, data):
                super().pipe_data_received(fd, data)
                raise ZeroDivisionError

        async def main():
            transport, protocol = await loop.subprocess_exec(Raises, "cat")
            for size in (10, 20):
                transport.get_pipe_transport(0).write(b"0123456789")
                await until(lambda size=size: len(protocol.output[1]) == size)
            transport.get_pipe_transport(0).close()
            await protocol.lost
            transport.close()
            assert await protocol.exited == 0

        run(main())
        assert len(reports) >= 2
        for context in reports:
            assert "pipe_data_received" in context["message"]
            assert isinstance(context["exception"], ZeroDivisionError)

    @pytest.mark.moodloop_only  # asyncio waits for ever before Python 3.14
    @pytest.mark.parametrize("command", ["true", "cat"])
    def test_factory_of_no_protocol(self, loop, run, reports, command):
        async def main():
            with pytest.raises(AttributeError, match="connection_made"):
                await loop.subprocess_exec(lambda: None, command)

        run(main())
        assert not loop._children
        assert {type(context["exception"]) for context in reports} <= {AttributeError}

    def test_much_both_ways(self, run):
        data = os.urandom(1 << 20) * 4

        async def main():
            process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
            out, _ = await process.communicate(data)
            return process.returncode, out == data

        assert run(main()) == (0, True)

    def test_stderr_to_stdout(self, run):
        async def main():
            process = await asyncio.create_subprocess_exec(
                "sh", "-c", "echo out; echo err >&2", stdout=PIPE, stderr=subprocess.STDOUT
            )
            return await process.communicate()

        assert run(main()) == (b"out\nerr\n", None)

    def test_to_and_from_files(self, run, tmp_path):
        async def main():
            (tmp_path / "in").write_bytes(b"text")
            with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as target:
                process = await asyncio.create_subprocess_exec("cat", stdin=source, stdout=target)
                return await process.wait()

        assert run(main()) == 0
        assert (tmp_path / "out").read_bytes() == b"text"

    def test_passed_descriptors(self, run):
        ours, theirs = os.pipe()
        try:
            code, _, err = run(result("sh", "-c", f"echo hi >/dev/fd/{theirs}", pass_fds=[theirs]))
            assert (code, err) == (0, b"")
            assert os.read(ours, 10) == b"hi\n"
        finally:
            os.close(ours)
            os.close(theirs)

    def test_other_descriptors_are_not_inherited(self, loop, run):
        """Of the loop, and of other children."""
        code = "import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))"
        command = [sys.executable, "-c", code]

        async def main():
            other = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
            _, out, _ = await result(*command, close_fds=False)
            other.stdin.close()
            await other.wait()
            return out

        inherited = subprocess.run(command, close_fds=False, stdout=PIPE).stdout
        assert run(main()) == inherited

    def test_new_session(self, run):
        code = "import os; print(os.getsid(0) == os.getpid())"
        assert run(result(sys.executable, "-c", code, start_new_session=True))[1] == b"True\n"

    @pytest.mark.parametrize(
        ("args", "kwargs", "error"),
        [
            (("/does/not/exist",), {}, FileNotFoundError),
            (("/",), {}, PermissionError),
            (("true",), {"cwd": "/does/not/exist"}, FileNotFoundError),
            (("tr\0ue",), {}, ValueError),
        ],
        ids=["missing", "directory", "cwd", "nul"],
    )
    def test_that_fails(self, run, args, kwargs, error):
        with pytest.raises(error):
            run(result(*args, stdin=PIPE, **kwargs))

    @pytest.mark.parametrize(
        "kwargs",
        [{"text": True}, {"universal_newlines": True}, {"encoding": "utf-8"}, {"bufsize": 1}],
        ids=str,
    )
    def test_text_mode_is_refused(self, run, kwargs):
        with pytest.raises(ValueError):
            run(result("true", **kwargs))

    def test_transport(self, loop, run):
        async def main():
            async with sleeping() as (transport, protocol):
                assert isinstance(transport, asyncio.SubprocessTransport)
                assert transport.get_returncode() is None
                assert transport.get_pipe_transport(1) is None
                assert transport.get_protocol() is protocol
                assert not transport.is_closing()
                process = transport.get_extra_info("subprocess")
                assert isinstance(process, subprocess.Popen)
                assert transport.get_pid() == process.pid
                assert f"pid={process.pid} running" in repr(transport)

        run(main())

    def test_fork_of_a_program_with_threads(self, loop, run):
        """preexec_fn makes Popen fork, with every at-fork hook of Python."""
        assert run(result("sh", "-c", "umask", preexec_fn=lambda: os.umask(0o77)))[1] == b"0077\n"

    def test_many_at_once(self, run):
        async def main():
            codes = await asyncio.gather(*(result("sh", "-c", f"exit {n}") for n in range(20)))
            return [code for code, _, _ in codes]

        assert run(main()) == list(range(20))

    def test_cancelled(self, loop, run):
        """A child whose creation is cancelled is killed and waited for."""

        async def main():
            task = loop.create_task(
                loop.subprocess_exec(Child, "sleep", "1000", stdin=PIPE, stdout=PIPE, stderr=PIPE)
            )
            while not children():
                await asyncio.sleep(0)
            (child,) = children()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(ProcessLookupError):
                os.kill(child, 0)
            await turns(10)

        assert children() == []
        run(main())


def children():
    """The pids of this process's children."""
    found = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children") as listing:
            found += map(int, listing.read().split())
    return found


def dead(pid):
    """True once a process is gone; it may have no parent that reaps it."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.001)
    return False


class TestExit:
    @pytest.mark.parametrize("code", [0, 1, 255])
    def test_status(self, run, code):
        assert run(result("sh", "-c", f"exit {code}"))[0] == code

    def test_status_of_a_killed_one(self, run):
        assert run(result("sh", "-c", "kill -9 $$"))[0] == -9

    def test_wait_is_for_the_process_not_its_pipes(self, loop_name, run):
        skip_stock_before_314(loop_name, "wait() waits for the end of the pipes too (gh-119710)")

        async def main():
            process = await asyncio.create_subprocess_exec(
                "sh", "-c", "sleep 1000 & echo $!; exit 4", stdout=PIPE
            )
            held_by = int(await process.stdout.readline())
            assert await process.wait() == 4
            os.kill(held_by, signal.SIGKILL)
            assert await process.stdout.read() == b""
            await turns(10)

        run(main())

    def test_wait_after_the_exit(self, run):
        async def main():
            process = await asyncio.create_subprocess_exec("true")
            return await process.wait(), await process.wait()

        assert run(main()) == (0, 0)

    def test_several_wait(self, run):
        async def main():
            process = await asyncio.create_subprocess_exec("sleep", "1000")
            tasks = [asyncio.create_task(process.wait()) for _ in range(3)]
            await turns()
            tasks[1].cancel()
            await turns()
            process.kill()
            return await asyncio.gather(*tasks, return_exceptions=True)

        first, cancelled, last = run(main())
        assert (first, last) == (-9, -9)
        assert isinstance(cancelled, asyncio.CancelledError)

    def test_stopped_is_not_exited(self, run):
        async def main():
            async with sleeping() as (transport, protocol):
                transport.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, transport.get_pid(), os.WSTOPPED | os.WNOWAIT)
                await turns(20)
                await asyncio.sleep(0.01)
                assert transport.get_returncode() is None
                transport.send_signal(signal.SIGCONT)
                await turns(20)
                assert protocol.events == ["made"]
                transport.kill()
                assert await protocol.exited == -9

        run(main())

    def test_status_taken_by_somebody_else(self, run, log):
        async def main():
            async with sleeping() as (transport, protocol):
                # The child watcher is in this thread or another: whoever is first has the status.
                os.kill(transport.get_pid(), signal.SIGKILL)
                try:
                    os.waitpid(transport.get_pid(), 0)
                except ChildProcessError:
                    return -9
                return await protocol.exited

        if run(main()) == 255:
            assert any("will report returncode 255" in m for m in log())

    @pytest.mark.moodloop_only
    @pytest.mark.parametrize("code", [3, -signal.SIGKILL, -signal.SIGTERM])
    def test_status_that_the_kernel_tells(self, run, log, code):
        """Somebody has reaped the child, and a pidfd knows how it ended."""

        async def main():
            transport, protocol = await asyncio.get_running_loop().subprocess_exec(
                Child, "sh", "-c", f"read _; {f'exit {code}' if code > 0 else f'kill {code} $$'}"
            )
            # In one step, so that the loop does not reap it first
            transport.get_pipe_transport(0).write(b"go\n")
            os.waitpid(transport.get_pid(), 0)
            assert await protocol.exited == code
            await protocol.lost
            transport.close()

        need_pidfd_info()
        run(main())
        assert log() == []

    @pytest.mark.moodloop_only
    def test_status_unknown_is_told(self, run, log, monkeypatch):
        monkeypatch.setattr(pidfd, "_PIDFD_GET_INFO", 0)  # a kernel before Linux 6.15

        async def main():
            async with sleeping() as (transport, protocol):
                os.kill(transport.get_pid(), signal.SIGKILL)
                os.waitpid(transport.get_pid(), 0)
                assert await protocol.exited == 255
                pid = transport.get_pid()
            assert log() == [
                f"child process pid {pid} exit status already read:  will report returncode 255"
            ]

        run(main())

    @pytest.mark.moodloop_only
    @pytest.mark.parametrize("how", ["poll", "wait", "close"])
    def test_status_that_popen_has_taken(self, run, log, how):
        """Stock asyncio has lost it then."""

        async def main():
            async with sleeping() as (transport, protocol):
                popen = transport.get_extra_info("subprocess")
                os.kill(popen.pid, signal.SIGTERM)
                os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)
                (transport if how == "close" else popen).__getattribute__(how)()
                assert await protocol.exited == -signal.SIGTERM

        run(main())
        assert log() == []

    @pytest.mark.moodloop_only
    def test_waited_for_by_a_thread_too(self, loop, run, log):
        async def main():
            async with sleeping() as (transport, protocol):
                popen = transport.get_extra_info("subprocess")
                waiting = loop.run_in_executor(None, popen.wait)
                await until(popen._waitpid_lock.locked)
                transport.kill()
                assert await waiting == -9
                assert await protocol.exited == -9
            await loop.shutdown_default_executor()

        run(main())
        assert log() == []

    def test_children_of_others_are_left_alone(self, run):
        async def main():
            other = subprocess.Popen(["sh", "-c", "exit 7"])
            os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
            assert (await result("true"))[0] == 0
            return other.wait()

        assert run(main()) == 7

    def test_sigchld_stays_the_programs(self, loop, run):
        got = []
        before = signal.signal(signal.SIGCHLD, lambda *args: got.append(1))
        try:
            assert run(result("true"))[0] == 0
            assert got and signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL
        finally:
            signal.signal(signal.SIGCHLD, before)

    def test_sigchld_handler_of_the_loop(self, loop, run):
        got = []
        loop.add_signal_handler(signal.SIGCHLD, got.append, 1)

        async def main():
            assert (await result("true"))[0] == 0
            await until(lambda: got)

        run(main())
        loop.remove_signal_handler(signal.SIGCHLD)

    @pytest.mark.moodloop_only
    @pytest.mark.parametrize("told", [False, True])
    def test_sigchld_ignored(self, snippet, told):
        """The kernel reaps the child at once: its pidfd alone knows its status, from 6.15 on."""
        if told:
            need_pidfd_info()
        done = snippet(f"""
            from moodloop import pidfd
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            if not {told}:
                pidfd._PIDFD_GET_INFO = 0

            async def main():
                process = await asyncio.create_subprocess_exec("cat", stdin=-1)
                process.stdin.close()
                killed = await asyncio.create_subprocess_exec("cat", stdin=-1)
                killed.kill()
                return await process.wait(), await killed.wait()

            loop = new_loop()
            print(drive(loop, main()))
            loop.close()
        """)
        assert done.out == ("(0, -9)\n" if told else "(255, 255)\n"), done.err
        assert ("will report returncode 255" in done.err) is not told


def need_pidfd_info():
    with subprocess.Popen(["true"]) as child:
        fd = os.pidfd_open(child.pid)
    try:
        if pidfd.exit_status(fd) is None:
            pytest.skip("the kernel tells it from Linux 6.15 on")
    finally:
        os.close(fd)


@pytest.mark.moodloop_only
class TestPidfd:
    """What is made of the kernel's answers, whichever kernel it is."""

    MASK, STATUS = struct.Struct("=Q"), struct.Struct("=i")

    @pytest.fixture
    def kernel(self, monkeypatch):
        """Has the kernel answer with the masks and the exit status, or with an error."""

        def kernel(*masks, status=0):
            masks = iter(masks)

            def ioctl(fd, request, info):
                # PIDFD_GET_INFO as x86, ARM and RISC-V have it
                assert request == 0xC040FF0B and len(info) == 64
                assert self.MASK.unpack_from(info) == (8,)
                mask = next(masks)
                if mask is None:
                    raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
                self.MASK.pack_into(info, 0, mask)
                self.STATUS.pack_into(info, 60, status)

            monkeypatch.setattr(fcntl, "ioctl", ioctl)

        return kernel

    @pytest.fixture
    def fd(self):
        """A child's that has ended, and is reaped."""
        with subprocess.Popen(["true"]) as child:
            fd = os.pidfd_open(child.pid)
        yield fd
        os.close(fd)

    @pytest.mark.parametrize("status", [0, 3 << 8, signal.SIGKILL, 0x80 | signal.SIGSEGV])
    def test_told(self, kernel, fd, status):
        kernel(12, status=status)
        assert pidfd.exit_status(fd) == status

    def test_told_a_moment_later(self, kernel, fd):
        kernel(7, 15, status=7 << 8)
        assert pidfd.exit_status(fd) == 7 << 8

    def test_never_told(self, kernel, fd):
        """Of Linux 6.13: the call is there, and no such answer."""
        kernel(7, 7)
        assert pidfd.exit_status(fd) is None

    def test_no_such_call(self, kernel, fd):
        kernel(None)
        assert pidfd.exit_status(fd) is None

    def test_not_ended(self, kernel):
        with subprocess.Popen(["sleep", "1000"]) as child:
            fd = os.pidfd_open(child.pid)
            try:
                kernel(7)
                assert pidfd.exit_status(fd) is None
            finally:
                os.close(fd)
                child.kill()


class TestThreadsAndLoops:
    def test_off_the_main_thread(self, loop_factory):
        results = []

        def work():
            loop = loop_factory()
            try:
                results.append(drive(loop, result("sh", "-c", "exit 5")))
            finally:
                loop.close()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert results == [(5, b"", b"")]

    def test_loops_in_several_threads(self, loop_factory):
        results = []

        def work(n):
            loop = loop_factory()
            try:

                async def main():
                    return await asyncio.gather(
                        *(result("sh", "-c", f"exit {n + i}") for i in range(3))
                    )

                results.append((n, [code for code, _, _ in drive(loop, main())]))
            finally:
                loop.close()

        threads = [threading.Thread(target=work, args=(10 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == [(10 * n, [10 * n, 10 * n + 1, 10 * n + 2]) for n in range(4)]

    def test_two_loops_in_turn(self, new_loop):
        one, two = new_loop(), new_loop()

        async def spawn():
            return await asyncio.create_subprocess_exec("sh", "-c", "exit 6")

        process = drive(one, spawn())
        assert drive(two, result("true"))[0] == 0
        assert drive(one, process.wait()) == 6


class TestSignals:
    @pytest.mark.parametrize(
        ("method", "code"), [("terminate", -signal.SIGTERM), ("kill", -signal.SIGKILL)]
    )
    def test_sent(self, run, method, code):
        async def main():
            async with sleeping() as (transport, protocol):
                getattr(transport, method)()
                assert await protocol.exited == code

        run(main())

    def test_after_the_exit(self, run):
        async def main():
            process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
            process.kill()
            assert await process.wait() == -9
            with contextlib.suppress(ProcessLookupError):  # once the pipes have ended too
                process.send_signal(signal.SIGTERM)
                process.terminate()
                process.kill()
            await process.stdout.read()
            await turns(10)

        run(main())

    def test_after_connection_lost(self, loop, run):
        async def main():
            async with sleeping() as (transport, protocol):
                transport.kill()
                await protocol.lost
                for send in (lambda: transport.send_signal(0), transport.terminate, transport.kill):
                    with pytest.raises(ProcessLookupError):
                        send()

        run(main())

    @pytest.mark.parametrize(
        ("signum", "error"), [(999, OSError), ("x", TypeError), (None, TypeError), (-5, OSError)]
    )
    def test_that_are_none(self, run, signum, error):
        async def main():
            async with sleeping() as (transport, _):
                with pytest.raises(error):
                    transport.send_signal(signum)
                assert transport.get_returncode() is None

        run(main())

    def test_zero_only_asks(self, run):
        async def main():
            async with sleeping() as (transport, _):
                assert transport.send_signal(0) is None

        run(main())

    @pytest.mark.moodloop_only
    @pytest.mark.parametrize("pidfd", [True, False], ids=["pidfd", "thread"])
    def test_never_to_a_reaped_child(self, run, monkeypatch, pidfd):
        """Its pid may be another process's by then (gh-127049)."""
        reaped, late = set(), []
        waitpid, kill = os.waitpid, os.kill

        def watching_waitpid(pid, options):
            found = waitpid(pid, options)
            reaped.add(found[0])
            return found

        def watching_kill(pid, signum):
            if pid in reaped:
                late.append(pid)
            else:
                kill(pid, signum)

        monkeypatch.setattr(os, "waitpid", watching_waitpid)
        monkeypatch.setattr(os, "kill", watching_kill)
        if not pidfd:
            monkeypatch.delattr(os, "pidfd_open")

        async def main():
            async with sleeping() as (transport, protocol):
                transport.kill()
                while "exited" not in protocol.events:
                    with contextlib.suppress(ProcessLookupError):
                        transport.kill()
                    await asyncio.sleep(0)

        run(main())
        assert reaped and late == []

    @pytest.mark.moodloop_only
    def test_never_to_the_next_owner_of_the_pid(self, run, log):
        """Also if somebody else reaps the child."""

        async def main():
            async with sleeping() as (transport, protocol):
                os.kill(transport.get_pid(), signal.SIGKILL)
                os.waitpid(transport.get_pid(), 0)
                transport._pid = os.getpid()  # as if it were ours
                transport.terminate()
                transport.kill()
                await protocol.exited

        run(main())


class TestClosing:
    def test_kills(self, run):
        async def main():
            async with sleeping() as (transport, protocol):
                transport.close()
                assert transport.is_closing()
                transport.close()
                assert await protocol.exited == -9
                transport.close()

        run(main())

    def test_kills_none_that_has_exited(self, run, monkeypatch):
        async def main():
            loop = asyncio.get_running_loop()
            transport, protocol = await loop.subprocess_exec(Child, "cat", stderr=None)
            popen = transport.get_extra_info("subprocess")
            transport.get_pipe_transport(0).close()
            assert await protocol.exited == 0
            monkeypatch.setattr(popen, "kill", lambda: pytest.fail("killed"))
            transport.close()
            await protocol.lost
            transport.close()
            await turns()

        run(main())

    def test_not_allowed_to_kill(self, loop_name, run, monkeypatch):
        skip_stock_before_314(loop_name, "close() raises if the child runs as another user")

        async def main():
            async with sleeping() as (transport, _):
                popen = transport.get_extra_info("subprocess")

                def forbidden():
                    raise PermissionError

                with monkeypatch.context() as patch:
                    patch.setattr(popen, "kill", forbidden)
                    transport.close()
                popen.kill()

        run(main())

    def test_debug_tells(self, loop, run, log):
        loop.set_debug(True)

        async def main():
            async with sleeping() as (transport, _):
                transport.close()

        run(main())
        assert any(m.startswith("Close running child process: kill ") for m in log())

    @pytest.mark.moodloop_only
    @pytest.mark.parametrize("pidfd", [True, False], ids=["pidfd", "thread"])
    def test_loop_closed_while_it_runs(self, new_loop, log, monkeypatch, pidfd):
        if not pidfd:
            monkeypatch.delattr(os, "pidfd_open")
        loop = new_loop()
        transport, protocol = drive(
            loop, loop.subprocess_exec(Child, "cat", stdin=PIPE, stdout=PIPE, stderr=None)
        )
        pid, popen = transport.get_pid(), transport.get_extra_info("subprocess")
        loop.close()
        assert log() == [f"Loop {loop!r} that handles pid {pid!r} is closed"]
        assert transport.get_returncode() is None
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            del transport, protocol
            hygiene.collect()
        message = str(warned[0].message)
        assert f"unclosed transport <SubprocessTransport pid={pid} running" in message
        assert popen.wait() == -9  # killed when the last reference to the transport went

    @pytest.mark.moodloop_only
    def test_left_behind(self, snippet):
        """A program that ends with a child running says so, and does not wait for it."""
        done = snippet(
            """
            async def main():
                global process
                process = await asyncio.create_subprocess_exec("sleep", "1000")

            loop = new_loop()
            drive(loop, main())
            loop.close()
            print(process.pid)
            """,
            args=["-W", "always"],
        )
        assert "unclosed transport" in done.err and "sleep" not in done.err
        assert done.rc == 0
        assert dead(int(done.out))

    def test_repeated(self, loop):
        async def scenario(x):
            process = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
            process.mine = x
            assert await process.communicate(b"x") == (b"x", None)
            await turns(10)

        assert growth(lambda x: drive(loop, scenario(x)), rounds=5) == {}


def forbid(monkeypatch, code):
    """What pidfd_open() is in a sandbox, on an old kernel, when no descriptor is left."""

    def pidfd_open(pid, flags=0):
        raise OSError(code, os.strerror(code))

    if code is None:
        monkeypatch.delattr(os, "pidfd_open")
    else:
        monkeypatch.setattr(os, "pidfd_open", pidfd_open)


@pytest.mark.moodloop_only
class TestWithoutPidfd:
    @pytest.mark.parametrize("code", [None, errno.ENOSYS, errno.EPERM, errno.EMFILE])
    def test_a_thread_waits(self, run, monkeypatch, code):
        forbid(monkeypatch, code)

        async def main():
            assert await result("sh", "-c", "echo x; exit 3") == (3, b"x\n", b"")
            async with sleeping() as (transport, protocol):
                transport.terminate()
                assert await protocol.exited == -signal.SIGTERM

        run(main())

    def test_pidfd_cannot_be_signalled(self, run, monkeypatch):
        def pidfd_send_signal(pidfd, signum):
            raise OSError(errno.ENOSYS, "")

        monkeypatch.setattr(signal, "pidfd_send_signal", pidfd_send_signal)

        async def main():
            async with sleeping() as (transport, protocol):
                transport.terminate()
                assert await protocol.exited == -signal.SIGTERM

        run(main())

    def test_stopped_is_not_exited(self, run, monkeypatch):
        forbid(monkeypatch, errno.ENOSYS)
        TestExit().test_stopped_is_not_exited(run)

    def test_no_thread_either(self, run, monkeypatch):
        forbid(monkeypatch, errno.ENOSYS)
        spawned = []

        def start(thread):
            raise RuntimeError("can't start new thread")

        class Popen(subprocess.Popen):
            def __init__(self, *args, **kwargs):
                super().__init__(*args, **kwargs)
                spawned.append(self)

        monkeypatch.setattr(threading.Thread, "start", start)
        monkeypatch.setattr(subprocess, "Popen", Popen)

        async def main():
            with pytest.raises(RuntimeError, match="new thread"):
                await result("sleep", "1000", stdin=PIPE)
            assert spawned[0].wait() == -9
            await turns(10)

        run(main())

    def test_descriptor_that_cannot_be_watched(self, run, monkeypatch):
        monkeypatch.setattr(os, "pidfd_open", lambda pid: os.open("/etc/passwd", os.O_RDONLY))
        assert run(result("sh", "-c", "echo x; exit 3")) == (3, b"x\n", b"")


@pytest.mark.moodloop_only
class TestTraced:
    @pytest.mark.parametrize("pidfds", [True, False])
    @pytest.mark.parametrize("popen_waits", [False, True])
    def test_a_debugger_is_told_first(self, loop, run, monkeypatch, log, pidfds, popen_waits):
        """The child is dead, yet its status cannot be had until then; the loop goes on."""
        if not pidfds:
            forbid(monkeypatch, errno.ENOSYS)

        async def main():
            async with sleeping() as (transport, protocol):
                popen = transport.get_extra_info("subprocess")
                with traced(popen.pid) as let_go:
                    if popen_waits:
                        waiting = loop.run_in_executor(None, popen.wait)
                        await until(popen._waitpid_lock.locked)
                    transport.kill()
                    await asyncio.sleep(0.05)  # it has not ended, however long
                    assert protocol.events == ["made"]
                    let_go()
                    assert await protocol.exited == -signal.SIGKILL
                    if popen_waits:
                        assert await waiting == -signal.SIGKILL
                        await loop.shutdown_default_executor()

        run(main())
        assert log() == []

    @pytest.mark.parametrize("pidfds", [True, False])
    def test_by_this_process(self, run, monkeypatch, log, pidfds):
        """Its stops are no end, and the tracer's to take."""
        if not pidfds:
            forbid(monkeypatch, errno.ENOSYS)

        async def main():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of fork() with threads
                transport, protocol = await asyncio.get_running_loop().subprocess_exec(
                    Child,
                    "sleep",
                    "1000",
                    stdin=None,
                    stdout=None,
                    stderr=None,
                    preexec_fn=lambda: libc.ptrace(PTRACE_TRACEME, 0, None, None),
                )
            pid = transport.get_pid()
            stop = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            assert stop.si_code == os.CLD_TRAPPED
            await turns(10)
            assert protocol.events == ["made"]
            assert transport._reap(wait=True) is None
            assert os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) == stop
            transport.close()
            assert await protocol.exited == -signal.SIGKILL
            await protocol.lost

        run(main())
        assert log() == []
