"""Run the benchmarks: all of them, or those named on the command line."""

from __future__ import annotations

import os
import sys

from tests.benchmarks import (
    campaigns,
    differences,
    durable,
    hybrid,
    keys,
    local,
    locks,
    membership,
    primitives,
    processes,
    world,
)

PARTS = {
    "local": local.main,
    "primitives": primitives.main,
    "keys": keys.main,
    "differences": differences.main,
    "processes": processes.main,
    "locks": locks.main,
    "membership": membership.main,
    "durable": durable.main,
    "world": world.main,
    "campaigns": campaigns.main,
    "hybrid": hybrid.main,
    "thousand": world.thousand,
}


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        sys.exit(f"there is no benchmark {unknown[0]!r}: choose from {', '.join(PARTS)}")
    python = f"Python {sys.version.split()[0]} of {sys.base_prefix}"
    print(f"{os.cpu_count()} cores, {python}; figures vary with the machine, and with how Python was built: compare ratios")
    for name in wanted:
        PARTS[name]()


if __name__ == "__main__":
    main()
