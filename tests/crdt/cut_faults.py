"""The rules of cuts, each left out in turn, and what finds that.

`python -m tests.crdt.cut_faults` prints the table of docs/cuts.md."""

from __future__ import annotations

import re
from collections.abc import Callable

from crdt.clock import Stamp
from crdt.cuts import Brought, Cut, Opening, Report, Retired, Waiting
from crdt.dots import Summary
from crdt.returning import bring_back
from crdt.store import Store
from tests.crdt.cut_members import Held, Member, Pull, Rules
from tests.crdt.cut_world import run

__all__ = ["FAULTS", "WITHIN", "found"]


class PurgesAtOnce(Rules):
    """A deletion is forgotten at the cut that covers it."""

    def make_cut(self, previous: Cut, opening: Opening, reports: dict[bytes, Report]) -> Cut | None:
        cut = super().make_cut(previous, opening, reports)
        if cut is None:
            return None
        return cut._replace(purge=Waiting(cut.round, cut.stamp, cut.stamp, cut.least, ()))


class CarriesNoNumber(Rules):
    carries_numbers = False


class NobodyReportsForJoiners(Rules):
    """And what a cut that does not count it says is nothing to a joiner."""

    joiners_are_reported = False

    def may_go_on(self, member: Member, cut: Cut) -> bool:
        return True


class NotFlushed(Rules):
    flushes_before_snapshots = False


class JoinersOfTheDead(Rules):
    """A joiner outlives the sponsor that nobody counts any more."""

    def may_go_on(self, member: Member, cut: Cut) -> bool:
        ended = {end.actor for end in cut.ended} | {each.actor for each in cut.retired}
        return cut.counts(member.actor) or (cut.round < member.first and member.actor not in ended)


class BringsTwice(Rules):
    tells_what_it_brings = False


class BringsEverything(Rules):
    """What the mesh has seen is brought back as well."""

    def bring_back(self, member: Member, held: Held, stamp: Stamp) -> list[Brought] | None:
        unseen = [row._replace(last=0) for row in member.cut.retired]
        return bring_back(member.store, held.store, member.cut._replace(retired=tuple(unseen)), held.since, stamp)


class BringsNoDeletions(Rules):
    """Unless the mesh has something under that key."""

    def bring_back(self, member: Member, held: Held, stamp: Stamp) -> list[Brought] | None:
        brought = super().bring_back(member, held, stamp)
        if brought is not None:
            for cell in [cell for cell in member.store.faded() if not cell.n and cell.order[2] != member.actor]:
                member.store.remove([cell])
                member.store._pending.pop(cell[:2], None)
        return brought


class TellsForNobody(Rules):
    """What a member put again that died before it had told so is told by nobody."""

    tells_for_others = False
    steps = 1_200


class RetiresAtOnce(Rules):
    """An ended actor retires though not everyone has it in full."""

    def make_cut(self, previous: Cut, opening: Opening, reports: dict[bytes, Report]) -> Cut | None:
        cut = super().make_cut(previous, opening, reports)
        if cut is None:
            return None
        written = dict(cut.written)
        rows = [Retired(end.actor, written.get(end.actor, 0), (), cut.round, cut.stamp, end.lost) for end in cut.ended]
        return cut._replace(ended=(), void=(), retired=(*cut.retired, *rows))


class SkipsNothing(Rules):
    """Nothing is void."""

    def make_cut(self, previous: Cut, opening: Opening, reports: dict[bytes, Report]) -> Cut | None:
        cut = super().make_cut(previous, opening, reports)
        return cut if cut is None or not cut.void else cut._replace(void=())


class ExpiredGoAtOnce(Rules):
    """An expired value goes when it expires."""

    def apply_cut(self, store: Store, cut: Cut, stamp: Stamp) -> None:
        super().apply_cut(store, cut, stamp)
        store.remove([cell for cell in store.faded() if cell.hash and cell.n])


class FoldsAtOnce(Rules):
    """Slots are folded by the cut that retires their actor."""

    def make_cut(self, previous: Cut, opening: Opening, reports: dict[bytes, Report]) -> Cut | None:
        cut = super().make_cut(previous, opening, reports)
        if cut is None:
            return None
        return cut._replace(
            retired=tuple(row._replace(closed=row.closed or row.round, folded=row.folded or row.round) for row in cut.retired)
        )


class RaisedByIntervals(Rules):
    """The end of a transfer claims all that its cells are below of."""

    def finish(self, member: Member, pull: Pull) -> bool:
        for cell in list(member.store.cells()):
            if cell.n:
                member.store.raise_to(Summary(((cell.actor, cell.n),), ()))
        return super().finish(member, pull)


