"""`python -m moodloop top`: what the loops of other processes do, a row for each."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from .page import POLLS, RESTS, RUNS, Meter, NoPage, Page, percentile, processes

COLUMNS = [
    "pid", "thread", "state", "util", "turns/s", "calls/s", "p50 ms", "p99 ms", "max ms",
    "ready", "timers", "conns", "fds", "gc",
]  # fmt: skip


def rows(page: Page, before: list[Meter], after: list[Meter]) -> list[dict[str, Any]]:
    """What each loop has done between two looks at a page."""
    earlier = {meter.number: meter for meter in before}
    return [_row(page, earlier[meter.number], meter) for meter in after if meter.number in earlier]


def _row(page: Page, before: Meter, after: Meter) -> dict[str, Any]:
    done = after.since(before)
    seconds = after.at - before.at
    whole = done["busy"] + done["idle"]
    counts = [b - a for a, b in zip(before.delays[2], after.delays[2], strict=True)]
    most = after.delays[1] * 1e-9
    fields = after.fields
    return {
        "pid": page.pid,
        "loop": after.number,
        "tid": int(fields["tid"]) or None,
        "thread": _thread_name(page.pid, int(fields["tid"])),
        "process": _process_state(page.pid),
        "state": {RESTS: "rests", POLLS: "poll", RUNS: "run"}.get(after.state, "?"),
        "state_seconds": after.lasts,
        "gc_runs": fields["gc_since"] > 0,
        "utilization": done["busy"] / whole if whole > 0 else 0.0,
        "turns_per_second": done["turns"] / seconds,
        "callbacks_per_second": done["callbacks"] / seconds,
        "delay": {
            "count": sum(counts),
            "p50": percentile(counts, most, 50),
            "p99": percentile(counts, most, 99),
            "max": percentile(counts, most, 100),
        },
        "gc": done["gc"] / seconds,
        **{name: int(fields[name]) for name in _GAUGES},
        "totals": {name: after.counted(name) for name in done} | {"longest": fields["longest"]},
        "open_files": _open_files(page.pid),
    }


_GAUGES = ("ready", "timers", "readers", "writers", "transports")


def _thread_name(pid: int, tid: int) -> str | None:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{tid}/comm") as file:
        return file.read().strip()
    return None


def _process_state(pid: int) -> str | None:
    """R, S, D, T (stopped), Z: as ps has it."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
    return None


def _open_files(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return None


def cells(row: dict[str, Any]) -> list[str]:
    """A row as it is shown."""

    def ms(seconds: float | None) -> str:
        return "-" if seconds is None else f"{seconds * 1e3:.2f}"

    state = row["state"]
    if state == "run" and row["state_seconds"] >= 0.05:
        state = f"{'gc' if row['gc_runs'] else 'run'} {row['state_seconds']:.1f} s"
    if row["process"] in ("T", "t"):
        state = f"stopped in {state}"
    return [
        str(row["pid"]),
        row["thread"] or "-",
        state,
        f"{row['utilization']:.0%}",
        f"{row['turns_per_second']:.0f}",
        f"{row['callbacks_per_second']:.0f}",
        ms(row["delay"]["p50"]),
        ms(row["delay"]["p99"]),
        ms(row["delay"]["max"]),
        str(row["ready"]),
        str(row["timers"]),
        str(row["transports"]),
        "-" if row["open_files"] is None else str(row["open_files"]),
        f"{row['gc']:.0%}",
    ]


def plain(found: list[dict[str, Any]]) -> str:
    """The table as text."""
    lines = [COLUMNS, *(cells(row) for row in found)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    text = []
    for line in lines:
        left = [cell.ljust(width) for cell, width in zip(line[:3], widths[:3], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(line[3:], widths[3:], strict=True)]
        text.append("  ".join([*left, *right]).rstrip())
    return "\n".join(text)


def _table(found: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if number < 3 else "right", no_wrap=True)
    for row in found:
        stuck = row["state"] == "run" and row["state_seconds"] >= 0.1
        table.add_row(*cells(row), style="bold red" if stuck else "")
    return table


def looks(pids: list[int], interval: float) -> Iterator[list[dict[str, Any]]]:
    """The rows, each `interval` seconds. NoPage if the first look finds that one has none."""
    with contextlib.ExitStack() as stack:
        pages = [stack.enter_context(Page(pid)) for pid in pids]
        seen = {page: page.meters() for page in pages}
        while True:
            for page, meters in seen.items():
                for meter in meters:
                    page.ask_for_delays(meter, interval * 2 + 1)
            time.sleep(interval)
            found = []
            for page in list(seen):
                before, seen[page] = seen[page], page.meters()
                if not os.path.exists(f"/proc/{page.pid}"):
                    del seen[page]
                    continue
                found += rows(page, before, seen[page])
            yield found
            if not seen:
                return


def main(pids: list[int], once: bool, as_json: bool, interval: float) -> int:
    """Show what the processes' loops do; the exit status."""
    try:
        shown = looks(pids or _all(), interval)
        if once or as_json:
            for found in shown:
                print(json.dumps(found) if as_json else plain(found), flush=True)
                if once:
                    break
            return 0
        _live(shown)
    except NoPage as exc:
        print(exc, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _all() -> list[int]:
    found = processes()
    if not found:
        raise NoPage("no process of this user has a loop of moodloop's")
    return found


def _live(shown: Iterator[list[dict[str, Any]]]) -> None:
    live: Any = None
    with contextlib.suppress(ImportError):
        from rich.live import Live

        live = Live
    if live is None or not sys.stdout.isatty():  # rich shows nothing there until the end
        for found in shown:
            clear = "\x1b[H\x1b[2J" if sys.stdout.isatty() else ""
            print(clear + plain(found), flush=True)
        return
    first = next(shown)
    with live(_table(first), auto_refresh=False) as shows:
        for found in shown:
            shows.update(_table(found), refresh=True)
