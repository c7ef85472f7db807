"""A FastAPI application: coroutines, threads, dependencies, background tasks, a WebSocket."""

import asyncio
import os
import threading

from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket

app = FastAPI()
noted = []


async def loop_of_dependency():
    await asyncio.sleep(0)
    yield type(asyncio.get_running_loop()).__module__


@app.get("/loop")
async def read_loop(loop: str = Depends(loop_of_dependency)):
    return {"loop": loop, "pid": os.getpid()}


@app.get("/thread/{number}")
def read_thread(number: int):
    return [number, threading.current_thread() is threading.main_thread()]


@app.post("/note/{number}")
async def note(number: int, tasks: BackgroundTasks):
    tasks.add_task(noted.append, number)


@app.get("/noted")
async def read_noted():
    return noted


@app.websocket("/ws")
async def echo(socket: WebSocket):
    await socket.accept()
    async for message in socket.iter_json():
        await socket.send_json(message)
