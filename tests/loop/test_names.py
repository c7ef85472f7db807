"""getaddrinfo() and getnameinfo()."""

import asyncio
import enum
import socket
import sys

import pytest

STREAM, DGRAM, RAW = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW

LITERALS = [
    "127.0.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "127.1",
    "1",
    "0",
    "0x7f.1",
    "0177.0.0.1",
    "::1",
    "::",
    "::ffff:1.2.3.4",
    "2001:DB8::00ff",
    "fe80::1%lo",
    "fe80::1%1",
    "ff02::1",
    "1:2:3:4:5:6:7:8",
    b"127.0.0.1",
    b"::1",
    None,
]
# No look-up of these can be expected to find anything, nor to take long.
NO_LITERALS = [
    "",
    b"",
    "127.0.0.1 ",
    " 127.0.0.1",
    "1.2.3.4.5",
    "256.1.1.1",
    "1..2",
    "[::1]",
    "1.2.3.4%lo",
    "fe80::1%nosuch",
    "::1::",
    ":",
    "12345::",
    "1:2:3:4:5:6:7:8:9",
    "a" * 64,
    ".".join(["a" * 63] * 5),
    "\u0661.2.3.4",
    "\uff11\uff12\uff17.0.0.1",
    "\udcff",
    b"\xff",
    42,
    1.5,
    ["127.0.0.1"],
    bytearray(b"127.0.0.1"),
]
PORTS = [
    None, 0, 80, 65535, 65536, 70000, -1, 1 << 70,
    "0", "80", "080", "65535", "99999", "123456", "-1", "+80", " 80", "8 0", "", "http", "nosuch",
    b"80", b"http", b"", 80.0, True, ["80"], enum.IntEnum("Port", {"WEB": 80}).WEB,
]  # fmt: skip
HINTS = [
    {},
    {"type": STREAM},
    {"type": DGRAM},
    {"type": RAW},
    {"type": 99},
    {"type": "x"},
    {"type": None},
    {"family": socket.AF_INET},
    {"family": socket.AF_INET6},
    {"family": socket.AF_UNIX},
    {"family": 12345},
    {"family": -1},
    {"family": 1 << 40},
    {"proto": socket.IPPROTO_TCP},
    {"proto": socket.IPPROTO_UDP},
    {"proto": socket.IPPROTO_ICMP},
    {"proto": 255},
    {"proto": socket.IPPROTO_TCP, "type": DGRAM},
    {"flags": socket.AI_PASSIVE},
    {"flags": socket.AI_CANONNAME},
    {"flags": socket.AI_NUMERICHOST},
    {"flags": socket.AI_NUMERICSERV},
    {"flags": socket.AI_ADDRCONFIG},
    {"flags": socket.AI_V4MAPPED, "family": socket.AF_INET6},
    {"flags": socket.AI_V4MAPPED | socket.AI_ALL, "family": socket.AF_INET6},
    {"flags": 1 << 20},
    {"family": socket.AF_INET, "type": STREAM, "proto": 6, "flags": socket.AI_PASSIVE},
    {"family": socket.AF_INET6, "type": DGRAM, "proto": 17, "flags": socket.AI_CANONNAME},
]


def outcome(func):
    """What a call gives, types of what is in it and all, or the exception it raises."""
    try:
        found = func()
    except Exception as exc:
        return type(exc), exc.args
    return [repr(item) for item in found]


@pytest.fixture
def ask(loop, run):
    """loop.getaddrinfo(), and what socket.getaddrinfo() says, as outcomes."""

    def ask(host, port, **hints):
        ours = outcome(lambda: run(loop.getaddrinfo(host, port, **hints)))
        return ours, outcome(lambda: socket.getaddrinfo(host, port, **hints))

    yield ask
    run(loop.shutdown_default_executor())


def at_once(coro):
    """Run a coroutine that does not suspend."""
    try:
        coro.send(None)
    except StopIteration as stopped:
        return stopped.value
    coro.close()
    pytest.fail("it waits")


