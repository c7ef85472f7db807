"""Every fault at every call: the jobs of a sweep, and running them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from support import engines

from .plan import faults_of, spread

TESTS = Path(__file__).resolve().parent.parent


def run_jobs(library, jobs, engine=None, timeout=3600):
    """Run jobs in a fork server with the shim; their results, in the order of the jobs."""
    preload = filter(None, [os.environ.get("LD_PRELOAD", "").strip(), str(library)])
    paths = filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])
    env = {
        **os.environ,
        "LD_PRELOAD": " ".join(preload),
        "PYTHONPATH": os.pathsep.join([*paths]),
        **({engines.VARIABLE: engine} if engine else {}),
    }
    done = subprocess.run(
        [sys.executable, "-m", "faults.forkserver"],
        input="\n".join(map(json.dumps, jobs)),
        capture_output=True,
        text=True,
        timeout=timeout,
        env=env,
    )
    if done.returncode:
        raise RuntimeError(f"the fork server ended with {done.returncode}: {done.stderr}")
    results = [json.loads(line) for line in done.stdout.splitlines()]
    return sorted(results, key=lambda result: result["job"])


def jobs_of(scenario, call, count, limit):
    """A job for each fault that the call can have, at up to `limit` of its `count` calls."""
    return [
        {"scenario": scenario, "fault": fault, "index": index}
        for fault in faults_of(scenario, call)
        for index in spread(count, limit)
    ]


def name_of(job):
    if job.get("storm"):
        return f"{job['scenario']}: storm {job['storm']}"
    if not job.get("fault"):
        return f"{job['scenario']}: no fault"
    from .plan import Fault

    return f"{job['scenario']}: {job['fault'][0]} {Fault(*job['fault']).label} at {job['index']}"
