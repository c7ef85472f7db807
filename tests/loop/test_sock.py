"""sock_recv and its like: plain sockets driven by the loop."""

import asyncio
import hashlib
import os
import socket
import ssl

import pytest
from support.loops import turns

from moodloop import event


@pytest.fixture
def udp():
    """Two non-blocking UDP sockets on the loopback interface."""
    two = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for sock in two:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
    yield two
    for sock in two:
        sock.close()


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


class TestRecv:
    def test_data_waiting(self, loop, run, sockets):
        a, b = sockets()
        a.send(b"hello")
        assert run(loop.sock_recv(b, 100)) == b"hello"

    def test_data_to_come(self, loop, run, sockets):
        a, b = sockets()

        async def main():
            task = asyncio.ensure_future(loop.sock_recv(b, 100))
            await turns()
            assert not task.done()
            a.send(b"hello")
            return await task

        assert run(main()) == b"hello"
        assert loop.remove_reader(b) is False

    def test_no_more_than_asked_for(self, loop, run, sockets):
        a, b = sockets()
        a.send(b"hello")
        assert run(loop.sock_recv(b, 2)) == b"he"
        assert run(loop.sock_recv(b, 100)) == b"llo"

    def test_end_of_file(self, loop, run, sockets):
        a, b = sockets()
        a.shutdown(socket.SHUT_WR)
        assert run(loop.sock_recv(b, 100)) == b""

    def test_zero_bytes(self, loop, run, sockets):
        a, b = sockets()
        a.send(b"x")
        assert run(loop.sock_recv(b, 0)) == b""
        assert run(loop.sock_recv(b, 1)) == b"x"

    def test_negative_size(self, loop, run, sockets):
        a, b = sockets()
        a.send(b"x")
        with pytest.raises(ValueError):
            run(loop.sock_recv(b, -1))

    def test_size_of_wrong_type(self, loop, run, sockets):
        _, b = sockets()
        with pytest.raises(TypeError):
            run(loop.sock_recv(b, "x"))

    def test_cancelled_then_repeated(self, loop, run, sockets):
        a, b = sockets()

        async def main():
            task = asyncio.ensure_future(loop.sock_recv(b, 100))
            await turns()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.remove_reader(b) is False
            a.send(b"kept")
            return await loop.sock_recv(b, 100)

        assert run(main()) == b"kept"

    def test_cancelled_with_data_waiting_loses_nothing(self, loop, run, sockets):
        a, b = sockets()

        async def main():
            got = b""
            for i in range(50):
                task = asyncio.ensure_future(loop.sock_recv(b, 1))
                await turns(2)
                # Cancelled between the arrival of the data and its reading.
                a.send(bytes([i]))
                task.cancel()
                try:
                    got += await task
                except asyncio.CancelledError:
                    got += await loop.sock_recv(b, 1)
            return got

        assert run(main()) == bytes(range(50))

    def test_two_sockets_at_once(self, loop, run, sockets):
        (a, b), (c, d) = sockets(), sockets()

        async def main():
            both = asyncio.gather(loop.sock_recv(b, 9), loop.sock_recv(d, 9))
            await turns()
            c.send(b"second")
            a.send(b"first")
            return await both

        assert run(main()) == [b"first", b"second"]

    @pytest.mark.moodloop_only  # in asyncio the first waits for ever
    def test_two_at_once_on_one_socket(self, loop, run, sockets):
        a, b = sockets()

        async def main():
            both = asyncio.gather(loop.sock_recv(b, 1), loop.sock_recv(b, 1))
            await turns()
            a.send(b"xy")
            return await both

        assert sorted(run(main())) == [b"x", b"y"]

    @pytest.mark.moodloop_only  # in asyncio only who came last is told
    def test_beside_a_reader(self, loop, run, sockets):
        a, b = sockets()
        ready = []

        async def main():
            receiving = loop.create_task(loop.sock_recv(b, 9))
            await turns()
            loop.add_reader(b, ready.append, 1)
            a.send(b"x")
            return await receiving

        assert run(main()) == b"x"
        assert loop.remove_reader(b) is True
        assert ready

    def test_error_of_the_socket(self, loop, run):
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(OSError):
                run(loop.sock_recv(sock, 1))

    def test_closed_socket(self, loop, run):
        sock = socket.socket()
        sock.setblocking(False)
        sock.close()
        with pytest.raises((OSError, ValueError)):
            run(loop.sock_recv(sock, 1))

    def test_stops_reading_when_the_loop_does(self, loop, run, sockets):
        a, b = sockets()
        task = loop.create_task(loop.sock_recv(b, 10))
        run(turns())
        a.send(b"later")
        assert run(task) == b"later"


