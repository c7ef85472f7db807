"""Datagram endpoints: errors, full sockets, ends."""

import asyncio
import errno
import gc

import pytest
from support.datagram import (
    LOCAL,
    DatagramRecord,
    drained,
    endpoint,
    forgets_headers,
    full_socket,
    jam,
    udp_socket,
    unix_socket,
)
from support.loops import PY313, drive, run_guarded, turns


class TestErrors:
    def test_refused(self, run):
        async def main():
            with udp_socket() as gone:
                address = gone.getsockname()
            async with endpoint(remote_addr=address) as (client, c):
                for count in range(1, 4):
                    client.sendto(b"x")
                    await c.until(lambda count=count: len(c.errors) == count)
                assert {type(e) for e in c.errors} == {ConnectionRefusedError}
                assert "lost" not in c.events

        run(main())

    def test_error_received_raises(self, run, reports):
        class Raising(DatagramRecord):
            def error_received(self, exc):
                super().error_received(exc)
                raise ZeroDivisionError

        async def main():
            with udp_socket() as gone:
                address = gone.getsockname()
            async with endpoint(Raising, remote_addr=address) as (client, c):
                client.sendto(b"x")  # the refusal is told by a read
                await c.until(lambda: c.errors)
                await turns()
                assert not client.is_closing()
                with pytest.raises(ZeroDivisionError):  # this one to the caller
                    client.sendto(bytes(70000))

        run(main())
        assert [type(r["exception"]) for r in reports] == [ZeroDivisionError]

    def test_datagram_received_raises(self, run, reports):
        class Raising(DatagramRecord):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                raise ZeroDivisionError

        async def main():
            async with endpoint(Raising, local_addr=LOCAL) as (transport, p):
                with udp_socket() as sock:
                    for _ in range(3):
                        sock.sendto(b"x", transport.get_extra_info("sockname"))
                await p.datagrams(3)
                assert not transport.is_closing()
                await turns()

        run(main())
        assert [type(r["exception"]) for r in reports] == [ZeroDivisionError] * 3

    @pytest.mark.parametrize("what", [SystemExit, KeyboardInterrupt])
    def test_datagram_received_ends_the_loop(self, loop, what):
        class Raising(DatagramRecord):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                if len(self.got) % 2:
                    raise what

        async def make():
            transport, protocol = await loop.create_datagram_endpoint(Raising, local_addr=LOCAL)
            return transport, protocol

        transport, protocol = drive(loop, make())
        with udp_socket() as sock:
            for i in range(6):
                sock.sendto(b"%d" % i, transport.get_extra_info("sockname"))

        async def get(count):
            await protocol.until(lambda: len(protocol.got) >= count)

        for _ in range(3):  # the others wait in the socket
            with pytest.raises(what):
                run_guarded(loop)
        drive(loop, get(6))
        assert [d for d, _ in protocol.got] == [b"%d" % i for i in range(6)]
        transport.close()
        drive(loop, asyncio.wait_for(protocol.lost, 5))

    @pytest.mark.parametrize("data", ["text", None, 1, [b"x"]])
    def test_wrong_data(self, run, data):
        async def main():
            async with endpoint(local_addr=LOCAL) as (transport, _):
                with pytest.raises(TypeError, match="data argument must be a bytes-like object"):
                    transport.sendto(data, LOCAL)

        run(main())

    def test_wrong_arguments(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL) as (transport, _):
                for args, kwargs in (
                    ((), {}),
                    ((b"x", LOCAL, 1), {}),
                    ((b"x",), {"data": b"x"}),
                    ((b"x",), {"other": 1}),
                ):
                    with pytest.raises(TypeError):
                        transport.sendto(*args, **kwargs)

        run(main())

    @pytest.mark.parametrize(
        ("address", "error"),
        [
            (None, TypeError),
            ("127.0.0.1", TypeError),
            (("127.0.0.1",), TypeError),
            (("127.0.0.1", 70000), OverflowError),
            (("127.0.0.1", -1), OverflowError),
            (("127.0.0.1", "53"), TypeError),
            ((b"\0", 53), None),
            (("127.0.0.1\0", 53), None),
            (1, TypeError),
        ],
    )
    def test_wrong_address(self, run, reports, address, error):
        """As stock asyncio: what is no OSError is a fatal error of the transport."""

        async def main():
            async with endpoint(local_addr=LOCAL) as (transport, p):
                transport.sendto(b"x", address)
                if transport.is_closing():
                    return type(await p.lost)
                return [type(e) for e in p.errors]

        found = run(main())
        if error is not None:
            assert found is error
            assert [type(r["exception"]) for r in reports] == [error]
            assert reports[0]["message"] == "Fatal write error on datagram transport"
        elif isinstance(found, list):
            assert found and not reports
        else:
            assert issubclass(found, (TypeError, ValueError)) and len(reports) == 1

    def test_other_address_than_the_remote_one(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL) as (server, _):
                address = server.get_extra_info("sockname")
                async with endpoint(remote_addr=address) as (client, _):
                    with pytest.raises(ValueError, match="Invalid address: must be None or"):
                        client.sendto(b"x", ("127.0.0.1", 1))
                    client.sendto(b"x", ("127.0.0.1", address[1]))

        run(main())

    def test_socket_closed_behind_its_back(self, run):
        async def main():
            sock = udp_socket()
            async with endpoint(sock=sock) as (transport, p):
                sock.close()
                transport.sendto(b"x", ("127.0.0.1", 9))
                await turns()
                assert transport.is_closing() or [e.errno for e in p.errors] == [errno.EBADF]

        run(main())

    @pytest.mark.moodloop_only  # stock asyncio goes on with the other socket
    def test_number_of_a_closed_socket_is_anothers(self, run):
        class Closing(DatagramRecord):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                fd = sock.fileno()
                sock.close()
                self.other = udp_socket()
                assert self.other.fileno() == fd
                sender.sendto(b"for the other", self.other.getsockname())
                self.transport.sendto(b"not from the other", addr)

        sock, sender = udp_socket(), udp_socket()

        async def main():
            for _ in range(5):
                sender.sendto(b"x", sock.getsockname())
            async with endpoint(Closing, sock=sock) as (_, p):
                assert (await p.lost).errno == errno.EBADF
                assert len(p.got) == 1
                assert p.other.recv(100) == b"for the other"
                with pytest.raises(BlockingIOError):
                    sender.recv(100)
                p.other.close()
            sender.close()

        run(main())

    @pytest.mark.parametrize("host", [str, type("Str", (str,), {})])
    def test_unusual_addresses(self, run, host):
        """What is not the plain form is the socket module's to judge."""

        class Number:
            def __init__(self, value):
                self.value = value

            def __index__(self):
                return self.value

        class Address(tuple):
            pass

        async def main():
            async with endpoint(local_addr=LOCAL) as (server, s):
                port = server.get_extra_info("sockname")[1]
                async with endpoint(local_addr=LOCAL) as (client, _):
                    client.sendto(b"1", Address((host("127.0.0.1"), port)))
                    client.sendto(b"2", (host("127.0.0.1"), Number(port)))
                    client.sendto(b"3", (bytearray(b"127.0.0.1"), port))
                    assert await s.datagrams(3) == [b"1", b"2", b"3"]

        run(main())


