"""Timer: time has passed. One that repeats, and a timeout that activity puts off."""

# Output: tick 1
# Output: tick 2
# Output: tick 3
# Output: quiet for too long

from moodloop import event


def tick(watcher, revents):
    watcher.data += 1
    print("tick", watcher.data)
    timeout.reset()  # `repeat` seconds from now on, whether it was active or not
    if watcher.data == 3:
        watcher.stop()


def expired(watcher, revents):
    print("quiet for too long")
    watcher.stop()


with event.Loop() as loop:
    ticker = loop.timer(0.0, 0.02, tick, data=0)  # at once, then every 20 ms
    timeout = loop.timer(0.0, 0.2, expired)  # started by its first reset()
    ticker.start()
    loop.start()
