"""What the mixins of EventLoop stand on: at run time the core's half of the loop, and for checkers
the standard library's, too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from . import _core

if TYPE_CHECKING:

    class Base(_core.LoopBase, asyncio.BaseEventLoop):  # type: ignore[misc]
        """Both halves, and steps of asyncio's that have no types."""

        _connect_sock: Any
        _ensure_resolved: Any
        _create_connection_transport: Any

else:
    Base = _core.LoopBase
