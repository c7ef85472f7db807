"""Tests that moodloop does not pass because they look inside asyncio's own loop, each with why."""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

LOOP = "moodloop"  # whose list this is; the others are compared on the same tests


class Exclusion(NamedTuple):
    """Tests (patterns of module.Class.test) and why they are left out; in which Pythons."""

    reason: str
    tests: tuple[str, ...]
    since: tuple[int, int] = (3, 11)


EXCLUSIONS: tuple[Exclusion, ...] = ()

def reason(test: str) -> str | None:
    """Why a test (module.Class.test) is left out of this Python's, or None."""
    for exclusion in EXCLUSIONS:
        if sys.version_info >= exclusion.since:
            if any(re.fullmatch(pattern, test) for pattern in exclusion.tests):
                return exclusion.reason
    return None
