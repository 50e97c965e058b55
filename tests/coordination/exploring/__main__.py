"""`python -m tests.coordination.exploring [CASE …]`: search cases, or show what the planted faults need."""

from __future__ import annotations

import sys

from tests.coordination.agreed_faults import FAULTS
from tests.coordination.agreed_world import Changes
from tests.coordination.exploring.cases import CASES, explore
from tests.coordination.exploring.space import Found
from tests.coordination.returning_faults import RETURN_FAULTS
from tests.coordination.roster_faults import ROSTER_FAULTS

__all__ = ["FOUND_BY", "first"]

PLANTED: dict[str, Changes] = {
    **{name: fault.changes for name, fault in FAULTS.items()},
    **{name: fault.changes for name, fault in ROSTER_FAULTS.items()},
    **{name: changes for name, (changes, _) in RETURN_FAULTS.items()},
}

FOUND_BY = {
    "forgets its promises and votes at once after a restart": "a voter forgets",
    "fresh exempts a node that finds a roster": "a voter says that it is fresh",
    "accepts a value that loses a live identity": "two owners",
    "waits less than the ttl": "time leaps",
    "extends an expired or unknown identity": "time leaps while one holds",
    "token from the clock alone": "time leaps while one holds",
    "the owner takes one answer for a quorum": "two owners",
    "ends an unreleased lease": "two owners",
    "deadline from the reply": "time leaps",
    "believes longer than its term": "time leaps",
    "re-accept resets until": "time leaps while one holds",
    "skips the promises of the instance": "all are replaced, one after the other",
    "takes its own roster over an accepted one": "all are replaced, one after the other",
    "passes on undecided rosters": "two propose",
    "one too few have told": "reads back what it forgot",
    "takes over no leases": "reads back, and a message is late or lost",
}
"""Planted faults, and the case that shows each."""


def first(fault: str, limit: int) -> Found:
    """Search for it, in so many states at the most."""
    return explore(CASES[FOUND_BY[fault]], PLANTED[fault], limit=limit)


def main(names: list[str]) -> None:
    for name in names:
        found = explore(CASES[name])
        print(f"{name}: {found}", *[found.broken, *found.trace] if found.broken else [], sep="\n")
    if not names:
        for fault, case in FOUND_BY.items():
            found = first(fault, 1_000_000)
            print(f"{fault} | {case} | {found.states:,} states, {len(found.trace)} steps | {found.broken}")


if __name__ == "__main__":
    main(sys.argv[1:])