class LeavesWhatIsVoid(Rules):
    """What a member holds and a cut takes for void stays under the dot that the others claim for nothing."""

    def put_again(self, store: Store, cut: Cut, stamp: Stamp) -> list[Brought]:
        return []


class TakesTheEnded(LeavesWhatIsVoid):
    """And what that makes of a cut's void numbers is not put again: each of the two mends what the other one lets pass."""

    refuses_the_ended = False


class WaitsForTheLost(Rules):
    """Deletions wait for writes of which nobody that is counted has anything any more."""

    def make_cut(self, previous: Cut, opening: Opening, reports: dict[bytes, Report]) -> Cut | None:
        cut = super().make_cut(previous, opening, reports)
        if cut is None:
            return None
        known = {row.actor for row in (*previous.retired, *cut.retired)} | {actor for actor, _ in cut.written}
        if all(actor in known for actor, _ in previous.waiting.written):
            return cut
        return cut._replace(waiting=previous.waiting, purge=previous.purge)


class NoStrangers(Rules):
    """What a cut-off member had of a fellow that the mesh never heard of is for ever unknown."""

    strangers_are_named = False


class ForgetsHowLate(Rules):
    """How late what it has forgotten was is forgotten as well."""

    def apply_cut(self, store: Store, cut: Cut, stamp: Stamp) -> None:
        super().apply_cut(store, cut, stamp)
        store._forgotten = 0


class NobodyTakesOver(Rules):
    """Those whom an open round has ended wait, also when all whom it has to count have died."""

    takes_over = False


FAULTS: dict[str, tuple[Callable[[], Rules], str, int]] = {
    "purged at the covering cut": (PurgesAtOnce, "C18|C7|brought back", 780),
    "no cut number in frames": (CarriesNoNumber, "C7|C18|C15|not settled|brought back", 0),
    "a joiner that nobody reports for": (NobodyReportsForJoiners, "C7|C18|C15|not settled", 0),
    "a window not flushed before a snapshot": (NotFlushed, "without its dot", 0),
    "frames of the ended": (TakesTheEnded, "C7|C18|C15", 120),
    "a joiner whose sponsor was ended": (JoinersOfTheDead, "C7|C18|C15|brought back", 390),
    "brought back twice": (BringsTwice, "brought back", 760),
    "nobody tells for others": (TellsForNobody, "brought back", 200_885),
    "brought back though seen": (BringsEverything, "brought back", 0),
    "deletions left out": (BringsNoDeletions, "C7|C18", 0),
    "retired at once": (RetiresAtOnce, "C7|C18|C15", 0),
    "nothing is void": (SkipsNothing, "not settled|C7|C15|C18", 180),
    "expired dropped at once": (ExpiredGoAtOnce, "C7|C18|C15", 0),
    "folded at once": (FoldsAtOnce, "C4|C18|C15", 0),
    "raised by intervals": (RaisedByIntervals, "C7|C18|C15|C4", 0),
    "void though held": (LeavesWhatIsVoid, "C18", 45_050),
    "waits for the lost": (WaitsForTheLost, "C4: slots", 23_950),
    "strangers not named": (NoStrangers, "not settled", 0),
    "how late it has forgotten": (ForgetsHowLate, "C13", 0),
    "nobody takes over": (NobodyTakesOver, "everyone waits", 6_766),
}
"""With what must be found, and the first seed that is tried: some need a chain of accidents that comes once in a thousand."""

WITHIN = 50
"""Seeds within which each is found, from its first."""


def found(name: str, within: int = WITHIN) -> tuple[int, str]:
    """In how many seeds from its first a fault is found, and what says so.

    Raises
    ------
    LookupError: it is not.
    """
    fault, message, first = FAULTS[name]
    for seed in range(first, first + within):
        try:
            rules = fault()
            run(seed, steps=rules.steps, rules=rules)
        except AssertionError as problem:
            if not re.search(message, str(problem)):
                raise
            return seed - first + 1, str(problem).partition(": ")[2].partition(":")[0]
    raise LookupError(f"{name}: not found within {within} seeds from {first}")


def main() -> None:
    print("| rule left out | first seed | seeds needed | told by |")
    print("|---|---|---|---|")
    for name, (_, _, first) in FAULTS.items():
        seeds, told = found(name)
        print(f"| {name} | {first} | {seeds} | {told} |", flush=True)


if __name__ == "__main__":
    main()
