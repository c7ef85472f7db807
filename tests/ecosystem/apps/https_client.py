"""python -m https_client aiohttp|aiohttp-alone|httpx URL CERTIFICATE: asks aiohttp_app."""

import asyncio
import ssl
import sys

import moodloop

LIBRARY, URL, CERTIFICATE = sys.argv[1:]
if LIBRARY == "aiohttp-alone":
    sys.modules["aiofastnet"] = None

STREAM = b"".join(b"%d\n" % i * 1000 for i in range(50))
SIZES = (0, 1, 1000, 20_000, 300_000)


async def ask_all(get, post):
    async def echo(number):
        body = bytes(range(256)) * (SIZES[number % len(SIZES)] // 256 + 1)
        body = body[: SIZES[number % len(SIZES)]]
        assert await post("/echo", body) == body

    async def stream():
        assert await get("/stream") == STREAM

    await asyncio.gather(*(echo(n) for n in range(40)), *(stream() for _ in range(5)))


async def with_aiohttp():
    import aiohttp

    context = ssl.create_default_context(cafile=CERTIFICATE)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:

        async def get(path):
            async with session.get(URL + path) as response:
                return await response.read()

        async def post(path, body):
            async with session.post(URL + path, data=body) as response:
                return await response.read()

        await ask_all(get, post)


async def with_httpx():
    import httpx

    context = ssl.create_default_context(cafile=CERTIFICATE)
    async with httpx.AsyncClient(verify=context, timeout=30) as client:

        async def get(path):
            return (await client.get(URL + path)).content

        async def post(path, body):
            return (await client.post(URL + path, content=body)).content

        await ask_all(get, post)


async def main():
    await (with_httpx() if LIBRARY == "httpx" else with_aiohttp())
    print("all right on", type(asyncio.get_running_loop()).__module__)


moodloop.run(asyncio.wait_for(main(), 60))
