"""Planted faults of moving atomic registers from roster to roster: copies of the parts in which one rule is broken."""

from __future__ import annotations

from typing import NamedTuple

from coordination.agreed.recalling.recollector import Recollector
from coordination.agreed.rosters.mover import Mover
from coordination.agreed.voting.atomic_memory import AtomicMemory
from coordination.agreed.voting.standing import Standing
from crdt.clock import Instant
from mesh.directives import Directives, Event
from tests.coordination.agreed_world import Changes
from tests.coordination.moving_campaign import hunt
from tests.coordination.moving_stories import (
    Story,
    forgets_what_followed,
    forgets_what_it_decided,
    moved_by_the_forgetful,
    tell,
)


class RemembersAll(AtomicMemory):
    """Who has forgotten answers that there is nothing."""

    __slots__ = ()

    def since(self, key: str) -> int | None:
        return 0


class RemembersTooEarly(Standing):
    """What others told of the newest roster is taken for all that was ever answered in it."""

    __slots__ = ()

    def recalled(self, *, undecided: bool) -> None:
        super().recalled(undecided=undecided)
        if self.lasting is not None:
            self.lasting = min(self.lasting, self.epoch)


class ReadsBackSealed(Recollector):
    """Reads back in a roster that may be followed already, and takes it for all that follow."""

    def _open(self, now: Instant) -> bool:
        return True


class ReportsAtOnce(Mover):
    """Says that all is moved before it is."""

    @property
    def moving(self) -> int:
        return 0


class OneReport(Mover):
    """Takes one report for enough."""

    def _settle(self, now: Instant) -> None:
        for roster in self._standing.unsettled():
            if any(self._vouches(name, roster.epoch) for name in roster.voters):
                self._standing.settled.add(roster.epoch)


class CountsForgetful(Mover):
    """A report of a voter that has forgotten what it kept counts."""

    def _vouches(self, name: str, epoch: int) -> bool:
        return name in self._reports and self._reports[name][0] > epoch


class ReportsBeforeReading(Mover):
    """Reports at its start, before it knows again what is on its disk."""

    def on_event(self, event: Event, now: Instant) -> Directives:
        self._started = True
        return super().on_event(event, now)


class Stewarded(Mover):
    """No fault: a roster of any size has stewards."""

    small = 0


class SettlesAtOnce(Stewarded):
    """A steward says that all is settled before others have reported."""

    def _all_settled(self) -> int:
        return max(roster.epoch for roster in self._standing.rosters[:-1])


class Planted(NamedTuple):
    changes: Changes
    story: Story | None = None
    """Of `moving_stories`; None for the random histories."""
    seeds: int = 10


MOVING_FAULTS: dict[str, Planted] = {
    "a voter that has forgotten says that there is nothing": Planted(((AtomicMemory, RemembersAll),), forgets_what_it_decided),
    "what was told of a roster is all that was answered in it": Planted(
        ((Standing, RemembersTooEarly),), forgets_what_it_decided
    ),
    "reads back in a roster that may be followed already": Planted(((Recollector, ReadsBackSealed),), forgets_what_followed),
    "counts the report of one that has forgotten": Planted(((Mover, CountsForgetful),), moved_by_the_forgetful),
    "takes one report for enough": Planted(((Mover, OneReport),), moved_by_the_forgetful),
    "says that it is settled before all have reported": Planted(((Mover, SettlesAtOnce),), moved_by_the_forgetful),
    "reports before all is moved": Planted(((Mover, ReportsAtOnce),)),
}
"""Each is found within so many seeds."""

STEWARDED: Changes = ((Mover, Stewarded),)


def first(fault: Planted, seeds: range) -> tuple[int, str] | None:
    """The seed that shows it."""
    if fault.story is not None:
        return tell(fault.story, seeds, fault.changes)
    return hunt(seeds, fault.changes, ("change", "swap", "crash"))
