"""A wall clock that a test can set, without privileges: the functions that read the clock are
replaced by a library that is preloaded into the process of a snippet."""

import os
import shutil
import subprocess

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

static double ahead[2];

void set_clocks(double wall, double monotonic)
{
    ahead[0] = wall;
    ahead[1] = monotonic;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*original)(clockid_t, struct timespec *);
    if (!original) {
        original = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    int rc = original(clock, now);
    if (clock == CLOCK_REALTIME) {
        now->tv_sec += (time_t)ahead[0];
    }
    else if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE) {
        now->tv_sec += (time_t)ahead[1];
    }
    return rc;
}

int gettimeofday(struct timeval *now, void *zone)
{
    static int (*original)(struct timeval *, void *);
    if (!original) {
        original = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
    }
    int rc = original(now, zone);
    now->tv_sec += (time_t)ahead[0];
    return rc;
}
"""

# libev reads the wall clock anew only once the monotonic clock has gone on for half a second.
PRELUDE = """
import ctypes, os
os.environ.pop("LD_PRELOAD")
_set = ctypes.CDLL(None).set_clocks
_set.argtypes = (ctypes.c_double, ctypes.c_double)
_ahead = [0, 0]
def jump(seconds):
    _ahead[0] += seconds; _ahead[1] += 1; _set(*_ahead)
"""


def compiler():
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(directory, source=SOURCE):
    """The environment in which a snippet that begins with PRELUDE can jump() in time; or with
    another library preloaded."""
    library = os.path.join(directory, "wallclock.so")
    command = [compiler(), "-shared", "-fPIC", "-o", library, "-x", "c", "-", "-ldl"]
    subprocess.run(command, input=source, text=True, check=True)
    return {"LD_PRELOAD": f"{os.environ.get('LD_PRELOAD', '')} {library}".strip()}