class TestRecvInto:
    def test_data_waiting(self, loop, run, sockets):
        a, b = sockets()
        a.send(b"hello")
        buf = bytearray(10)
        assert run(loop.sock_recv_into(b, buf)) == 5
        assert bytes(buf) == b"hello" + bytes(5)

    def test_data_to_come(self, loop, run, sockets):
        a, b = sockets()
        buf = bytearray(3)

        async def main():
            task = asyncio.ensure_future(loop.sock_recv_into(b, memoryview(buf)[1:]))
            await turns()
            a.send(b"hello")
            return await task

        assert run(main()) == 2
        assert buf == b"\0he"
        buf.append(1)  # no export is left on it

    def test_read_only_buffer(self, loop, run, sockets):
        a, b = sockets()
        a.send(b"x")
        with pytest.raises(TypeError):
            run(loop.sock_recv_into(b, b"bytes"))

    def test_cancelled_then_repeated(self, loop, run, sockets):
        a, b = sockets()
        buf = bytearray(9)

        async def main():
            task = asyncio.ensure_future(loop.sock_recv_into(b, buf))
            await turns()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            a.send(b"kept")
            return await loop.sock_recv_into(b, buf)

        assert run(main()) == 4
        assert buf[:4] == b"kept"
        buf.append(1)


class TestSendall:
    def test_small(self, loop, run, sockets):
        a, b = sockets()
        assert run(loop.sock_sendall(a, b"hello")) is None
        assert b.recv(10) == b"hello"

    def test_nothing(self, loop, run, sockets):
        a, b = sockets()
        run(loop.sock_sendall(a, b""))
        with pytest.raises(BlockingIOError):
            b.recv(1)

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_big(self, loop, run, sockets, kind):
        a, b = sockets()
        data = os.urandom(1 << 20) * 8

        async def receive():
            digest, left = hashlib.sha256(), len(data)
            while left:
                chunk = await loop.sock_recv(b, 1 << 18)
                digest.update(chunk)
                left -= len(chunk)
            return digest.digest()

        async def main():
            got, _ = await asyncio.gather(receive(), loop.sock_sendall(a, kind(data)))
            return got

        assert run(main()) == hashlib.sha256(data).digest()

    @pytest.mark.moodloop_only  # stock asyncio takes the bytes sent for items, and hangs
    def test_items_wider_than_a_byte(self, loop, run, sockets):
        import array

        a, b = sockets()
        words = array.array("I", range(50000))

        async def main():
            task = asyncio.ensure_future(loop.sock_sendall(a, words))
            got = b""
            while len(got) < len(words) * words.itemsize:
                got += await loop.sock_recv(b, 1 << 16)
            await task
            return got

        # memoryview(words)[n:] counts items: a short write must not skip or repeat any byte.
        assert run(main()) == words.tobytes()

    def test_cancelled_leaves_no_writer(self, loop, run, sockets):
        a, _b = sockets()

        async def main():
            task = asyncio.ensure_future(loop.sock_sendall(a, bytes(8 << 20)))
            await turns()
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.remove_writer(a) is False

        run(main())

    def test_peer_gone(self, loop, run, sockets):
        a, b = sockets()
        b.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            run(loop.sock_sendall(a, bytes(1 << 22)))

    def test_peer_goes_while_sending(self, loop, run, sockets):
        a, b = sockets()

        async def main():
            task = asyncio.ensure_future(loop.sock_sendall(a, bytes(8 << 20)))
            await turns()
            b.close()
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                await task

        run(main())

    def test_str(self, loop, run, sockets):
        a, _ = sockets()
        with pytest.raises(TypeError):
            run(loop.sock_sendall(a, "text"))


