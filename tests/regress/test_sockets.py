"""sock_*, readers and writers."""

import socket

import pytest
from support.loops import turns


def datagrams(family, *names):
    pair = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(2)]
    for sock, name in zip(pair, names, strict=True):
        sock.bind(name)
        sock.setblocking(False)
    return pair


class TestDatagrams:
    """uvloop 561 and 655: sock_sendto() and sock_recvfrom() were not there."""

    def test_there_and_back(self, loop, run):
        async def main():
            a, b = datagrams(socket.AF_INET, ("127.0.0.1", 0), ("127.0.0.1", 0))
            with a, b:
                assert await loop.sock_sendto(a, b"hello", b.getsockname()) == 5
                assert await loop.sock_recvfrom(b, 100) == (b"hello", a.getsockname())
                buffer = bytearray(10)
                await loop.sock_sendto(b, b"back", a.getsockname())
                assert await loop.sock_recvfrom_into(a, buffer) == (4, b.getsockname())
                assert buffer[:4] == b"back"

        run(main())

    def test_unix_address_needed_dns(self, loop, run, tmp_path):
        """uvloop 196: a path is no host and port."""
        names = [str(tmp_path / "a"), str(tmp_path / "b")]

        async def main():
            a, b = datagrams(socket.AF_UNIX, *names)
            with a, b:
                assert await loop.sock_sendto(a, b"hello", names[1]) == 5
                assert await loop.sock_recvfrom(b, 100) == (b"hello", names[0])

        run(main())

    def test_more_asked_for_than_the_buffer_holds(self, loop, run):
        """CVE-2026-3298: nbytes beyond the buffer was written to."""

        async def main():
            a, b = datagrams(socket.AF_INET, ("127.0.0.1", 0), ("127.0.0.1", 0))
            with a, b:
                await loop.sock_sendto(a, b"x" * 100, b.getsockname())
                buffer = bytearray(10)
                with pytest.raises(ValueError):
                    await loop.sock_recvfrom_into(b, buffer, 100)
                assert buffer == bytes(10)

        run(main())


@pytest.mark.moodloop_only
def test_watched_descriptor_that_is_closed_aborted(loop, run):
    """uvloop 100 and 649, in short. Stock asyncio raises OSError: epoll has forgotten it."""

    async def main():
        for _ in range(10):
            a, b = socket.socketpair()
            loop.add_reader(a.fileno(), int)
            loop.add_writer(a.fileno(), int)
            await turns(2)
            fd = a.fileno()
            a.close()
            b.close()
            await turns(2)
            assert loop.remove_reader(fd)
            assert loop.remove_writer(fd)
        c, d = socket.socketpair()
        with c, d:
            c.setblocking(False)
            d.send(b"works")
            assert await loop.sock_recv(c, 10) == b"works"

    run(main())
