"""httpx against a server of its own: concurrent requests, streams both ways, timeouts."""

import asyncio

import httpx
import pytest


async def serve(reader, writer):
    """HTTP/1.1 as far as it is needed: echo of the body, or no answer."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            headers = dict(
                line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:-2]
            )
            body = b""
            if "content-length" in headers:
                body = await reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                while size := int(await reader.readline(), 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readline()
            if head.startswith(b"GET /never"):
                await reader.read()
                break
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
    except asyncio.IncompleteReadError:
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def chunks():
        for i in range(100):
            yield b"%d" % i * 500
            await asyncio.sleep(0)

    async with server, httpx.AsyncClient(trust_env=False) as client:

        async def post(number):
            body = b"%d" % number * 1000 * (number % 50)
            assert (await client.post(url, content=body)).content == body

        await asyncio.gather(*(post(n) for n in range(200)))

        sent = b"".join([chunk async for chunk in chunks()])
        async with client.stream("POST", url, content=chunks()) as response:
            assert b"".join([chunk async for chunk in response.aiter_bytes()]) == sent

        with pytest.raises(httpx.ReadTimeout):
            await client.get(f"{url}/never", timeout=0.05)
        request = asyncio.create_task(client.get(f"{url}/never"))
        await asyncio.sleep(0.01)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await post(1)
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.get(url)
