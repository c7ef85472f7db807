"""add_reader, add_writer and their removal; wrong, closed, huge and reused descriptors."""

import asyncio
import os
import resource
import socket
import tempfile
import weakref

import pytest
from support.loops import run_guarded, run_turns


class TestReader:
    def test_called_with_arguments(self, loop, sockets):
        a, b = sockets()
        got = []

        def read(*args):
            got.append(args)
            loop.stop()

        loop.add_reader(b, read, 1, 2)
        a.send(b"x")
        run_guarded(loop)
        assert loop.remove_reader(b) is True
        assert got == [(1, 2)]

    def test_by_number(self, loop, sockets):
        a, b = sockets()
        loop.add_reader(b.fileno(), loop.stop)
        a.send(b"x")
        run_guarded(loop)
        assert loop.remove_reader(b) is True

    def test_remove_of_nothing(self, loop, sockets):
        a, _ = sockets()
        assert loop.remove_reader(a) is False
        assert loop.remove_writer(a) is False

    def test_remove_twice(self, loop, sockets):
        a, _ = sockets()
        loop.add_reader(a, print)
        assert loop.remove_reader(a) is True
        assert loop.remove_reader(a) is False

    def test_returns_nothing(self, loop, sockets):
        a, _ = sockets()
        assert loop.add_reader(a, print) is None
        assert loop.add_writer(a, print) is None
        loop.remove_reader(a)
        loop.remove_writer(a)

    def test_level_triggered(self, loop, sockets):
        a, b = sockets()
        a.send(b"abc")
        got = []

        def read():
            got.append(b.recv(1))
            if len(got) == 3:
                loop.stop()

        loop.add_reader(b, read)
        run_guarded(loop)
        loop.remove_reader(b)
        assert got == [b"a", b"b", b"c"]

    def test_replaced_by_a_second_add(self, loop, sockets):
        a, b = sockets()
        a.send(b"x")
        loop.add_reader(b, lambda: 1 / 0)
        loop.add_reader(b, loop.stop)
        run_guarded(loop)
        assert loop.remove_reader(b) is True
        assert loop.remove_reader(b) is False

    def test_replaced_in_its_own_callback(self, loop, sockets):
        a, b = sockets()
        a.send(b"xy")
        ran = []

        def first():
            ran.append(("first", b.recv(1)))
            loop.add_reader(b, second)

        def second():
            ran.append(("second", b.recv(1)))
            loop.remove_reader(b)
            loop.stop()

        loop.add_reader(b, first)
        run_guarded(loop)
        assert ran == [("first", b"x"), ("second", b"y")]

    def test_removed_in_its_own_callback(self, loop, sockets):
        a, b = sockets()
        a.send(b"xyz")
        ran = []

        def read():
            ran.append(b.recv(1))
            assert loop.remove_reader(b) is True

        loop.add_reader(b, read)
        run_turns(loop, 5)
        assert ran == [b"x"]

    def test_removed_and_added_in_its_own_callback(self, loop, sockets):
        a, b = sockets()
        a.send(b"xyz")
        ran = []

        def read():
            ran.append(b.recv(1))
            loop.remove_reader(b)
            if len(ran) < 3:
                loop.add_reader(b, read)
            else:
                loop.stop()

        loop.add_reader(b, read)
        run_guarded(loop)
        assert ran == [b"x", b"y", b"z"]

    def test_removed_by_another_of_the_same_batch(self, loop, sockets):
        pairs = [sockets() for _ in range(4)]
        readers = [b for _, b in pairs]
        ran = []

        def read(who):
            ran.append(who)
            for b in readers:
                loop.remove_reader(b)

        for who, (a, b) in enumerate(pairs):
            a.send(b"x")
            loop.add_reader(b, read, who)
        run_turns(loop, 3)
        assert len(ran) == 1

    def test_removed_by_a_ready_callback(self, loop, sockets):
        a, b = sockets()
        a.send(b"x")
        loop.add_reader(b, lambda: 1 / 0)
        loop.call_soon(loop.remove_reader, b)
        run_turns(loop, 3)

    def test_many(self, loop, sockets):
        pairs = [sockets() for _ in range(100)]
        got = set()

        def read(i, b):
            got.add((i, b.recv(1)))
            loop.remove_reader(b)
            if len(got) == 100:
                loop.stop()

        for i, (a, b) in enumerate(pairs):
            loop.add_reader(b, read, i, b)
            a.send(bytes([i]))
        run_guarded(loop)
        assert got == {(i, bytes([i])) for i in range(100)}

    def test_end_of_file(self, loop, sockets):
        a, b = sockets()
        loop.add_reader(b, loop.stop)
        a.shutdown(socket.SHUT_WR)
        run_guarded(loop)
        loop.remove_reader(b)
        assert b.recv(1) == b""

    def test_peer_closed(self, loop, sockets):
        a, b = sockets()
        loop.add_reader(b, loop.stop)
        a.close()
        run_guarded(loop)
        loop.remove_reader(b)

    def test_pipe(self, loop):
        r, w = os.pipe()
        try:
            loop.add_reader(r, loop.stop)
            os.write(w, b"x")
            run_guarded(loop)
            assert loop.remove_reader(r) is True
        finally:
            os.close(r)
            os.close(w)

    def test_write_end_closed(self, loop):
        r, w = os.pipe()
        try:
            loop.add_reader(r, loop.stop)
            os.close(w)
            run_guarded(loop)
            assert loop.remove_reader(r) is True
        finally:
            os.close(r)

    def test_callback_that_raises_is_reported_and_kept(self, loop, sockets, reports):
        a, b = sockets()
        a.send(b"xy")

        def read():
            if b.recv(1) == b"y":
                loop.remove_reader(b)
                loop.call_soon(loop.stop)
            raise KeyError("mine")

        loop.add_reader(b, read)
        run_guarded(loop)
        assert [type(c["exception"]) for c in reports] == [KeyError, KeyError]


