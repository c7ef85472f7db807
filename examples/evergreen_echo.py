"""An echo server in callbacks, on one loop; a client in a thread with a loop of its own.

Callbacks take keyword arguments, and each thread has one loop: moodloop.evergreen.current.loop.
SIGTERM stops the server, here sent when the client is done.
"""

# Output: client: b'hello, loop'
# Output: server: stopped by SIGTERM

import os
import signal
import socket
import threading

from moodloop import evergreen


def serve(listener):
    loop = evergreen.current.loop

    def accept():
        connection, _ = listener.accept()
        loop.add_reader(connection, echo, connection)

    def echo(connection):
        data = connection.recv(4096)
        if data:
            connection.sendall(data)
        else:
            loop.remove_reader(connection)
            connection.close()

    def terminated(*, reason):
        print("server: stopped by", reason)
        loop.stop()

    loop.add_reader(listener, accept)
    loop.add_signal_handler(signal.SIGTERM, terminated, reason="SIGTERM")
    loop.call_later(10, os._exit, 1)  # in case the client never comes
    loop.run_forever()
    loop.destroy()


def talk(address):
    loop = evergreen.EventLoop()  # other threads than the main one make theirs
    connection = socket.create_connection(address)

    def answer():
        print("client:", connection.recv(4096))
        loop.remove_reader(connection)

    loop.add_reader(connection, answer)
    loop.call_soon(connection.sendall, b"hello, loop")
    loop.run()  # until nothing is scheduled any more
    loop.destroy()
    connection.close()
    os.kill(os.getpid(), signal.SIGTERM)


with socket.create_server(("127.0.0.1", 0)) as listener:
    client = threading.Thread(target=talk, args=(listener.getsockname(),))
    client.start()
    serve(listener)
    client.join()
