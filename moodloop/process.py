"""Child processes: the transport of subprocess_exec() and subprocess_shell().

subprocess.Popen spawns and asyncio's base_subprocess connects the pipes. What is here is the end of
a child: each is watched by itself, through a pidfd that the loop polls, so there is no SIGCHLD
handler, no waitpid(-1) and no thread, and any loop in any thread can have children.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import time
import weakref
from asyncio import tasks, unix_events
from asyncio.log import logger
from typing import Any

from . import pidfd
from .base import Base

_UnixSubprocessTransport: Any = unix_events._UnixSubprocessTransport  # type: ignore[attr-defined]

_popen_kill = subprocess.Popen.kill

# What the standard library reports when somebody else has taken the exit status.
STATUS_UNKNOWN = 255

# How often a child is asked for that somebody traces: the tracer is told of its end first; and of a
# stop that one in this process has not taken yet waitid() tells again and again, without a wait.
TRACED_SECONDS = 0.05


class Processes(Base):
    """The method of EventLoop behind subprocess_exec() and subprocess_shell()."""

    __slots__ = ()

    _children: set[SubprocessTransport]

    async def _make_subprocess_transport(
        self,
        protocol: Any,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> SubprocessTransport:
        """Spawn a child; its transport with the pipes connected. OSError if it cannot start."""
        waiter = self.create_future()
        transport = SubprocessTransport(
            self,
            protocol,
            args,
            shell,
            stdin,
            stdout,
            stderr,
            bufsize,
            waiter=waiter,
            extra=extra,
            **kwargs,
        )
        try:
            transport._watch()
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            if transport._watched():
                await tasks.shield(transport._wait())
            raise
        return transport


def abandon(children: set[SubprocessTransport]) -> None:
    """The loop is about to close: stop watching, and say which children go on without it."""
    for child in list(children):
        logger.warning("Loop %r that handles pid %r is closed", child._loop, child._pid)
        child._unwatch()


class SubprocessTransport(_UnixSubprocessTransport):  # type: ignore[misc]
    """An asyncio.SubprocessTransport over a subprocess.Popen."""

    _closed: bool
    # Of the child, while it is watched; None where there is none.
    _pidfd: int | None = None
    # Calls of the protocol that wait in the loop: at first connection_made().
    _waiting_calls = 1

    # ---- the end of the child ------------------------------------------------------------

    def _watch(self) -> None:
        """See to it that _ended() is called in the loop when the child has exited."""
        self._loop._children.add(self)
        try:
            # Fails on a kernel before 5.3, in a sandbox that forbids it, or if no descriptor is
            # left; or the kernel has reaped the child already, because SIGCHLD is ignored.
            self._pidfd = os.pidfd_open(self._pid)
            self._loop._add_reader(self._pidfd, self._ended)  # epoll has a limit for each user
        except (AttributeError, OSError):
            self._watch_in_thread()

    def _watch_in_thread(self) -> None:
        try:
            threading.Thread(
                target=_wait_in_thread,
                args=(self._pid, weakref.ref(self)),
                name=f"asyncio-waitpid-{self._pid}",
                daemon=True,
            ).start()
        except BaseException:
            self._unwatch()
            raise

    def _watched(self) -> bool:
        return self in self._loop._children

    def _unwatch(self) -> None:
        self._loop._children.discard(self)
        if self._pidfd is not None:
            self._loop._remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _ended(self) -> None:
        if not self._watched():  # a thread that was late
            return
        returncode = self._reap(wait=True)
        if returncode is None:
            # Dead, but a debugger that traces it is told first: that may take any time.
            if self._pidfd is not None:
                self._loop._remove_reader(self._pidfd)
            self._watch_in_thread()
            return
        self._unwatch()
        self._process_exited(returncode)

    def _reap(self, *, wait: bool) -> int | None:
        """The exit status; None if the child runs. The Popen object has it from then on too.

        From the moment the child is reaped its pid may be another process's, so it is here, in
        the loop's thread, that it happens and becomes known. The lock keeps a Popen.wait() of
        another thread from guessing a status when it comes second; `wait` says to wait for it,
        which is short: that thread waits no more either.
        """
        proc = self._proc
        if not self._can_be_reaped() or not proc._waitpid_lock.acquire(wait):
            return None
        try:
            if proc.returncode is None:
                try:
                    pid, status = os.waitpid(proc.pid, os.WNOHANG)
                except ChildProcessError:
                    proc.returncode = self._status_that_others_took()
                else:
                    if pid:
                        proc.returncode = os.waitstatus_to_exitcode(status)
            returncode: int | None = proc.returncode
            return returncode
        finally:
            proc._waitpid_lock.release()

    def _can_be_reaped(self) -> bool:
        try:
            return self._proc.returncode is not None or _has_exited(self._pid, os.WNOHANG)
        except ChildProcessError:  # somebody has done it
            return True

    def _status_that_others_took(self) -> int:
        status = None if self._pidfd is None else pidfd.exit_status(self._pidfd)
        if status is not None:
            return os.waitstatus_to_exitcode(status)
        logger.warning(
            "child process pid %d exit status already read:  will report returncode %d",
            self._pid,
            STATUS_UNKNOWN,
        )
        return STATUS_UNKNOWN

    def _process_exited(self, returncode: int) -> None:
        try:
            super()._process_exited(returncode)
        finally:  # it raises if the protocol has no process_exited()
            # wait() is for the process, not for what others may hold open of its pipes. Before 3.14
            # asyncio wakes it at connection_lost(), after the pipes' end. That mostly arrives with
            # the child's own: two turns later it has been told, and who waited finds the transport
            # closed.
            self._loop.call_soon(self._loop.call_soon, self._wake_waiters)

    def _wake_waiters(self) -> None:
        if self._exit_waiters:
            for waiter in self._exit_waiters:
                if not waiter.done():
                    waiter.set_result(self._returncode)
            self._exit_waiters.clear()

    # ---- calls of the protocol -----------------------------------------------------------

    def _pipe_data_received(self, fd: int, data: bytes) -> None:
        """Hand data on: at once, unless that would overtake a call that waits.

        The standard library takes another turn of the loop for each piece: 0.8 of the 4.7 us of
        100 bytes through cat. What the protocol raises is told, as it is there, and the pipe stays
        open.
        """
        if self._waiting_calls:
            self._call(self._protocol.pipe_data_received, fd, data)
            return
        try:
            self._protocol.pipe_data_received(fd, data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._loop.call_exception_handler(
                {
                    "message": "Exception in callback pipe_data_received()",
                    "exception": exc,
                    "protocol": self._protocol,
                    "transport": self,
                }
            )

    def _call(self, callback: Any, *data: Any) -> None:
        if self._pending_calls is not None:
            super()._call(callback, *data)
        else:
            self._waiting_calls += 1
            self._loop.call_soon(self._call_waiting, callback, data)

    def _call_waiting(self, callback: Any, data: tuple[Any, ...]) -> None:
        self._waiting_calls -= 1
        callback(*data)

    # ---- signals -------------------------------------------------------------------------

    def send_signal(self, signum: int) -> None:
        """Send a signal to the child; nothing happens if it has exited.

        Raises ProcessLookupError after connection_lost(), OSError (no such signal, not allowed),
        TypeError if signum is no int.
        """
        self._check_proc()
        if self._proc.returncode is not None:
            return
        self._loop._flush()  # what was written before the signal, on its stdin say, is there first
        try:
            if self._pidfd is None:
                os.kill(self._pid, signum)
            else:  # it means this child, even if somebody else has reaped it
                signal.pidfd_send_signal(self._pidfd, signum)
        except ProcessLookupError:
            pass
        except OSError as exc:
            if exc.errno != errno.ENOSYS:
                raise
            os.kill(self._pid, signum)

    def terminate(self) -> None:
        """send_signal(SIGTERM)."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """send_signal(SIGKILL)."""
        self.send_signal(signal.SIGKILL)

    # ---- closing -------------------------------------------------------------------------

    def close(self) -> None:
        """Close the pipes and kill the child if it still runs. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._loop is None or self._proc is None:  # connection_lost() was; never started
            return
        if not self._loop.is_closed():
            self._close_pipes()
        if self._returncode is not None or self._reap(wait=False) is not None:
            return
        if self._loop.get_debug():
            logger.warning("Close running child process: kill %r", self)
        try:
            # Popen's own takes a stop of a traced child for its end; a program's is called
            (self if _is_plain(self._proc) else self._proc).kill()
        except PermissionError:
            pass  # it runs as another user

    def _close_pipes(self) -> None:
        for protocol in self._pipes.values():
            if protocol is not None:
                protocol.pipe.close()

    async def _connect_pipes(self, waiter: Any) -> None:
        await super()._connect_pipes(waiter)
        if self._pending_calls is not None:  # that failed
            self._close_pipes()
            proc = self._proc
            for fd, pipe in enumerate((proc.stdin, proc.stdout, proc.stderr)):
                if pipe is not None and self._pipes.get(fd) is None:
                    pipe.close()
            return
        # behind connection_made() and what came meanwhile
        self._loop.call_soon(self._call_waiting, _nothing, ())
        if self._closed:  # meanwhile, when some were not connected yet
            self._close_pipes()


def _is_plain(process: subprocess.Popen[bytes]) -> bool:
    """True if its kill() is the standard library's own."""
    return type(process).kill is _popen_kill and "kill" not in vars(process)


def _nothing() -> None:
    pass


def _has_exited(pid: int, options: int = 0) -> bool:
    """Whether a child has; it stays unreaped. ChildProcessError if there is no such child.

    A stop of a child that this process itself traces comes here too, whatever is asked for: it is
    no end, and left for the tracer to take.
    """
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | options)
    return found is not None and found.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED)


def _wait_in_thread(pid: int, child: weakref.ref[SubprocessTransport]) -> None:
    try:
        while not _has_exited(pid):
            time.sleep(TRACED_SECONDS)
    except ChildProcessError:
        pass
    transport = child()
    if transport is not None and transport._watched():
        try:
            transport._loop.call_soon_threadsafe(transport._ended)
        except RuntimeError:
            pass  # closed just now: abandon() tells