class TestWriter:
    def test_called(self, loop, sockets):
        a, _ = sockets()
        loop.add_writer(a, loop.stop)
        run_guarded(loop)
        assert loop.remove_writer(a) is True
        assert loop.remove_writer(a) is False

    def test_waits_for_room(self, loop, sockets):
        a, b = sockets()
        with pytest.raises(BlockingIOError):
            while True:
                a.send(b"x" * 65536)
        ran = []
        loop.add_writer(a, lambda: (ran.append(1), loop.remove_writer(a), loop.stop()))
        run_turns(loop, 3)
        assert ran == []
        with pytest.raises(BlockingIOError):
            while b.recv(1 << 20):
                pass
        run_guarded(loop)
        assert ran == [1]

    def test_with_a_reader_on_the_same_descriptor(self, loop, sockets):
        a, b = sockets()
        ran = []

        def write():
            ran.append("w")
            loop.remove_writer(a)
            b.send(b"x")

        def read():
            ran.append("r")
            loop.remove_reader(a)
            loop.stop()

        loop.add_reader(a, read)
        loop.add_writer(a, write)
        run_guarded(loop)
        assert ran == ["w", "r"]

    def test_reader_survives_the_removal_of_the_writer(self, loop, sockets):
        a, b = sockets()
        loop.add_reader(a, loop.stop)
        loop.add_writer(a, int)
        loop.remove_writer(a)
        b.send(b"x")
        run_guarded(loop)
        assert loop.remove_reader(a) is True

    def test_writer_survives_the_removal_of_the_reader(self, loop, sockets):
        a, _ = sockets()
        loop.add_reader(a, int)
        loop.add_writer(a, loop.stop)
        loop.remove_reader(a)
        run_guarded(loop)
        assert loop.remove_writer(a) is True

    @pytest.mark.parametrize("reader_added_first", [True, False])
    def test_both_ready_at_once(self, loop, sockets, reader_added_first):
        a, b = sockets()
        b.send(b"x")
        ran = []

        def add_reader():
            loop.add_reader(a, lambda: (ran.append("r"), loop.remove_reader(a)))

        if reader_added_first:
            add_reader()
        loop.add_writer(a, lambda: (ran.append("w"), loop.remove_writer(a)))
        if not reader_added_first:
            add_reader()
        run_turns(loop, 3)
        assert ran == ["r", "w"]

    def test_both_ready_at_once_on_several(self, loop, sockets):
        ran = []
        watched = []
        for number in range(5):
            a, b = sockets()
            b.send(b"x")
            loop.add_writer(a, ran.append, (number, "w"))
            loop.add_reader(a, ran.append, (number, "r"))
            watched.append(a)
        run_turns(loop, 1)
        for a in watched:
            loop.remove_reader(a)
            loop.remove_writer(a)
        assert {number for number, _ in ran} == set(range(5))
        for number in range(5):
            assert [way for which, way in ran if which == number][:2] == ["r", "w"]

    def test_peer_closed(self, loop, sockets):
        a, b = sockets()
        b.close()
        loop.add_writer(a, loop.stop)
        run_guarded(loop)
        loop.remove_writer(a)


