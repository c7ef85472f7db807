"""A Sanic application: what asgi.py does."""

import asyncio
import os

from sanic import Sanic, response

app = Sanic("ecosystem")
app.config.WEBSOCKET_MAX_SIZE = 10**6


@app.get("/loop")
async def loop(request):
    kind = type(asyncio.get_running_loop())
    return response.json({"loop": kind.__module__, "pid": os.getpid()})


@app.post("/echo")
async def echo(request):
    return response.raw(request.body)


@app.get("/stream")
async def stream(request):
    answer = await request.respond(content_type="text/plain")
    for i in range(50):
        await answer.send(b"%d\n" % i * 1000)


@app.websocket("/ws")
async def ws(request, socket):
    async for message in socket:
        await socket.send(message)


@app.after_server_stop
async def ended(app):
    print("ended on", type(asyncio.get_running_loop()).__module__)
