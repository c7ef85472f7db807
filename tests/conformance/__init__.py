"""CPython's own tests of asyncio, run on another event loop: `make conformance`.

The running Python's test.test_asyncio is used as it is; only what its tests get when they ask for
a loop is replaced (loops.py). Each class of tests runs in a process of its own, so that a crash or
a hang costs one test. pytest finds nothing to collect here; the driver's own tests are in
tests/test_conformance.py.
"""
