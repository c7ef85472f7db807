"""Handshakes that wait for another turn, and transports that are closed before they begin."""

import asyncio

import pytest
from support.loops import TIMEOUT, turns
from support.net import Record, unix_pair
from support.tls import client_context, server_context

pytestmark = pytest.mark.tls


class Raising(Record):
    def connection_made(self, transport):
        super().connection_made(transport)
        raise ZeroDivisionError


@pytest.mark.parametrize("count", [1, 20])
def test_connection_made_that_raises(loop, run, reports, count):
    """However many handshakes there are at once, each is told to who waits for it."""

    async def one():
        a, b = unix_pair()
        server = asyncio.ensure_future(
            loop.connect_accepted_socket(Raising, a, ssl=server_context())
        )
        client = asyncio.ensure_future(
            loop.create_connection(
                Record, sock=b, ssl=client_context(), server_hostname="localhost"
            )
        )
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(server, TIMEOUT)
        transport, protocol = await client
        transport.abort()
        await protocol.lost

    async def main():
        await asyncio.gather(*(one() for _ in range(count)))
        await turns(10)

    run(main())
    assert [type(context["exception"]) for context in reports] == [ZeroDivisionError] * count
