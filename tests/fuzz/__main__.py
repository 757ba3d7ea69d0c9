"""The command `python -m tests.fuzz READER`."""

import argparse
import signal
import sys
import time

from .harness import READERS, campaign

SHOWN = 20
"""Failures that are printed."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Damage the input of a reader and read it."
    )
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--mutations", type=int, default=500, help="damaged inputs (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (default: 0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first, to repeat one (default: 0)")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # either shows what was found until then
    started = time.perf_counter()
    found = campaign(args.reader, args.mutations, args.seed, args.first)
    for failure in found.failures[:SHOWN]:
        print(failure, end="\n\n")
    print(f"{args.reader}, seed {args.seed}: {time.perf_counter() - started:.0f} s, {len(found.failures)} failures")
    print(found.table())
    return int(bool(found.failures) or found.cases < args.mutations)


if __name__ == "__main__":
    sys.exit(main())
