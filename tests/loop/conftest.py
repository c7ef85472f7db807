import socket

import pytest


@pytest.fixture
def sockets():
    """Make pairs of connected non-blocking sockets, closed in the end."""
    made = []

    def pair(kind=socket.SOCK_STREAM):
        two = socket.socketpair(socket.AF_UNIX, kind)
        for sock in two:
            sock.setblocking(False)
        made.extend(two)
        return two

    yield pair
    for sock in made:
        sock.close()
    made.clear()
