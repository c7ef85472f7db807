"""The demo's benchmark: it succeeds on what works, and fails loudly on what does not."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moodloop import bench
from moodloop.bench import measure
from moodloop.bench.bar import bar_of, can_show_blocks
from moodloop.bench.chart import chart
from moodloop.bench.report import caution, conclusion
from moodloop.bench.servers import KeyValueStore
from moodloop.bench.table import table
from moodloop.bench.workloads import WORKLOADS

SHORT = ["--rounds", "1", "--seconds", "0.05", "--loops", "asyncio"]

# A server like the real one, but for what a test replaces in it.
LIAR = """
import asyncio, importlib.util, os, sys
spec = importlib.util.spec_from_file_location("bench", {path!r})
bench = importlib.util.module_from_spec(spec)
sys.modules["bench"] = bench
spec.loader.exec_module(bench)
from bench import child, servers
{lie}
sys.exit(child.child("server", "asyncio"))
"""

ECHO_LIE = """
class Echo(servers.Echo):
    count = 0
    def data_received(self, data):
        Echo.count += 1
        if Echo.count > 50:
            data = data[:7] + bytes([data[7] ^ 1]) + data[8:]
        super().data_received(data)
servers.Echo = Echo
"""

STORE_LIE = """
class Store(servers.KeyValueStore):
    def _increment(self, key):
        return b"INT 41"
servers.KeyValueStore = Store
"""

DEATH = """
class Echo(servers.Echo):
    count = 0
    def data_received(self, data):
        Echo.count += 1
        if Echo.count > 50:
            print("no more of this", file=sys.stderr, flush=True)
            os._exit(7)
        super().data_received(data)
servers.Echo = Echo
"""

SILENCE = """
class Echo(servers.Echo):
    count = 0
    def data_received(self, data):
        Echo.count += 1
        if Echo.count < 50:
            super().data_received(data)
servers.Echo = Echo
"""

ABSENCE = "sys.exit('the server does not start')"


@pytest.fixture
def replace_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that has the benchmark start another server."""
    real = measure.child_command

    def replace(lie: str) -> None:
        script = tmp_path / "liar.py"
        script.write_text(LIAR.format(path=str(Path(bench.__file__).resolve()), lie=lie))

        def command(role: str, name: str, *more: str) -> list[str]:
            return [sys.executable, str(script)] if role == "server" else real(role, name, *more)

        monkeypatch.setattr(measure, "child_command", command)

    return replace


