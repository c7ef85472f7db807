"""What one request costs a server: which system calls, and how many instructions.

    python benchmarks/costs.py [--rows REGEX] [--loops uvloop,moodloop] [--requests N]

Counted, not timed, so that a busy machine does no harm: the system calls by `strace -c`, attached
while the load runs; the instructions outside of the kernel by valgrind's callgrind, as the
difference of two loads of which one is twice as long. Both must be installed.
"""

from __future__ import annotations

import argparse
import collections
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from rows import ROWS, Served
from suite import serve
from suite.loops import find_loops
from suite.process import Failed, run_json, server
from suite.table import table

DEFAULT_ROWS = (
    r"^(proto/10/64|proto/10/64/16|proto/10/10240|stream/10/1024|udp/10/64|uvicorn"
    r"|tls/10/256|tls/10/8192)$"
)
SLOW = 600.0  # seconds that a load may take under valgrind


def load(programs: serve.Programs, row: Served, address: str, requests: int) -> int:
    """Send about so many requests; returns how many were answered."""
    command = serve.load_command(programs, row, address, 0, SLOW)
    at = command.index("--cpu-of")
    command[at : at + 2] = ["--requests", str(requests)]
    warmup = command.index("--warmup")
    command[warmup + 1] = "0"
    return int(run_json(command, timeout=SLOW)["requests"])


def system_calls(programs: serve.Programs, arm: str, row: Served, requests: int) -> str:
    """Those that come more often than once in 50 requests, as "recvfrom 1.00, sendto 1.00"."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        report = Path(directory) / "strace"
        with server(programs.serve(arm, row), None) as (pid, address):
            if row.warm is not None:
                serve.warm(address, row.warm)
            tracer = subprocess.Popen(
                ["strace", "-f", "-c", "-o", str(report), "-p", str(pid)],
                stderr=subprocess.PIPE,
                text=True,
            )
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            if "attached" not in said:
                raise Failed(said.strip() or "strace said nothing")
            answered = load(programs, row, address, requests)
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=30)
        counts: collections.Counter[str] = collections.Counter()
        for line in report.read_text().splitlines():
            match = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
            if match and match[2] != "total":
                counts[match[2]] += int(match[1])
    often = [(name, n / answered) for name, n in counts.most_common() if n / answered >= 0.02]
    return ", ".join(f"{name} {each:.2f}" for name, each in often)


def instructions(programs: serve.Programs, arm: str, row: Served, requests: int) -> float:
    """Instructions of a request outside of the kernel."""
    totals, answered = [], []
    for count in (requests, 2 * requests):
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            out = Path(directory) / "callgrind"
            command = ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}"]
            serving = server([*command, *programs.serve(arm, row)], None, patience=SLOW)
            with serving as (_, address):
                if row.warm is not None:
                    serve.warm(address, row.warm)
                answered.append(load(programs, row, address, count))
            match = re.search(r"^(?:totals|summary): (\d+)", out.read_text(), re.MULTILINE)
            if match is None:
                raise Failed("callgrind wrote no total")
            totals.append(int(match[1]))
    return (totals[1] - totals[0]) / (answered[1] - answered[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", default=DEFAULT_ROWS, metavar="REGEX", help="only rows whose name matches"
    )
    parser.add_argument("--loops", default="uvloop,moodloop", help="comma-separated")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--python", default=sys.executable, help="the interpreter to measure")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    options = parser.parse_args()
    os.environ["PYTHONHASHSEED"] = "0"  # the same work each time
    programs = serve.build(options.python)
    loops = list(find_loops(options.python, options.loops.split(",")))
    for name, row in ROWS.items():
        if not isinstance(row, Served) or not re.search(options.rows, name):
            continue
        lines = []
        for arm in [*programs.c_servers.get(row.in_c, ()), *loops]:
            try:
                count = instructions(programs, arm, row, options.requests)
                calls = system_calls(programs, arm, row, options.requests)
            except (Failed, FileNotFoundError) as exc:
                sys.exit(f"{arm}: {exc}")
            lines.append([arm, f"{count:,.0f}", calls])
        print(f"\n{row.about}\n")
        print(table(["server", "instructions", "system calls"], lines, options.markdown))


if __name__ == "__main__":
    main()
