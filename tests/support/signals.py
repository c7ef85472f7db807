"""Signals sent to this process, when its loop is asleep if need be."""

import os
import threading
import time


def kill(signum):
    os.kill(os.getpid(), signum)


def when_asleep(loop, func, *args):
    """A started thread that calls func once the loop, which has nothing to do, is in its poll."""
    last = threading.Event()

    def state():
        with open(f"/proc/self/task/{os.getpid()}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0]

    def call():
        last.wait()
        asleep = 0
        while asleep < 10:
            # A main thread that merely waits for the interpreter gets it meanwhile, and runs.
            time.sleep(0.001)
            asleep = asleep + 1 if state() == "S" else 0
        func(*args)

    thread = threading.Thread(target=call)
    thread.start()
    loop.call_soon(last.set)
    return thread
