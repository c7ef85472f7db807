"""Connections and servers: repeated, they add nothing."""

import asyncio
import socket
import warnings

import pytest
from support.leaks import growth
from support.loops import drive, turns, until
from support.net import BufferedRecord, Record, connected, end, jam, serving, unix_pair


@pytest.fixture
def repeat(loop):
    """The growth by a coroutine run again and again on one loop."""
    loop.set_exception_handler(lambda loop, context: None)
    loop.set_debug(False)

    def repeat(scenario, **kwargs):
        found = growth(lambda sentinel: drive(loop, scenario(sentinel)), **kwargs)
        drive(loop, loop.shutdown_default_executor())
        return found

    return repeat


KINDS = pytest.mark.parametrize("kind", [Record, BufferedRecord], ids=["plain", "buffered"])


@KINDS
class TestConnections:
    def test_exchange(self, repeat, kind):
        async def scenario(x):
            async with connected(kind) as (transport, protocol, peer):
                protocol.mine = transport.mine = x
                transport.write(b"hello")
                transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
                await peer.send(b"world" * 1000)
                await protocol.received(5000)
                await peer.recv_exactly(8)
                transport.get_extra_info("socket")
                transport.get_extra_info("peername")
                transport.close()
                await protocol.lost

        assert repeat(scenario) == {}

    def test_aborted_with_bytes_waiting(self, repeat, kind):
        async def scenario(x):
            async with connected(kind, unix_pair) as (transport, protocol, _):
                protocol.mine = x
                await jam(transport)
                transport.write(bytearray(100))
                transport.abort()
                await protocol.lost

        assert repeat(scenario, rounds=5) == {}

    def test_reset(self, repeat, kind):
        async def scenario(x):
            async with connected(kind) as (transport, protocol, peer):
                protocol.mine = x
                transport.write(bytes(1 << 20))
                peer.reset()
                await protocol.lost

        assert repeat(scenario) == {}

    def test_callbacks_that_raise(self, repeat, kind):
        class Raising(kind):
            def connection_made(self, transport):
                super().connection_made(transport)
                raise ZeroDivisionError(self.mine)

            def data_received(self, data):
                raise ZeroDivisionError(self.mine)

            def buffer_updated(self, nbytes):
                raise ZeroDivisionError(self.mine)

        if kind is BufferedRecord:
            Raising.data_received = None

        async def scenario(x):
            Raising.mine = x
            async with connected(Raising) as (_, protocol, peer):
                await peer.send(b"x")
                await protocol.lost
            del Raising.mine

        assert repeat(scenario) == {}

    def test_switched_protocols(self, repeat, kind):
        async def scenario(x):
            async with connected(kind) as (transport, protocol, peer):
                for _ in range(5):
                    other = kind()
                    other.mine = x
                    transport.set_protocol(other)
                    await peer.send(b"x")
                    await other.received(1)
                transport.set_protocol(protocol)

        assert repeat(scenario) == {}

    def test_cycle_of_transport_and_protocol(self, repeat, kind):
        async def scenario(x):
            async with connected(kind, unix_pair) as (transport, protocol, _):
                protocol.mine = x, transport, protocol
                transport.mine = x, transport, protocol
                transport.close()
                await protocol.lost

        assert repeat(scenario) == {}


class TestServers:
    def test_accepting(self, repeat):
        async def scenario(x):
            loop = asyncio.get_running_loop()
            async with serving() as (_, protocols, address):
                made = [await loop.create_connection(Record, *address) for _ in range(5)]
                await until(lambda: len([p for p in protocols if p.transport]) == 5)
                for p in protocols:
                    p.mine = x
                for transport, protocol in made:
                    await end(transport, protocol)
                for p in protocols:
                    await p.lost

        assert repeat(scenario, rounds=10) == {}

    def test_refused_and_cancelled_connects(self, repeat):
        async def scenario(x):
            loop = asyncio.get_running_loop()
            with socket.create_server(("127.0.0.1", 0)) as gone:
                address = gone.getsockname()

            def factory(x=x):
                return Record()

            with pytest.raises(ConnectionRefusedError):
                await loop.create_connection(factory, *address)
            async with serving() as (_, _, address):
                for i in range(4):
                    task = loop.create_task(loop.create_connection(factory, *address))
                    await turns(i)
                    task.cancel()
                    (result,) = await asyncio.gather(task, return_exceptions=True)
                    if not isinstance(result, BaseException):
                        await end(*result)
                await turns(10)

        assert repeat(scenario, rounds=10) == {}

    def test_streams(self, repeat):
        async def scenario(x):
            async def handle(reader, writer, x=x):
                writer.write(await reader.readline())
                await writer.drain()
                writer.close()
                await writer.wait_closed()

            server = await asyncio.start_server(handle, "127.0.0.1", 0)
            for _ in range(3):
                reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                writer.write(b"line\n")
                assert await reader.readline() == b"line\n"
                writer.close()
                await writer.wait_closed()
            server.close()
            await server.wait_closed()
            await turns(10)

        assert repeat(scenario, rounds=10) == {}

    def test_loops_with_servers(self, loop_factory):
        async def main(x):
            async with serving() as (server, protocols, address):
                server.mine = x
                transport, mine = await asyncio.get_running_loop().create_connection(
                    Record, *address
                )
                await until(lambda: protocols and protocols[0].transport)
                await end(transport, mine)
                await protocols[0].lost

        def scenario(x):
            loop = loop_factory()
            drive(loop, main(x))
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

        assert growth(scenario, rounds=10) == {}

    def test_unclosed_transports_of_a_closed_loop(self, loop_factory):
        async def main(x):
            a, b = unix_pair()
            _, protocol = await asyncio.get_running_loop().create_connection(Record, sock=a)
            protocol.mine = x
            return b

        def scenario(x):
            loop = loop_factory()
            peer = drive(loop, main(x))
            loop.close()
            peer.close()

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            assert growth(scenario, rounds=5) == {}
