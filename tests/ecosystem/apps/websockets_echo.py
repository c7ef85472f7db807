"""websockets: its server and its clients in one loop; pings, fragments, compression, closes."""

import asyncio
import contextlib

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK


async def handler(socket):
    # What is not a normal end raises here, as it does in the client.
    with contextlib.suppress(ConnectionClosedError):
        await echo(socket)


async def echo(socket):
    async for message in socket:
        if message == "close":
            await socket.close(4000, "asked for")
        elif message == "abort":
            socket.transport.abort()
        else:
            await socket.send(message)


async def talk(url, number):
    compression = "deflate" if number % 2 else None
    async with connect(url, compression=compression, proxy=None) as socket:
        for i in range(20):
            message = f"{number} {i}" * 10 ** (i % 5)
            await socket.send(message)
            assert await socket.recv() == message
        await (await socket.ping())
        await socket.send(str(i) for i in range(5))
        assert await socket.recv() == "01234"
        await socket.send("close")
        with pytest.raises(ConnectionClosedError) as caught:
            await socket.recv()
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4000, "asked for")


async def main():
    async with serve(handler, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*(talk(url, n) for n in range(30)))
        async with connect(url, proxy=None) as socket:
            await socket.send("abort")
            with pytest.raises(ConnectionClosedError):
                await socket.recv()
        idle = await connect(url, proxy=None)
    # Closing the server has closed the idle client.
    with pytest.raises(ConnectionClosedOK) as caught:
        await idle.recv()
    assert caught.value.rcvd.code == 1001