ADDERS = pytest.mark.parametrize("which", ["add_reader", "add_writer"])


class TestKeywords:
    @ADDERS
    def test_by_name(self, loop, sockets, which):
        a, b = sockets()
        b.send(b"x")
        add, remove = getattr(loop, which), getattr(loop, which.replace("add", "remove"))
        for given, named in (
            ((), {"fd": a, "callback": loop.stop}),
            ((a,), {"callback": loop.stop}),
        ):
            add(*given, **named)
            run_guarded(loop)
            assert remove(fd=a) is True
            assert remove(fd=a) is False

    @ADDERS
    def test_wrong(self, loop, sockets, which):
        a, _ = sockets()
        add, remove = getattr(loop, which), getattr(loop, which.replace("add", "remove"))
        for call, given, named in (
            (add, (a,), {}),
            (add, (), {"callback": print}),
            (add, (a, print), {"fd": a}),
            (add, (a, print), {"callback": print}),
            (add, (a, print), {"context": None}),
            (add, (a, print), {"colour": "red"}),
            (remove, (), {}),
            (remove, (a, a), {}),
            (remove, (a,), {"fd": a}),
            (remove, (a,), {"colour": "red"}),
        ):
            with pytest.raises(TypeError):
                call(*given, **named)
        assert remove(a) is False


