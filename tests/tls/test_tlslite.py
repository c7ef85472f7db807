"""tlslite-ng at the other end: a TLS of its own in Python, which does what OpenSSL would not."""

import asyncio
import contextlib
import socket
import threading

import pytest
from support.loops import TIMEOUT, turns
from support.net import Record
from support.optional import need
from support.records import CLIENT_HELLO, FINISHED
from support.tls import server_context

api = need("tlslite.api")
constants = need("tlslite.constants")
messages = need("tlslite.messages")

pytestmark = pytest.mark.tls


class Echo(Record):
    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)


async def serve(loop, work):
    """work(connection) in a thread, with a tlslite client's end of a connection: its result."""
    protocols, outcome = [], []

    def make():
        protocols.append(Echo())
        return protocols[-1]

    server = await loop.create_server(make, "127.0.0.1", 0, ssl=server_context())
    address = server.sockets[0].getsockname()

    def run():
        with socket.create_connection(address, TIMEOUT) as sock:
            try:
                outcome.append(work(api.TLSConnection(sock)))
            except Exception as exc:
                outcome.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        await loop.run_in_executor(None, thread.join)
        if protocols[0].transport is not None:
            await asyncio.wait_for(protocols[0].lost, TIMEOUT)
    finally:
        server.close()
        await server.wait_closed()
        await loop.shutdown_default_executor()
        await turns(10)
    if isinstance(outcome[0], AssertionError):
        raise outcome[0]
    return outcome[0], protocols[0]


def settings(version, **more):
    found = api.HandshakeSettings()
    found.minVersion = found.maxVersion = version
    for name, value in more.items():
        setattr(found, name, value)
    return found


def read(connection, count):
    got = b""
    while len(got) < count:
        part = connection.read(min=1, max=count - len(got))
        assert part, f"end after {len(got)} of {count} bytes"
        got += part
    return got


def exchange(connection, sizes=(1, 100, 5000)):
    for size in sizes:
        data = bytes(range(250)) * (size // 250 + 1)
        connection.write(data[:size])
        assert read(connection, size) == data[:size]


both_versions = pytest.mark.parametrize("version", [(3, 3), (3, 4)], ids=["1.2", "1.3"])


@both_versions
@pytest.mark.parametrize("cipher", ["aes128gcm", "aes256gcm", "chacha20-poly1305"])
def test_ciphers(loop, run, version, cipher):
    def work(connection):
        connection.handshakeClientCert(settings=settings(version, cipherNames=[cipher]))
        exchange(connection)
        connection.close()

    async def main():
        result, protocol = await serve(loop, work)
        assert result is None and protocol.exc is None
        assert protocol.kinds[-2:] == ["eof", "lost"]

    run(main())


@both_versions
@pytest.mark.parametrize("limit", [64, 512, 16384])
def test_limits_of_records(loop, run, version, limit):
    """Extension record_size_limit, and small records of the client's own."""

    def work(connection):
        connection.handshakeClientCert(settings=settings(version, record_size_limit=limit))
        connection.recordSize = limit
        exchange(connection)
        connection.close()

    async def main():
        result, protocol = await serve(loop, work)
        assert result is None and protocol.exc is None

    run(main())


def test_padding_and_key_updates(loop, run):
    def work(connection):
        def pad(length, kind, most):
            return min(most, 700)

        connection.handshakeClientCert(settings=settings((3, 4), padding_cb=pad))
        for kind in (0, 1, 1, 0):
            for _ in connection.send_keyupdate_request(kind):
                pass
            exchange(connection, (1, 300))
        connection.close()

    async def main():
        result, protocol = await serve(loop, work)
        assert result is None and protocol.exc is None

    run(main())


def test_tickets(loop, run):
    def work(connection):
        connection.handshakeClientCert(settings=settings((3, 4)))
        exchange(connection)  # behind the tickets
        session = connection.session
        assert session.tickets or connection.tickets
        connection.close()

    async def main():
        result, _ = await serve(loop, work)
        assert result is None

    run(main())


@pytest.mark.parametrize("how", ["bad finished", "application data", "close", "alert"])
@both_versions
def test_handshake_that_goes_wrong(loop, run, version, how):
    """No byte reaches the protocol, and nothing is left."""

    def work(connection):
        layer = connection._recordLayer

        def spoil(result, message, *more):
            if message.contentType == constants.ContentType.handshake:
                raw = message.write()
                if how == "bad finished" and raw[0] == FINISHED:
                    raw[-1] ^= 1
                    message = messages.Message(message.contentType, raw)
                elif how != "bad finished" and raw[0] != CLIENT_HELLO:
                    if how == "close":
                        connection.sock.shutdown(socket.SHUT_RDWR)
                    elif how == "alert":
                        alert = messages.Alert().create(80, 2)
                        for _ in result(alert, *more):
                            pass
                    else:
                        data = messages.ApplicationData().create(bytearray(b"too early"))
                        for _ in result(data, *more):
                            pass
            return result(message, *more)

        send = layer.sendRecord
        layer.sendRecord = lambda message, *more: spoil(send, message, *more)
        with contextlib.suppress(Exception):
            connection.handshakeClientCert(settings=settings(version))
            connection.write(b"data")
            connection.read(min=1, max=10)

    async def main():
        _, protocol = await serve(loop, work)
        assert protocol.events == [] and not protocol.data

    run(main())
