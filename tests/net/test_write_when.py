"""When what is written goes out: the first write of a callback in the call, the rest at its end.

A callback's end may be far away, or never come: a program may compute, wait for the peer in the
same step, fork, or end its process.
"""

import asyncio
import os
import socket
import subprocess
import sys

import pytest
from support.loops import turns
from support.net import Record, connected, tcp_pair, unix_pair
from support.pipes import pipe_writer, raw_terminal, socket_pair
from support.snippet import run_snippet


def at_once(sock, count=1 << 16):
    """What is there, while the loop has no turn."""
    try:
        return sock.recv(count, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


class TestFirst:
    @pytest.mark.parametrize("pair", [tcp_pair, unix_pair])
    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_stream(self, run, pair, kind):
        async def main():
            async with connected(pair=pair) as (transport, _, peer):
                transport.write(kind(b"now"))
                assert at_once(peer.sock) == b"now"

        run(main())

    def test_writelines(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                transport.writelines([b"n", bytearray(b"o"), memoryview(b"w")])
                assert at_once(peer.sock) == b"now"

        run(main())

    @pytest.mark.parametrize("pair", [os.pipe, socket_pair, raw_terminal])
    def test_pipe(self, run, pair):
        async def main():
            async with pipe_writer(pair=pair) as (transport, _, peer):
                transport.write(b"now")
                os.set_blocking(peer.fileno(), False)
                assert peer.read(99) == b"now"

        run(main())

    def test_datagram(self, run):
        async def main():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as b:
                b.bind(("127.0.0.1", 0))
                transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                    asyncio.DatagramProtocol, remote_addr=b.getsockname()
                )
                transport.sendto(b"1")
                transport.sendto(b"2")
                assert [at_once(b), at_once(b)] == [b"1", b"2"]
                transport.close()
                await turns(3)

        run(main())

    def test_in_a_callback_of_the_protocol(self, run):
        seen = []

        class Echo(Record):
            def data_received(self, data):
                self.transport.write(data)
                seen.append(at_once(self.other))

        async def main():
            async with connected(Echo, unix_pair) as (_, protocol, peer):
                protocol.other = peer.sock
                peer.sock.send(b"ping")
                while not seen:
                    await asyncio.sleep(0)
            assert seen == [b"ping"]

        run(main())

    def test_each_callback_has_a_first(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                for number in range(5):
                    transport.write(b"%d" % number)
                    assert at_once(peer.sock) == b"%d" % number
                    await asyncio.sleep(0)

        run(main())

    def test_each_stream_has_a_first(self, run):
        async def main():
            async with connected(pair=unix_pair) as one, connected(pair=unix_pair) as two:
                for transport, _, peer in (one, two):
                    transport.write(b"x")
                    assert at_once(peer.sock) == b"x"

        run(main())

    @pytest.mark.moodloop_only
    def test_part_of_a_mutable_buffer(self, run):
        """What the socket did not take is kept as it was; asyncio sends what it is by then."""

        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                data = bytearray(os.urandom(4 << 20))
                before = bytes(data)
                transport.write(data)
                data[:] = bytes(len(data))
                assert await peer.recv_exactly(len(before)) == before

        run(main())

    def test_pause_in_the_call(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, protocol, peer):
                transport.write(bytes(4 << 20))
                assert protocol.events[-1] == "pause"
                await peer.recv_exactly(4 << 20)
                await protocol.happened("resume")

        run(main())


ASKS = {
    "is_closing": lambda t: t.is_closing(),
    "get_write_buffer_size": lambda t: t.get_write_buffer_size(),
    "write_eof": lambda t: t.write_eof(),
    "close": lambda t: t.close(),
    "abort": lambda t: t.abort(),
}


class TestRest:
    @pytest.mark.parametrize("ask", ASKS)
    def test_goes_out_when_asked(self, run, ask):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                for part in (b"1", b"2", b"3"):
                    transport.write(part)
                ASKS[ask](transport)
                assert at_once(peer.sock) == b"123"

        run(main())

    def test_goes_out_at_the_end(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                for part in (b"1", b"2", b"3"):
                    transport.write(part)
                await asyncio.sleep(0)
                assert at_once(peer.sock) == b"123"

        run(main())

    def test_drain_that_does_not_pause(self, run):
        """A generator that computes between its items: they come one by one."""

        async def main():
            a, b = unix_pair()
            with b:
                _, writer = await asyncio.open_connection(sock=a)
                for number in range(5):
                    writer.write(b"%d " % number)
                    writer.write(b"%d" % number)
                    await writer.drain()
                    assert at_once(b) == b"%d %d" % (number, number)
                writer.close()
                await writer.wait_closed()

        run(main())

    @pytest.mark.moodloop_only
    def test_is_joined(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                for part in (b"1", b"2", b"3"):
                    transport.write(part)
                assert at_once(peer.sock) == b"1"
                await asyncio.sleep(0)
                assert at_once(peer.sock) == b"23"

        run(main())

    @pytest.mark.skipif(
        sys.version_info >= (3, 14), reason="a child forked in a task has no running loop"
    )
    @pytest.mark.parametrize("leave", ["sys.exit(0)", "os._exit(0)"])
    def test_fork_sends_it_once(self, snippet, leave):
        done = snippet(
            f"""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
async def main():
    a, b = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=a)
    writer.write(b"once "); writer.write(b"each ")
    pid = os.fork()
    if pid == 0:
        {leave}
    os.waitpid(pid, 0)
    writer.close()
    await writer.wait_closed()
    b.settimeout(10)
    print(b.recv(99), b.recv(99), flush=True)
new_loop().run_until_complete(main())
"""
        )
        assert done.out.splitlines()[-1] == "b'once each ' b''", done.err

    def test_first_of_a_forked_child(self, snippet):
        """Though the callback, in which the child ends, began before it."""
        done = snippet(
            """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
async def main():
    a, b = socket.socketpair()
    _, writer = await asyncio.open_connection(sock=a)
    writer.write(b"parent ")
    pid = os.fork()
    if pid == 0:
        writer.write(b"child ")
        os._exit(0)
    os.waitpid(pid, 0)
    writer.write(b"parent")
    writer.close()
    await writer.wait_closed()
    b.settimeout(10)
    print(b.recv(99), flush=True)
new_loop().run_until_complete(main())
"""
        )
        assert done.out == "b'parent child parent'\n", done.err

    def test_before_a_signal_to_a_child(self, run):
        code = (
            "import os, signal\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
            "print('ready', flush=True)\n"
            "signal.sigwait([signal.SIGTERM])\n"
            "os.set_blocking(0, False)\n"
            "print(os.read(0, 99))\n"
        )

        async def main():
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-uc", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            await child.stdout.readline()
            child.stdin.write(b"com")
            child.stdin.write(b"mand")
            child.terminate()
            seen = await child.stdout.read()
            child.stdin.close()
            await child.wait()
            assert seen == b"b'command'\n"

        run(main())

    def test_linear(self, run):
        """One callback that writes to many and closes them: all are told, and none is lost."""

        async def main():
            pairs = [unix_pair() for _ in range(150)]
            made = [
                await asyncio.get_running_loop().create_connection(Record, sock=a) for a, _ in pairs
            ]
            for _ in range(2):
                for transport, _ in made:
                    transport.write(b"bye")
            for transport, _ in reversed(made):
                transport.close()
            for (_, b), (_, protocol) in zip(pairs, made, strict=True):
                assert at_once(b) == b"byebye"
                assert await protocol.lost is None
                b.close()

        run(main())


class TestOthers:
    def test_blocking_read_of_the_peer(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                peer.sock.settimeout(10)
                transport.write(b"ping")
                assert peer.sock.recv(4) == b"ping"

        run(main())

    def test_raw_write_on_its_descriptor(self, run):
        async def main():
            async with connected(pair=unix_pair) as (transport, _, peer):
                transport.write(b"first ")
                os.write(transport.get_extra_info("socket").fileno(), b"second")
                assert at_once(peer.sock) == b"first second"

        run(main())

    def test_print_on_the_same_stdout(self, loop_name, snippet):
        done = snippet(
            """
import subprocess
from asyncio.streams import FlowControlMixin
async def main():
    loop = asyncio.get_running_loop()
    pipe = os.fdopen(os.dup(1), "wb", 0)
    transport, protocol = await loop.connect_write_pipe(FlowControlMixin, pipe)
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    writer.write(b"1\\n")
    await writer.drain()
    print("2", flush=True)
    writer.write(b"3\\n")
    await writer.drain()
    subprocess.run(["echo", "4"])
    writer.close()
    await turns(5)
loop = new_loop()
loop.run_until_complete(main())
loop.close()
"""
        )
        assert done.out.split() == ["1", "2", "3", "4"], done.err

    @pytest.mark.parametrize(
        "last", ["os._exit(0)", "os.execv('/bin/true', ['true'])", "os.kill(os.getpid(), 9)"]
    )
    @pytest.mark.parametrize("kind", ["socket", "pipe"])
    def test_last_words(self, loop_name, last, kind):
        """They reach who reads after this process is gone."""
        connect, end, other = {
            "socket": (
                "a, b = socket.socketpair(); t, _ = await loop.create_connection("
                "asyncio.Protocol, sock=a)",
                "socket",
                "b.fileno()",
            ),
            "pipe": (
                "r, w = os.pipe(); t, _ = await loop.connect_write_pipe("
                "asyncio.BaseProtocol, os.fdopen(w, 'wb', 0))",
                "pipe",
                "r",
            ),
        }[kind]
        code = f"""
async def main():
    loop = asyncio.get_running_loop()
    {connect}
    os.set_inheritable({other}, True)
    reader = os.fork()
    if reader == 0:
        os.close(t.get_extra_info({end!r}).fileno())
        print(os.read({other}, 99), flush=True)
        os._exit(0)
    t.write(b"bye")
    {last}
import warnings
warnings.simplefilter("ignore")
new_loop().run_until_complete(main())
"""
        assert run_snippet(loop_name, code).out == "b'bye'\n"

    @pytest.mark.parametrize("pair", [unix_pair, os.pipe])
    def test_gone_peer_shows_in_the_same_step(self, run, pair):
        async def main():
            if pair is unix_pair:
                async with connected(pair=pair) as (transport, protocol, peer):
                    peer.close()
                    await lost(transport, protocol)
            else:
                async with pipe_writer(pair=pair) as (transport, protocol, peer):
                    peer.close()
                    await lost(transport, protocol)

        async def lost(transport, protocol):
            assert transport.write(b"anybody?") is None
            assert transport.is_closing()
            assert "lost" not in protocol.events
            assert isinstance(await protocol.lost, BrokenPipeError)

        run(main())


class TestCost:
    @pytest.mark.moodloop_only
    @pytest.mark.parametrize(("writes", "calls"), [(1, 1), (2, 2), (5, 2)])
    def test_system_calls(self, counted, writes, calls):
        made = counted(f'[transport.write(b"x") for _ in range({writes})]; await asyncio.sleep(0)')
        assert made.get("send", 0) + made.get("sendmsg", 0) == calls
