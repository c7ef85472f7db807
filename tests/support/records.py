"""The other end of a TLS connection, which makes records itself and sends them as a test likes."""

import asyncio
import contextlib
import hashlib
import hmac
import os
import ssl
import tempfile

from support.loops import TIMEOUT, turns
from support.net import Peer, Record, tcp_pair, unix_pair
from support.optional import need
from support.tls import client_context, server_context

# Types of records (RFC 8446, 5.1), of handshake messages (4), and an alert's two bytes (6).
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
CLIENT_HELLO, NEW_SESSION_TICKET, FINISHED, KEY_UPDATE = 1, 4, 20, 24
WARNING, FATAL = 1, 2
CLOSE_NOTIFY, UNEXPECTED_MESSAGE, BAD_RECORD_MAC, USER_CANCELED = 0, 10, 20, 90

RECORD = 16384  # bytes of plain text at most


class RecordPeer(Peer):
    """The other end: it makes records, and sends the bytes of them as a test likes."""

    def __init__(self, sock, context, **kwargs):
        super().__init__(sock)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, **kwargs)

    async def step(self, function, *args):
        """The function's result, for which as much is received as it takes."""
        while True:
            try:
                return function(*args)
            except ssl.SSLWantReadError:
                await self.send(self.outgoing.read())
                received = await self.recv()
                if not received:
                    return b""
                self.incoming.write(received)

    async def handshake(self):
        await self.step(self.tls.do_handshake)
        await self.send(self.outgoing.read())

    def record(self, data):
        """One record, not sent yet."""
        assert self.tls.write(data) == len(data)
        return self.outgoing.read()

    def close_notify(self):
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()

    async def decrypted(self, count):
        got = bytearray()
        while len(got) < count:
            chunk = await self.step(self.tls.read, 1 << 16)
            assert chunk, f"end after {len(got)} of {count} bytes"
            got += chunk
        return bytes(got)

    async def outcome(self):
        """How the other side ends TLS: "close_notify", an alert's name, "end of file", "reset"."""
        try:
            while await self.step(self.tls.read, 1 << 16):
                pass
        except ssl.SSLEOFError:
            return "end of file"
        except ssl.SSLError as exc:
            return exc.reason
        except ConnectionError:
            return "reset"
        # step() gives b"" for both.
        try:
            self.tls.read(1)
        except (ssl.SSLWantReadError, ssl.SSLEOFError):
            return "end of file"
        return "close_notify"


class Forger(RecordPeer):
    """A client of TLS 1.3 that encrypts records of any kind with the keys of its connection."""

    def __init__(self, sock, context, **kwargs):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._aead = need("cryptography.hazmat.primitives.ciphers.aead").AESGCM
        number, self._log = tempfile.mkstemp()
        os.close(number)
        context.keylog_filename = self._log
        super().__init__(sock, context, **kwargs)
        self._context = context

    async def handshake(self):
        await super().handshake()
        name, _, bits = self.tls.cipher()
        assert "AES" in name and "GCM" in name
        self._hash = hashlib.sha384 if name.endswith("SHA384") else hashlib.sha256
        self._key_size = bits // 8
        with open(self._log) as log:
            lines = (line.split() for line in log if not line.startswith("#"))
            (secret,) = (s for what, _, s in lines if what == "CLIENT_TRAFFIC_SECRET_0")
        self._context.keylog_filename = None
        os.unlink(self._log)
        self._set_secret(bytes.fromhex(secret))

    def _expand(self, label, length):
        """HKDF-Expand-Label of no context (RFC 8446, 7.1), for at most one block."""
        label = b"tls13 " + label
        info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0\1"
        return hmac.digest(self._secret, info, self._hash().name)[:length]

    def _set_secret(self, secret):
        self._secret, self._sequence = secret, 0
        self._cipher = self._aead(self._expand(b"key", self._key_size))
        self._iv = int.from_bytes(self._expand(b"iv", 12), "big")

    def next_keys(self):
        """What a KeyUpdate that was sent calls for."""
        self._set_secret(self._expand(b"traffic upd", self._hash().digest_size))

    def forge(self, data, kind=APPLICATION_DATA, padding=0):
        """A record of any kind, any length and any padding; nothing about it is checked."""
        plain = data + bytes([kind]) + bytes(padding)
        header = b"\x17\x03\x03" + (len(plain) + 16).to_bytes(2, "big")
        nonce = (self._iv ^ self._sequence).to_bytes(12, "big")
        self._sequence += 1
        return header + self._cipher.encrypt(nonce, plain, header)

    def alert(self, description, level=FATAL):
        return self.forge(bytes([level, description]), ALERT)

    def message(self, kind, body):
        """A handshake message in a record of its own."""
        return self.forge(bytes([kind]) + len(body).to_bytes(3, "big") + body, HANDSHAKE)

    def key_update(self, asks=True):
        """A KeyUpdate; `asks` for one of the other side's. What follows has new keys."""
        raw = self.message(KEY_UPDATE, bytes([asks]))
        self.next_keys()
        return raw


@contextlib.asynccontextmanager
async def connection(factory=Record, pair=unix_pair, peer=RecordPeer, context=None, **kwargs):
    """A transport's protocol on the server's side, and the client that makes records."""
    loop = asyncio.get_running_loop()
    a, b = pair()
    with b:
        client = peer(b, client_context(), server_hostname="localhost")
        (transport, protocol), _ = await asyncio.gather(
            loop.connect_accepted_socket(factory, a, ssl=context or server_context(), **kwargs),
            client.handshake(),
        )
        try:
            yield protocol, client
        finally:
            transport.abort()
            await asyncio.wait_for(protocol.lost, TIMEOUT)
            await turns(10)


@contextlib.asynccontextmanager
async def client_connection(factory=Record, pair=unix_pair, ours=None, theirs=None, **kwargs):
    """The other way round: a transport's protocol on the client's side, and the server."""
    loop = asyncio.get_running_loop()
    a, b = pair()
    with b:
        peer = RecordPeer(b, theirs or server_context(), server_side=True)
        (transport, protocol), _ = await asyncio.gather(
            loop.create_connection(
                factory, sock=a, ssl=ours or client_context(), server_hostname="localhost", **kwargs
            ),
            peer.handshake(),
        )
        try:
            yield protocol, peer
        finally:
            transport.abort()
            await asyncio.wait_for(protocol.lost, TIMEOUT)
            await turns(10)


def tcp_connection(*args, **kwargs):
    """connection() over TCP, where what is not read at the end becomes a reset."""
    return connection(*args, pair=tcp_pair, **kwargs)
