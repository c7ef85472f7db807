"""Embed: another loop has something to do. A library with a loop of its own runs inside of ours."""

# Output: library: b'request'
# Output: program: b'answer'

import socket

from moodloop import event


class Library:
    """Owns a loop, which its user never runs by hand."""

    def __init__(self, sock):
        # On Linux the backend that can be embedded is epoll.
        self.loop = event.Loop(event.EVBACKEND_EPOLL | event.EVFLAG_NOENV)
        self.sock = sock
        self.loop.io(sock, event.EV_READ, self.readable).start()

    def readable(self, watcher, revents):
        print("library:", self.sock.recv(100))
        self.sock.send(b"answer")


def readable(watcher, revents):
    print("program:", ours.recv(100))
    watcher.stop()


ours, theirs = socket.socketpair()
with ours, theirs, event.Loop() as loop:
    library = Library(theirs)
    embed = loop.embed(library.loop)  # without a callback the loops take care of all
    embed.ref = False  # does not keep start() from returning
    embed.start()
    loop.io(ours, event.EV_READ, readable).start()
    ours.send(b"request")
    loop.start()
    library.loop.close()
