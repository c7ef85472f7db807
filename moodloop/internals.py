"""asyncio's private names that programs read on a loop, in one place.

Debuggers, metrics, prompts and test helpers look at them. They are views: what stock asyncio keeps
in a deque, a heap and a dict, this loop has in C. `_debug`, `_closed`, `_stopping`, `_thread_id`,
`_current_handle` and `_check_closed()` are the core's own; `_default_executor`, `_asyncgens`,
`_task_factory`, `_exception_handler`, `_clock_resolution` and `_check_thread()` are inherited.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from .base import Base

_CHANGES = ("append", "appendleft", "extend", "insert", "pop", "popleft", "remove", "rotate")


class Handles(Sequence[Any]):
    """The handles that wait in a loop, as they are now; to be read, not changed."""

    def __init__(self, loop: Any, name: str, snapshot: Callable[[], list[Any]]) -> None:
        self._loop = loop
        self._name = name
        self._snapshot = snapshot

    def __len__(self) -> int:
        return len(self._snapshot())

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        return self._snapshot()[index]

    def __repr__(self) -> str:
        return f"<loop.{self._name}, read-only: {self._snapshot()!r}>"

    def clear(self) -> None:
        """For BaseEventLoop.close(), after which the core drops them. RuntimeError otherwise."""
        if not self._loop.is_closed():
            raise RuntimeError(f"loop.{self._name} is read-only: cancel() the handles in it")

    def __getattr__(self, name: str) -> Any:
        if name in _CHANGES:
            raise AttributeError(
                f"loop.{self._name} is read-only: use call_soon() or call_at(), and cancel()"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class Internals(Base):
    """What EventLoop offers of the names that are private to asyncio's own loops."""

    __slots__ = ()

    @property
    def _ready(self) -> Handles:
        """What runs in this turn or the next; events of transports are not handles."""
        return Handles(self, "_ready", self._ready_handles)

    @_ready.setter
    def _ready(self, value: Any) -> None:
        self._refuse_after_init("_ready")

    @property
    def _scheduled(self) -> Handles:
        """The timers, the next one first."""
        return Handles(self, "_scheduled", lambda: sorted(self._scheduled_handles()))

    @_scheduled.setter
    def _scheduled(self, value: Any) -> None:
        self._refuse_after_init("_scheduled")

    @property
    def _signal_handlers(self) -> Mapping[int, Any]:
        """{signal number: handle} of add_signal_handler()."""
        return types.MappingProxyType(self._signal_map())

    @property
    def _selector(self) -> Any:
        raise AttributeError("this loop has no selector: it polls with libev, see loop.ev")

    # Libraries that put their own methods on the class of a BaseEventLoop need a selector in them.
    # Those that make runs nest (nest_asyncio and its forks) leave alone what says that it has been
    # done; a nested run is then the usual RuntimeError.
    _nest_patched = True

    # looptime replaces the selector's select(), unless this is there: its pytest plugin does it to
    # each loop, whether or not a test asks for looptime's clock.
    _LoopTimeEventLoop__original_select = None

    @property
    def _LoopTimeEventLoop__enabled(self) -> bool:
        return False

    @_LoopTimeEventLoop__enabled.setter
    def _LoopTimeEventLoop__enabled(self, value: bool) -> None:
        if value:
            raise RuntimeError("looptime cannot set this loop's clock: it polls with libev")

    def _refuse_after_init(self, name: str) -> None:
        """BaseEventLoop.__init__() sets an empty one of each; nobody else may."""
        if hasattr(self, "_default_executor"):
            raise AttributeError(f"loop.{name} is read-only")

    def _run_once(self) -> None:
        """One turn. RuntimeError if a loop runs in this thread: loops do not nest."""
        self._check_running()
        self.stop()
        self.run_forever()

    def _write_to_self(self) -> None:
        """Wake the loop; asyncio calls this from finalizers."""
        if not self.is_closed():
            self.call_soon_threadsafe(lambda: None)
