"""What a watchdog says of a callback that blocks its loop: python examples/stall.py [CAUSE]

CAUSE is one of cpu, syscall, sleep (without one), gc, gil, page-faults.
"""

import asyncio
import ctypes
import gc
import itertools
import logging
import mmap
import socket
import sys
import threading
import time

import moodloop

SECONDS = 1.0


def cpu():
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        pass


def syscall():
    left, right = socket.socketpair()
    threading.Timer(SECONDS, right.close).start()
    left.recv(1)


def sleep():
    time.sleep(SECONDS)


def collect():
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        gc.collect()


def gil():
    """Another thread computes in C, and does not give the GIL away."""
    thread = threading.Thread(target=lambda: sum(itertools.repeat(1, 200_000_000)))
    thread.start()
    thread.join()


def page_faults():
    end = time.monotonic() + SECONDS
    size = 64 << 20
    while time.monotonic() < end:
        with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as room:
            room.madvise(mmap.MADV_NOHUGEPAGE)
            place = (ctypes.c_char * size).from_buffer(room)
            ctypes.memset(place, 1, size)
            del place


CAUSES = {
    "cpu": cpu,
    "syscall": syscall,
    "sleep": sleep,
    "gc": collect,
    "gil": gil,
    "page-faults": page_faults,
}


async def main(cause):
    objects = [[] for _ in range(1_000_000)] if cause is collect else []
    await asyncio.sleep(0.01)
    cause()
    await asyncio.sleep(0.2)
    del objects


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "sleep"
    if name not in CAUSES:
        sys.exit(__doc__)
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stdout)
    moodloop.run(main(CAUSES[name]), watchdog=0.1)
