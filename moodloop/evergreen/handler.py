"""Handler: a callback with its arguments, which can be cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Handler:
    """What the methods of EventLoop return for a callback; programs make none themselves.

    Raises TypeError if `func` is not callable, or is a Handler.
    """

    __slots__ = ("__weakref__", "_cancelled", "_undo", "args", "func", "keywords")

    func: Callable[..., object]
    """The callback."""
    args: tuple[Any, ...]
    """Its positional arguments."""
    keywords: dict[str, Any]
    """Its keyword arguments."""

    def __init__(
        self, func: Callable[..., object], args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        if isinstance(func, Handler):
            raise TypeError("a Handler cannot be a callback: it stands for one already")
        if not callable(func):
            raise TypeError(f"a callable is required, got {type(func).__name__}")
        self.func = func
        self.args = args
        self.keywords = keywords
        self._cancelled = False
        # Takes what was started for it (a timer, say) back; None if that is over or was nothing.
        self._undo: Callable[[], object] | None = None

    def __call__(self, *args: Any, **keywords: Any) -> object:
        """Call the callback now; further arguments come after its own, as with partial()."""
        return self.func(*self.args, *args, **{**self.keywords, **keywords})

    def cancel(self) -> None:
        """Keep the loop from calling the callback from now on. Idempotent, at any time.

        The timer, reader, writer or signal handler it stands for is removed. As all but
        call_from_thread(), for the loop's thread only.
        """
        self._cancelled = True
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def __repr__(self) -> str:
        name = getattr(self.func, "__qualname__", None) or repr(self.func)
        given = [repr(arg) for arg in self.args]
        given += [f"{key}={value!r}" for key, value in self.keywords.items()]
        return f"<Handler {name}({', '.join(given)}){' cancelled' * self._cancelled}>"
