"""`api`: asyncio's streams and moodloop's, each of them on moodloop's loop; and asyncio's own."""

import asyncio
import types

import pytest
from support import loops

NAMES = (
    "StreamReader",
    "StreamWriter",
    "StreamReaderProtocol",
    "open_connection",
    "start_server",
    "open_unix_connection",
    "start_unix_server",
    "create_subprocess_exec",
    "create_subprocess_shell",
)


@pytest.fixture
def api(loop_name):
    """The classes and functions under test: asyncio's on its loop, moodloop's on its own."""
    source = asyncio
    if loop_name == loops.MOODLOOP:
        import moodloop

        source = moodloop
    return types.SimpleNamespace(
        **{name: getattr(source, name, None) or getattr(asyncio, name) for name in NAMES}
    )
