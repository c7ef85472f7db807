"""Web servers that others made, with an answer of a few words."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

BODY = b"Hello, world!"


async def _application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """An ASGI application."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


async def uvicorn(sock: socket.socket, **options: Any) -> Any:
    import uvicorn

    # Without the headers that it adds a moment after its start: answers have one length.
    config = uvicorn.Config(
        _application,
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="critical",
        date_header=False,
        server_header=False,
        **options,
    )
    return asyncio.create_task(uvicorn.Server(config).serve(sockets=[sock]))


async def aiohttp(sock: socket.socket) -> Any:
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=BODY, content_type="text/plain")

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    return runner
