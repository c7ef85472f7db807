"""Idle: nothing else is to be done. A long computation in small steps, while a timer goes on."""

# Output: the timer ran meanwhile: True
# Output: the sum is 499999500000

from moodloop import event


def step(watcher, revents):
    """A fraction of a millisecond; what has become ready since then comes before the next."""
    global total
    first = watcher.data
    total += sum(range(first, first + 10_000))
    watcher.data += 10_000
    if watcher.data == 1_000_000:
        watcher.stop()  # an active Idle keeps the loop from sleeping
        ticker.stop()


def tick(watcher, revents):
    watcher.data += 1


total = 0
with event.Loop() as loop:
    ticker = loop.timer(0.0, 0.001, tick, data=0)
    ticker.start()
    loop.idle(step, data=0).start()
    loop.start()
print("the timer ran meanwhile:", ticker.data > 0)
print("the sum is", total)
