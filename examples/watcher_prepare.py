"""Prepare: the loop is about to poll. What callbacks collected goes out in one write for all."""

# Output: written at once: b'alpha beta gamma '

import os

from moodloop import event


def produce(watcher, revents):
    collected.append(watcher.data)


def flush(watcher, revents):
    if collected:
        os.write(writer, b"".join(collected))
        collected.clear()
        watcher.stop()


collected = []
reader, writer = os.pipe()
with event.Loop() as loop:
    flusher = loop.prepare(flush)
    flusher.start()
    for text, priority in ((b"alpha ", 1), (b"beta ", 0), (b"gamma ", -1)):
        # Of what is due at the same time, higher priorities go first.
        loop.timer(0.0, 0.0, produce, data=text, priority=priority).start()
    loop.start()
print("written at once:", os.read(reader, 100))
os.close(reader)
os.close(writer)
