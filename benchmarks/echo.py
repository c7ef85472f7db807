"""Echo servers on every event loop, and in C, under the load of a generator in C.

    python benchmarks/echo.py [--quick] [--rows REGEX] [--loops uvloop,moodloop] [--markdown]

A row is mode/connections/bytes, then /pipeline if more than one message of a connection is in
flight, and unix/ before it for Unix sockets. The server is tied to one core, the generator to
another. The arms of a row take turns, round by round, each with a new server process that was
warmed up first (asyncio needs it: see `warm`). The figure that counts is the CPU time that the
server's process spent per request (user + system, ended threads too); requests per second and
latencies are beside it.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Row:
    """One load."""

    mode: str
    connections: int
    size: int
    pipeline: int = 1
    unix: bool = False
    quick: bool = False

    @property
    def name(self) -> str:
        parts = ["unix"] if self.unix else []
        parts += [self.mode, str(self.connections), str(self.size)]
        return "/".join(parts + ([str(self.pipeline)] if self.pipeline > 1 else []))


# A new row is one line here.
ROWS = (
    Row("proto", 1, 64),
    Row("proto", 10, 64, quick=True),
    Row("proto", 10, 1024),
    Row("proto", 10, 10240, quick=True),
    Row("proto", 10, 102400),
    Row("proto", 200, 64),
    Row("proto", 10, 64, pipeline=16, quick=True),
    Row("proto", 10, 1024, pipeline=16),
    Row("buffered", 10, 1024),
    Row("buffered", 10, 102400),
    Row("stream", 10, 1024, quick=True),
    Row("proto", 10, 1024, unix=True),
)

C_ARMS = {"C epoll": "echo_epoll", "C libev": "echo_libev"}  # what proto rows are held against


@dataclass(frozen=True)
class Run:
    """What all measurements of one call of this program share."""

    python: str
    loadgen: Path
    c_servers: dict[str, Path]
    seconds: float
    warmup: float

    def command(self, arm: str, row: Row) -> list[str]:
        """The server of an arm."""
        if arm in self.c_servers:
            return [str(self.c_servers[arm])]
        return [self.python, str(HERE / "servers.py"), "--loop", arm, "--mode", row.mode]


def warm(address: str) -> None:
    """Have the server see two connections come, send and end, as in a life that began earlier.

    asyncio reads into a block of 256 KiB which the C library maps and unmaps every time until one
    such block has been freed whole, which the end of a connection does.
    """
    for _ in range(2):
        if address.isdigit():
            sock = socket.create_connection(("127.0.0.1", int(address)), timeout=10)
        else:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(10)
            sock.connect(address)
        with sock:
            sock.sendall(b"warm")
            answer = b""
            while len(answer) < 4:
                part = sock.recv(4 - len(answer))
                if not part:
                    raise common.Failed("the server closed the first connection")
                answer += part
            if answer != b"warm":
                raise common.Failed(f"sent b'warm', got {answer!r}")


def measure(run: Run, arm: str, row: Row) -> dict[str, Any]:
    """One server, one load, one sample."""
    server_core, client_core = common.core_pair()
    with tempfile.TemporaryDirectory(prefix="echo-") as directory:
        command = run.command(arm, row)
        if row.unix:
            command += ["--unix", str(Path(directory) / "socket")]
        with common.server(command, server_core) as (process, address):
            warm(address)
            target = ["--unix", address] if row.unix else ["--tcp", f"127.0.0.1:{address}"]
            load = [
                str(run.loadgen),
                *target,
                *("--connections", str(row.connections), "--size", str(row.size)),
                *("--pipeline", str(row.pipeline), "--cpu-of", str(process.pid)),
                *("--seconds", str(run.seconds), "--warmup", str(run.warmup)),
            ]
            with common.pinned(client_core):
                answer: dict[str, Any] = common.run_json(load, timeout=run.seconds + 60)
            return answer


def sample_of(answer: dict[str, Any]) -> dict[str, float]:
    """The figures of one measurement that are kept."""
    sample = {
        "requests_per_second": answer["requests_per_second"],
        "p50_us": answer["latency_us"]["p50"],
        "p99_us": answer["latency_us"]["p99"],
    }
    if answer["cpu_seconds"] is not None:
        sample["cpu_us"] = round(answer["cpu_seconds"] / answer["requests"] * 1e6, 4)
    return sample


def measure_row(
    run: Run, row: Row, loops: list[str], rounds: int, progress: common.Progress
) -> dict[str, Any]:
    """All arms of a row, by turns; every other round in the opposite order."""
    arms = [*(run.c_servers if row.mode == "proto" else ()), *loops]
    samples: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    errors: dict[str, str] = {}
    for number in range(rounds):
        for arm in arms if number % 2 == 0 else arms[::-1]:
            progress.step(f"{row.name}  {arm}, round {number + 1}")
            if arm in errors:
                continue
            try:
                samples[arm].append(sample_of(measure(run, arm, row)))
            except (common.Failed, OSError) as exc:
                errors[arm] = str(exc)
    return {"row": row.name, "arms": {arm: merge(samples[arm], errors.get(arm)) for arm in arms}}


def merge(samples: list[dict[str, float]], error: str | None) -> dict[str, Any]:
    """The medians of an arm's samples, or the error that ended it."""
    if error is not None:
        return {"error": error}
    return {key: common.summary([s[key] for s in samples]) for key in samples[0]}


