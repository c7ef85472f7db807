"""run_in_executor() on a ThreadPoolExecutor, without a second future for each call.

The standard library makes a concurrent.futures.Future, with a lock and a condition, and chains
asyncio's future to it with a callback at either end: half of the cost of a call. Here the work in
the pool's queue knows the future that is awaited. That is for a plain ThreadPoolExecutor only: of
any other executor, or one whose submit() somebody has replaced, submit() is called.

The queue, its locks and what a work item must have are private to concurrent.futures; the test
matrix over 3.11 to 3.15 tells when one of them moves.
"""

from __future__ import annotations

import asyncio
from asyncio import futures
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, thread
from typing import Any

from .base import Base

_convert_exception: Any = futures._convert_future_exc  # type: ignore[attr-defined]
_global_lock: Any = thread._global_shutdown_lock
_submit: Any = ThreadPoolExecutor.submit
if getattr(_submit, "__globals__", None) is not vars(thread):
    _submit = None  # wrapped before this module was imported


def is_plain(executor: Any) -> bool:
    """True if its submit() is the standard library's own: instruments like to wrap that."""
    return (
        type(executor) is ThreadPoolExecutor
        and ThreadPoolExecutor.submit is _submit
        and "submit" not in executor.__dict__
    )


def submit(loop: Any, executor: Any, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """The future of func(*args) in a thread of a plain executor; None if that takes no more."""
    answer = loop.create_future()
    work = Work(loop, answer, func, args)
    with executor._shutdown_lock, _global_lock:
        if executor._broken or executor._shutdown or thread._shutdown:
            return None
        executor._work_queue.put(work)
        executor._adjust_thread_count()
    return answer


class Executors(Base):
    """The methods of EventLoop for executors."""

    __slots__ = ()

    _has_own_executor: bool

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        """func(*args) in an executor, None for the default one; a future of its result.

        Raises RuntimeError if the loop is closed or the executor shut down.
        """
        pool = self._default_executor if executor is None else executor
        future: asyncio.Future[Any] | None = None
        if is_plain(pool) and not self._debug:
            self._check_closed()
            if executor is None:
                self._check_default_executor()
            future = submit(self, pool, func, args)
        if future is None:
            future = super().run_in_executor(executor, func, *args)
        return future

    _plain_submit = run_in_executor

    def set_default_executor(self, executor: Any) -> None:
        """The ThreadPoolExecutor of run_in_executor(None, ...), and from now on of names."""
        super().set_default_executor(executor)
        self._has_own_executor = True


class Work:
    """What the pool's threads run, and what the pool calls its future."""

    __slots__ = ("_answer", "_args", "_func", "_loop")

    def __init__(
        self, loop: Any, answer: Any, func: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        self._loop = loop
        self._answer = answer
        self._func = func
        self._args = args

    def run(self, worker: Any = None) -> None:
        """In a thread of the pool, which from 3.14 on passes a context of its own."""
        if self._answer.cancelled():
            return
        try:
            result = self._func(*self._args)
        except BaseException as exc:
            self.set_exception(exc)
            self = None  # type: ignore[assignment]  # the traceback leads back here
        else:
            self._tell(_set_result, result)

    # ---- as the future that the pool cancels or fails when it ends -----------------------

    @property
    def future(self) -> Work:
        return self

    def cancel(self) -> None:
        self._tell(_cancel, None)

    def set_exception(self, exc: BaseException) -> None:
        self._tell(_set_exception, exc)

    def _tell(self, how: Callable[[Any, Any], None], what: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(how, self._answer, what)
        except RuntimeError:
            if not self._loop.is_closed():  # else nobody waits any more
                raise


def _set_result(answer: Any, result: Any) -> None:
    if not answer.cancelled():
        answer.set_result(result)


def _set_exception(answer: Any, exc: BaseException) -> None:
    if not answer.cancelled():
        answer.set_exception(_convert_exception(exc))


def _cancel(answer: Any, _: None) -> None:
    answer.cancel()
