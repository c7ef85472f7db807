"""The page of another process: what its loops count, read from outside (src/inspect/meter.h).

Nothing of the process runs for it: it may be stuck, or stopped.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import struct
import time
from collections.abc import Iterator

from .. import _core
from .values import COUNTERS

_LAYOUT = _core._page_layout()
_FIELDS = {
    name: where
    for name, where in _LAYOUT.items()
    if isinstance(where, tuple) and name not in ("mark", "delays")
}
_HEADER = struct.Struct("=8sIIIIIi")
_LINK = "/memfd:moodloop (deleted)"

RESTS, POLLS, RUNS = range(3)


class NoPage(Exception):
    """There is none to be read, for the reason that is its text."""


@dataclasses.dataclass(frozen=True)
class Meter:
    """What one loop had counted at a time."""

    number: int
    """The loop's, in its process."""
    place: int
    """Of the meter, in bytes from the page's begin."""
    at: float
    """Monotonic seconds."""
    fields: dict[str, float]
    delays: tuple[int, int, tuple[int, ...]]
    """Count, the most in ns, and the buckets."""

    @property
    def state(self) -> int:
        return int(self.fields["state"])

    @property
    def lasts(self) -> float:
        """Seconds in this state."""
        return max(self.at - self.fields["since"], 0.0)

    def counted(self, name: str) -> float:
        """A counter, with the time of the poll or callback that goes on."""
        value = self.fields[name]
        if (name, self.state) in (("busy", RUNS), ("idle", POLLS)):
            value += self.lasts
        return value

    def since(self, earlier: Meter) -> dict[str, float]:
        """What was counted between the two."""
        names = [name for name in COUNTERS if name in self.fields]
        return {name: self.counted(name) - earlier.counted(name) for name in names}


class Page:
    """The open page of a process. NoPage, with one line that says why."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd, self._writable = _open(pid)
        try:
            self._read_header()
        except BaseException:
            os.close(self._fd)
            raise

    def _read_header(self) -> None:
        data = os.pread(self._fd, _HEADER.size, 0)
        if len(data) < _HEADER.size or data[:8] != b"moodloop":
            raise NoPage(f"process {self.pid}: its page is not to be read")
        _, self.version, _, self._at, self._size, self._count, owner = _HEADER.unpack(data)
        if self.version != _LAYOUT["version"]:
            raise NoPage(
                f"process {self.pid} has a page of version {self.version}, and this moodloop reads "
                f"version {_LAYOUT['version']}: use the process's own moodloop"
            )
        if owner != _own_pid(self.pid):
            raise NoPage(
                f"process {self.pid} has only the page of the process that it was forked from"
            )

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def meters(self) -> list[Meter]:
        """Of each loop that is open."""
        return [meter for place in self._places() if (meter := self._meter(place)) is not None]

    def _places(self) -> Iterator[int]:
        """What is not a hole in the file: a meter that no loop has ever had."""
        at, end = self._at, self._at + self._count * self._size
        while at < end:
            try:
                at = os.lseek(self._fd, at, os.SEEK_DATA)
                hole = os.lseek(self._fd, at, os.SEEK_HOLE)
            except OSError:  # nothing more
                return
            first = self._at + -(-(at - self._at) // self._size) * self._size
            yield from range(first, min(hole, end), self._size)
            at = hole

    def _meter(self, place: int) -> Meter | None:
        data = os.pread(self._fd, self._size, place)
        fields = {
            name: struct.unpack_from(f"={kind}", data, offset)[0]
            for name, (offset, kind) in _FIELDS.items()
        }
        if not fields["serial"]:
            return None
        offset = _LAYOUT["delays"][0]
        count, _, most = struct.unpack_from("=QQQ", data, offset)
        size = (_LAYOUT["delays_size"] - 40) // 8
        buckets = struct.unpack_from(f"={size}Q", data, offset + 40)
        now = time.clock_gettime(time.CLOCK_MONOTONIC)
        return Meter(int(fields["serial"]), place, now, fields, (count, most, buckets))

    def ask_for_delays(self, meter: Meter, seconds: float) -> None:
        """Have the loop record how late callbacks start, for so long from now on."""
        if self._writable:
            until = struct.pack("=d", time.clock_gettime(time.CLOCK_MONOTONIC) + seconds)
            os.pwrite(self._fd, until, meter.place + _LAYOUT["ask_until"][0])


def _open(pid: int) -> tuple[int, bool]:
    """The page's descriptor, and whether it can be written to."""
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        raise NoPage(f"there is no process {pid}") from None
    except PermissionError:
        raise NoPage(f"process {pid} is another user's") from None
    for name in names:
        path = f"{directory}/{name}"
        with contextlib.suppress(OSError):  # closed meanwhile
            if os.readlink(path) != _LINK:
                continue
            try:
                return os.open(path, os.O_RDWR | os.O_CLOEXEC), True
            except PermissionError:
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC), False
    raise NoPage(f"process {pid} has no loop of moodloop's, or one that is older than this page")


def _own_pid(pid: int) -> int:
    """What the process itself calls its number: in a container it is another one."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return pid


def processes() -> list[int]:
    """Those of the user that have a page."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(NoPage, OSError), Page(int(name)):
                found.append(int(name))
    return sorted(found)


def bound_of(bucket: int) -> float:
    """The upper bound of a bucket, in seconds."""
    if bucket < 8:
        return (bucket + 1) * 1e-9
    return ((bucket & 7) + 9) * 2.0 ** ((bucket >> 3) - 1) * 1e-9


def percentile(buckets: list[int], most: float, p: float) -> float | None:
    """Seconds that p percent took no longer than; None for none."""
    whole, seen = sum(buckets), 0
    for bucket, count in enumerate(buckets):
        seen += count
        if count and seen >= whole * p / 100:
            return min(bound_of(bucket), most)
    return None
