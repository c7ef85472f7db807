"""Tests that moodloop does not pass because they look inside asyncio's own loop, each with why.

They are run all the same: one that passes after all fails the run, so that the list stays true.
"""

from __future__ import annotations

from typing import NamedTuple

LOOPS = ("moodloop", "moodloop-python")  # whose list this is; others are compared on what remains


class Exclusion(NamedTuple):
    """Tests (module.Class.test) of any Python version, and why they do not count."""

    reason: str
    tests: tuple[str, ...]
    hangs: bool = False  # or passes by chance: then it is not even run
    native: bool = False  # with the native engine of TLS only


BASE = "test_base_events.BaseEventLoopWithSelectorTests"

EXCLUSIONS = (
    Exclusion(
        "its sockets are mocks without a descriptor, which only a mocked selector can watch",
        (
            f"{BASE}.test_create_connection_ip_addr",
            f"{BASE}.test_create_connection_ipv6_scope",
            f"{BASE}.test_create_connection_no_inet_pton",
            f"{BASE}.test_create_connection_service_name",
            f"{BASE}.test_create_datagram_endpoint_ip_addr",
            f"{BASE}.test_create_server_soreuseport_only_defined",
        ),
    ),
    Exclusion(
        "it reads loop._watcher, the selector loop's child watcher",
        (
            "test_subprocess.SubprocessPidfdWatcherTests.test_watcher_implementation",
            "test_subprocess.SubprocessThreadedWatcherTests.test_pid_not_reaped_before_exit_published",
            "test_subprocess.SubprocessThreadedWatcherTests.test_watcher_implementation",
        ),
    ),
    Exclusion(
        "it counts calls of loop._run_once() and reads loop._selector",
        ("test_events.EPollEventLoopTests.test_timeout_rounding",),
    ),
    Exclusion(
        "it reads _read_ready_cb, and replaces _sock, of asyncio's selector transport",
        ("test_ssl.TestSSL.test_remote_shutdown_receives_trailing_data_on_slow_socket",),
        hangs=True,
    ),
    Exclusion(
        "it replaces connection_made() of asyncio.sslproto.SSLProtocol, to see that it is called",
        (
            "test_sslproto.SelectorStartTLSTests.test_create_connection_ssl_failed_certificate_no_cycles",
        ),
        native=True,
    ),
)

_BY_TEST = {test: exclusion for exclusion in EXCLUSIONS for test in exclusion.tests}


def find(test: str, engine: str = "native") -> Exclusion | None:
    """What excludes a test (module.Class.test) with an engine of TLS, or None if it counts."""
    found = _BY_TEST.get(test)
    return None if found is not None and found.native and engine == "python" else found
