"""Runs a program of stream connections on a loop, and writes down what each end sees.

A connection is a Unix socket pair with a transport at both ends. A program is a list of stimuli:
operations on the transports that happen in one callback, after which the loop runs until nothing
more happens. Protocols react, once to each kind of event, with operations of their own.

Compared is the order of events at each end, not between ends: asyncio does not promise the latter.
Data counts by its amount, not by the pieces in which it comes. How much the kernel takes of a large
write is not promised either, so what an abort() leaves of it is not counted.
"""

import asyncio
import gc
import socket
import warnings
import zlib

LARGE = 800_000  # bytes: more than a socket takes at once
QUIET_TURNS = 4
MOST_TURNS = 2000


class Failure(Exception):
    """What protocols raise."""


def text(exc):
    if isinstance(exc, (BrokenPipeError, ConnectionResetError)):
        return "the peer is gone"  # which of them, depends on whether reading or writing tells
    return None if exc is None else f"{type(exc).__name__}: {exc}"


def contains(program, *names):
    return isinstance(program, (tuple, list)) and (
        (program and program[0] in names) or any(contains(part, *names) for part in program)
    )


class End:
    """A protocol's state; set_protocol() passes it on."""

    def __init__(self, wires, name, reactions):
        self.wires = wires
        self.name = name
        self.reactions = dict(reactions)
        self.trace = []
        self.received = 0
        self.crc = 0
        self.transport = None
        self.peer = None
        self.lost = self.eof = False

    def log(self, *what):
        self.wires.busy = True
        self.trace.append(what)

    def react(self, event):
        for op in self.reactions.pop(event, ()):
            if op[0] == "raise":
                raise Failure("on purpose")
            self.wires.do(self, op)

    # ---- what protocols tell ------------------------------------------------------------------

    def connection_made(self, transport):
        self.log("made")
        self.transport = transport
        self.react("made")

    def data(self, data):
        # Of two ends that both send much, which hears first that it may go on is anybody's guess.
        if not self.wires.large and (not self.trace or self.trace[-1] != ("data",)):
            self.log("data")
        self.wires.busy = True
        self.received += len(data)
        self.crc = zlib.crc32(data, self.crc)
        if not self.wires.large:
            self.react("data")

    def eof_received(self):
        self.log("eof")
        self.eof = True
        self.react("eof")
        return self.reactions.get("keep open")

    def connection_lost(self, exc):
        self.log("lost", text(exc))
        self.lost = True  # what is asked of the transport from now on, stock asyncio may trip over
        self.react("lost")

    def pause_writing(self):
        self.log("pause")
        self.react("pause")

    def resume_writing(self):
        self.log("resume")
        self.react("resume")


class Plain(asyncio.Protocol):
    def __init__(self, end):
        self.end = end
        for name in (
            "connection_made",
            "connection_lost",
            "eof_received",
            "pause_writing",
            "resume_writing",
        ):
            setattr(self, name, getattr(end, name))

    def data_received(self, data):
        self.end.data(data)


class Buffered(Plain, asyncio.BufferedProtocol):
    def get_buffer(self, sizehint):
        self.buffer = bytearray(50_000)
        return self.buffer

    def buffer_updated(self, size):
        self.end.data(bytes(self.buffer[:size]))


PROTOCOLS = {"plain": Plain, "buffered": Buffered}
KINDS = {"bytes": bytes, "bytearray": bytearray, "view": memoryview}


