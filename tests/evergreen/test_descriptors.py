"""add_reader, add_writer and their removal."""

import os
import socket

import pytest


def test_reader_and_writer_of_one_descriptor(loop):
    a, b = socket.socketpair()
    seen = []

    def read(tag):
        seen.append((tag, a.recv(10)))
        loop.remove_reader(a)

    def write(*, tag):
        seen.append(tag)
        assert loop.remove_writer(a.fileno())
        b.send(b"data")

    loop.add_reader(a.fileno(), read, "read")
    loop.add_writer(a, write, tag="write")
    loop.run()
    assert seen == ["write", ("read", b"data")]
    a.close()
    b.close()


def test_a_callback_comes_once_for_each_readiness(loop, pipe):
    """What the callback has read is not reported once more."""
    reader, writer = pipe
    seen = []

    def read():
        seen.append(os.read(reader, 10))  # BlockingIOError if there is nothing
        if len(seen) == 3:
            loop.remove_reader(reader)
        else:
            loop.call_soon(lambda: None)
            loop.call_later(0.002, os.write, writer, b"more")

    loop.add_reader(reader, read)
    loop.call_soon(os.write, writer, b"first")
    loop.run()
    assert seen == [b"first", b"more", b"more"]


@pytest.mark.parametrize("kind, index", [("reader", 0), ("writer", 1)])
def test_one_of_a_kind(loop, pipe, kind, index):
    fd = pipe[index]
    add, remove = getattr(loop, f"add_{kind}"), getattr(loop, f"remove_{kind}")
    handler = add(fd, print)
    with pytest.raises(RuntimeError, match=f"^another {kind} is already registered for fd {fd}$"):
        add(fd, print)
    assert remove(fd)
    assert not remove(fd)
    again = add(fd, print)
    handler.cancel()  # of the one before
    assert remove(fd)
    again.cancel()
    add(fd, print).cancel()
    assert not remove(fd)
    loop.run()


@pytest.mark.parametrize("cancel", [False, True])
def test_removed_in_the_tick_in_which_it_is_due(loop, cancel):
    pairs = [socket.socketpair() for _ in range(2)]
    handlers = []
    seen = []

    def read(index):
        seen.append(index)
        for handler, (a, _) in zip(handlers, pairs, strict=True):
            if cancel:
                handler.cancel()
            else:
                loop.remove_reader(a)

    for index, (a, b) in enumerate(pairs):
        handlers.append(loop.add_reader(a, read, index))
        b.send(b"x")
    loop.run()
    assert len(seen) == 1
    for a, b in pairs:
        a.close()
        b.close()


@pytest.mark.parametrize(
    "fd, error", [(-1, ValueError), ("x", TypeError), (None, TypeError), (1.5, TypeError)]
)
def test_no_descriptor(loop, fd, error):
    for call in (loop.add_reader, loop.add_writer):
        with pytest.raises(error):
            call(fd, print)
    for call in (loop.remove_reader, loop.remove_writer):
        with pytest.raises(error):
            call(fd)


def test_closed_descriptor(loop, pipe):
    os.close(pipe[0])
    with pytest.raises(OSError, match="Bad file descriptor"):
        loop.add_reader(pipe[0], print)
    assert not loop.remove_reader(pipe[0])
    loop.run()


def test_closed_behind_the_loops_back(loop, pipe, capsys):
    """It is reported and removed; all else goes on."""
    reader, writer = pipe
    seen = []
    handlers = []

    def add_and_close():
        handlers.append(loop.add_reader(reader, seen.append, "never"))
        os.close(reader)

    loop.add_writer(writer, lambda: (seen.append("writer"), loop.remove_writer(writer)))
    loop.call_soon(add_and_close)
    loop.call_later(0.001, seen.append, "timer")
    loop.run()
    assert sorted(seen) == ["timer", "writer"]
    err = capsys.readouterr().err
    assert "OSError: [Errno 9] Bad file descriptor" in err
    assert f"the reader of fd {reader}" in err
    assert not loop.remove_reader(reader)
    handlers[0].cancel()


def test_regular_files_are_always_ready(loop, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"text")
    seen = []
    with path.open("rb") as file:
        loop.add_reader(file, lambda: (seen.append(file.read()), loop.remove_reader(file)))
        loop.run()
    assert seen == [b"text"]