# What is shown


def median_of(arm: dict[str, Any] | None, key: str) -> float | None:
    """A median of an arm, None if it has none."""
    return arm[key]["median"] if arm and key in arm else None


def arm_cells(row: dict[str, Any], name: str) -> list[str]:
    """One line of the terminal's table."""
    arm = row["arms"][name]
    if "error" in arm:
        return [f"  {name}", "failed", *[""] * 6]
    cpu = median_of(arm, "cpu_us")
    ratios = [
        common.ratio(median_of(row["arms"].get(base), "cpu_us"), cpu) for base in common.BASELINES
    ]
    return [
        f"  {name}",
        common.figure(cpu),
        f"{arm['cpu_us']['spread']:.0%}" if cpu else "-",
        *(common.figure(r) for r in ratios),
        f"{arm['requests_per_second']['median']:,.0f}",
        common.figure(median_of(arm, "p50_us")),
        common.figure(median_of(arm, "p99_us")),
    ]


def show(result: dict[str, Any]) -> str:
    """The table for a terminal."""
    headers = ["row, server", "CPU us/req", "+-", *(f"x {b}" for b in common.BASELINES)]
    headers += ["requests/s", "p50 us", "p99 us"]
    lines: list[list[str]] = []
    for row in result["rows"]:
        lines.append([row["row"], *[""] * 7])
        lines += [arm_cells(row, name) for name in row["arms"]]
    return common.table(headers, lines)


def markdown_cell(row: dict[str, Any], arm: str, base: str) -> str:
    """The ratio by CPU time, and by requests per second."""
    pairs = []
    for key, invert in (("cpu_us", False), ("requests_per_second", True)):
        mine, other = (median_of(row["arms"].get(name), key) for name in (arm, base))
        pairs.append(common.ratio(mine, other) if invert else common.ratio(other, mine))
    cpu, speed = pairs
    return "-" if cpu is None else f"{cpu:.2f} ({common.figure(speed)})"


def show_markdown(result: dict[str, Any]) -> str:
    """The table for the documentation: ratios to the first baseline that was measured."""
    arms = [
        name
        for name in [*C_ARMS, *result["loops"]]
        if any(name in r["arms"] for r in result["rows"])
    ]
    base = next((b for b in common.BASELINES if b in arms), arms[-1])
    headers = ["row", *(arm for arm in arms if arm != base), f"{base}, CPU us", "requests/s"]
    lines = []
    for row in result["rows"]:
        of_base = row["arms"].get(base)
        lines.append(
            [
                row["row"],
                *(markdown_cell(row, arm, base) for arm in arms if arm != base),
                common.figure(median_of(of_base, "cpu_us")),
                common.figure(median_of(of_base, "requests_per_second")),
            ]
        )
    text = f"Times the requests of {base} per CPU second of the server (per second of time)."
    return f"{text}\n\n{common.table(headers, lines, markdown=True)}\n\n{common.describe(result)}"


def build(python: str, quick: bool, seconds: float | None) -> Run:
    """Compile the C programs; without libev's header there is one arm less."""
    servers = {}
    for arm, name in C_ARMS.items():
        try:
            servers[arm] = common.build_c(name)
        except common.Failed as exc:
            print(f"left out: {exc}", file=sys.stderr)
    length = seconds or (0.6 if quick else 1.5)
    return Run(python, common.build_c("loadgen"), servers, length, min(0.3, length))


def main() -> int:
    parser = common.option_parser(__doc__, rounds=5)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, help="of each measurement: 1.5, --quick 0.6")
    options = parser.parse_args()
    if options.list:
        print("\n".join(row.name for row in ROWS))
        return 0
    rows = common.select_rows(ROWS, options.rows, options.quick)
    rounds = common.rounds_of(options)
    try:
        loops = common.loops_of(options)
        run = build(options.python, options.quick, options.seconds)
    except common.Failed as exc:
        print(exc, file=sys.stderr)
        return 1
    arms = sum(len(loops) + (len(run.c_servers) if row.mode == "proto" else 0) for row in rows)
    progress = common.Progress(arms * rounds)
    result = {
        "benchmark": "echo",
        **common.environment(options.python, loops),
        "settings": {"rounds": rounds, "seconds": run.seconds, "warmup": run.warmup},
        "rows": [measure_row(run, row, list(loops), rounds, progress) for row in rows],
    }
    progress.end()
    print(show_markdown(result) if options.markdown else show(result))
    return common.finish("echo", options, result)


if __name__ == "__main__":
    sys.exit(main())
