"""An asyncio event loop in C on libev, and libev's watchers for Python.

    asyncio.run(main(), loop_factory=moodloop.new_event_loop)   # Python 3.12+
    moodloop.run(main())
    python -m moodloop run app.py

`moodloop.event` is the watcher API; `loop.ev` of a running loop takes the same watchers.
"""

from __future__ import annotations

import sys as _sys
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING, Any

# By way of a name, or type checkers on other systems read no further.
if (_platform := _sys.platform) != "linux":
    raise ImportError(
        f"moodloop runs on Linux only, and this is {_platform}: leave it out there with the marker "
        '`moodloop; sys_platform == "linux"` in the requirements, and fall back on asyncio\'s own '
        "loop where this import fails."
    )

if _find_spec(f"{__name__}._core") is None:
    raise ImportError(
        f"{__path__[0]} holds no moodloop._core for this Python: it is a source tree that is not "
        "built. Run `make build` there; or start Python in another directory, if moodloop is "
        "installed elsewhere."
    )

from ._version import __version__
from .loop import EventLoop
from .policy import install, new_event_loop, run, uninstall
from .streams import (
    StreamReader,
    StreamReaderProtocol,
    StreamWriter,
    create_subprocess_exec,
    create_subprocess_shell,
    open_connection,
    open_unix_connection,
    start_server,
    start_unix_server,
)

if TYPE_CHECKING:
    from .inspect.values import DelayMonitor as DelayMonitor
    from .inspect.values import LoopStats as LoopStats
    from .inspect.watchdog import Stall as Stall
    from .inspect.watchdog import Watchdog as Watchdog
    from .policy import EventLoopPolicy as EventLoopPolicy
    from .policy import Policy as Policy

__all__ = [
    "DelayMonitor",
    "EventLoop",
    "EventLoopPolicy",
    "LoopStats",
    "Policy",
    "Stall",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "Watchdog",
    "__version__",
    "create_subprocess_exec",
    "create_subprocess_shell",
    "install",
    "new_event_loop",
    "open_connection",
    "open_unix_connection",
    "run",
    "start_server",
    "start_unix_server",
    "uninstall",
]


def __getattr__(name: str) -> Any:
    # Made when asked for: on 3.14 and 3.15 asyncio's policies are deprecated, and a later Python
    # has none.
    if name in ("Policy", "EventLoopPolicy"):
        from .policy import event_loop_policy

        return event_loop_policy()
    if name in ("DelayMonitor", "LoopStats"):
        from .inspect import values

        return getattr(values, name)
    if name in ("Stall", "Watchdog"):
        from .inspect import watchdog

        return getattr(watchdog, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