class TestConnect:
    def test_connects(self, loop, run, listener):
        with socket.socket() as sock:
            sock.setblocking(False)
            run(loop.sock_connect(sock, listener.getsockname()))
            assert sock.getpeername() == listener.getsockname()

    def test_resolves_a_name(self, loop, run, listener):
        with socket.socket() as sock:
            sock.setblocking(False)
            run(loop.sock_connect(sock, ("localhost", listener.getsockname()[1])))
            assert sock.getpeername() == listener.getsockname()
        run(loop.shutdown_default_executor())

    def test_resolves_through_getaddrinfo_of_the_loop(self, loop, run, listener):
        asked = []

        async def getaddrinfo(host, port, **kwargs):
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", listener.getsockname())]

        loop.getaddrinfo = getaddrinfo
        with socket.socket() as sock:
            sock.setblocking(False)
            run(loop.sock_connect(sock, ("name.invalid", 1)))
            assert sock.getpeername() == listener.getsockname()
        assert asked == ["name.invalid"]

    def test_refused(self, loop, run):
        with socket.create_server(("127.0.0.1", 0)) as gone:
            address = gone.getsockname()
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(ConnectionRefusedError) as raised:
                run(loop.sock_connect(sock, address))
            assert raised.value.errno
            assert loop.remove_writer(sock) is False

    def test_unix(self, loop, run, tmp_path):
        path = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as sock:
            server.bind(path)
            server.listen()
            sock.setblocking(False)
            run(loop.sock_connect(sock, path))
            assert sock.getpeername() == path

    def test_cancelled_leaves_no_writer(self, loop, run):
        # A full backlog makes a connect that waits.
        with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
            waiting = []
            try:

                async def main():
                    while True:
                        sock = socket.socket()
                        sock.setblocking(False)
                        waiting.append(sock)
                        task = asyncio.ensure_future(loop.sock_connect(sock, server.getsockname()))
                        done, _ = await asyncio.wait([task], timeout=0.05)
                        if not done:
                            break
                        assert len(waiting) < 50
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    assert loop.remove_writer(sock) is False

                run(main())
            finally:
                for sock in waiting:
                    sock.close()


class TestAccept:
    def test_waiting(self, loop, run, listener):
        with socket.create_connection(listener.getsockname()) as client:
            conn, address = run(loop.sock_accept(listener))
            with conn:
                assert address == client.getsockname()
                assert conn.gettimeout() == 0
                assert conn.getpeername() == client.getsockname()
                assert not os.get_inheritable(conn.fileno())

    def test_to_come(self, loop, run, listener):
        async def main():
            task = asyncio.ensure_future(loop.sock_accept(listener))
            await turns()
            with socket.create_connection(listener.getsockname()) as client:
                conn, _ = await task
                conn.close()
                assert client.recv(1) == b""

        run(main())

    def test_cancelled_then_repeated(self, loop, run, listener):
        async def main():
            task = asyncio.ensure_future(loop.sock_accept(listener))
            await turns()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.remove_reader(listener) is False
            with socket.create_connection(listener.getsockname()):
                conn, _ = await loop.sock_accept(listener)
                conn.close()

        run(main())

    def test_not_listening(self, loop, run):
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(OSError):
                run(loop.sock_accept(sock))