class TestBadDescriptors:
    @ADDERS
    @pytest.mark.parametrize("fd", [-1, -1000, "x", None, 1.5, object(), b"1", []])
    def test_wrong(self, loop, which, fd):
        with pytest.raises(ValueError):
            getattr(loop, which)(fd, print)
        with pytest.raises(ValueError):
            getattr(loop, which.replace("add", "remove"))(fd)

    @ADDERS
    def test_closed_socket(self, loop, which):
        sock = socket.socket()
        sock.close()
        with pytest.raises(ValueError):
            getattr(loop, which)(sock, print)

    @ADDERS
    def test_closed_socket_that_was_added_can_be_removed(self, loop, sockets, which):
        """A socket is still known by itself when it has no number any more."""
        remove, other = (
            getattr(loop, f"remove_{kind}")
            for kind in (("reader", "writer") if "reader" in which else ("writer", "reader"))
        )
        _, b = sockets()
        others = [sock for pair in (sockets(), sockets()) for sock in pair]
        for sock in (*others, b):
            getattr(loop, which)(sock, print)
        b.close()
        assert other(b) is False
        assert remove(b) is True
        with pytest.raises(ValueError):
            remove(b)
        assert [remove(sock) for sock in others] == [True] * 4

    @ADDERS
    def test_closed_socket_that_was_added_by_number(self, loop, sockets, which):
        _, b = sockets()
        number = b.fileno()
        getattr(loop, which)(number, print)
        b.close()
        remove = getattr(loop, which.replace("add", "remove"))
        with pytest.raises(ValueError):
            remove(b)
        assert remove(number) is True

    def test_closed_socket_on_a_closed_loop(self, loop, sockets):
        _, b = sockets()
        loop.add_reader(b, print)
        b.close()
        loop.close()
        assert loop.remove_reader(b) is False
        assert loop.remove_writer(-1) is False

    # Stock tells its epoll set of what is left, which fails for a descriptor that is gone.
    @pytest.mark.moodloop_only
    def test_closed_socket_is_removed_in_one_direction(self, loop, sockets):
        _, b = sockets()
        loop.add_reader(b, print)
        loop.add_writer(b, print)
        b.close()
        assert loop.remove_writer(b) is True
        assert loop.remove_writer(b) is False
        assert loop.remove_reader(b) is True

    @ADDERS
    def test_file_object_is_let_go(self, loop, which):
        """Kept from add to remove, or to the loop's end, and no longer."""
        remove = getattr(loop, which.replace("add", "remove"))
        for end in (remove, lambda _: loop.close()):
            a, b = socket.socketpair()
            with a:
                known = weakref.ref(b)
                getattr(loop, which)(b, print)
                number = b.fileno()
                b.close()
                del b
                assert known() is not None
                end(number)
                assert known() is None

    @ADDERS
    def test_closed_number(self, loop, which):
        r, w = os.pipe()
        os.close(r)
        os.close(w)
        with pytest.raises(OSError) as raised:
            getattr(loop, which)(r, print)
        assert raised.value.errno == 9

    @ADDERS
    def test_never_opened(self, loop, which):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        with pytest.raises(OSError) as raised:
            getattr(loop, which)(limit + 5, print)
        assert raised.value.errno == 9

    @ADDERS
    def test_regular_file(self, loop, which):
        with tempfile.TemporaryFile() as file:
            with pytest.raises(PermissionError):
                getattr(loop, which)(file, print)
            with pytest.raises(PermissionError):
                getattr(loop, which)(file.fileno(), print)
            assert getattr(loop, which.replace("add", "remove"))(file) is False

    @pytest.mark.parametrize(
        "fd", ["2**20", "2**30", "2**31 - 1", "2**31", "2**63", "2**64", "2**200"]
    )
    def test_huge(self, snippet, fd):
        done = snippet(
            f"""
            loop = new_loop()
            for add in loop.add_reader, loop.add_writer:
                try:
                    add({fd}, print)
                except (OSError, OverflowError, ValueError) as exc:
                    print("refused")
            for remove in loop.remove_reader, loop.remove_writer:
                try:
                    assert remove({fd}) is False
                except (OverflowError, ValueError):
                    pass
            run_turns(loop, 2)
            loop.close()
            """
        )
        assert (done.rc, done.out) == (0, "refused\nrefused\n"), done.err

    def test_no_arguments(self, loop):
        for call in (loop.add_reader, loop.add_writer, loop.remove_reader, loop.remove_writer):
            with pytest.raises(TypeError):
                call()
        for call in (loop.add_reader, loop.add_writer):
            with pytest.raises(TypeError):
                call(0)

    def test_fileno_that_raises(self, loop):
        class Bad:
            def fileno(self):
                raise ZeroDivisionError

        with pytest.raises((ZeroDivisionError, ValueError)):
            loop.add_reader(Bad(), print)

    def test_transports_descriptor(self, loop, sockets, run):
        a, _b = sockets()

        async def main():
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
            fd = transport.get_extra_info("socket").fileno()
            for call in (
                lambda: loop.add_reader(fd, print),
                lambda: loop.add_writer(fd, print),
                lambda: loop.remove_reader(fd),
                lambda: loop.remove_writer(fd),
            ):
                with pytest.raises(
                    RuntimeError, match=f"File descriptor {fd} is used by transport"
                ):
                    call()
            transport.close()
            await asyncio.sleep(0)

        run(main())

    def test_descriptor_of_a_closed_transport_is_free(self, loop, sockets, run):
        a, _b = sockets()

        async def main():
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=a)
            fd = transport.get_extra_info("socket").fileno()
            transport.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            c, d = socket.socketpair()
            with c, d:
                assert fd in (c.fileno(), d.fileno())
                loop.add_reader(fd, print)
                assert loop.remove_reader(fd) is True

        run(main())


