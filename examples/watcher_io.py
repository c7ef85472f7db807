"""Io: a descriptor can be read or written. A megabyte goes through a socket, bit by bit."""

# Output: the peer is gone after 1048576 bytes

import socket

from moodloop import event


def writable(watcher, revents):
    rest = watcher.data
    sent = peer.send(rest)  # what fits; the loop calls again when there is room
    watcher.data = rest[sent:]
    if not watcher.data:
        watcher.stop()
        peer.close()  # after stop(), not before


def readable(watcher, revents):
    data = here.recv(65536)  # once for each call: the loop calls again while there is more
    watcher.data += len(data)
    if not data:
        print("the peer is gone after", watcher.data, "bytes")
        watcher.stop()  # nothing is left to wait for, so start() returns


here, peer = socket.socketpair()
here.setblocking(False)
peer.setblocking(False)
with here, peer, event.Loop() as loop:
    loop.io(peer, event.EV_WRITE, writable, data=memoryview(bytes(1 << 20))).start()
    loop.io(here, event.EV_READ, readable, data=0).start()
    loop.start()
