"""The same asyncio program on each event loop, timed: ``python -m moodloop bench``.

The program is an ordinary one: a server process with an echo server (a ``Protocol``) and a
key-value server with a line protocol (``asyncio.start_server``), and a client process that talks
to both over TCP on 127.0.0.1. Nothing in it knows which loop runs it. Each loop of each round has
two new processes, and the loops take turns.

Every answer is checked. A wrong one, a server that dies and one that is silent end the benchmark
with exit status 1 and a message that names the loop, what was sent and what came back.
"""

from __future__ import annotations

from .command import main

__all__ = ["main"]