class TestDatagrams:
    def test_recvfrom(self, loop, run, udp):
        a, b = udp

        async def main():
            task = asyncio.ensure_future(loop.sock_recvfrom(b, 100))
            await turns()
            assert await loop.sock_sendto(a, b"ping", b.getsockname()) == 4
            return await task

        assert run(main()) == (b"ping", a.getsockname())

    def test_recvfrom_waiting(self, loop, run, udp):
        a, b = udp
        a.sendto(b"one", b.getsockname())
        assert run(loop.sock_recvfrom(b, 100)) == (b"one", a.getsockname())

    def test_recvfrom_cut(self, loop, run, udp):
        a, b = udp
        a.sendto(b"long", b.getsockname())
        assert run(loop.sock_recvfrom(b, 2)) == (b"lo", a.getsockname())

    def test_recvfrom_into(self, loop, run, udp):
        a, b = udp
        buf = bytearray(10)

        async def main():
            task = asyncio.ensure_future(loop.sock_recvfrom_into(b, buf))
            await turns()
            a.sendto(b"ping", b.getsockname())
            return await task

        assert run(main()) == (4, a.getsockname())
        assert buf == b"ping" + bytes(6)

    def test_recvfrom_into_some(self, loop, run, udp):
        a, b = udp
        a.sendto(b"0123456789", b.getsockname())
        buf = bytearray(8)
        assert run(loop.sock_recvfrom_into(b, buf, 3)) == (3, a.getsockname())
        assert buf == b"012" + bytes(5)

    def test_recvfrom_into_more_than_there_is_room(self, loop, run, udp):
        """A size above that of the buffer is an error: never a write past its end."""
        a, b = udp
        a.sendto(b"0123456789", b.getsockname())
        room = bytearray(12)
        with pytest.raises(ValueError):
            run(loop.sock_recvfrom_into(b, memoryview(room)[:4], 10))
        assert room == bytes(12)

    def test_sendto_empty(self, loop, run, udp):
        a, b = udp
        assert run(loop.sock_sendto(a, b"", b.getsockname())) == 0
        assert run(loop.sock_recvfrom(b, 10)) == (b"", a.getsockname())

    def test_sendto_bad_address(self, loop, run, udp):
        with pytest.raises((TypeError, ValueError)):
            run(loop.sock_sendto(udp[0], b"x", "nowhere"))

    def test_cancelled_then_repeated(self, loop, run, udp):
        a, b = udp

        async def main():
            task = asyncio.ensure_future(loop.sock_recvfrom(b, 100))
            await turns()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert loop.remove_reader(b) is False
            a.sendto(b"kept", b.getsockname())
            return await loop.sock_recvfrom(b, 100)

        assert run(main()) == (b"kept", a.getsockname())

    def test_recvfrom_of_a_unix_socket(self, loop, run, sockets):
        a, b = sockets(socket.SOCK_DGRAM)
        a.send(b"x")
        data, address = run(loop.sock_recvfrom(b, 10))
        assert data == b"x" and not address


CALLS = {
    "recv": lambda loop, s: loop.sock_recv(s, 1),
    "recv_into": lambda loop, s: loop.sock_recv_into(s, bytearray(1)),
    "recvfrom": lambda loop, s: loop.sock_recvfrom(s, 1),
    "recvfrom_into": lambda loop, s: loop.sock_recvfrom_into(s, bytearray(1)),
    "sendall": lambda loop, s: loop.sock_sendall(s, b"x"),
    "sendto": lambda loop, s: loop.sock_sendto(s, b"x", ("127.0.0.1", 1)),
    "connect": lambda loop, s: loop.sock_connect(s, ("127.0.0.1", 1)),
    "accept": lambda loop, s: loop.sock_accept(s),
}
EACH = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@EACH
class TestChecks:
    def test_blocking_socket_in_debug(self, loop, run, call):
        loop.set_debug(True)
        with socket.socket() as sock:
            with pytest.raises(ValueError, match="the socket must be non-blocking"):
                run(call(loop, sock))

    def test_tls_socket(self, loop, run, call):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        with socket.socket() as plain:
            with context.wrap_socket(plain, do_handshake_on_connect=False) as sock:
                sock.setblocking(False)
                with pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
                    run(call(loop, sock))

    def test_number_of_a_descriptor(self, loop, run, call):
        with socket.socket() as sock:
            sock.setblocking(False)
            with pytest.raises(AttributeError):
                run(call(loop, sock.fileno()))

    def test_is_a_coroutine(self, loop, run, call):
        with socket.socket() as sock:
            sock.setblocking(False)
            coro = call(loop, sock)
            assert asyncio.iscoroutine(coro)
            coro.close()


