"""An aiohttp server: what asgi.py does, and a file by sendfile()."""

import asyncio
import os

from aiohttp import WSMsgType, web

routes = web.RouteTableDef()


@routes.get("/loop")
async def loop(request):
    kind = type(asyncio.get_running_loop())
    return web.json_response({"loop": kind.__module__, "pid": os.getpid()})


@routes.post("/echo")
async def echo(request):
    return web.Response(body=await request.read())


@routes.get("/stream")
async def stream(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for i in range(50):
        await response.write(b"%d\n" % i * 1000)
    return response


@routes.get("/file")
async def file(request):
    return web.FileResponse("file.bin")


@routes.get("/ws")
async def ws(request):
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    return socket


async def ended(app):
    print("cleaned up on", type(asyncio.get_running_loop()).__module__)


app = web.Application(client_max_size=10**6)
app.add_routes(routes)
app.on_cleanup.append(ended)
