"""One process: the tests of one class, told to the driver one by one.

Each line written to the pipe is JSON: {"start": test}, then {"test": test, "outcome": ...}; after
the last one {"end": true}. What is missing tells the driver which test hung or crashed.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import json
import os
import signal
import sys
import time
import unittest
import warnings
from typing import Any

from . import catalogue, loops

MESSAGE = 2000  # characters of a traceback that are kept


class Result(unittest.TextTestResult):
    """Tells the driver what becomes of each test."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pipe: Any = None
        self.outcome, self.message = "passed", ""

    def tell(self, **record: Any) -> None:
        self.pipe.write(json.dumps(record) + "\n")
        self.pipe.flush()

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.outcome, self.message = "passed", ""
        if test.__module__.endswith(".test_subprocess"):
            # Two tests want no warning, and would see those of an earlier one's child whose pipes
            # somebody still holds: garbage of before is collected before (20 ms: only here).
            gc.collect()
        self.begin, self.made = time.monotonic(), loops.made
        self.tell(start=test._testMethodName)

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self.tell(
            test=test._testMethodName,
            outcome=self.outcome,
            seconds=round(time.monotonic() - self.begin, 3),
            loops=loops.made - self.made,
            message=self.message,
        )

    def note(self, test: Any, outcome: str, message: str) -> None:
        if isinstance(test, unittest.TestCase):
            self.outcome, self.message = outcome, message[-MESSAGE:]
        else:  # a fixture of the class or the module: no test runs
            self.tell(test=str(test), outcome=outcome, seconds=0, loops=0, message=message)

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self.note(test, "failed", self._exc_info_to_string(err, test))

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self.note(test, "failed", self._exc_info_to_string(err, test))

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note(test, "failed", self._exc_info_to_string(err, test))

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        if self.outcome == "passed":
            self.note(test, "skipped", reason)

    def addUnexpectedSuccess(self, test: Any) -> None:
        super().addUnexpectedSuccess(test)
        self.note(test, "failed", "expected to fail, but passed")


def allow_resources() -> None:
    """Let tests use the network of this machine, memory (two of TLS want 2.2 GB), and time."""
    from test import support

    wanted = ("network", "cpu", "walltime")
    if sys.version_info >= (3, 15):
        support.use_resources = dict.fromkeys(wanted)
    else:
        support.use_resources = list(wanted)
    support.set_memlimit("3G")


def run(loop: str, case: str, tests: list[str], pipe_fd: int) -> None:
    """Run the named tests of a class ("module.Class"); never returns."""
    faulthandler.enable()
    # A shell's background job is started with ^C ignored, and some tests send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.set_inheritable(pipe_fd, False)
    loops.choose_tls(loop)
    loops.install(loop)
    allow_resources()
    module, _, name = case.rpartition(".")
    cls = getattr(importlib.import_module(catalogue.full_name(module)), name)
    warnings.simplefilter("default")

    def make_result(*args: Any, **kwargs: Any) -> Result:
        result = Result(*args, **kwargs)
        result.pipe = pipe
        return result

    with os.fdopen(pipe_fd, "w") as pipe:
        suite = unittest.TestSuite(cls(test) for test in tests)
        unittest.TextTestRunner(resultclass=make_result, verbosity=2, stream=sys.stderr).run(suite)
        pipe.write(json.dumps({"end": True}) + "\n")
        pipe.flush()
        os._exit(0)  # threads that a failed test left may not keep the process
