"""Fork: the process is a forked child. What a child must not share with its parent is made anew."""

# Output: child: a name of its own: True
# Output: parent: the child ended with 0

import os

from moodloop import event


def forked(watcher, revents):
    """In the child, when it runs the loop for the first time."""
    global name
    name = f"worker {os.getpid()}"


def work(watcher, revents):
    print("child: a name of its own:", name == f"worker {os.getpid()}", flush=True)


name = f"parent {os.getpid()}"
with event.Loop() as loop:
    loop.fork(forked).start()
    pid = os.fork()
    if pid == 0:  # the loop goes on here: its descriptors are made anew by itself
        loop.timer(0.01, 0.0, work).start()
        loop.start(event.EVRUN_ONCE)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    print("parent: the child ended with", os.waitstatus_to_exitcode(status))
