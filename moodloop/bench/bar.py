"""A bar of text."""

from __future__ import annotations

from typing import TextIO


def can_show_blocks(out: TextIO) -> bool:
    """Whether the stream's encoding has the block characters."""
    try:
        "█▏".encode(out.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def bar_of(share: float, width: int, blocks: bool) -> str:
    """A bar of so much of the width, in eighths of a character where blocks can be shown."""
    if not blocks:
        return "#" * max(1, round(share * width)) if share > 0 else ""
    full, eighths = divmod(round(share * width * 8), 8)
    return "█" * full + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths]