def test_quick_run_shows_table_and_chart() -> None:
    command = [sys.executable, str(Path(bench.__file__).parent), "--quick", "--loops", "asyncio"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
    for workload in WORKLOADS:
        assert done.stdout.count(workload.name) == 2  # a line of the table, a part of the chart
    assert "requests" in done.stdout
    assert "1.00x" in done.stdout
    assert "█" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "round 2/2  asyncio" in done.stderr


def test_json_has_the_documented_shape(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    assert bench.main([*SHORT, "--rounds", "2", "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    assert report["schema"] == 1
    assert set(report) == {
        "schema",
        "python",
        "system",
        "cores",
        "loops",
        "settings",
        "results",
    }
    assert list(report["loops"]) == ["asyncio"]
    assert report["settings"]["rounds"] == 2
    assert [entry["workload"] for entry in report["results"]] == [w.name for w in WORKLOADS]
    for entry in report["results"]:
        assert entry["loop"] == "asyncio"
        for key in ("requests_per_second", "p50_us", "p99_us"):
            assert set(entry[key]) == {"median", "spread", "samples"}
            assert len(entry[key]["samples"]) == 2
            assert entry[key]["median"] > 0
        assert entry["p50_us"]["median"] <= entry["p99_us"]["median"]
        assert entry["ratio_to_asyncio"]["requests_per_second"] == 1.0


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        (ECHO_LIE, ["echo 64 B", "WRONG ANSWER", "sent:", "got:"]),
        (STORE_LIE, ["key-value lines", "WRONG ANSWER", "b'INCR ", "b'INT 1\\r\\n'", "b'INT 41"]),
        (DEATH, ["echo 64 B", "ended with status 7", "no more of this"]),
        (SILENCE, ["echo 64 B", "no answer within 0.5 s"]),
        (ABSENCE, ["ended with status 1", "the server does not start"]),
    ],
    ids=["lying echo", "lying store", "dead server", "silent server", "no server"],
)
def test_a_bad_server_fails_loudly(lie, told, replace_server, capfd) -> None:
    replace_server(lie)
    assert bench.main([*SHORT, "--silence", "0.5"]) == 1
    out, err = capfd.readouterr()
    assert "FAILED: loop asyncio" in err
    for words in told:
        assert words in err
    assert "requests" not in out


def test_a_loop_that_is_asked_for_must_be_there(capfd) -> None:
    assert bench.main(["--loops", "asyncio,no_such_loop_module"]) == 2
    assert "without no_such_loop_module: ModuleNotFoundError" in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--rounds", "0"], ["--seconds", "nan"], ["--seconds", "-1"], ["--what"]]
)
def test_bad_arguments(arguments, capfd) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m moodloop bench" in capfd.readouterr().err


def test_ascii_where_blocks_cannot_be_shown() -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert not can_show_blocks(ascii_only)
    assert bar_of(0.5, 10, blocks=False) == "#####"
    assert bar_of(0.55, 10, blocks=True) == "█████▌"
    assert bar_of(1.0, 10, blocks=True) == "█" * 10
    assert bar_of(0.0, 10, blocks=True) == ""


def entry(workload: str, loop: str, speed: float, ratio: float) -> dict:
    """An entry of a report, as `results_of` makes it."""
    figure = {"median": speed, "spread": 0.01, "samples": [speed]}
    return {
        "workload": workload,
        "loop": loop,
        "requests_per_second": figure,
        "p50_us": figure,
        "p99_us": figure,
        "server_cpu_us": None,
        "ratio_to_asyncio": {"requests_per_second": ratio, "server_cpu": None},
    }


def test_what_is_concluded() -> None:
    results = [
        entry(workload.name, loop, speed, speed / 1000)
        for workload in WORKLOADS
        for loop, speed in (("asyncio", 1000.0), ("uvloop", 1600.0), ("moodloop", 2000.0))
    ]
    assert conclusion(results) == (
        "moodloop serves 2.00 times the requests of asyncio and 1.25 times the requests of uvloop."
    )
    lines = chart(results, 80, blocks=False).splitlines()
    bars = [line.count("#") for line in lines if "#" in line]
    assert len(bars) == 9
    assert bars[0] * 2 == pytest.approx(bars[2], abs=1)
    assert max(len(line) for line in lines) <= 80
    assert "2.00x" in table(results)
    without = [e for e in results if e["loop"] != "moodloop"]
    assert conclusion(without) == ""


def test_rounds_that_differ_are_told() -> None:
    results = [entry("echo 64 B", loop, 1000.0, 1.0) for loop in ("asyncio", "moodloop")]
    assert caution(results) == ""
    results[1]["requests_per_second"]["spread"] = 0.7
    assert "up to +/- 70%" in caution(results)


def test_the_line_protocol() -> None:
    store = KeyValueStore()
    for line, reply in (
        (b"SET a some words", b"OK"),
        (b"GET a", b"VALUE some words"),
        (b"get a", b"VALUE some words"),
        (b"INCR a", b"ERROR not a number"),
        (b"GET b", b"NONE"),
        (b"INCR n", b"INT 1"),
        (b"INCR n", b"INT 2"),
        (b"GET n", b"VALUE 2"),
        (b"DEL a", b"DELETED"),
        (b"DEL a", b"NONE"),
        (b"QUIT", b"BYE"),
        (b"SET a", b"ERROR not understood"),
        (b"QUIT now", b"ERROR not understood"),
        (b"", b"ERROR not understood"),
    ):
        assert store.answer(line) == reply, line
