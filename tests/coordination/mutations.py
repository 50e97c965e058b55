"""The table of mutations: every planted fault of the agreed state, the rule that catches it, and how many seeds that takes.

    python -m tests.coordination.mutations                  print the table (some minutes)
    python -m tests.coordination.mutations NAME …           these faults alone
    python -m pytest -m soak tests/coordination/test_mutations.py

`docs/mutations.md` holds what it printed. Each fault is a copy of a part in which one rule is broken; the same histories with
the right parts break nothing over thousands of seeds, so a violation is the fault's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from coordination.agreed.owning.owner import Owner
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.standing import Standing
from tests.coordination import (
    agreed_campaign,
    atomic_campaign,
    durable_campaign,
    returning_campaign,
    roster_campaign,
    roster_stories,
)
from tests.coordination.agreed_campaign import PLAIN, first_violation
from tests.coordination.agreed_faults import FAULTS
from tests.coordination.agreed_world import Changes
from tests.coordination.atomic_faults import FAULTS as ATOMIC_FAULTS
from tests.coordination.atomic_faults import RARE
from tests.coordination.durable_faults import MEMORY_FAULTS
from tests.coordination.mode_faults import FAULTS as MODE_FAULTS
from tests.coordination.moving_faults import MOVING_FAULTS, first
from tests.coordination.moving_faults import Planted as Moving
from tests.coordination.named_faults import (
    AdoptsHigher,
    DropsAtMajority,
    GrantsToTheDead,
    TokenEverywhere,
    Told,
    ViewForQuorum,
    dead_waiters,
    long_holder,
    three_proposers,
)
from tests.coordination.reset_faults import RESET_FAULTS
from tests.coordination.returning_faults import RETURN_FAULTS
from tests.coordination.roster_faults import ROSTER_FAULTS

__all__ = ["MUTATIONS", "NAMED", "Mutation", "row"]

Hunted = tuple[int, str] | None
SEEDS = 100


class Mutation(NamedTuple):
    """`hunt` looks through `seeds` seeds, from 0 on."""

    where: str
    seeds: int
    hunt: Callable[[range], Hunted]


def agreed(changes: Changes, focus: tuple[str, ...] = ()) -> Mutation:
    return Mutation("leases", SEEDS, lambda of: agreed_campaign.hunt(of, changes, focus, PLAIN))


def kinds(changes: Changes, focus: tuple[str, ...]) -> Mutation:
    return Mutation("leases of all kinds", SEEDS, lambda of: agreed_campaign.hunt(of, changes, focus))


def roster(changes: Changes, focus: tuple[str, ...] = (), seeds: int = 60) -> Mutation:
    return Mutation("roster", seeds, lambda of: roster_campaign.hunt(of, changes, focus))


def staged(changes: Changes, story: roster_stories.Story, seeds: int) -> Mutation:
    return Mutation("roster, staged", seeds, lambda of: roster_stories.tell(story, of, changes))


def atomic(changes: Changes, focus: tuple[str, ...], seeds: int) -> Mutation:
    return Mutation("atomic registers", seeds, lambda of: atomic_campaign.hunt(of, changes, focus))


def moving(fault: Moving) -> Mutation:
    return Mutation("atomic registers, moved", fault.seeds, lambda of: first(fault, of))


def durable(changes: Changes, focus: tuple[str, ...], seeds: int = 80) -> Mutation:
    return Mutation("disks", seeds, lambda of: durable_campaign.durable_hunt(of, changes, focus, PLAIN))


def returning(changes: Changes, seeds: int) -> Mutation:
    return Mutation("staged", seeds, lambda of: returning_campaign.returning_hunt(of, changes))


def told(story: Told, changes: Changes) -> Mutation:
    return Mutation("staged", 1, lambda of: first_violation(lambda seed: story(seed, changes), of))


MUTATIONS: dict[str, Mutation] = {
    **{name: agreed(fault.changes, fault.focus) for name, fault in FAULTS.items()},
    "takes the view for the quorum": agreed(((Owner, ViewForQuorum),), ("isolate", "cut")),
    "grants to a dead waiter": told(dead_waiters, ((Owner, GrantsToTheDead),)),
    "checks the token window on every accept": told(long_holder, ((Acceptor, TokenEverywhere),)),
    "adopts the higher ballot of two leases": told(three_proposers, ((Owner, AdoptsHigher),)),
    **{
        name: roster(fault.changes, fault.focus, fault.seeds)
        if fault.story is None
        else staged(fault.changes, fault.story, fault.seeds)
        for name, fault in ROSTER_FAULTS.items()
    },
    "drops an epoch at the roster's majority": roster(((Standing, DropsAtMajority),), ("change",)),
    **{f"kinds: {name}": kinds(changes, focus) for name, (changes, focus, _) in MODE_FAULTS.items()},
    **{f"reset: {name}": staged(fault.changes, fault.story, fault.seeds) for name, fault in RESET_FAULTS.items()},
    **{
        f"atomic: {name}": atomic(sought.planted.changes, sought.planted.focus, sought.within)
        for name, sought in {**ATOMIC_FAULTS, **RARE}.items()
    },
    **{f"moving: {name}": moving(fault) for name, fault in MOVING_FAULTS.items()},
    **{f"reading back: {name}": returning(changes, within) for name, (changes, within) in RETURN_FAULTS.items()},
    **{f"disk: {name}": durable(planted.changes, planted.focus) for name, planted in MEMORY_FAULTS.items()},
}

NAMED: dict[str, str] = {
    "forgets a promise": "atomic: forgets a promise",
    "renews an expired lease": "extends an expired or unknown identity",
    "deadline from the reply, not the send": "deadline from the reply",
    "takes the view for the quorum": "takes the view for the quorum",
    "skips joint read": "skips the joint read of two changes",
    "reuses a ballot": "atomic: reuses a ballot",
    "token from HLC alone": "token from the clock alone",
    "grants to a dead waiter": "grants to a dead waiter",
    "re-accept resets `until`": "re-accept resets until",
    "fast path over another's ballot": "atomic: fast path over another's ballot",
    'answers "empty" for "not started"': 'answers "empty" for "not started"',
    "votes on a sealed epoch": "votes on a sealed epoch",
    "adopts the higher ballot of two leases": "adopts the higher ballot of two leases",
    "believes again after a release": "believes again after a release",
    "token window on every accept": "checks the token window on every accept",
    "seal without completion": "seals without completing",
    "moves without the live identities": "moves without the live identities",
    "drops an epoch at the roster's majority": "drops an epoch at the roster's majority",
}
"""The mistakes that the design warns of, and the planted fault that is each of them."""


def row(name: str) -> str:
    """The line of the table for one fault."""
    mutation = MUTATIONS[name]
    found = mutation.hunt(range(mutation.seeds))
    rule = found[1].partition(":")[0] if found is not None else "**not found**"
    first = found[0] if found is not None else ""
    return f"| {name} | {mutation.where} | {rule} | {first} | {mutation.seeds} |"


def main(names: list[str]) -> None:
    print("| fault | histories of | caught by | first seed | seeds at the most |")
    print("|---|---|---|---|---|")
    with ProcessPoolExecutor() as pool:
        for line in pool.map(row, names or MUTATIONS):
            print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
