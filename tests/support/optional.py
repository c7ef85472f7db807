"""Modules that a test can do without only by being skipped."""

import pytest

from moodloop import _core


def need(name):
    """The module, or the test (or, at module level, the file) is skipped."""
    if name == "greenlet" and "sanitize" in _core.build_flags:
        pytest.skip(
            "greenlet copies stacks, which AddressSanitizer takes for an overflow of a variable",
            allow_module_level=True,
        )
    return pytest.importorskip(name, reason=f"{name} is not installed")