class TestSameAsTheSocketModule:
    @pytest.mark.parametrize("hints", HINTS, ids=str)
    def test_literals(self, ask, hints):
        for host in LITERALS:
            for port in (None, 80, "443"):
                ours, theirs = ask(host, port, **hints)
                assert ours == theirs, (host, port)

    @pytest.mark.parametrize("port", PORTS, ids=repr)
    def test_ports(self, ask, port):
        for host in ("127.0.0.1", "::1", None):
            for hints in ({}, {"type": STREAM}, {"type": RAW}, {"flags": socket.AI_NUMERICSERV}):
                ours, theirs = ask(host, port, **hints)
                assert ours == theirs, (host, hints)

    @pytest.mark.parametrize("host", NO_LITERALS, ids=ascii)
    def test_no_literals(self, ask, host):
        for hints in ({"flags": socket.AI_NUMERICHOST}, {"flags": 1 << 20}):
            ours, theirs = ask(host, 80, **hints)
            assert ours == theirs, hints

    def test_str_of_another_class(self, ask):
        class Name(str):
            pass

        ours, theirs = ask(Name("127.0.0.1"), Name("80"))
        assert ours == theirs

    def test_localhost(self, ask):
        ours, theirs = ask("localhost", 80, type=STREAM)
        assert ours == theirs

    def test_audited(self, snippet):
        done = snippet("""
            seen = []
            sys.addaudithook(lambda event, args: "addrinfo" in event and seen.append(args))
            loop = new_loop()
            loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80, type=1))
            loop.close()
            print(seen[0][:2])
        """)
        assert done.out == "('127.0.0.1', 80)\n", done.err


@pytest.mark.moodloop_only
class TestNothingToLookUp:
    @pytest.mark.parametrize("host", [h for h in LITERALS if h != "fe80::1%lo"], ids=ascii)
    @pytest.mark.parametrize("port", [80, "80", b"80", 0], ids=ascii)
    def test_is_answered_at_once(self, loop, host, port):
        found = at_once(loop.getaddrinfo(host, port, type=STREAM))
        assert found == socket.getaddrinfo(host, port, type=STREAM)
        assert loop._default_executor is None

    def test_wrong_family_too(self, loop):
        with pytest.raises(socket.gaierror):
            loop.getaddrinfo("127.0.0.1", 80, family=socket.AF_INET6).send(None)

    def test_closed_loop(self, new_loop):
        loop = new_loop()
        loop.close()
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            loop.getaddrinfo("127.0.0.1", 80).send(None)

    def test_results_are_the_callers(self, loop):
        first = at_once(loop.getaddrinfo("127.0.0.1", 80))
        first.clear()
        assert at_once(loop.getaddrinfo("127.0.0.1", 80)) != []

    def test_references(self, loop):
        host, port = "".join(["2001:", "db8::7"]), int("65432")
        for _ in range(3):
            at_once(loop.getaddrinfo(host, port))
        before = sys.getrefcount(host), sys.getrefcount(port), sys.getrefcount(STREAM)
        for _ in range(100):
            at_once(loop.getaddrinfo(host, port))
        assert (sys.getrefcount(host), sys.getrefcount(port), sys.getrefcount(STREAM)) == before


class TestNamesWithNul:
    """The C library takes the NUL for the end: 127.0.0.1 would be asked for (CVE-2024-24806)."""

    @pytest.mark.moodloop_only
    @pytest.mark.parametrize(
        ("host", "port"),
        [("127.0.0.1\0.example", 80), (b"127.0.0.1\0x", 80), ("\0", 80), ("::1", "80\0x")],
        ids=ascii,
    )
    def test_refused(self, loop, run, host, port):
        with pytest.raises(ValueError, match="null"):
            run(loop.getaddrinfo(host, port))

    @pytest.mark.moodloop_only
    def test_refused_for_connections(self, loop, run):
        with pytest.raises(ValueError, match="null"):
            run(loop.create_connection(asyncio.Protocol, "127.0.0.1\0.example", 80))

    def test_too_long(self, loop, run):
        for host in ("a" * 64 + ".example", ("a" * 60 + ".") * 20 + "example"):
            with pytest.raises((UnicodeError, socket.gaierror)):
                run(loop.getaddrinfo(host, 80))
        run(loop.shutdown_default_executor())


class TestGetnameinfo:
    def test_numbers(self, loop, run):
        flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        assert run(loop.getnameinfo(("127.0.0.1", 80), flags)) == ("127.0.0.1", "80")
        assert run(loop.getnameinfo(("::1", 80, 0, 0), flags)) == ("::1", "80")
        run(loop.shutdown_default_executor())

    def test_service(self, loop, run):
        found = run(loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST))
        assert found == socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST)
        run(loop.shutdown_default_executor())

    @pytest.mark.parametrize("address", ["x", ("127.0.0.1",), ("name", 80), None], ids=str)
    def test_wrong(self, loop, run, address):
        with pytest.raises((TypeError, OSError)):
            run(loop.getnameinfo(address, socket.NI_NUMERICHOST))
        run(loop.shutdown_default_executor())
