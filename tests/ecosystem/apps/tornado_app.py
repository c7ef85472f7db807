"""A Tornado server: what asgi.py does, and Tornado's own subprocess and HTTP client."""

import asyncio
import os
import signal
import sys

from tornado import httpclient, ioloop, iostream, process, web, websocket


class Loop(web.RequestHandler):
    async def get(self):
        kind = type(asyncio.get_running_loop())
        assert ioloop.IOLoop.current().asyncio_loop is asyncio.get_running_loop()
        self.write({"loop": kind.__module__, "pid": os.getpid()})


class Echo(web.RequestHandler):
    async def post(self):
        self.write(self.request.body)


class Stream(web.RequestHandler):
    async def get(self):
        for i in range(50):
            self.write(b"%d\n" % i * 1000)
            await self.flush()


class Shell(web.RequestHandler):
    """What a subprocess prints, read through a PipeIOStream."""

    async def get(self):
        child = process.Subprocess(
            [sys.executable, "-c", "print('x' * 200000)"], stdout=process.Subprocess.STREAM
        )
        try:
            output = await child.stdout.read_until_close()
        except iostream.StreamClosedError:
            output = b""
        self.write(output)
        assert await child.wait_for_exit() == 0


class Proxy(web.RequestHandler):
    async def get(self):
        client = httpclient.AsyncHTTPClient()
        url = f"http://{self.request.host}/stream"
        self.write((await client.fetch(url)).body)


class Ws(websocket.WebSocketHandler):
    def on_message(self, message):
        self.write_message(message, binary=isinstance(message, bytes))


def make_server(port):
    handlers = [
        (f"/{kind.__name__.lower()}", kind) for kind in (Loop, Echo, Stream, Shell, Proxy, Ws)
    ]
    return web.Application(handlers).listen(port, "127.0.0.1")


async def serve(port):
    """Serve until SIGTERM."""
    server = make_server(port)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    server.stop()
    await server.close_all_connections()
    print("ended on", type(asyncio.get_running_loop()).__module__)
