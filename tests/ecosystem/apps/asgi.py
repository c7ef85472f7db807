"""An ASGI application that tells about its loop, echoes, streams, and echoes over WebSockets."""

import asyncio
import json
import os

TEXT = [(b"content-type", b"text/plain")]


def about():
    kind = type(asyncio.get_running_loop())
    return {"loop": kind.__module__, "pid": os.getpid()}


async def body_of(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def http(scope, receive, send):
    start = {"type": "http.response.start", "status": 200, "headers": TEXT}
    if scope["path"] == "/loop":
        await send(start)
        await send({"type": "http.response.body", "body": json.dumps(about()).encode()})
    elif scope["path"] == "/echo":
        body = await body_of(receive)
        await send(start)
        await send({"type": "http.response.body", "body": body})
    elif scope["path"] == "/stream":
        await send(start)
        for i in range(50):
            chunk = b"%d\n" % i * 1000
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({**start, "status": 404})
        await send({"type": "http.response.body", "body": b""})


async def websocket(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        reply = {"type": "websocket.send"}
        if message.get("text") is not None:
            reply["text"] = message["text"]
        else:
            reply["bytes"] = message["bytes"]
        await send(reply)


async def lifespan(scope, receive, send):
    while True:
        message = await receive()
        print(message["type"], about()["loop"], flush=True)
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def app(scope, receive, send):
    await {"http": http, "websocket": websocket, "lifespan": lifespan}[scope["type"]](
        scope, receive, send
    )
