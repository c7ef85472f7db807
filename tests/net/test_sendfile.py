"""loop.sendfile() over a stream transport."""

import asyncio
import io

import pytest
from support.net import connected, unix_pair

DATA = bytes(range(256)) * 2000


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with open(path, "rb") as opened:
        yield opened


def send_and_receive(run, file, expected, *args, **kwargs):
    async def main():
        loop = asyncio.get_running_loop()
        async with connected(pair=unix_pair) as (transport, _, peer):
            transport.write(b"head")
            receiving = asyncio.ensure_future(peer.recv_exactly(8 + len(expected)))
            count = await loop.sendfile(transport, file, *args, **kwargs)
            transport.write(b"tail")
            assert await receiving == b"head" + expected + b"tail"
            assert count == len(expected)
            return transport.is_reading()

    assert run(main())


def test_between_writes(run, file):
    send_and_receive(run, file, DATA)
    assert file.tell() == len(DATA)


def test_offset_and_count(run, file):
    send_and_receive(run, file, DATA[1000:301_000], 1000, 300_000)
    assert file.tell() == 301_000


def test_fallback(run):
    """What has no descriptor is read and written."""
    send_and_receive(run, io.BytesIO(DATA), DATA)


def test_no_fallback(run):
    async def main():
        async with connected(pair=unix_pair) as (transport, _, peer):
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await asyncio.get_running_loop().sendfile(
                    transport, io.BytesIO(DATA), fallback=False
                )
            transport.write(b"x")
            assert await peer.recv_exactly(1) == b"x"

    run(main())


def test_closing(run, file):
    async def main():
        async with connected(pair=unix_pair) as (transport, _, _):
            transport.close()
            with pytest.raises(RuntimeError, match="Transport is closing"):
                await asyncio.get_running_loop().sendfile(transport, file)

    run(main())


def test_peer_gone_before(run, file):
    """The write in front of it finds the peer gone: told, not waited for."""

    async def main():
        async with connected(pair=unix_pair) as (transport, protocol, peer):
            peer.close()
            transport.write(b"head")
            with pytest.raises((RuntimeError, ConnectionError)):
                await asyncio.get_running_loop().sendfile(transport, file)
            await protocol.lost

    run(main())


def test_peer_goes_meanwhile(run, file):
    async def main():
        async with connected(pair=unix_pair) as (transport, protocol, peer):
            sending = asyncio.ensure_future(asyncio.get_running_loop().sendfile(transport, file))
            await peer.recv_exactly(1000)
            peer.close()
            with pytest.raises(ConnectionError):
                await sending
            transport.abort()
            await protocol.lost

    run(main())
