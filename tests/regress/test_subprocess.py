"""Child processes. At length they are in tests/process/test_subprocess.py, where a child also

- is never signalled once it is reaped (gh-127049)
- is not taken for dead while it is stopped (gh-158287)
- is waited for, and not the end of its pipes (gh-119710)
"""

import asyncio
import os
import subprocess

import pytest


async def output(*args, **kwargs):
    process = await asyncio.create_subprocess_exec(*args, stdout=subprocess.PIPE, **kwargs)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out


def test_at_fork_hooks_ran_in_spawned_children(snippet):
    """uvloop 749: they are for os.fork(), and what they print comes to the wrong place."""
    done = snippet("""
        import subprocess
        os.register_at_fork(after_in_child=lambda: os.write(1, b"hook\\n"))

        async def main():
            process = await asyncio.create_subprocess_exec("echo", "child", stdout=subprocess.PIPE)
            return (await process.communicate())[0]

        loop = new_loop()
        print(drive(loop, main()))
        loop.close()
    """)
    assert done.out == "b'child\\n'\n", done.err


def test_preexec_fn_hung(run):
    """uvloop 118."""
    assert run(output("sh", "-c", "umask", preexec_fn=lambda: os.umask(0o27))) == b"0027\n"


def test_close_fds_could_not_be_false(run):
    """zuvloop."""
    ours, theirs = os.pipe()
    try:
        os.set_inheritable(theirs, True)
        run(output("sh", "-c", f"echo here >/dev/fd/{theirs}", close_fds=False))
        assert os.read(ours, 100) == b"here\n"
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up groups")
def test_groups_were_kept(run):
    """CVE-2023-6507 and CVE-2015-0278: an empty list drops them all."""
    out = run(output("sh", "-c", "id -u; id -g; id -G", extra_groups=[], group=65534, user=65534))
    assert out == b"65534\n65534\n65534\n"
    out = run(output("id", "-G", extra_groups=[1, 2]))
    assert out == b"0 1 2\n"