class TestFlow:
    def test_queue_and_order(self, run, tmp_path):
        async def main():
            sock, reader = full_socket(tmp_path)
            async with endpoint(sock=sock) as (transport, _):
                queued = jam(transport)
                first = transport.get_write_buffer_size()
                assert first == (1008 if PY313 else 1000)
                transport.sendto(bytearray(b"more"))
                assert transport.get_write_buffer_size() == first + (12 if PY313 else 4)
                got = await drained(reader, queued + 2)
                assert [d[:5] for d in got[:-1]] == [b"%05d" % i for i in range(queued + 1)]
                assert got[-1] == b"more"
                await turns()
                if not forgets_headers():
                    assert transport.get_write_buffer_size() == 0
            reader.close()

        run(main())

    def test_marks(self, run, tmp_path):
        async def main():
            sock, reader = full_socket(tmp_path)
            async with endpoint(sock=sock) as (transport, p):
                transport.set_write_buffer_limits(high=3000, low=1500)
                count = jam(transport) + 1
                assert p.events == ["made"]
                while transport.get_write_buffer_size() <= 3000:
                    assert p.events == ["made"]
                    transport.sendto(bytes(1000))
                    count += 1
                assert p.events == ["made", "pause"]
                transport.sendto(bytes(1000))
                assert p.events == ["made", "pause"]
                count += 1
                for _ in range(count):
                    await asyncio.get_running_loop().sock_recv(reader, 4096)
                if not forgets_headers():
                    await p.until(lambda: "resume" in p.events)
                    assert p.events == ["made", "pause", "resume"]
            reader.close()

        run(main())

    def test_by_address(self, run, tmp_path):
        """What is queued remembers where it goes."""

        async def main():
            sock, reader = full_socket(tmp_path)
            sock.close()
            async with endpoint(sock=unix_socket()) as (transport, _):
                address = str(tmp_path / "reader")
                count = 0
                while not transport.get_write_buffer_size():
                    transport.sendto(b"%d" % count, address)
                    count += 1
                transport.sendto(b"last", address)
                got = await drained(reader, count + 1)
                assert got == [b"%d" % i for i in range(count)] + [b"last"]
            reader.close()

        run(main())

    def test_close_sends_the_queue(self, run, tmp_path):
        async def main():
            sock, reader = full_socket(tmp_path)
            async with endpoint(sock=sock) as (transport, p):
                count = jam(transport) + 1
                transport.close()
                transport.sendto(b"late")  # stock takes it: there is a queue still
                assert transport.is_closing() and "lost" not in p.events
                got = await drained(reader, count + 1)
                assert got[-1] == b"late"
                assert await p.lost is None
                assert p.events == ["made", "lost"]
            reader.close()

        run(main())

    def test_abort_drops_the_queue(self, run, tmp_path):
        async def main():
            sock, reader = full_socket(tmp_path)
            async with endpoint(sock=sock) as (transport, p):
                count = jam(transport)
                transport.abort()
                assert await p.lost is None
            assert len(await drained(reader, count)) == count
            with pytest.raises(BlockingIOError):
                reader.recv(1)
            reader.close()

        run(main())

    def test_reader_gone_while_datagrams_wait(self, run, tmp_path):
        async def main():
            sock, reader = full_socket(tmp_path)
            async with endpoint(sock=sock) as (transport, p):
                jam(transport)
                transport.sendto(b"second")
                reader.close()
                await p.until(lambda: len(p.errors) >= 2)
                known = {errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN}
                assert {e.errno for e in p.errors} <= known
                await turns()
                assert not transport.is_closing()

        run(main())

    @pytest.mark.parametrize("raises", [ZeroDivisionError, None])
    def test_callbacks_that_send(self, run, reports, tmp_path, raises):
        class Sending(DatagramRecord):
            def pause_writing(self):
                super().pause_writing()
                self.transport.sendto(b"paused")
                if raises:
                    raise raises

            def resume_writing(self):
                super().resume_writing()
                self.transport.sendto(b"resumed")
                if raises:
                    raise raises

        async def main():
            sock, reader = full_socket(tmp_path)
            async with endpoint(Sending, sock=sock) as (transport, p):
                transport.set_write_buffer_limits(high=0)
                jam(transport)
                assert p.events == ["made", "pause"]
                if forgets_headers():
                    reader.close()
                    return
                last = b""
                while last != b"resumed":
                    last = await asyncio.get_running_loop().sock_recv(reader, 4096)
            reader.close()

        run(main())
        if raises:
            assert {r["message"] for r in reports} <= {
                "protocol.pause_writing() failed",
                "protocol.resume_writing() failed",
            }
            assert reports


