"""Cleanup: the loop is about to be destroyed. What belongs to the loop goes with it."""

# Output: running, the lock is there: True
# Output: the loop is closed, the lock is there: False

import os
import tempfile

from moodloop import event


def hold_lock(loop, path):
    """A lock file for as long as the loop is open, however it comes to be closed."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    loop.cleanup(lambda watcher, revents: os.unlink(path)).start()


with tempfile.TemporaryDirectory() as directory:
    lock = os.path.join(directory, "lock")
    with event.Loop() as loop:
        hold_lock(loop, lock)
        loop.timer(
            0.01, 0.0, lambda w, revents: print("running, the lock is there:", os.path.exists(lock))
        ).start()
        loop.start()  # returns: a Cleanup does not keep it going
    print("the loop is closed, the lock is there:", os.path.exists(lock))