class TestReuse:
    def test_closed_without_remove_then_reused(self, loop, sockets):
        """The number of a descriptor closed under the loop comes back for another one."""
        a, b = socket.socketpair()
        fd = b.fileno()
        loop.add_reader(b, lambda: 1 / 0)
        run_turns(loop)
        b.close()
        a.close()
        ran = []
        c, d = socket.socketpair()
        try:
            new = c if c.fileno() == fd else d
            other = d if new is c else c
            assert new.fileno() == fd
            loop.remove_reader(fd)

            def read():
                ran.append(new.recv(1))
                loop.stop()

            loop.add_reader(new, read)
            other.send(b"x")
            run_guarded(loop)
            assert ran == [b"x"]
            assert loop.remove_reader(fd) is True
        finally:
            c.close()
            d.close()

    def test_removed_closed_and_reused_in_one_callback(self, loop):
        ran = []
        pair = list(socket.socketpair())

        def read():
            ran.append(pair[1].recv(1))
            loop.remove_reader(pair[1])
            for s in pair:
                s.close()
            if len(ran) == 10:
                loop.stop()
                return
            pair[:] = socket.socketpair()
            loop.add_reader(pair[1], read)
            pair[0].send(b"x")

        loop.add_reader(pair[1], read)
        pair[0].send(b"x")
        run_guarded(loop)
        assert ran == [b"x"] * 10

    def test_closed_while_watched(self, snippet):
        done = snippet(
            """
            loop = new_loop()
            a, b = socket.socketpair()
            fd = b.fileno()
            loop.add_reader(b, print, "read")
            run_turns(loop, 2)
            b.close()
            run_turns(loop, 5)
            print(loop.remove_reader(fd))
            run_turns(loop, 2)
            loop.close()
            """
        )
        assert (done.rc, done.out) == (0, "True\n"), done.err

    def test_closed_while_watched_both_ways(self, snippet):
        done = snippet(
            """
            loop = new_loop()
            a, b = socket.socketpair()
            fd = b.fileno()
            loop.add_reader(b, int)
            loop.add_writer(b, int)
            run_turns(loop, 2)
            b.close()
            run_turns(loop, 5)
            for remove in loop.remove_reader, loop.remove_writer:
                try:
                    remove(fd)
                except OSError as exc:
                    assert exc.errno == 9
            run_turns(loop, 2)
            loop.close()
            print("fine")
            """
        )
        assert (done.rc, done.out) == (0, "fine\n"), done.err

    @pytest.mark.parametrize("which", [1, 2, 3])
    def test_closed_by_a_time_of_the_program(self, snippet, which):
        """However late in a turn the loop asks for it; so may another thread, while it runs."""
        done = snippet(
            f"""
            class Closing(type(new_loop())):
                fd, left = None, {which}

                def time(self):
                    if self.fd is not None:
                        self.left -= 1
                        if self.left == 0:
                            os.close(self.fd)
                    return super().time()

            def add():
                loop.add_reader(fd, print)
                loop.fd = fd

            loop = Closing()
            a, b = socket.socketpair()
            fd = a.detach()
            loop.call_soon(add)
            loop.call_later(0.05, loop.stop)
            loop.run_forever()
            loop.remove_reader(fd)
            loop.close()
            print("alive")
            """
        )
        assert (done.rc, done.out.splitlines()[-1:]) == (0, ["alive"]), done.err

    def test_closed_by_another_reader_of_the_batch(self, snippet):
        done = snippet(
            """
            loop = new_loop()
            pairs = [socket.socketpair() for _ in range(8)]
            ran = []
            def read(i):
                ran.append(i)
                for a, b in pairs:
                    if b.fileno() >= 0:
                        loop.remove_reader(b)
                        b.close()
            for i, (a, b) in enumerate(pairs):
                a.send(b"x")
                loop.add_reader(b, read, i)
            run_turns(loop, 4)
            assert len(ran) == 1, ran
            loop.close()
            print("fine")
            """
        )
        assert (done.rc, done.out) == (0, "fine\n"), done.err

    def test_duplicate_descriptor_of_one_socket(self, loop, sockets):
        a, b = sockets()
        dup = b.dup()
        ran = []
        loop.add_reader(b, lambda: (ran.append("b"), loop.remove_reader(b)))
        loop.add_reader(dup, lambda: (ran.append("dup"), loop.remove_reader(dup)))
        a.send(b"x")
        run_turns(loop, 3)
        dup.close()
        assert sorted(ran) == ["b", "dup"]
