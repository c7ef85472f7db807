"""Check: the loop has polled. With a Prepare, it measures how long the loop slept."""

# Output: polled at least once for each timer: True

import time

from moodloop import event


def before(watcher, revents):
    global began
    began = time.monotonic()


def after(watcher, revents):
    global slept
    slept += time.monotonic() - began
    watcher.data += 1


def tick(watcher, revents):
    watcher.data -= 1
    if watcher.data == 0:
        watcher.loop.stop()


began = slept = 0.0
with event.Loop() as loop:
    # A Prepare of the least priority is the last before the poll, a Check of the highest the
    # first after it.
    loop.prepare(before, priority=event.EV_MINPRI).start()
    check = loop.check(after, data=0, priority=event.EV_MAXPRI)
    check.start()
    loop.timer(0.05, 0.05, tick, data=3).start()
    start = time.monotonic()
    loop.start()
    total = time.monotonic() - start
print(f"asleep for {slept / total:.0%} of the time")
print("polled at least once for each timer:", check.data >= 3)
