"""What a voter without memory has been told of leases by the others of its groups, so that it may vote before M has passed.

It counts by register: a group is *covered* once R-q+1 others of it have told everything that they keep (`reader`, which says
why that is enough). Whoever has told it counts only as long as no newer process of its name is known. (It told what it kept,
died, and the next one of its name has promised something else since.) Once covered, a group stays so: from then on this voter
has answered for itself. So does a voter that has been told of every group. (It forgot that again as soon as those that had
told it were restarted in turn: of five voters the fourth found two that were firm, and waited for M.)

Others ask it in turn. It is *firm*, and may be one of those R-q+1, if it remembers everything itself, has been told of every
group that there can be, or has voted by M alone for M. (A voter that has forgotten says "nothing", and is believed.) Of two
voters the other one alone would do: there the word of an operator, `fresh`, stands only after M. (Said wrongly of one
process, after both had lost the roster, it would give both of them a memory, and a lock a second holder.)"""

from __future__ import annotations

from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.placement import Group
from coordination.agreed.voting.standing import Standing
from crdt.clock import Instant
from mesh.directives import Boot

__all__ = ["LeaseMemory"]


class LeaseMemory:
    __slots__ = ("_boots", "_covered", "_covers_all", "_standing", "_told")

    def __init__(self, standing: Standing, boots: BootRecord) -> None:
        self._standing = standing
        self._boots = boots
        self._told: dict[str, Boot] = {}
        self._covered: set[Group] = set()
        self._covers_all = False
        """Whether that is so of every group that this voter can be of."""

    def clear(self) -> None:
        """Another roster is the newest, with other groups."""
        self._told.clear()
        self._covered.clear()
        self._covers_all = False

    def told(self, name: str, boot: Boot) -> None:
        """This process has told everything that it keeps of the groups that this voter is of."""
        self._told[name] = boot
        roster = self._standing.roster
        if roster is not None and not self._covers_all:
            silent = len(roster.voters) - 1 - sum(1 for each in self._told if self._counts(each))
            self._covers_all = silent <= roster.quorum - 2

    def replaced(self) -> list[str]:
        """Those whose word does not count any more, and is wanted still."""
        return [] if self._covers_all else [name for name in self._told if not self._counts(name)]

    def covers(self, group: Group) -> bool:
        """Whether so many of a group have told that nothing can be missing."""
        if self._covers_all or group in self._covered:
            return True
        if not self._told or sum(1 for name in group if self._counts(name)) < group.witnesses:
            return False
        self._covered.add(group)
        return True

    def firm(self, now: Instant) -> bool:
        """Whether what it keeps of leases is all that there is to know of it."""
        standing, roster = self._standing, self._standing.roster
        if roster is None:
            return False
        lived = now.mono - standing.started
        if standing.whole is not None and standing.whole <= roster.epoch:
            return len(roster.voters) > 2 or not standing.worded(now)
        return lived >= 2 * roster.abstention or self._covers_all

    def _counts(self, name: str) -> bool:
        boot = self._told.get(name)
        return boot is not None and boot >= self._boots.of(name)
