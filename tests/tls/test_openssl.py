"""The programs `openssl s_client` and `s_server` at the other end."""

import asyncio
import contextlib
import functools
import re
import shutil
import ssl
import subprocess

import pytest
from support.engines import STOCK
from support.loops import TIMEOUT, turns
from support.net import Record
from support.tls import CERTS, client_context, server_context

OPENSSL = shutil.which("openssl")

pytestmark = [
    pytest.mark.tls,
    pytest.mark.skipif(OPENSSL is None, reason="there is no program openssl"),
]


@functools.cache
def listed(*options):
    """What `openssl ciphers` lists of the suites that a server with our certificate can have."""
    command = [OPENSSL, "ciphers", "-s", "-v", *options, "ALL:@SECLEVEL=1"]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    return [line[0] for line in lines if "Au=ECDSA" in line or "Au=any" in line]


def suites():
    if OPENSSL is None:
        return []
    found = [("-tls1_3", "-ciphersuites", name) for name in listed("-tls1_3")]
    return found + [("-tls1_2", "-cipher", name) for name in listed("-tls1_2")]


class Lines(Record):
    """Answers each line in capitals; ends the connection after "end"."""

    def data_received(self, data):
        super().data_received(data)
        while b"\n" in self.data:
            line, _, rest = self.data.partition(b"\n")
            self.data = bytearray(rest)
            self.transport.write(line.upper() + b"\n")
            if line == b"end":
                self.transport.close()


@contextlib.asynccontextmanager
async def serving(loop, context):
    """The address of a server of lines, and the list of its protocols."""
    protocols = []

    def make():
        protocols.append(Lines())
        return protocols[-1]

    server = await loop.create_server(make, "127.0.0.1", 0, ssl=context)
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname()), protocols
    finally:
        server.close()
        for protocol in protocols:
            if protocol.transport is not None:
                protocol.transport.abort()
                await protocol.lost
        await asyncio.wait_for(server.wait_closed(), TIMEOUT)
        await loop.shutdown_default_executor()
        await turns(10)


async def ask(loop, address, *options, text=b"hello\nend\n", quiet=True):
    """s_client sends the text and prints what comes: its output."""
    command = [OPENSSL, "s_client", "-connect", address, "-CAfile", CERTS / "localhost.pem"]
    command += ["-verify_return_error", *(["-quiet"] if quiet else ["-ign_eof"]), *options]
    run = functools.partial(
        subprocess.run, command, input=text, capture_output=True, timeout=TIMEOUT
    )
    done = await loop.run_in_executor(None, run)
    return done.stdout, done.stderr


