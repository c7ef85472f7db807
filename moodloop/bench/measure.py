"""The measuring: rounds of a server process and a client process on each loop."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from .client import Plan
from .errors import BenchError
from .process import START_UP, Process, child_command, two_cores
from .progress import Progress
from .window import Sample
from .workloads import WORKLOADS


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    rounds: int
    seconds: float
    warmup: float
    silence: float


Samples = dict[tuple[str, str], list[Sample]]  # by workload and loop


def find_loops(names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The versions of the loops that start, and for the others why they do not."""
    found, missing = {}, {}
    for name in names:
        with Process(child_command("probe", name), None) as probe:
            try:
                found[name] = str(probe.read(START_UP))
            except BenchError as exc:
                missing[name] = str(exc).splitlines()[-1].strip(" |")
    return found, missing


def measure(loop: str, settings: Settings, step: Callable[[str], None]) -> list[Sample]:
    """A new server and a new client on one loop: one sample of each workload."""
    server_core, client_core = two_cores()
    try:
        with Process(child_command("server", loop), server_core) as server:
            ports = server.read(START_UP)
            plan = Plan(ports, server.pid, settings.warmup, settings.seconds, settings.silence)
            arguments = json.dumps(asdict(plan))
            with Process(child_command("client", loop, arguments), client_core) as client:
                samples = read_samples(client, server, settings, step)
                client.end()
            server.end()
    except BenchError as exc:
        raise BenchError(f"loop {loop}, {exc}") from None
    return samples


def read_samples(
    client: Process, server: Process, settings: Settings, step: Callable[[str], None]
) -> list[Sample]:
    """The samples that a client process tells, one for each workload."""
    samples = []
    for workload in WORKLOADS:
        step(workload.name)
        told = client.read(START_UP + settings.warmup + settings.seconds + 2 * settings.silence)
        if "error" in told:
            raise BenchError(f"{told['workload']}: {told['error']}{server.died()}")
        samples.append(Sample(**told["sample"]))
    return samples


def measure_all(loops: Sequence[str], settings: Settings, progress: Progress) -> Samples:
    """All rounds: the loops by turns, every other round in the opposite order."""
    samples: Samples = {(w.name, loop): [] for w in WORKLOADS for loop in loops}
    for number in range(settings.rounds):
        for loop in loops if number % 2 == 0 else loops[::-1]:
            turn = f"round {number + 1}/{settings.rounds}  {loop}"
            measured = measure(loop, settings, partial(progress.step, turn))
            for workload, sample in zip(WORKLOADS, measured, strict=True):
                samples[workload.name, loop].append(sample)
    return samples
