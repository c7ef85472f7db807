"""What no program calls in such a way, and what must not end the process all the same."""

import pytest

pytestmark = pytest.mark.moodloop_only


def test_private_methods_count_their_arguments(snippet):
    done = snippet("""
        from moodloop import _core

        counted = 0
        for name in sorted(vars(_core.LoopBase)):
            if not name.startswith("_") or name.startswith("__"):
                continue
            if not callable(getattr(_core.LoopBase, name)) or name == "_run":
                continue
            for count in range(9):
                loop = new_loop()
                method = getattr(loop, name)
                try:
                    method(*[None] * count)
                except (TypeError, ValueError, AttributeError):
                    counted += 1
                finally:
                    loop._detach()
                    loop.close()
        print("refused", counted > 100)
        """)
    assert (done.rc, done.out) == (0, "refused True\n"), done.err


@pytest.mark.parametrize("direction", ["reader", "writer"])
@pytest.mark.parametrize(
    "make",
    [
        "loop._make_socket_transport(sock, asyncio.Protocol())",
        "loop._make_datagram_transport(sock, asyncio.DatagramProtocol())",
        "loop._make_read_pipe_transport(sock, asyncio.Protocol())",
        "loop._make_write_pipe_transport(sock, asyncio.BaseProtocol())",
    ],
    ids=lambda make: make.partition("(")[0][6:],
)
def test_loop_closed_by_what_a_new_transport_drops(snippet, direction, make):
    done = snippet(f"""
        loop = new_loop()

        class Closing:
            def __call__(self):
                pass

            def __del__(self):
                loop.close()
                print("closed")

        sock, peer = socket.socketpair()
        sock.setblocking(False)
        loop.add_{direction}(sock, Closing())
        try:
            transport = {make}
        except RuntimeError as exc:
            print(exc)
        """)
    if "read_pipe" in make and direction == "writer":
        assert done.rc == 0, done.err  # which it has no need to drop
    else:
        assert (done.rc, done.out) == (0, "closed\nEvent loop is closed\n"), done.err


def test_loop_closed_by_the_server_of_a_new_transport(snippet):
    done = snippet("""
        loop = new_loop()

        class Server:
            attached = 0

            def _attach(self, *args):
                self.attached += 1
                loop.close()

            def _detach(self, *args):
                self.attached -= 1

        sock, peer = socket.socketpair()
        sock.setblocking(False)
        server = Server()
        try:
            loop._make_socket_transport(sock, asyncio.Protocol(), server=server)
        except RuntimeError as exc:
            print(exc, server.attached)
        """)
    assert (done.rc, done.out) == (0, "Event loop is closed 0\n"), done.err
