"""A TCP server with Io watchers only: it answers lines in upper case, to any number of clients.

A connection is read only while its client takes the answers, so none can make it hold too much.
"""

# Output: client 0: HELLO 0
# Output: client 1: HELLO 1
# Output: client 2: HELLO 2
# Output: 0 connections are left

import socket
import threading

from moodloop import event


class Connection:
    def __init__(self, server, sock):
        sock.setblocking(False)
        self.server = server
        self.sock = sock
        self.output = bytearray()
        self.io = server.loop.io(sock, event.EV_READ, self.ready)
        self.io.start()
        server.connections.add(self)

    def ready(self, watcher, revents):
        try:
            if revents & event.EV_READ:
                self.read()
            self.write()
        except (BlockingIOError, InterruptedError):
            pass  # it was not ready after all
        except OSError:
            self.close()

    def read(self):
        data = self.sock.recv(65536)
        if data:
            self.output += data.upper()
        else:
            self.close()

    def write(self):
        if self.output:
            del self.output[: self.sock.send(self.output)]
        if self.io.active:
            self.io.modify(event.EV_WRITE if self.output else event.EV_READ)

    def close(self):
        self.output.clear()
        self.io.stop()  # before the descriptor is closed
        self.sock.close()
        self.server.connections.discard(self)


class Server:
    def __init__(self, loop, address):
        self.loop = loop
        self.connections = set()
        self.listener = socket.create_server(address)
        self.listener.setblocking(False)
        self.io = loop.io(self.listener, event.EV_READ, self.accept)
        self.io.start()

    def accept(self, watcher, revents):
        try:
            sock, _ = self.listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the client has gone again
        Connection(self, sock)

    def close(self):
        self.io.stop()
        self.listener.close()
        for connection in list(self.connections):
            connection.close()


def client(address):
    for number in range(3):
        with socket.create_connection(address, timeout=10) as sock, sock.makefile("rw") as lines:
            lines.write(f"hello {number}\n")
            lines.flush()
            print(f"client {number}:", lines.readline().rstrip())
    loop.stop()  # from any thread


with event.Loop() as loop:
    server = Server(loop, ("127.0.0.1", 0))
    thread = threading.Thread(target=client, args=(server.listener.getsockname(),))
    thread.start()
    loop.start()
    thread.join()
    server.close()
print(len(server.connections), "connections are left")