@pytest.mark.parametrize("kind", ["recv", "recv_into", "recvfrom", "recvfrom_into"])
def test_reading_from_a_transports_descriptor(loop, run, sockets, kind):
    a, _ = sockets()

    async def main():
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
        try:
            with pytest.raises(RuntimeError, match="is used by transport"):
                await CALLS[kind](loop, a)
        finally:
            transport.close()
            await turns()

    run(main())


def test_nothing_asked_for_nothing_awaited(loop, run, sockets):
    a, _ = sockets()

    async def main():
        assert await loop.sock_recv(a, 0) == b""
        assert await loop.sock_recv_into(a, bytearray()) == 0

    run(main())


@pytest.mark.moodloop_only
def test_waiting_coroutine_driven_by_hand(loop):
    """throw() and close() of the coroutine reach the operation, which stops watching at once."""

    def throw_into(coro):
        with pytest.raises(ValueError):
            coro.throw(ValueError())

    a, b = socket.socketpair()
    a.setblocking(False)
    with a, b:
        for end in (lambda coro: coro.close()), throw_into:
            coro = loop.sock_recv(a, 10)
            future = coro.send(None)
            assert not future.done()
            end(coro)
            assert loop.remove_reader(a) is False
            assert loop.ev.start(event.EVRUN_NOWAIT) is False
        op = loop._try_sock_recv(a, 10)
        op.close()
        for use in (lambda: next(op), lambda: op.send(None), lambda: op.throw(ValueError)):
            with pytest.raises(RuntimeError, match="closed"):
                use()


class Telling(socket.socket):
    """A socket class of the program's own, as wrappers and test doubles are."""

    kept = None

    def sendto(self, data, address):
        self.kept = data
        return super().sendto(data, address)


