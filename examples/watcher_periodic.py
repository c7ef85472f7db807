"""Periodic: a time on the wall clock. Here at each full quarter of a second, and once at a time."""

# Output: at a quarter
# Output: at a quarter
# Output: once

from moodloop import event


def quarter(watcher, revents):
    assert watcher.at % 0.25 == 0.0  # the next time: multiples of the interval, plus the offset
    print("at a quarter")
    watcher.data -= 1
    if watcher.data == 0:
        watcher.stop()
        # An interval of 0.0 means once, at the offset in seconds since the epoch.
        loop.periodic(loop.now() + 0.1, 0.0, once).start()


def once(watcher, revents):
    print("once")


with event.Loop() as loop:
    loop.periodic(0.0, 0.25, quarter, data=2).start()
    loop.start()
