"""Run the machines: python -m torture [MACHINE...] --seed N --minutes M, or one trial with --trial N."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec

from torture.accounts import accounts
from torture.damage import damage
from torture.fuzz import fuzz
from torture.kill import kill
from torture.trials import Maker, forever, table, trials

MACHINES: Mapping[str, Maker] = {"kill": kill, "damage": damage, "fuzz": fuzz, "accounts": accounts}


def main() -> int:
    """Read the options, run the machines one after another; return 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("machines", nargs="*", metavar="MACHINE", help=f"of {', '.join(MACHINES)}; all unless named")
    parser.add_argument(
        "--seed", type=int, help="the same seed makes the same trials; every fourth also trains a model; new by default"
    )
    parser.add_argument("--minutes", type=float, default=5, help="for all machines together (default 5)")
    parser.add_argument("--trial", type=int, help="only the trial of this number")
    parser.add_argument("--verbose", action="store_true", help="a line for each trial, not for failures only")
    options = parser.parse_args()
    names = options.machines or list(MACHINES)
    if unknown := set(names) - set(MACHINES):
        parser.error(f"{', '.join(sorted(unknown))}: there are {', '.join(MACHINES)}")
    seed = int(time.time()) % 100_000 if options.seed is None else options.seed
    numbers = forever() if options.trial is None else [options.trial]
    failures = 0
    for name in names:
        until = time.monotonic() + options.minutes * 60 / len(names)
        with MACHINES[name](seed % 4 == 0 and find_spec("torch") is not None) as machine:
            report = trials(name, machine, seed, numbers, until, _say, all_of_them=options.verbose)
        failures += len(report.failures)
        _say(
            f"\n{name}, seed {seed}: {report.table.total()} trials, {len(report.failures)} failures\n{table(report)}\n"
        )
    return 1 if failures else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
