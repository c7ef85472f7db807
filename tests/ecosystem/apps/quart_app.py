"""A Quart application: what asgi.py does."""

import asyncio
import os

from quart import Quart, request, websocket

app = Quart(__name__)


@app.get("/loop")
async def loop():
    return {"loop": type(asyncio.get_running_loop()).__module__, "pid": os.getpid()}


@app.post("/echo")
async def echo():
    return await request.get_data()


@app.get("/stream")
async def stream():
    async def chunks():
        for i in range(50):
            yield b"%d\n" % i * 1000
            await asyncio.sleep(0)

    return chunks()


@app.websocket("/ws")
async def ws():
    while True:
        await websocket.send(await websocket.receive())


@app.after_serving
async def ended():
    print("ended on", type(asyncio.get_running_loop()).__module__)
