"""A program for pyev 0.8: only the import is another one."""

# Output: connected
# Output: the server says HELLO
# Output: stopped by signal 15

import os
import signal
import socket

import moodloop.pyev as pyev


def on_accept(watcher, revents):
    connection, _ = watcher.data.accept()
    connection.setblocking(False)
    loop = watcher.loop
    loop.data["connection"] = pyev.Io(connection, pyev.EV_READ, loop, on_read, connection)
    loop.data["connection"].start()


def on_read(watcher, revents):
    data = watcher.data.recv(1024)
    if data:
        watcher.data.sendall(data.upper())
    else:
        watcher.stop()
        watcher.data.close()


def on_timer(watcher, revents):
    client = socket.create_connection(watcher.loop.data["address"])
    print("connected")
    client.sendall(b"hello")
    watcher.loop.data["client"] = watcher.loop.io(client, pyev.EV_READ, on_answer, client)
    watcher.loop.data["client"].start()


def on_answer(watcher, revents):
    print("the server says", watcher.data.recv(1024).decode())
    watcher.stop()
    watcher.data.close()
    os.kill(os.getpid(), signal.SIGTERM)


def on_signal(watcher, revents):
    print("stopped by signal", watcher.signum)
    watcher.loop.stop(pyev.EVBREAK_ALL)


loop = pyev.default_loop(debug=True)  # exceptions of callbacks end start()
listener = socket.create_server(("127.0.0.1", 0))
listener.setblocking(False)
loop.data = {"address": listener.getsockname()}
watchers = [
    pyev.Io(listener, pyev.EV_READ, loop, on_accept, listener),
    pyev.Signal(signal.SIGTERM, loop, on_signal),
    pyev.Timer(0.01, 0.0, loop, on_timer),
]
for watcher in watchers:
    watcher.start()
loop.start()
for watcher in [*watchers, loop.data["connection"]]:
    watcher.stop()
for open_one in (listener, loop.data["connection"].data):
    open_one.close()
loop.close()
