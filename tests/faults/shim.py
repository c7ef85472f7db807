"""The shim: built, loaded before all else, and driven from Python."""

import ctypes
import os
import shlex
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
FLAGS = ["-std=c11", "-O1", "-g", "-fPIC", "-shared", "-fvisibility=hidden"]
WARNINGS = ["-Wall", "-Wextra", "-Werror"]

NONE, FAIL, AFTER, SHORT, RESULT, OPTION = range(6)


def compiler():
    """The C compiler's command, or None."""
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    return command if shutil.which(command[0]) else None


def build(directory):
    """Compile the shim; the path of the library."""
    library = Path(directory) / "shim.so"
    subprocess.run([*compiler(), *FLAGS, *WARNINGS, "-o", library, SOURCE, "-ldl"], check=True)
    return library


class Shim:
    """The loaded shim of this process."""

    def __init__(self):
        self._lib = ctypes.CDLL(None)
        self._lib.fault_name.restype = ctypes.c_char_p
        self._lib.fault_abuse.restype = ctypes.c_char_p
        self._lib.fault_count.restype = ctypes.c_long
        self._lib.fault_plan.argtypes = [ctypes.c_int, *[ctypes.c_long] * 2, *[ctypes.c_int] * 2]
        self._lib.fault_storm.argtypes = [ctypes.c_ulong, ctypes.c_uint]
        self.calls = []
        while name := self._lib.fault_name(len(self.calls)):
            self.calls.append(name.decode())

    def plan(self, call, index, times, kind, value):
        self._lib.fault_plan(self.calls.index(call), index, times, kind, value)

    def storm(self, seed, permille):
        self._lib.fault_storm(seed, permille)

    def begin(self):
        if self._lib.fault_begin() < 0:
            raise OSError("the shim has no tombstone")

    def end(self):
        self._lib.fault_end()

    def counts(self):
        """The calls that were made while it watched."""
        found = {name: self._lib.fault_count(i) for i, name in enumerate(self.calls)}
        return {name: count for name, count in found.items() if count}

    def struck(self):
        """How many faults there were, and the descriptor of the last one."""
        fd = ctypes.c_int()
        return self._lib.fault_struck(ctypes.byref(fd)), fd.value

    def abuse(self):
        return self._lib.fault_abuse().decode()
