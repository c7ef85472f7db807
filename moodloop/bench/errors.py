"""What makes the benchmark fail, and how it says so."""

from __future__ import annotations


class BenchError(Exception):
    """What makes the benchmark fail: a wrong answer, or no answer."""


def wrong(sent: bytes, got: bytes, expected: bytes) -> str:
    """The message about a wrong answer."""
    return (
        f"WRONG ANSWER\n  sent:     {excerpt(sent)}\n"
        f"  expected: {excerpt(expected)}\n  got:      {excerpt(got)}{difference(got, expected)}"
    )


def cut_off(sent: bytes, exc: Exception | None) -> str:
    """The message about a connection that ended before the answer."""
    reason = f" ({exc})" if exc is not None else ""
    return (
        f"the server closed the connection{reason}\n"
        f"  sent:     {excerpt(sent)}\n  got:      nothing"
    )


def excerpt(data: bytes) -> str:
    """The start of some bytes, printable."""
    return repr(data) if len(data) <= 64 else f"{data[:48]!r}... ({len(data)} bytes)"


def difference(got: bytes, expected: bytes) -> str:
    """Where two long byte strings differ."""
    if len(got) <= 64 and len(expected) <= 64:
        return ""
    pairs = zip(got, expected, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(got), len(expected)))
    return f"\n  they differ from byte {at} on"