class Connections:
    def __init__(self, loop_class, program):
        self.large = contains(program, "large")
        self.vague = self.large and contains(program, "abort", "raise")
        self.stimuli = program[1]
        self.ends = []
        self.other = []  # errors that are not said to be of one end
        self.busy = False
        self.loop = loop_class()
        self.loop.set_exception_handler(self.handler)
        for number, kinds in enumerate(program[0]):
            self.connect(number, kinds)

    def handler(self, loop, context):
        exc = text(context.get("exception"))
        if exc == "AttributeError: 'NoneType' object has no attribute 'close'":
            return  # stock asyncio, closed by resume_writing(), ends the connection twice
        if context["message"].startswith("Exception in callback"):
            self.other.append(exc)  # of which callback is said differently
        else:
            context["protocol"].end.log("handler", context["message"], exc)

    def connect(self, number, kinds):
        socks = socket.socketpair()
        for sock in socks:
            sock.setblocking(False)
        made = []
        for letter, (kind, reactions) in zip("ab", kinds, strict=True):
            end = End(self, f"{letter}{number}", reactions)
            self.ends.append(end)
            made.append((end, PROTOCOLS[kind]))
        (a, first), (b, second) = made
        a.peer, b.peer = b, a
        self.first = self.loop.create_task(
            self.loop.create_connection(lambda: first(a), sock=socks[0])
        )
        self.second = self.loop.create_task(
            self.loop.connect_accepted_socket(lambda: second(b), socks[1])
        )
        self.settle()

    # ---- running ------------------------------------------------------------------------------

    def settle(self):
        """Turns until nothing happens any more."""
        quiet = 0
        for _ in range(MOST_TURNS):
            self.busy = False
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
            quiet = 0 if self.busy else quiet + 1
            if quiet == QUIET_TURNS:
                return
        raise AssertionError("the program does not come to rest")

    def run(self):
        for number, ops in self.stimuli:
            self.loop.call_soon(self.stimulate, self.ends[number % len(self.ends)], ops)
            self.settle()
        for end in self.ends:
            end.reactions.clear()
            end.log("over", *self.state(end))
            if not end.lost:
                end.transport.abort()
            self.settle()
            end.log("end", *self.state(end))
            amount = "some" if self.vague else end.received, end.crc
            end.log("received", *(amount[:1] if self.vague else amount))
        self.loop.close()
        return {end.name: end.trace for end in self.ends}, self.other

    def stimulate(self, end, ops):
        for op in ops:
            if op[0] != "raise":
                self.do(end, op)

    def state(self, end):
        transport = end.transport
        # First, as it sends what waits for the end of the callback: then all that can be known of
        # the peer is known.
        waits = transport.get_write_buffer_size() > 0
        limits = transport.get_write_buffer_limits()
        return waits, transport.is_closing(), transport.is_reading(), limits

    # ---- operations ---------------------------------------------------------------------------

    def do(self, end, op):
        name, *args = op
        if name == "peer":
            if (
                end.lost
            ):  # a write to who is just closing fails now or later, before or after a read
                return
            end = end.peer
            name, *args = args[0]
        if name == "raise" or end.transport is None or end.lost:
            return
        try:
            result = getattr(self, f"do_{name}")(end, *args)
        except Exception as exc:
            end.log(name, type(exc).__name__)  # the words differ between versions
        else:
            end.log(name, *(() if result is None else (result,)))

    def do_write(self, end, kind, count):
        end.transport.write(KINDS[kind](bytes([count]) * count))

    def do_large(self, end, kind):
        data = bytes(range(256)) * (LARGE // 256)
        end.transport.write(data if kind == "bytes" else bytearray(data))

    def do_lines(self, end, counts):
        lines = [bytes([count]) * count for count in counts]
        transport = end.transport
        closing = transport.is_closing()
        if closing and isinstance(self.loop, asyncio.SelectorEventLoop):
            # Stock asyncio 3.12 and 3.13 do not drop them, as write() does, but trip over what
            # close() has removed, or keep the loop at work for them after the end.
            if transport.get_write_buffer_size() == 0:
                return transport.write(b"".join(lines))
        try:
            transport.writelines(lines)
        except TypeError as exc:  # they are in its buffer already, as those of write() would be
            if not closing or str(exc) != "'NoneType' object is not callable":
                raise

    def do_bad(self, end):
        end.transport.write("text")

    def do_write_eof(self, end):
        end.transport.write_eof()

    def do_close(self, end):
        end.transport.close()

    def do_abort(self, end):
        end.transport.abort()

    def do_pause(self, end):
        end.transport.pause_reading()

    def do_resume(self, end):
        if not end.eof:  # stock asyncio tells of it again
            end.transport.resume_reading()

    def do_limits(self, end, high, low):
        end.transport.set_write_buffer_limits(high=high, low=low)

    def do_state(self, end):
        return self.state(end)

    def do_protocol(self, end, kind):
        if end.transport.get_protocol() is not None:
            end.transport.set_protocol(PROTOCOLS[kind](end))

    def do_keep_open(self, end, keep):
        end.reactions["keep open"] = keep

    def do_extra(self, end):
        transport = end.transport
        return (
            transport.get_extra_info("peername"),
            transport.get_extra_info("sockname"),
            type(transport.get_extra_info("socket")).__name__,
            transport.get_extra_info("nothing", "default"),
        )


def trace(loop_class, program):
    """Run a program on a loop of that class; the traces of the ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = Connections(loop_class, program).run()
        gc.collect(0)
    return made