def test_sendto_gives_the_socket_what_it_was_given(loop, run):
    """Not a view of memory that is only good as long as the call."""
    data = bytearray(b"data" * 1000)
    with Telling(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        run(loop.sock_sendto(sock, data, sock.getsockname()))
        assert sock.kept is data


def test_operation_closed_by_its_own_socket(snippet):
    done = snippet("""
        class Closing(socket.socket):
            waiting = None

            def fileno(self):
                if self.waiting is not None:
                    waiting, self.waiting = self.waiting, None
                    waiting.close()
                return super().fileno()

        async def main():
            a, b = socket.socketpair()
            a = Closing(fileno=a.detach())
            a.setblocking(False)
            waiting = loop.sock_recv(a, 10)
            waiting.send(None)
            a.waiting = waiting
            b.send(b"x")
            await turns(3)
            a.close()
            b.close()

        loop = new_loop()
        drive(loop, main())
        loop.close()
        print("done")
        """)
    assert (done.rc, done.out) == (0, "done\n"), done.err


MESSAGE_SOCKETS = [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET]


async def _recv(loop, sock, size):
    return await loop.sock_recv(sock, size)


async def _recv_into(loop, sock, size):
    buffer = bytearray(size)
    return bytes(buffer[: await loop.sock_recv_into(sock, buffer)])


async def _recvfrom(loop, sock, size):
    return (await loop.sock_recvfrom(sock, size))[0]


async def _recvfrom_into(loop, sock, size):
    buffer = bytearray(size)
    return bytes(buffer[: (await loop.sock_recvfrom_into(sock, buffer))[0]])


@pytest.mark.parametrize("at_once", [True, False], ids=["waiting", "to come"])
@pytest.mark.parametrize("size", [1, 32_768, 32_769, 65_537, 130_000, 200_000])
@pytest.mark.parametrize("room", [200_000, 262_144, 300_000])
@pytest.mark.parametrize("kind", MESSAGE_SOCKETS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("receive", [_recv, _recv_into, _recvfrom, _recvfrom_into])
def test_messages_are_received_whole(loop, run, sockets, receive, kind, room, size, at_once):
    a, b = sockets(kind)
    message = os.urandom(size)

    async def main():
        if at_once:
            a.send(message)
            return await receive(loop, b, room)
        task = loop.create_task(receive(loop, b, room))
        await turns()
        a.send(message)
        return await task

    assert run(main()) == message


@pytest.mark.parametrize("kind", MESSAGE_SOCKETS, ids=lambda kind: kind.name)
def test_one_message_at_a_time(loop, run, sockets, kind):
    a, b = sockets(kind)
    for size in (70_000, 10, 60_000):
        a.send(bytes(size))

    async def main():
        return [len(await loop.sock_recv(b, 200_000)) for _ in range(3)]

    assert run(main()) == [70_000, 10, 60_000]


class TestBufferOfTheProgram:
    """While it waits a call has no hold on the buffer that it was given."""

    @pytest.mark.parametrize("receive", ["sock_recv_into", "sock_recvfrom_into"])
    def test_resized_meanwhile(self, loop, run, sockets, receive):
        a, b = sockets(socket.SOCK_DGRAM)
        buffer = bytearray(3)

        async def main():
            task = loop.create_task(getattr(loop, receive)(b, buffer))
            await turns()
            buffer.extend(b"more")
            a.send(b"received")
            result = await task
            return result if receive == "sock_recv_into" else result[0]

        count = run(main())
        assert count == (7 if receive == "sock_recv_into" else 3)
        assert buffer[:count] == b"received"[:count]

    def test_too_small_by_then(self, loop, run, sockets):
        a, b = sockets(socket.SOCK_DGRAM)
        buffer = bytearray(8)

        async def main():
            task = loop.create_task(loop.sock_recvfrom_into(b, buffer, 8))
            await turns()
            del buffer[2:]
            a.send(b"received")
            with pytest.raises(ValueError, match="nbytes is greater"):
                await task

        run(main())

    @pytest.mark.parametrize("receive", ["sock_recv_into", "sock_recvfrom_into"])
    @pytest.mark.parametrize("buffer", [b"read-only", 5, "text"])
    def test_no_buffer(self, loop, run, sockets, receive, buffer):
        _, b = sockets(socket.SOCK_DGRAM)

        async def main():
            with pytest.raises(TypeError):
                await getattr(loop, receive)(b, buffer)

        run(main())


@pytest.mark.moodloop_only  # asyncio's send() is without the GIL, and goes on while somebody reads
def test_sendall_to_a_fast_reader_leaves_the_loop_its_turns(loop, run, sockets):
    a, b = sockets()
    b.setblocking(True)
    size = 64 << 20
    ticks = []

    def read():
        got, room = 0, bytearray(1 << 20)
        while got < size:
            got += b.recv_into(room)

    def tick():
        ticks.append(1)
        handle[0] = loop.call_soon(tick)

    async def main():
        reading = loop.run_in_executor(None, read)
        handle[0] = loop.call_soon(tick)
        await loop.sock_sendall(a, bytes(size))
        handle[0].cancel()
        await reading

    handle = [None]
    run(main())
    assert len(ticks) > 50
