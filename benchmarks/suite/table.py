"""Tables and numbers, for a terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], markdown: bool = False) -> str:
    """Align a table: the first column to the left, the others to the right."""
    lines = [list(headers), *(list(row) for row in rows)]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(headers))]
    cells = [
        [
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    if markdown:
        rule = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
        cells.insert(1, rule)
        return "\n".join("| " + " | ".join(line) + " |" for line in cells)
    cells.insert(1, ["-" * w for w in widths])
    return "\n".join("  ".join(line).rstrip() for line in cells)


def number(value: float | None, unit: str = "") -> str:
    """A number at the precision that means something, or "-"."""
    if value is None:
        return "-"
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}{unit}"
