"""A million grants under every fault: the sum of all random histories of leases, with a table of what was in them.

    python -m tests.coordination.million                                   until a million grants, on all processors
    python -m tests.coordination.million --first 1000000 --last 1003000    these seeds: one share of several
    python -m tests.coordination.million --log FILE                        and go on from there, if it was stopped
    python -m tests.coordination.million --processes 2 --grants 1000000
    python -m tests.coordination.million --first 8000000                   deaths are seen late in half of all histories

Of each ten histories four have fixed voters (3, 5 or 7, and members and thin clients beside them), three a roster that
changes under fire (`roster_campaign`), two have disks (`durable_campaign`), one has voters that forget in turn and come back
early (`returning_campaign`); each fiftieth has 30 voters. They cut links (both ways, one way, between one that asks and the
owner only), lie to views, stop processes and machines, crash one, some, all at once and all twice in a row, with clocks up to
1 % off and walls that jump; and check L1, L2, L4, L6, L9, L11, L12, L13, C19, ghosts, and what disks have to remember (D1 to
D4). The table counts the faults of each kind that were done.

In half of those with fixed voters, and from seed 8,000,000 on in half of all, gossip tells of a death after 5 or 30 s."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tests.coordination.agreed_campaign import Campaign, deaths_seen_after
from tests.coordination.agreed_world import MS, Changes, S, Violation, World
from tests.coordination.durable_campaign import DurableCampaign
from tests.coordination.returning_campaign import ReturningCampaign
from tests.coordination.roster_campaign import RosterCampaign

__all__ = ["History", "Sums", "history", "kind_of", "prepared"]

FIRST = 1_000_000
MANY = 30
MANY_EACH = 50
MANY_KEYS = (("lock/a", "lock/b", "rwlock/c", "lock/d", "semaphore/e", "lock/f", "lock/g", "lock/h"),)
BATCH = 100
LATE_FROM = 8_000_000
"""Seeds from this one on: what earlier ones found stays what it is."""


class ManyWorld(World):
    """Thirty members, of which two that keep no lock together hardly speak. In a mesh they do: each probes another one each
    second, everyone in turn, and what is acknowledged tells of its clock. (Without that the clocks were a second apart after
    75 s with rates 2 % apart, which is more than `max_drift` and the window of tokens allow: L12 of seed 1012700.)"""

    def probe(self, turn: int = 0) -> None:
        members = [node for node in self.nodes.values() if not node.sponsor]
        for index, node in enumerate(members):
            far = members[(index + 1 + turn % (len(members) - 1)) % len(members)]
            if self.running(node) and self.running(far) and self.passes([node.name, far.name]):
                self.sample(node, far)
        self.after(S, self.probe, turn + 1)


class ManyCampaign(Campaign):
    """Thirty voters: each lock is kept by five of them."""

    def make(self, faults: Changes) -> World:
        dice = self.dice
        world = ManyWorld(
            self.seed,
            voters=MANY,
            loss=dice.choice([0, 0.02]),
            latency=dice.choice([(MS // 5, 2 * MS), (MS, 20 * MS)]),
            thin=dice.choice([0, 2]),
        )
        world.probe()
        return world


class History(NamedTuple):
    seed: int
    kind: str
    voters: int
    grants: int
    faults: dict[str, int]
    """How many of each kind were done."""
    seconds: float
    """Of processor time."""
    broken: str
    """The violation, or nothing."""


def kind_of(seed: int) -> str:
    if seed % MANY_EACH == 0:
        return "30 voters"
    return ("fixed", "roster", "fixed", "disks", "fixed", "roster", "forgetting", "disks", "fixed", "roster")[seed % 10]


def campaign(seed: int) -> Campaign:
    match kind_of(seed):
        case "fixed":
            return Campaign(seed)
        case "roster":
            return RosterCampaign(seed)
        case "disks":
            return DurableCampaign(seed)
        case "forgetting":
            return ReturningCampaign(seed)
    return ManyCampaign(seed, keys=MANY_KEYS)


def prepared(seed: int) -> Campaign:
    told = campaign(seed)
    if seed >= LATE_FROM:
        told.world.deaths_seen_after = deaths_seen_after(seed)
    return told


def history(seed: int) -> History:
    begun = time.process_time()
    kind = kind_of(seed)
    try:
        told = prepared(seed)
        told.run()
    except Violation as violation:
        return History(seed, kind, 0, 0, {}, time.process_time() - begun, str(violation))
    world = told.world
    return History(seed, kind, world.voters, world.grants, dict(told.done), time.process_time() - begun, "")


class Sums:
    """What there was, of each kind of history."""

    def __init__(self) -> None:
        self.histories: Counter[str] = Counter()
        self.grants: Counter[str] = Counter()
        self.voters: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.broken: list[str] = []
        self.seeds: set[int] = set()

    def add(self, each: History) -> None:
        self.seeds.add(each.seed)
        self.histories[each.kind] += 1
        self.grants[each.kind] += each.grants
        self.voters[each.voters] += 1
        self.faults.update(each.faults)
        self.seconds[each.kind] += each.seconds  # type: ignore[assignment]
        if each.broken:
            self.broken.append(f"{each.kind}, seed {each.seed}: {each.broken}")

    def table(self) -> str:
        lines = ["| histories of | histories | grants | processor s | grants a s |", "|---|---|---|---|---|"]
        for kind in [*sorted(self.histories), ""]:
            mine = [kind] if kind else list(self.histories)
            count, grants = sum(self.histories[each] for each in mine), sum(self.grants[each] for each in mine)
            took = sum(self.seconds[each] for each in mine)
            rate = grants / took if took else 0
            lines.append(f"| {kind or 'all'} | {count:,} | {grants:,} | {took:,.0f} | {rate:,.0f} |")
        voters = ", ".join(f"{count:,} of {voters}" for voters, count in sorted(self.voters.items()) if voters)
        faults = ", ".join(f"{name} {count:,}" for name, count in sorted(self.faults.items()))
        lines += ["", f"voters at the start: {voters}", f"faults: {faults}", f"broken: {len(self.broken)}", *self.broken]
        return "\n".join(lines)


def run(seeds: Iterable[int], sums: Sums, *, grants: int = 0, processes: int = 0, log: Path | None = None) -> Sums:
    """Tell these histories until so many grants (0: all of them); those that the log has are taken from there."""
    begun = time.monotonic()
    if log is not None and log.exists():
        for line in log.read_text().splitlines():
            sums.add(History(*json.loads(line)))
    left = (seed for seed in seeds if seed not in sums.seeds)
    with ProcessPoolExecutor(processes or os.cpu_count()) as pool:
        while not (grants and sums.grants.total() >= grants) and (batch := list(islice(left, BATCH))):
            for each in logged(pool.map(history, batch, chunksize=2), log):
                sums.add(each)
                if each.broken:
                    print(sums.broken[-1], flush=True)
            told = f"{sums.histories.total():,} histories, {sums.grants.total():,} grants, {len(sums.broken)} broken"
            print(f"{time.monotonic() - begun:,.0f} s: up to seed {batch[-1]}: {told}", flush=True)
    return sums


def logged(histories: Iterable[History], log: Path | None) -> Iterator[History]:
    for each in histories:
        if log is not None:
            with log.open("a") as file:
                file.write(json.dumps(each) + "\n")
        yield each


def main() -> int:
    parser = argparse.ArgumentParser(description="A million grants under every fault.")
    parser.add_argument("--first", type=int, default=FIRST, help="the first seed")
    parser.add_argument("--last", type=int, default=0, help="the seed to stop before; else until there are so many grants")
    parser.add_argument("--grants", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=0, help="else one for each processor")
    parser.add_argument("--log", type=Path, help="a file of what was told: a run that was stopped goes on from it")
    given = parser.parse_args()
    seeds = range(given.first, given.last or given.first + 1_000_000)
    sums = run(seeds, Sums(), grants=0 if given.last else given.grants, processes=given.processes, log=given.log)
    print(sums.table())
    return bool(sums.broken)


if __name__ == "__main__":
    raise SystemExit(main())