@contextlib.asynccontextmanager
async def program(*arguments):
    """openssl, with its output in one pipe; it is gone in the end."""
    process = await asyncio.create_subprocess_exec(
        *[OPENSSL, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        with contextlib.suppress(ConnectionError):
            await process.stdin.wait_closed()
        process._transport.close()
        await turns(10)


async def said(process, pattern, seen=b""):
    """Wait for output that has the pattern in it; the match. Output is read to that place only."""
    while not (found := re.search(pattern, seen, re.MULTILINE)):
        line = await asyncio.wait_for(process.stdout.readline(), TIMEOUT)
        assert line, f"{pattern} is not in {seen}"
        seen += line
    return found


class TestClients:
    @pytest.mark.parametrize("suite", suites(), ids=lambda s: s[2])
    def test_suites(self, loop, run, suite):
        version, option, name = suite

        async def main():
            context = server_context()
            context.set_ciphers("ALL:@SECLEVEL=1")
            async with serving(loop, context) as (address, protocols):
                more = ["-cipher", "ALL:@SECLEVEL=1"] if option == "-ciphersuites" else []
                out, err = await ask(loop, address, version, option, name, *more)
                if not out:
                    assert b"no shared cipher" in err or b"handshake failure" in err, err
                    pytest.skip("this Python's OpenSSL does not have it")
                assert out == b"HELLO\nEND\n"
                assert protocols[0].exc is None

        run(main())

    @pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
    @pytest.mark.parametrize("trusted", [True, False])
    def test_certificates(self, loop, run, version, trusted, engine):
        async def main():
            context = server_context()
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(CERTS / ("other.pem" if trusted else "localhost.pem"))
            async with serving(loop, context) as (address, protocols):
                certificate = CERTS / "other.pem"
                out, err = await ask(
                    loop, address, version, "-cert", certificate, "-key", certificate
                )
                if trusted:
                    assert out == b"HELLO\nEND\n"
                    assert protocols[0].exc is None
                else:
                    assert out == b""
                    assert engine == STOCK or b"alert" in err
                    assert protocols[0].events == []

        run(main())

    @pytest.mark.skipif(not getattr(ssl, "HAS_PSK", False), reason="ssl has PSK from 3.13 on")
    @pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
    def test_shared_keys(self, loop, run, version):
        async def main():
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.set_ciphers("PSK")
            context.set_psk_server_callback(lambda identity: b"k" * 32 if identity == "me" else b"")
            async with serving(loop, context) as (address, _):
                # A plain shared key of TLS 1.3 is for SHA-256.
                more = ["-cipher", "PSK"] if version == "-tls1_2" else []
                more += ["-psk", (b"k" * 32).hex(), "-psk_identity", "me"]
                more += [] if more[0] == "-cipher" else ["-ciphersuites", "TLS_AES_128_GCM_SHA256"]
                out, err = await ask(loop, address, version, *more)
                assert out == b"HELLO\nEND\n", err

        run(main())

    @pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
    def test_resumption(self, loop, run, version, tmp_path):
        async def main():
            async with serving(loop, server_context()) as (address, _):
                path = tmp_path / "session"
                for option, word in (("-sess_out", b"New, "), ("-sess_in", b"Reused, ")):
                    out, _ = await ask(loop, address, version, option, path, quiet=False)
                    assert b"HELLO\nEND\n" in out and word in out

        run(main())

    @pytest.mark.parametrize("fragment", ["512", "1000", "16384"])
    def test_sizes_of_records(self, loop, run, fragment):
        async def main():
            async with serving(loop, server_context()) as (address, _):
                text = b"".join(b"%d" % n * 1000 + b"\n" for n in range(100)) + b"end\n"
                options = ["-max_send_frag", fragment]
                if fragment != "16384":
                    options += ["-record_padding", "700"]
                out, _ = await ask(loop, address, *options, text=text)
                assert out == text.upper()

        run(main())

    def commands(self, loop, run, options, steps):
        """s_client's commands: each line, and how often its answer comes."""

        async def main():
            async with serving(loop, server_context()) as (address, protocols):
                async with program("s_client", "-connect", address, *options) as process:
                    for line, answer in steps:
                        process.stdin.write(line)
                        await said(process, answer)
                if protocols[0].transport is not None:
                    await asyncio.wait_for(protocols[0].lost, TIMEOUT)

        run(main())

    def test_key_updates(self, loop, run):
        self.commands(
            loop,
            run,
            ["-tls1_3"],
            [
                (b"one\n", b"^ONE\n"),
                (b"K\n", b"^KEYUPDATE\n"),
                (b"two\n", b"^TWO\n"),
                (b"k\n", b"^KEYUPDATE\n"),
                (b"three\n", b"^THREE\n"),
                (b"end\n", b"^END\n"),
            ],
        )

    def test_renegotiation_is_refused(self, loop, run):
        """As OpenSSL 3 does by itself."""
        self.commands(
            loop,
            run,
            ["-tls1_2"],
            [
                (b"one\n", b"^ONE\n"),
                (b"R\n", b"^RENEGOTIATING\n"),
                (b"", b"(?i)no.renegotiation|closed|handshake failure"),
            ],
        )

    @pytest.mark.parametrize("how", ["kill", "terminate", "close"])
    def test_client_that_goes(self, loop, run, how):
        async def main():
            async with serving(loop, server_context()) as (address, protocols):
                async with program("s_client", "-connect", address) as process:
                    process.stdin.write(b"one\n")
                    await said(process, rb"^ONE\n")
                    process.stdin.close() if how == "close" else getattr(process, how)()
                    await asyncio.wait_for(protocols[0].lost, TIMEOUT)
                assert protocols[0].exc is None or isinstance(protocols[0].exc, ConnectionError)

        run(main())


@contextlib.asynccontextmanager
async def s_server(*options):
    """`openssl s_server` that sends each line back to front; its address."""
    certificate = CERTS / "localhost.pem"
    arguments = ["-accept", "127.0.0.1:0", "-cert", certificate, "-rev", *options]
    async with program("s_server", *arguments) as process:
        found = await said(process, rb"ACCEPT .*:(\d+)\n")
        yield "127.0.0.1", int(found[1])


class TestServers:
    async def talk(self, loop, address, context, **kwargs):
        transport, protocol = await loop.create_connection(
            Record, *address, ssl=context, server_hostname="localhost"
        )
        for size in (1, 1000, 8000):
            text = (b"0123456789" * 800)[:size]
            transport.write(text + b"\n")
            assert await protocol.received(size + 1) == text[::-1] + b"\n"
        transport.close()
        assert await asyncio.wait_for(protocol.lost, TIMEOUT) is None
        return transport

    @pytest.mark.parametrize("suite", suites(), ids=lambda s: s[2])
    def test_suites(self, loop, run, suite):
        version, option, name = suite

        async def main():
            context = client_context()
            context.set_ciphers("ALL:@SECLEVEL=1")
            options = [version, option, name]
            if option == "-ciphersuites":
                options += ["-cipher", "ALL:@SECLEVEL=1"]
            async with s_server(*options) as address:
                try:
                    await self.talk(loop, address, context)
                except ssl.SSLError as exc:
                    assert "HANDSHAKE_FAILURE" in exc.reason
                    pytest.skip("this Python's OpenSSL does not have it")

        run(main())

    @pytest.mark.parametrize(
        "options",
        [
            ["-no_ticket"],
            ["-num_tickets", "20"],
            ["-max_send_frag", "512", "-split_send_frag", "512"],
            ["-record_padding", "900"],
            ["-no_middlebox"],
            ["-Verify", "1", "-verify_return_error", "-CAfile", CERTS / "other.pem"],
            ["-stateless"],
            ["-groups", "P-384"],  # a HelloRetryRequest
        ],
        ids=lambda options: options[0],
    )
    def test_options(self, loop, run, options):
        async def main():
            context = client_context()
            context.load_cert_chain(CERTS / "other.pem")
            async with s_server(*options) as address:
                for _ in range(2):
                    await self.talk(loop, address, context)

        run(main())