class TestEnd:
    @pytest.mark.is_reading
    def test_close(self, run):
        async def main():
            async with endpoint(local_addr=LOCAL) as (transport, p):
                transport.close()
                assert transport.is_closing() and not transport.is_reading()
                transport.close()
                assert await p.lost is None
                await turns()
                assert p.events == ["made", "lost"]
                assert transport.get_extra_info("sockname")[0] == "127.0.0.1"

        run(main())

    def test_sendto_after_close(self, run, log):
        async def main():
            async with endpoint(local_addr=LOCAL) as (server, _):
                async with endpoint(remote_addr=server.get_extra_info("sockname")) as (client, c):
                    client.close()
                    for _ in range(3):
                        client.sendto(b"x")
                    await c.lost
                    await turns()
                    for _ in range(3):
                        client.sendto(b"x")

        run(main())
        assert log() == ["socket.send() raised exception."] * 2

    @pytest.mark.is_reading
    def test_unclosed(self, run):
        async def main():
            loop = asyncio.get_running_loop()
            transport, protocol = await loop.create_datagram_endpoint(
                DatagramRecord, local_addr=LOCAL
            )
            transport.pause_reading()  # else the loop keeps it
            protocol.transport = None
            with pytest.warns(ResourceWarning, match="unclosed transport"):
                del transport, protocol
                gc.collect()

        run(main())

    def test_cancelled_while_it_is_made(self, run):
        async def main():
            loop = asyncio.get_running_loop()
            made = []

            def factory():
                made.append(DatagramRecord())
                return made[0]

            task = loop.create_task(loop.create_datagram_endpoint(factory, local_addr=LOCAL))
            while not made:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await made[0].lost
            await turns()

        run(main())

    @pytest.mark.parametrize("end", ["close", "abort"])
    def test_end_in_connection_made(self, run, end):
        class Ending(DatagramRecord):
            def connection_made(self, transport):
                super().connection_made(transport)
                getattr(transport, end)()

        async def main():
            async with endpoint(Ending, local_addr=LOCAL) as (_, p):
                assert await p.lost is None

        run(main())

    def test_error_received_aborts(self, run, tmp_path):
        class Aborting(DatagramRecord):
            def error_received(self, exc):
                super().error_received(exc)
                self.transport.abort()

        async def main():
            sock, reader = full_socket(tmp_path)
            async with endpoint(Aborting, sock=sock) as (transport, p):
                jam(transport)
                transport.sendto(b"second")
                reader.close()
                assert await p.lost is None
                assert len(p.errors) == 1

        run(main())

    def test_connection_made_and_lost_raise(self, run, reports):
        class Raising(DatagramRecord):
            def connection_made(self, transport):
                super().connection_made(transport)
                raise ZeroDivisionError

            def connection_lost(self, exc):
                super().connection_lost(exc)
                raise ZeroDivisionError

        async def main():
            async with endpoint(Raising, local_addr=LOCAL) as (transport, p):
                with udp_socket() as sock:
                    sock.sendto(b"x", transport.get_extra_info("sockname"))
                assert await p.datagrams(1) == [b"x"]

        run(main())
        assert [type(r["exception"]) for r in reports] == [ZeroDivisionError] * 2
