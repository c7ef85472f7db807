import ast
import os
import socket

import pytest
from faults import shim
from support.snippet import run_snippet


@pytest.fixture
def ipv6():
    """The IPv6 loopback address, for machines that have one."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return "::1"
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")


@pytest.fixture(scope="session")
def shim_library(tmp_path_factory):
    if shim.compiler() is None:
        pytest.skip("no C compiler")
    return shim.build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def counted(loop_name, shim_library):
    """The system calls of some statements, with a connected `transport`, `protocol` and `peer`."""

    def count(statements):
        code = f"""
from faults.shim import Shim
from support.net import connected, unix_pair
shim = Shim()
async def main():
    async with connected(pair=unix_pair) as (transport, protocol, peer):
        await turns(3)
        shim.begin()
        {statements}
        shim.end()
        print(shim.counts(), flush=True)
new_loop().run_until_complete(main())
"""
        first = os.environ.get("LD_PRELOAD", "")  # a sanitizer's library
        done = run_snippet(loop_name, code, env={"LD_PRELOAD": f"{first} {shim_library}"})
        assert done.rc == 0, done.err
        return ast.literal_eval(done.out)

    return count
