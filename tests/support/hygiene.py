"""What each test must leave as it found it."""

import asyncio
import gc
import os

FD_DIR = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"


def open_fds():
    """The open descriptors and what they are."""
    found = {}
    for name in os.listdir(FD_DIR):
        try:
            found[int(name)] = os.readlink(f"{FD_DIR}/{name}")
        except OSError:  # the listing's own descriptor, or no link to read
            if os.path.exists(f"{FD_DIR}/{name}"):
                found[int(name)] = "?"
    return found


def collect():
    """Collect until nothing more goes."""
    for _ in range(5):
        if not gc.collect():
            break


def new_fds(before):
    """All but the page of meters, which a process keeps from its first loop on."""
    after = open_fds()
    return {
        fd: what
        for fd, what in after.items()
        if fd not in before and not what.startswith("/memfd:moodloop")
    }


def pending_handles(loop):
    """The callbacks and timers a loop still waits to run, cancelled ones left out."""
    waiting = [h for h in getattr(loop, "_ready", ()) if not h.cancelled()]
    waiting += [h for h in getattr(loop, "_scheduled", ()) if not h.cancelled()]
    return waiting


def verify(loop):
    """Have a loop of moodloop's look at its own lists, counts and heaps."""
    if hasattr(loop, "_verify"):
        loop._verify()


def close_clean(loop):
    """Close a loop and say what was left in it."""
    if loop.is_closed():
        return []
    left = [f"task {t!r}" for t in asyncio.all_tasks(loop)]
    # What the last callbacks scheduled (a transport's connection_lost) is not left over yet.
    for _ in range(3):
        loop.call_soon(loop.stop)
        loop.run_forever()
    left += [f"handle {h!r}" for h in pending_handles(loop)]
    verify(loop)
    loop.close()
    return left
