import socket

import pytest


@pytest.fixture
def ipv6():
    """The IPv6 loopback address, for machines that have one."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return "::1"
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
