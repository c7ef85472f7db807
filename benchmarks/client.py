"""A load on a server, for those that c/loadgen.c does not have; prints its figures as JSON."""

from __future__ import annotations

import argparse
import json

from clients import MODES, Target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=sorted(MODES))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cpu-of", type=int, default=0, metavar="PID", help="the server")
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--warmup", type=float, default=0.2)
    parser.add_argument("--requests", type=int, default=0, help="so many, at most the seconds long")
    options = parser.parse_args()
    target = Target(
        options.port,
        options.cpu_of,
        options.connections,
        options.size,
        options.seconds,
        options.warmup,
        options.requests,
    )
    print(json.dumps(MODES[options.mode](target)))


if __name__ == "__main__":
    main()
