"""What is being measured now, on standard error."""

from __future__ import annotations

import sys
import time


class Progress:
    """A line that tells what is running: redrawn on a terminal, else every tenth."""

    def __init__(self, steps: int) -> None:
        self._steps = max(1, steps)
        self._done = 0
        self._start = time.monotonic()
        self._shown = -1
        self._tty = sys.stderr.isatty()

    def step(self, what: str) -> None:
        """Tell that `what` starts now."""
        tenth = 10 * self._done // self._steps
        if self._tty or tenth != self._shown:
            self._shown = tenth
            text = f"{self._done:4d}/{self._steps} {self.seconds():5.0f} s  {what}"
            print(
                f"\r\x1b[K{text}" if self._tty else text,
                end="" if self._tty else "\n",
                file=sys.stderr,
                flush=True,
            )
        self._done += 1

    def note(self, text: str) -> None:
        """Tell something that stays."""
        self.end()
        print(text, file=sys.stderr, flush=True)

    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._start

    def end(self) -> None:
        """Leave the line clean."""
        if self._tty:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
