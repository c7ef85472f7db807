"""The benchmark suite: what it measures ends up in the right cell, and what fails is told."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import run
from rows import GROUPS, ROWS
from suite import front, serve, tables
from suite.cprogram import build_c
from suite.options import select_rows
from suite.process import Failed, run_json, server
from suite.results import merge, ratio, report_failures
from suite.targets import TARGETS, Target, targets_table
from support.results import BENCHMARKS, CHAIN, ECHO, LATE, arm, result_of, row_of

# A loop of a rival's: it starts, and cannot do much.
RIVAL = """
import asyncio, os, time

class Refusing(asyncio.SelectorEventLoop):
    async def create_server(self, *args, **kwargs):
        raise NotImplementedError("no servers")

class Crashing(asyncio.SelectorEventLoop):
    def run_forever(self):
        os.abort()
"""


# Results and tables


def test_which_way_is_better() -> None:
    assert ratio(CHAIN, "moodloop", "uvloop") == 4.0
    assert ratio(CHAIN, "asyncio", "uvloop") == 0.5
    assert ratio(ECHO, "moodloop", "uvloop", "requests_per_second") == 1.5
    assert ratio(ECHO, "asyncio", "uvloop") is None
    assert ratio(LATE, "moodloop", "uvloop") is None  # to timers that are early nothing compares
    assert CHAIN["arms"]["moodloop"]["ratios"] == {"uvloop": 4.0, "asyncio": 8.0}


def test_samples_are_summed_up() -> None:
    merged = merge([{"ns": 10.0}, {"ns": 30.0}, {"ns": 12.0}], None)
    assert merged == {"ns": {"median": 12.0, "spread": 0.8333, "samples": [10.0, 30.0, 12.0]}}
    assert merge([{"ns": 10.0}], "exit status 1") == {"error": "exit status 1"}


def test_cells() -> None:
    assert tables.cell(CHAIN, "moodloop", "uvloop") == "4.00"
    assert tables.cell(ECHO, "moodloop", "uvloop") == "1.33 (1.50)"
    assert tables.cell(ECHO, "asyncio", "uvloop") == "failed"
    assert tables.cell(CHAIN, "C epoll", "uvloop") == ""
    assert tables.cell(LATE, "moodloop", "uvloop") == "12.0 us"
    assert tables.base_cells(LATE, "uvloop") == ["early", "-"]
    assert tables.base_cells(CHAIN, "uvloop") == ["400 ns", "0%"]
    without_base = copy.deepcopy(CHAIN)
    without_base["arms"]["uvloop"] = {"error": "crashed"}
    assert tables.cell(without_base, "moodloop", "uvloop") == "100 ns"


def test_other_figures_of_a_row_are_shown_below_it() -> None:
    row = {**CHAIN, "also": {"p99_us": "... the slowest"}}
    row["arms"] = {**CHAIN["arms"], "moodloop": arm("ns", 100.0, p99_us=2.5)}
    *_, line = tables.group_table([row], markdown=True).splitlines()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["... the slowest", "-", "", "-", "-", "2.50 us", ""]


def test_a_table_for_each_group() -> None:
    text = tables.show(result_of(CHAIN, ECHO, LATE), markdown=True)
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "### Callbacks",
        "### Echo servers",
        "### Timers",
    ]
    (header,) = [line for line in text.splitlines() if "C epoll" in line]
    names = [name.strip() for name in header.strip("|").split("|")]
    assert names == [
        "row",
        "uvloop",
        "+-",
        "C epoll",
        "asyncio",
        "rival",
        "moodloop",
        "moodloop to asyncio",
    ]


def test_only_our_failures_are_errors(capsys) -> None:
    assert report_failures(result_of(CHAIN)) == 0
    rival = row_of("chain", "ns", {"rival": {"error": "it hung"}})
    assert report_failures(result_of(rival)) == 0
    assert report_failures(result_of(ECHO)) == 1
    assert "proto/10/64, asyncio: exit status 1" in capsys.readouterr().err


def test_targets() -> None:
    assert Target("chain", 3.3).rival(CHAIN) == ("rival", 2.0)
    assert Target("timer_300us", 15).rival(LATE) == ("rival", 16.0)
    lines = targets_table([result_of(CHAIN, ECHO), result_of(CHAIN, LATE)]).splitlines()
    cells = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in lines}
    assert [c.strip() for c in cells[CHAIN["about"]]] == ["3.30", *["rival 2.00", "**4.00**"] * 2]
    assert [c.strip() for c in cells[ECHO["about"]]] == ["1.50", "uvloop 1.00", "1.33", "", ""]
    assert [c.strip() for c in cells[LATE["about"]]] == [
        "15.0 us",
        "",
        "",
        "rival 16.0 us",
        "**12.0 us**",
    ]


def test_rows_are_named_once_and_targets_have_one() -> None:
    assert sum(map(len, GROUPS.values())) == len(ROWS)
    assert {target.row for target in TARGETS} <= set(ROWS)
    shown = {name for section in front.SECTIONS for name, _ in section.rows}
    assert shown | set(front.LITTLE) <= set(ROWS)
    shown = {key for row in ROWS.values() for key in (row.figure, *row.also)}
    assert shown <= set(tables.UNITS)


# Processes


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import sys; sys.exit('no luck')", "exit status 1: no luck"),
        ("import os; os.abort()", "ended by SIGABRT"),
        ("print('{')", "not JSON: '{\\n'"),
        (
            "input(); import time; time.sleep(60)",
            "exit status 1: EOFError: EOF when reading a line",
        ),
    ],
)
def test_a_process_that_fails(code: str, reason: str) -> None:
    with pytest.raises(Failed) as failed:
        run_json(python(code), timeout=60)
    assert failed.value.reason == reason


def test_a_process_that_hangs_ends_with_its_children(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    code = f"""
import os, time
pipe = os.open({str(path)!r}, os.O_WRONLY)
if os.fork() == 0:
    os.write(pipe, b"child")
