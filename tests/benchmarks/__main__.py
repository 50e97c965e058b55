from __future__ import annotations

import os
import sys

from tests.benchmarks import local, processes

PARTS = {"local": local.main, "processes": processes.main}


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}; figures vary with the machine: compare ratios")
    for name in wanted:
        PARTS[name]()


if __name__ == "__main__":
    main()
