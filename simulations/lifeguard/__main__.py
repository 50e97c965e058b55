"""Print the table: `python -m simulations.lifeguard --nodes 100 --seeds 20`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from mesh.membership import PROFILES
from simulations.lifeguard.anomalies import Kind
from simulations.lifeguard.experiment import Setup, Tally, live
from simulations.lifeguard.variants import VARIANTS
from simulations.sweeps.workers import cores, workers
from simulations.world import SECOND

HEAD = (
    "| protocol | false positives at healthy | anywhere | first: median | 99th | max | all: median | 99th | max "
    "| messages /node/s |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def row(name: str, tally: Tally) -> str:
    latencies = [f"{tally.latency(what, percent):.1f}" for what in ("first", "all") for percent in (50, 99, 100)]
    unknown = tally.total("unknown")
    return (
        f"| {name} | {tally.total('false_at_healthy'):,} | {tally.total('false_anywhere'):,} | {' | '.join(latencies)}"
        f"{f' ({unknown} unknown)' if unknown else ''} | {tally.messages:.2f} |"
    )


def table(setup: Setup, names: Sequence[str], seeds: Sequence[int], jobs: int | None) -> dict[str, Tally]:
    """Every variant over every seed, printed as they are done."""
    tallies = {}
    print("\n".join(HEAD), flush=True)
    with workers(None, jobs) as pool:
        for name in names:
            runs = [pool.submit(live, VARIANTS[name], seed, setup) for seed in seeds]
            tallies[name] = Tally([run.result() for run in runs])
            print(row(name, tallies[name]), flush=True)
    return tallies


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulations.lifeguard", description=__doc__)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--join", type=int, default=10, help="nodes through which everyone joins (10)")
    parser.add_argument("--seeds", type=int, default=20, help="runs of each protocol (20)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seconds", type=int, default=120, help="of trouble (120)")
    parser.add_argument("--kind", choices=[*Kind, "mixed"], default="mixed", help="of trouble")
    parser.add_argument("--profile", choices=list(PROFILES), default="lan")
    parser.add_argument("--jobs", type=int, default=cores(), help="processes (one a core)")
    parser.add_argument("protocols", nargs="*", metavar="PROTOCOL", help=f"of {', '.join(VARIANTS)}; all of them by default")
    given = parser.parse_args()
    unknown = [name for name in given.protocols if name not in VARIANTS]
    if unknown:
        parser.error(f"there is no protocol {unknown[0]!r}: choose from {', '.join(VARIANTS)}")
    setup = Setup(
        nodes=given.nodes,
        seeds=given.join,
        lasts=given.seconds * SECOND,
        kinds=tuple(Kind) if given.kind == "mixed" else (Kind(given.kind),),
        profile=PROFILES[given.profile],
    )
    began = time.monotonic()
    tallies = table(setup, given.protocols or list(VARIANTS), range(given.first, given.first + given.seeds), given.jobs)
    if "swim" in tallies and "default" in tallies:
        before, after = tallies["swim"].total("false_at_healthy"), tallies["default"].total("false_at_healthy")
        print(f"\nfalse positives at healthy nodes, plain SWIM over this project's: {before} / {after}")
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
