"""Signal: the process got a signal. The callback is an ordinary one: it may do anything."""

# Output: SIGHUP: reading the configuration again
# Output: SIGTERM: stopping
# Output: SIGHUP kills as before: True

import os
import signal

from moodloop import event


def reload(watcher, revents):
    print("SIGHUP: reading the configuration again")
    os.kill(os.getpid(), signal.SIGTERM)


def terminate(watcher, revents):
    print("SIGTERM: stopping")
    for watcher in watchers:
        watcher.stop()  # the last one of a signal puts the former disposition back


with event.Loop() as loop:
    watchers = [loop.signal(signal.SIGHUP, reload), loop.signal(signal.SIGTERM, terminate)]
    for watcher in watchers:
        watcher.start()
    os.kill(os.getpid(), signal.SIGHUP)
    loop.start()
print("SIGHUP kills as before:", signal.getsignal(signal.SIGHUP) == signal.SIG_DFL)