time.sleep(600)
"""
    pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(Failed, match="no result within 2 s"):
        run_json(python(code), timeout=2)
    os.set_blocking(pipe, True)
    with open(pipe, "rb") as file:
        assert file.read() == b"child"  # it ends only when both processes have ended


def test_a_server_that_does_not_start() -> None:
    with pytest.raises(Failed, match="exit status 3: it is broken"):
        with server(
            python("import sys; print('it is broken', file=sys.stderr); sys.exit(3)"), None
        ):
            pass


def test_the_load_generator_notices_a_wrong_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def lie() -> None:
            sock, _ = listener.accept()
            with sock:
                data = bytearray(sock.recv(64))
                data[7] ^= 1
                sock.sendall(data)
                sock.recv(1)

        thread = threading.Thread(target=lie)
        thread.start()
        port = listener.getsockname()[1]
        command = [str(build_c("loadgen")), "--tcp", f"127.0.0.1:{port}", "--connections", "1"]
        with pytest.raises(Failed, match="wrong answer: connection 0, message 0, byte 7"):
            run_json(command, timeout=30)
        thread.join()


def serve_http(listener: socket.socket, status: bytes) -> None:
    """Answer the requests of one connection."""
    sock, _ = listener.accept()
    with sock, contextlib.suppress(ConnectionResetError):  # it ends with answers under way
        while data := sock.recv(4096):
            answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\nhello"
            sock.sendall(answer * data.count(b"\r\n\r\n"))


@pytest.mark.parametrize(("status", "right"), [(b"200 OK", True), (b"500 No", False)])
def test_http_load(status: bytes, right: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        threads = [threading.Thread(target=serve_http, args=(listener, status)) for _ in range(2)]
        for thread in threads:
            thread.start()
        length = serve.answer_length(str(port))
        assert length == len(b"HTTP/1.1 \r\nContent-Length: 5\r\n\r\nhello") + len(status)
        command = [str(build_c("loadgen")), "--tcp", f"127.0.0.1:{port}", "--http", "/"]
        command += ["--size", str(length), "--connections", "1", "--requests", "50"]
        if right:
            assert run_json(command, timeout=30)["requests"] >= 50
        else:
            with pytest.raises(Failed, match="wrong answer"):
                run_json(command, timeout=30)
        for thread in threads:
            thread.join()


# The whole


def test_which_rows_are_chosen() -> None:
    names = [row.name for row in select_rows(ROWS.values(), "^udp/", quick=False)]
    assert names == ["udp/10/64", "udp/10/1024"]
    quick = select_rows(ROWS.values(), None, quick=True)
    assert 0 < len(quick) < len(select_rows(ROWS.values(), None, quick=False)) == len(ROWS)
    with pytest.raises(SystemExit, match="no row matches"):
        select_rows(ROWS.values(), "nothing like it", quick=False)
    with pytest.raises(SystemExit, match="--rows"):
        select_rows(ROWS.values(), "(", quick=False)


def test_a_part_does_not_replace_the_whole() -> None:
    build = BENCHMARKS.parent / "build" / "bench"
    for arguments, expected in (
        ([], (BENCHMARKS / "results" / "cpython-3.13.json", build / "cpython-3.13")),
        (
            ["--quick"],
            (build / "cpython-3.13-quick" / "results.json", build / "cpython-3.13-quick"),
        ),
        (["--rows", "x"], (None, None)),
        (["--loops", "x"], (None, None)),
        (["--targets"], (None, None)),
        (["--rows", "x", "--json", "y"], (Path("y"), None)),
    ):
        assert run.destinations(run.parse(arguments), (3, 13)) == expected


def suite(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else None
    short = ["--rounds", "1", "--operation-seconds", "0.01", "--server-seconds", "0.05"]
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "run.py"), *short, *arguments],
        capture_output=True,
        text=True,
        timeout=150,
        env=environment,
    )


def test_every_kind_of_row_is_measured(tmp_path: Path) -> None:
    names = ["chain", "create_close", "unix/proto/10/1024", "line/10/1024", "udp/10/64"]
    names += ["tls/10/256", "bulk_out", "accept_storm"]
    path = tmp_path / "results.json"
    done = suite("--loops", "asyncio", "--rows", f"^({'|'.join(names)})$", "--json", str(path))
    assert done.returncode == 0, done.stderr
    result = json.loads(path.read_text())
    by_name = {row["row"]: row for row in result["rows"]}
    assert sorted(by_name) == sorted(names)
    for name, row in by_name.items():
        figures = row["arms"]["asyncio"]
        assert "error" not in figures, (name, figures)
        assert figures[row["figure"]]["median"] >= 0
        assert row["about"] in done.stdout
    assert set(by_name["unix/proto/10/1024"]["arms"]) == {"C epoll", "C libev", "asyncio"}
    assert by_name["udp/10/64"]["arms"]["asyncio"]["requests_per_second"]["median"] > 0
    for key in ("python", "system", "cores", "date", "commit", "loops", "settings"):
        assert result[key]


def test_a_loop_that_cannot_do_a_row_is_shown_as_such(tmp_path: Path) -> None:
    (tmp_path / "rival.py").write_text(RIVAL)
    path = tmp_path / "results.json"
    loops = "asyncio,rival:Refusing,rival:Crashing"
    done = suite(
        *("--loops", loops, "--rows", "^(chain|buffered/1/64)$", "--json", str(path)), path=tmp_path
    )
    assert done.returncode == 0, done.stderr
    rows = {row["row"]: row["arms"] for row in json.loads(path.read_text())["rows"]}
    errors = {(n, a): found.get("error") for n, arms in rows.items() for a, found in arms.items()}
    assert errors == {
        ("chain", "asyncio"): None,
        ("chain", "rival:Refusing"): None,
        ("chain", "rival:Crashing"): "ended by SIGABRT",
        ("buffered/1/64", "asyncio"): None,
        ("buffered/1/64", "rival:Refusing"): "exit status 1: NotImplementedError: no servers",
        ("buffered/1/64", "rival:Crashing"): "ended by SIGABRT",
    }
    assert "failed" in done.stdout


def test_the_demo_runs_the_suite_with_all() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS.parent / "moodloop" / "bench"), "--all", "--list"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "call_soon_200k" in done.stdout


@pytest.mark.skipif(
    not (shutil.which("strace") and shutil.which("valgrind")), reason="needs strace and valgrind"
)
def test_costs_are_counted():
    command = [sys.executable, str(BENCHMARKS / "costs.py"), "--rows", "^proto/10/64$"]
    done = subprocess.run(
        [*command, "--loops", "asyncio", "--requests", "2000"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if "not permitted" in done.stderr:
        pytest.skip("strace may not attach here")
    assert done.returncode == 0, done.stderr
    server, instructions, calls = done.stdout.splitlines()[-1].split(maxsplit=2)
    assert server == "asyncio"
    assert 10_000 < int(instructions.replace(",", "")) < 1_000_000
    assert {"recvfrom", "sendto", "epoll_wait"} <= set(calls.replace(",", "").split())
