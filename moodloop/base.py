"""What the mixins of EventLoop stand on: at run time the core's half of the loop, and for checkers
the standard library's, too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from . import _core

if TYPE_CHECKING:

    class Base(_core.LoopBase, asyncio.BaseEventLoop):  # type: ignore[misc]
        """Both halves, and what of asyncio's has no types."""

        _asyncgen_finalizer_hook: Any
        _asyncgen_firstiter_hook: Any
        _check_default_executor: Any
        _check_running: Any
        _connect_sock: Any
        _ensure_resolved: Any
        _create_connection_transport: Any
        _default_executor: Any
        _getaddrinfo_debug: Any
        _set_coroutine_origin_tracking: Any

else:
    Base = _core.LoopBase
