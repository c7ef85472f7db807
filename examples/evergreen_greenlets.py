"""Code that reads as if it blocked: each greenlet waits in loop.switch(), the others go on."""

# Needs: greenlet
# Output: consumer got 0
# Output: consumer got 1
# Output: consumer got 2
# Output: both are done

import socket

from greenlet import getcurrent, greenlet

from moodloop import evergreen

loop = evergreen.current.loop


def sleep(seconds):
    loop.call_later(seconds, getcurrent().switch)
    loop.switch()


def recv(sock):
    loop.add_reader(sock, getcurrent().switch)
    try:
        loop.switch()
    finally:
        loop.remove_reader(sock)
    return sock.recv(100)


def produce(sock):
    for number in range(3):
        sock.send(b"%d" % number)
        sleep(0.01)
    sock.close()


def consume(sock):
    while data := recv(sock):
        print("consumer got", data.decode())
    sock.close()


left, right = socket.socketpair()
for function, sock in ((consume, right), (produce, left)):
    loop.call_soon(greenlet(function).switch, sock)
loop.run()
loop.destroy()
print("both are done")
