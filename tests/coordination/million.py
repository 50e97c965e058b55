"""A million grants under every fault, on both cores: the sum of all random histories of leases.

    python -m tests.coordination.million [FIRST [HISTORIES]]

Of each ten histories five have fixed voters (3, 5 or 7, and members and thin clients beside them), three a roster that changes
under fire (`roster_campaign`), two have disks (`durable_campaign`); each fiftieth has 30 voters. All of them cut links (both
ways, one way, between one that asks and the owner only), lie to views, stop processes and machines, crash one, some, all at
once and all twice in a row, with clocks up to 1 % off and walls that jump; and check L1, L2, L4, L6, L9, L11, L12, L13, C19,
ghosts, and what disks have to remember (D1 to D4)."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import islice

from tests.coordination import roster_campaign
from tests.coordination.agreed_campaign import Campaign
from tests.coordination.agreed_world import MS, Changes, Violation, World
from tests.coordination.durable_campaign import durable_stress

__all__ = ["history", "sums"]

MANY = 30
MANY_EACH = 50
MANY_KEYS = (("lock/a", "lock/b", "rwlock/c", "lock/d", "semaphore/e", "lock/f", "lock/g", "lock/h"),)


class ManyCampaign(Campaign):
    """Thirty voters: each lock is kept by five of them."""

    def make(self, faults: Changes) -> World:
        dice = self.dice
        return World(
            self.seed,
            voters=MANY,
            loss=dice.choice([0, 0.02]),
            latency=dice.choice([(MS // 5, 2 * MS), (MS, 20 * MS)]),
            thin=dice.choice([0, 2]),
        )


def kind_of(seed: int) -> str:
    if seed % MANY_EACH == 0:
        return "30 voters"
    return ("fixed", "roster", "fixed", "disks", "fixed", "roster", "fixed", "disks", "fixed", "roster")[seed % 10]


def history(seed: int) -> tuple[int, str, int, str]:
    """(seed, kind, grants, the violation or ``)."""
    kind = kind_of(seed)
    try:
        match kind:
            case "fixed":
                world: World = Campaign(seed).run()
            case "roster":
                world = roster_campaign.stress(seed)
            case "disks":
                world = durable_stress(seed)
            case _:
                world = ManyCampaign(seed, keys=MANY_KEYS).run()
    except Violation as violation:
        return seed, kind, 0, str(violation)
    return seed, kind, world.grants, ""


def sums(seeds: Iterable[int], grants: int = 0, *, shown: int = 200) -> tuple[Counter[str], list[str]]:
    """Histories of these seeds, on all cores, until so many grants (0: all): what there was of each kind, and what broke."""
    total: Counter[str] = Counter()
    broken: list[str] = []
    begun = time.monotonic()
    left = iter(seeds)
    with ProcessPoolExecutor() as pool:
        while (batch := list(islice(left, shown))) and not (grants and total["grants"] >= grants):
            for seed, kind, got, violation in pool.map(history, batch, chunksize=4):
                total["grants"] += got
                total[f"grants, {kind}"] += got
                total["histories"] += 1
                total[f"histories, {kind}"] += 1
                if violation:
                    broken.append(f"{kind}, seed {seed}: {violation}")
                    print(broken[-1], flush=True)
            told = ", ".join(f"{what} {count:,}" for what, count in sorted(total.items()))
            print(f"{time.monotonic() - begun:,.0f} s: {told}; {len(broken)} broken", flush=True)
    return total, broken


if __name__ == "__main__":
    arguments = [int(each) for each in sys.argv[1:]]
    first = arguments[0] if arguments else 1_000_000
    count = arguments[1] if len(arguments) > 1 else 100_000
    raise SystemExit(bool(sums(range(first, first + count), 0 if len(arguments) > 1 else 1_000_000)[1]))
