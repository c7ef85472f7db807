"""How far the benchmark is."""

from __future__ import annotations

import shutil
from typing import TextIO

from .bar import bar_of, can_show_blocks


class Progress:
    """A bar on a terminal; elsewhere a line for each turn of a loop."""

    WIDTH = 30

    def __init__(self, steps: int, out: TextIO) -> None:
        self._steps = steps
        self._out = out
        self._tty = out.isatty()
        self._blocks = can_show_blocks(out)
        self._done = 0
        self._turn = ""

    def step(self, turn: str, what: str) -> None:
        """Say that the next step of a turn begins."""
        if self._tty:
            bar = bar_of(self._done / self._steps, self.WIDTH, self._blocks).ljust(self.WIDTH)
            self._draw(f"[{bar}] {self._done / self._steps:4.0%}  {turn}  {what}")
        elif turn != self._turn:
            self._draw(turn)
        self._turn = turn
        self._done += 1

    def _draw(self, text: str) -> None:
        if self._tty:
            width = shutil.get_terminal_size().columns - 1
            text = f"\r\x1b[K{text[:width]}"
        else:
            text += "\n"
        self._out.write(text)
        self._out.flush()

    def end(self) -> None:
        """Remove the bar."""
        if self._tty:
            self._draw("")
