"""Strategies for programs, as machine.py runs them."""

from hypothesis import strategies as st

SMALL = st.integers(0, 3)
UNITS = st.integers(0, 8)
CONTEXT = st.none() | SMALL
VALUE = st.sampled_from(["red", "green"])
RAISED = st.sampled_from(
    ["Failure", "Failure", "Oddity", "SystemExit", "KeyboardInterrupt", "CancelledError"]
)

bodies = st.deferred(lambda: st.lists(ops, max_size=4))
scripts = st.deferred(lambda: st.lists(steps, max_size=5))


def op(name, *args):
    return st.tuples(st.just(name), *args)


CALLBACKS = [
    op("soon", bodies, CONTEXT),
    op("threadsafe", bodies, CONTEXT),
    op("later", UNITS, bodies, CONTEXT),
    op("at", UNITS, bodies, CONTEXT),
    op("cancel_handle", SMALL),
    op("stop"),
    op("time"),
    op("set", VALUE),
    op("copy_context"),
    op("raise", RAISED),
]
FUTURES = [
    op("future"),
    op("resolve", SMALL, st.sampled_from(["result", "exception", "cancel"])),
    op("done_callback", SMALL, bodies),
    op("task", scripts),
    op("cancel_task", SMALL),
]
DESCRIPTORS = [
    op("add_reader", bodies),
    op("remove_reader"),
    op("add_writer", bodies),
    op("remove_writer"),
    op("send", st.sampled_from([b"a", b"bc"])),
]
ops = st.one_of(*CALLBACKS, *FUTURES, *DESCRIPTORS)

steps = st.one_of(
    op("ops", bodies),
    op("sleep", UNITS),
    op("future", SMALL),
    op("shield", SMALL),
    op("join", SMALL),
    op("wait_for", SMALL, UNITS),
    op("timeout", UNITS, scripts),
    op("gather", st.lists(SMALL, max_size=3), st.booleans()),
    op("group", st.lists(scripts, max_size=1)),  # of more the order of cancellation is a set's
    op("catch", scripts),
    op("event", st.sampled_from(["wait", "set", "clear"])),
    op("lock", scripts),
    op("put", SMALL),
    op("get"),
)

programs = st.lists(ops, min_size=1, max_size=8)

# ---- stream connections, as connections.py runs them ---------------------------------------------

COUNT = st.integers(1, 250)
LIMIT = st.none() | st.sampled_from([-1, 0, 1, 100, 1000, 100_000])

own_ops = st.one_of(
    op("write", st.sampled_from(["bytes", "bytearray", "view"]), COUNT),
    op("write", st.just("bytes"), COUNT),
    op("lines", st.lists(COUNT, max_size=3)),
    op("bad"),
    op("write_eof"),
    op("close"),
    op("abort"),
    op("pause"),
    op("resume"),
    op("limits", LIMIT, LIMIT),
    op("state"),
    op("protocol", st.sampled_from(["plain", "buffered"])),
    op("keep_open", st.booleans()),
    op("extra"),
    op("large", st.sampled_from(["bytes", "bytearray"])),
)
end_ops = st.one_of(own_ops, own_ops, op("peer", own_ops))
reaction_ops = st.one_of(end_ops, end_ops, end_ops, op("raise"))
reactions = st.dictionaries(
    st.sampled_from(["made", "data", "eof", "lost", "pause", "resume"]),
    st.lists(reaction_ops, max_size=3),
    max_size=3,
).map(lambda found: tuple(found.items()))
end_kinds = st.tuples(st.sampled_from(["plain", "buffered"]), reactions)
stimulus = st.tuples(st.integers(0, 3), st.lists(end_ops, min_size=1, max_size=4))
connections = st.tuples(
    st.lists(st.tuples(end_kinds, end_kinds), min_size=1, max_size=2),
    st.lists(stimulus, max_size=6),
)
