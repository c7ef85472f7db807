"""redis-py: commands side by side, pipelines, transactions, pub/sub, blocking reads, cancels."""

import asyncio
import os

import pytest
from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, WatchError


async def counting(client, width):
    """Commands side by side over a pool, and one transaction that another client disturbs."""
    for _ in range(80 // width):
        await asyncio.gather(*(client.incr("count") for _ in range(width)))
    assert int(await client.get("count")) == 80
    async with client.pipeline(transaction=True) as pipe:
        await pipe.watch("count")
        await client.set("count", 1)
        pipe.multi()
        pipe.incr("count")
        with pytest.raises(WatchError):
            await pipe.execute()
    async with client.pipeline(transaction=False) as pipe:
        for i in range(500):
            pipe.set(f"key:{i}", os.urandom(i))
            pipe.strlen(f"key:{i}")
        assert (await pipe.execute())[1::2] == list(range(500))
    large = os.urandom(5_000_000)
    await client.set("large", large)
    assert await client.get("large") == large
    found = [key async for key in client.scan_iter("key:*")]
    assert len(set(found)) == 500


async def messages(client):
    """Four subscribers, one publisher."""
    ready = asyncio.Barrier(5)

    async def subscriber():
        async with client.pubsub() as pubsub:
            await pubsub.subscribe("news")
            assert (await pubsub.get_message(timeout=10))["type"] == "subscribe"
            await ready.wait()
            found = []
            async for message in pubsub.listen():
                if message["data"] == b"end":
                    return found
                found.append(int(message["data"]))

    async def publisher():
        await ready.wait()
        for i in range(500):
            assert await client.publish("news", i) == 4
        await client.publish("news", "end")

    *found, _ = await asyncio.gather(*(subscriber() for _ in range(4)), publisher())
    assert found == [list(range(500))] * 4


async def waiting(client):
    """Blocking commands: one that is answered, one that is cancelled."""
    answered = asyncio.create_task(client.blpop("queue", timeout=10))
    await asyncio.sleep(0.01)
    await client.rpush("queue", "one")
    assert await answered == (b"queue", b"one")
    cancelled = asyncio.create_task(client.blpop("queue", timeout=10))
    await asyncio.sleep(0.01)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    # The connection of the cancelled command is not used with the answer still to come.
    assert await asyncio.gather(*(client.echo(str(i)) for i in range(50))) == [
        str(i).encode() for i in range(50)
    ]


async def use(width=80, **address):
    async with redis.Redis(**address) as client:
        await client.flushall()
        await counting(client, width)
        await messages(client)
        await waiting(client)


async def main(port, path, certificate=None):
    if certificate is not None:
        # Few at a time: redis-py loads all of the system's certificates for each connection.
        await use(8, host="localhost", port=port, ssl=True, ssl_ca_certs=certificate)
        return
    await use(host="127.0.0.1", port=port)
    await use(unix_socket_path=path)
    with pytest.raises(ConnectionError):
        await redis.Redis(unix_socket_path=path + ".none", retry=Retry(NoBackoff(), 0)).ping()
