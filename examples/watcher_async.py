"""Async: another thread called send(). How results come from a thread to the loop's own."""

# Output: the squares of 0 to 4 sum up to 30

import queue
import threading

from moodloop import event


def work(done):
    for number in range(5):
        results.put(number**2)
        done.send()  # the one method for other threads and signal handlers, besides loop.stop()


def arrived(watcher, revents):
    while not results.empty():  # several send()s may be told as one
        watcher.data.append(results.get())
    if len(watcher.data) == 5:
        print("the squares of 0 to 4 sum up to", sum(watcher.data))
        watcher.stop()


results = queue.SimpleQueue()
with event.Loop() as loop:
    done = loop.async_(arrived, data=[])  # `async` is a keyword
    done.start()
    thread = threading.Thread(target=work, args=(done,))
    thread.start()
    loop.start()
    thread.join()
