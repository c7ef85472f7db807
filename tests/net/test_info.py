"""What a transport tells of itself."""

import asyncio
import os
import socket

import pytest
from support.loops import turns
from support.net import BufferedRecord, Record, connected, serving, tcp_pair, unix_pair


class TestExtraInfo:
    def test_names(self, run):
        async def main():
            a, b = tcp_pair()
            names = a.getsockname(), a.getpeername()
            async with connected(pair=lambda: (a, b)) as (transport, _, _):
                assert transport.get_extra_info("sockname") == names[0]
                assert transport.get_extra_info("peername") == names[1]

        run(main())

    def test_names_after_close(self, run):
        async def main():
            async with connected() as (transport, protocol, _):
                names = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
                transport.close()
                await protocol.lost
                await turns()
                assert transport.get_extra_info("sockname") == names[0]
                assert transport.get_extra_info("peername") == names[1]

        run(main())

    def test_peername_first_asked_after_the_peer_is_gone(self, run):
        async def main():
            a, b = tcp_pair()
            name = a.getpeername()
            async with connected(pair=lambda: (a, b)) as (transport, protocol, peer):
                peer.reset()
                await protocol.lost
                await turns()
                assert transport.get_extra_info("peername") == name

        run(main())

    def test_accepted(self, run):
        async def main():
            async with serving() as (_, protocols, address):
                sock = socket.create_connection(address)
                while not (protocols and protocols[0].transport):
                    await asyncio.sleep(0)
                transport = protocols[0].transport
                assert transport.get_extra_info("sockname") == address
                assert transport.get_extra_info("peername") == sock.getsockname()
                sock.close()
                await protocols[0].lost

        run(main())

    def test_unix(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, _):
                assert transport.get_extra_info("sockname") == ""
                assert transport.get_extra_info("peername") == ""

        run(main())

    def test_missing(self, run):
        async def main():
            async with connected() as (transport, _, _):
                assert transport.get_extra_info("nothing") is None
                assert transport.get_extra_info("nothing", 42) == 42
                for key in ("sslcontext", "ssl_object", "peercert", "cipher", "pipe"):
                    assert transport.get_extra_info(key) is None

        run(main())

    def test_socket(self, run):
        async def main():
            async with connected() as (transport, _, _):
                sock = transport.get_extra_info("socket")
                assert isinstance(sock, asyncio.trsock.TransportSocket)
                assert sock.family == socket.AF_INET
                assert sock.type == socket.SOCK_STREAM
                assert os.fstat(sock.fileno())
                assert not hasattr(sock, "send")
                assert sock.gettimeout() == 0
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                with pytest.raises(ValueError):
                    sock.setblocking(True)

        run(main())

    def test_socket_is_the_same_each_time(self, run):
        async def main():
            async with connected() as (transport, _, _):
                one = transport.get_extra_info("socket")
                assert transport.get_extra_info("socket").fileno() == one.fileno()
                fd = one.fileno()
                del one
                assert os.fstat(fd)

        run(main())

    def test_dup_of_the_socket(self, run):
        async def main():
            async with connected() as (transport, protocol, peer):
                dup = transport.get_extra_info("socket").dup()
                transport.close()
                await protocol.lost
                await turns()
                dup.send(b"x")
                assert await peer.recv_exactly(1) == b"x"
                dup.close()

        run(main())


class TestTypes:
    @pytest.mark.parametrize("kind", [Record, BufferedRecord], ids=["plain", "buffered"])
    def test_isinstance(self, run, kind):
        async def main():
            async with connected(kind) as (transport, _, _):
                assert isinstance(transport, asyncio.Transport)
                assert isinstance(transport, asyncio.ReadTransport)
                assert isinstance(transport, asyncio.WriteTransport)
                assert isinstance(transport, asyncio.BaseTransport)

        run(main())

    def test_every_method_is_there(self, run):
        async def main():
            async with connected() as (transport, _, _):
                for name in vars(asyncio.Transport) | vars(asyncio.ReadTransport):
                    assert hasattr(transport, name)
                for name in vars(asyncio.WriteTransport) | vars(asyncio.BaseTransport):
                    assert hasattr(transport, name)

        run(main())

    def test_attributes_can_be_set(self, run):
        async def main():
            async with connected() as (transport, _, _):
                transport.mine = 1
                assert transport.mine == 1

        run(main())

    def test_hash(self, run):
        async def main():
            async with connected() as (one, _, _), connected() as (two, _, _):
                assert len({one, two, one}) == 2

        run(main())

    def test_cannot_be_made_by_hand(self, snippet):
        """The type of a transport, called with anything, may refuse: not crash."""
        done = snippet(
            """
            async def main():
                loop = asyncio.get_running_loop()
                a, b = socket.socketpair()
                a.setblocking(False)
                transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
                kind = type(transport)
                for args in (), (1,), (loop,), (loop, a), (loop, b, None), (None,) * 5:
                    try:
                        kind(*args)
                    except Exception:
                        pass
                try:
                    empty = kind.__new__(kind)
                except TypeError:
                    empty = None
                for name in dir(asyncio.Transport):
                    if empty is not None and not name.startswith("_"):
                        for args in (), (b"x",), (1,):
                            try:
                                getattr(empty, name)(*args)
                            except Exception:
                                pass
                transport.abort()
                await turns()
                b.close()
                print("alive")
                sys.stdout.flush()
                os._exit(0)
            drive(new_loop(), main())
            """
        )
        assert (done.rc, done.out) == (0, "alive\n"), done.err
