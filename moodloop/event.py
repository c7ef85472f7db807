"""libev's event loop and watchers: the API of mood.event.

A watcher waits for one kind of event and calls ``callback(watcher, revents)``. See ``man 3 ev``
for what each kind does; this module follows it, with Python exceptions where libev would abort.
"""

from __future__ import annotations

import atexit as _atexit
import functools as _functools
import os as _os
from collections.abc import Callable as _Callable
from typing import Any as _Any
from typing import TypeVar as _TypeVar

from . import _core
from ._core import *  # noqa: F403  (types, functions and constants: see the stub)
from ._version import __version__ as __version__

_F = _TypeVar("_F", bound=_Callable[..., _Any])

# Spelled out, and the constants too, as type checkers do not compute it.
__all__ = [
    "EVBACKEND_ALL",
    "EVBACKEND_DEVPOLL",
    "EVBACKEND_EPOLL",
    "EVBACKEND_IOURING",
    "EVBACKEND_KQUEUE",
    "EVBACKEND_LINUXAIO",
    "EVBACKEND_MASK",
    "EVBACKEND_POLL",
    "EVBACKEND_PORT",
    "EVBACKEND_SELECT",
    "EVBREAK_ALL",
    "EVBREAK_CANCEL",
    "EVBREAK_ONE",
    "EVFLAG_AUTO",
    "EVFLAG_FORKCHECK",
    "EVFLAG_NOENV",
    "EVFLAG_NOINOTIFY",
    "EVFLAG_NOSIGMASK",
    "EVFLAG_NOTIMERFD",
    "EVFLAG_SIGNALFD",
    "EVRUN_NOWAIT",
    "EVRUN_ONCE",
    "EV_ASYNC",
    "EV_CHECK",
    "EV_CHILD",
    "EV_CLEANUP",
    "EV_CUSTOM",
    "EV_EMBED",
    "EV_ERROR",
    "EV_FORK",
    "EV_IDLE",
    "EV_IO",
    "EV_MAXPRI",
    "EV_MINPRI",
    "EV_NONE",
    "EV_PERIODIC",
    "EV_PREPARE",
    "EV_READ",
    "EV_SIGNAL",
    "EV_STAT",
    "EV_TIMER",
    "EV_UNDEF",
    "EV_WRITE",
    "Async",
    "Check",
    "Child",
    "Cleanup",
    "Embed",
    "Error",
    "EventError",
    "Fork",
    "Idle",
    "Io",
    "Loop",
    "Periodic",
    "Prepare",
    "Scheduler",
    "Signal",
    "Stat",
    "Statdata",
    "Timer",
    "Watcher",
    "abi_version",
    "default_loop",
    "embeddable_backends",
    "fatal",
    "feed_signal",
    "header_version",
    "loop",
    "recommended_backends",
    "sleep",
    "supported_backends",
    "time",
]


def fatal(callback: _F) -> _F:
    """Mark a callback: an exception that escapes it ends the loop and is raised by start().

    A decorator for functions and other callables; TypeError for what is not callable. Where an
    attribute cannot be set (bound methods, builtins) a wrapper is returned.
    """
    if not callable(callback):
        raise TypeError(f"a callable is required, got {type(callback).__name__}")
    try:
        callback.__event_fatal__ = True  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        wrapper: _Any = _functools.partial(callback)
        wrapper.__event_fatal__ = True
        return wrapper  # type: ignore[no-any-return]
    return callback


_os.register_at_fork(before=_core._before_fork, after_in_child=_core._after_fork)
_atexit.register(_core._at_exit)
