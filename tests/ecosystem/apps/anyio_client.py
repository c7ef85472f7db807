"""AnyIO: task groups, cancel scopes, TCP and Unix streams, UDP, processes, threads, signals."""

import os
import signal
import sys
import tempfile

import anyio
import pytest
from anyio.abc import ByteReceiveStream


async def echo(stream):
    async with stream:
        async for chunk in stream:
            await stream.send(chunk)


async def exchange(stream, number):
    data = b"%d" % number * 30_000

    async def send():
        await stream.send(data)
        await stream.send_eof()

    async with stream, anyio.create_task_group() as group:
        group.start_soon(send)
        received = bytearray()
        async for chunk in stream:
            received += chunk
        assert received == data


async def streams():
    with tempfile.TemporaryDirectory() as directory:
        tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
        unix = await anyio.create_unix_listener(f"{directory}/socket")
        port = tcp.extra(anyio.abc.SocketAttribute.local_port)
        async with anyio.create_task_group() as servers:
            servers.start_soon(tcp.serve, echo)
            servers.start_soon(unix.serve, echo)
            async with anyio.create_task_group() as clients:
                for i in range(20):
                    clients.start_soon(exchange, await anyio.connect_tcp("127.0.0.1", port), i)
                    clients.start_soon(exchange, await anyio.connect_unix(f"{directory}/socket"), i)
            servers.cancel_scope.cancel()
        await tcp.aclose()
        await unix.aclose()


async def datagrams():
    async with await anyio.create_udp_socket(local_host="127.0.0.1") as receiver:
        port = receiver.extra(anyio.abc.SocketAttribute.local_port)
        async with await anyio.create_connected_udp_socket("127.0.0.1", port) as sender:
            for i in range(20):
                await sender.send(b"%d" % i)
            assert [(await receiver.receive())[0] for _ in range(20)] == [
                b"%d" % i for i in range(20)
            ]


async def processes():
    code = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.exit(3)"
    result = await anyio.run_process(
        [sys.executable, "-c", code], input=b"abc" * 50_000, check=False
    )
    assert (result.stdout, result.returncode) == (b"ABC" * 50_000, 3)
    async with await anyio.open_process(["sleep", "60"]) as process:
        assert isinstance(process.stdout, ByteReceiveStream)
        process.terminate()
        assert await process.wait() == -signal.SIGTERM


async def scopes():
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep(60)
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        with anyio.fail_after(0.01):
            await anyio.to_thread.run_sync(anyio.from_thread.run, anyio.sleep, 60)
    with pytest.raises(ExceptionGroup):
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 60)
            group.start_soon(anyio.to_thread.run_sync, int, "no number")
    with anyio.open_signal_receiver(signal.SIGUSR1) as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        async for signum in signals:
            assert signum == signal.SIGUSR1
            break


async def main():
    for part in (streams, datagrams, processes, scopes):
        with anyio.fail_after(60):
            await part()
