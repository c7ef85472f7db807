"""The package greenlet, which is optional: all that is asked of it, in one place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

try:
    import greenlet
except ImportError:
    greenlet = None

AVAILABLE = greenlet is not None
EXITS: tuple[type[BaseException], ...] = (greenlet.GreenletExit,) if AVAILABLE else ()
"""What ends a greenlet without being an error."""


def require(name: str) -> None:
    """Raise ImportError, in the name of what cannot be had without greenlet."""
    if not AVAILABLE:
        raise ImportError(
            f"EventLoop.{name} needs the package greenlet: pip install moodloop[evergreen]",
            name="greenlet",
        )


def is_main() -> bool:
    """True in the greenlet that each thread begins with, its main greenlet."""
    return not AVAILABLE or greenlet.getcurrent().parent is None


def is_current(task: Any) -> bool:
    """True in that greenlet."""
    return greenlet.getcurrent() is task


def become_child(task: Any) -> None:
    """Make `task` the parent of the greenlet that runs, unless that is the main one.

    A function of its own: a frame that is left waiting with a reference to its own greenlet, in a
    variable say, would keep both alive for ever.
    """
    this = greenlet.getcurrent()
    if this.parent is not None:
        this.parent = task


def make(function: Callable[[], object]) -> Any:
    """A greenlet below this thread's main greenlet; None without the package."""
    if not AVAILABLE:
        return None
    main = greenlet.getcurrent()
    while main.parent is not None:
        main = main.parent
    return greenlet.greenlet(function, main)


def run_to_end(task: Any) -> None:
    """Switch from the main greenlet to `task` until it has ended; raises what it raises.

    A greenlet that `task` started comes up here when it ends, unless it made `task` its parent.
    What it raises is then raised in `task`, where it was started.
    """
    resume: Callable[[], object] = task.switch
    while not task.dead:
        try:
            resume()
            resume = task.switch
        except BaseException as exc:
            if task.dead:
                raise
            resume = functools.partial(task.throw, type(exc), exc, exc.__traceback__)
