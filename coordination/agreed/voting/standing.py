"""The standing: which rosters this node knows to be decided, and how far its own process may take part.

  sealed      the epoch up to which it serves no register any more: it has accepted a successor of that roster
  confirmed   when it last asked a majority that had not
  memory      whether it knows all that any process of its name has promised about the successor of the newest roster: also
              if the roster admits an earlier process on its disk, which had not come to know of it
  whole       the first epoch of which it remembers every lease that a process of its name promised
  lasting     the first one of which it remembers everything that lasts: atomic registers
  settled     earlier epochs of which every atomic register has been moved on

- Only decided rosters are in the chain. Old ones stay as long as something may not have been moved out of them.
- A seal is never taken back, and a voter that has lost it takes part in nothing until it has been told. (It would
  extend a lease that a mover has already read.)
- Of two rosters of one epoch only one is ever decided; two that differ are two meshes. Their founding ballots tell
  them apart also when their epochs do not meet."""

from __future__ import annotations

from enum import Enum
from itertools import pairwise

from coordination.agreed.atomics.atomic import is_atomic
from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.messages import Reason
from coordination.agreed.vocabulary.placement import Group, Placement, Remains, placement_of
from coordination.agreed.vocabulary.ports import Identity
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.agreed.vocabulary.succession_messages import ChainIs
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Boot

__all__ = ["NEVER", "Adoption", "Standing"]

NEVER = -(1 << 62)
"""No moment of the boot-time clock."""


class Adoption(Enum):
    NEW = 0
    """There is a newer roster."""
    KNOWN = 1
    STALE = 2
    """The other one is behind."""
    OTHER = 3
    """Another mesh's."""


class Standing:
    __slots__ = (
        "_identity", "_known", "_placements", "by_word", "confirmed", "first", "lasting", "limit", "memory", "origin",
        "rosters", "sealed", "settled", "started", "whole", "yielding",
    )  # fmt: skip

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self.origin: Ballot = ZERO
        self.rosters: tuple[RosterValue, ...] = ()
        """Oldest first."""
        self._known: dict[int, int] = {}
        """Monotonic ns since when, at the latest, each of them is decided."""
        self._placements: dict[int, Placement] = {}
        self.sealed = 0
        self.confirmed = NEVER
        """Boot ns."""
        self.memory = False
        self.first = 0
        """The stamp of the first process on this disk; 0 without one, or with an empty one."""
        self.limit = 0
        """The roster of whose successor the memory speaks, and of no later one; 0: of all."""
        self.whole: int | None = None
        """None: of none, until M has passed since `started`."""
        self.by_word = False
        """It is whole by an operator's word, `fresh`, of not all founders, and nothing else has shown that it is. (If all say
        so it is enough that one of them is right.)"""
        self.lasting: int | None = None
        """The same of atomic registers, for which no time makes up; None: of none, but for those that it has read back."""
        self.settled: set[int] = set()
        """Earlier rosters of which no atomic register is left that was not moved on."""
        self.started = 0
        self.yielding = False
        """This mesh has been given up for another one, which is joined as soon as its leases are over (see `yielding`)."""

    @property
    def roster(self) -> RosterValue | None:
        """The newest."""
        return self.rosters[-1] if self.rosters else None

    @property
    def elastic(self) -> RosterValue | None:
        """The newest, if it can be followed by another."""
        roster = self.roster
        return roster if roster is not None and roster.elastic else None

    @property
    def epoch(self) -> int:
        return self.rosters[-1].epoch if self.rosters else 0

    def is_reset(self, epoch: int) -> bool:
        """Whether a ballot of that epoch is none of the ordinary ones of the instance that decides the next roster."""
        return epoch > self.epoch + 1

    def was_reset(self) -> bool:
        """Whether one of the rosters was put in the place of another by an operator."""
        return any(newer.epoch > older.epoch + 1 for older, newer in pairwise(self.rosters))

    def placement(self, epoch: int) -> Placement:
        placement = self._placements.get(epoch)
        if placement is None:
            roster = next(roster for roster in self.rosters if roster.epoch == epoch)
            placement = self._placements[epoch] = placement_of(roster)
        return placement

    # --- may it serve? --------------------------------------------------------------------------------------------------

    def votes(self) -> bool:
        """Whether this node is a voter of the newest roster that has its memory, and has not given that roster up."""
        member = bool(self.rosters) and self._identity.name in self.rosters[-1].voters
        return member and self.memory and not self.yielding

    def closed(self, now: Instant) -> int:
        """Why no register may be served now; `Reason.OK` if one may."""
        if self.yielding:
            return Reason.EPOCH
        roster = self.rosters[-1] if self.rosters else None
        if roster is None or not roster.elastic:
            return Reason.OK
        if not self.memory:
            return Reason.FORGOTTEN
        if self.sealed >= roster.epoch:
            return Reason.SEALED
        if roster.majority > 1 and now.boot - self.confirmed >= roster.served:
            return Reason.UNCONFIRMED
        return Reason.OK

    def whole_from(self, now: Instant) -> int | None:
        """The first roster of whose leases it can speak. After M nothing is live that an earlier process promised."""
        roster = self.roster
        if roster is not None and now.mono - self.started >= roster.abstention:
            return 0
        return self.whole

    def worded(self, now: Instant) -> bool:
        """Whether nothing but an operator's word says of which leases it can speak."""
        return self.by_word and self.roster is not None and now.mono - self.started < self.roster.abstention

    def past(self, key: str, now: Instant) -> list[tuple[int, Group]]:
        """The earlier groups that may keep something of a register which nobody has moved, newest first."""
        found = []
        atomic = is_atomic(key)
        for older, newer in reversed(list(pairwise(self.rosters))):
            if atomic and older.epoch in self.settled:
                continue
            if not atomic and now.mono - self._known[newer.epoch] >= older.lapse:
                break
            group = self.placement(older.epoch).group(key)
            left = self.left_of(older) if atomic else None
            found.append((older.epoch, group if left is None else Remains(group, left)))
        return found

    def left_of(self, roster: RosterValue) -> tuple[str, ...] | None:
        """Whom an operator's reset has left of the voters of an earlier roster; None if there was none since."""
        for older, newer in pairwise(self.rosters):
            if older.epoch >= roster.epoch and newer.epoch > older.epoch + 1:
                return tuple([name for name in roster.voters if name in newer.voters])
        return None

    # --- this process ------------------------------------------------------------------------------------------------------

    def begin(self, now: Instant) -> None:
        """The process starts. What its memory holds is decided now, at the latest."""
        self.started = now.mono
        self._known = {roster.epoch: now.mono for roster in self.rosters}

    def restore(
        self,
        origin: Ballot,
        rosters: tuple[RosterValue, ...],
        sealed: int,
        *,
        memory: bool,
        limit: int = 0,
        lasting: int | None = None,
        settled: tuple[int, ...] = (),
    ) -> None:
        """As an earlier process wrote it down."""
        self.settled = set(settled)
        self.origin, self.rosters, self.sealed, self.memory, self.limit = origin, rosters, sealed, memory, limit
        if lasting is not None:
            self.lasting = lasting

    def recalled(self, *, undecided: bool) -> None:
        """Enough others have told what they promised about the successor of the newest roster. `undecided`: one of them has
        accepted it. It may have been decided long ago, and the earlier process of this name may have known, and voted on what
        follows. (It votes on that again, and two rosters are decided.) If none has, that process had heard of no newer one."""
        self.memory = True
        if undecided:
            self.sealed = max(self.sealed, self.epoch)
            self.limit = self.epoch
        else:
            self.lasting = self.epoch + 1

    # --- what is decided --------------------------------------------------------------------------------------------------

    def found(self, roster: RosterValue, ballot: Ballot, now: Instant, *, memory: bool) -> None:
        """The first roster, as birth decided it. `memory`: this very process took part."""
        self.origin = ballot
        self.yielding = False
        self.rosters = (roster,)
        self._known = {roster.epoch: now.mono}
        self.memory = memory
        if memory:
            self.lasting = 0

    def adopt(self, chain: ChainIs, now: Instant) -> Adoption:
        """Take a chain over from another member."""
        rosters = chain.rosters
        if not chain.well_formed():
            return Adoption.KNOWN
        if self.rosters and (chain.origin != self.origin or self._differs(rosters)):
            return Adoption.OTHER
        self.yielding = self.yielding and bool(self.rosters)
        newest = self.epoch
        if rosters[-1].epoch < newest:
            return Adoption.STALE
        own = {roster.epoch for roster in self.rosters}
        self.origin = chain.origin
        if rosters[-1].epoch > newest:
            self._go_on()
            if newest not in {roster.epoch for roster in rosters}:
                self.settled = set()  # its own have been given up by a reset, or are gone: all was moved to those
        kept = []
        for roster, age in zip(rosters, chain.ages, strict=True):
            # Its clock and this one may each be off by rho; too young an age is safe.
            since = now.mono - age * (1000 - 2 * roster.rho) // 1000
            if roster.epoch > newest or roster.epoch in own:
                kept.append(roster)
                self._known[roster.epoch] = min(since, self._known.get(roster.epoch, since))
            if roster.epoch > newest:
                self._arrive(roster)
        self._keep(tuple(kept))
        if self.epoch == newest:
            return Adoption.KNOWN
        self.sealed = max(self.sealed, self.epoch - 1)
        self.confirmed = NEVER
        return Adoption.NEW

    def give_up(self) -> None:
        """There is no roster any more, and nothing to remember of the one that there was."""
        self.origin, self.rosters, self.sealed, self.confirmed = ZERO, (), 0, NEVER
        self._known, self._placements = {}, {}
        self.memory, self.limit, self.whole, self.by_word, self.lasting = False, 0, None, False, None
        self.settled = set()

    def follow(self, roster: RosterValue, now: Instant) -> None:
        """The next roster has been decided, before this node's eyes."""
        self._known[roster.epoch] = now.mono
        self._go_on()
        self._arrive(roster)
        self._keep((*self.rosters, roster))
        self.sealed = max(self.sealed, roster.epoch - 1)
        self.confirmed = NEVER

    def trim(self, now: Instant) -> bool:
        """Forget the oldest rosters from which nothing is left to be moved: neither a lease that may be alive, nor an atomic
        register. Whether there were any."""
        first = 0
        for older, newer in pairwise(self.rosters):
            if older.epoch not in self.settled or now.mono - self._known[newer.epoch] < older.lapse:
                break
            first += 1
        if first:
            self._keep(self.rosters[first:])
        return first > 0

    def unsettled(self) -> list[RosterValue]:
        """The earlier rosters that may keep an atomic register which was not moved on."""
        return [roster for roster in self.rosters[:-1] if roster.epoch not in self.settled]

    def chain(self, now: Instant) -> ChainIs:
        ages = tuple([max(0, now.mono - self._known[roster.epoch]) for roster in self.rosters])
        return ChainIs(self.origin, self.rosters, ages)

    def told(self, now: Instant) -> tuple[tuple[int, tuple[str, ...], float], ...]:
        """For whoever explains: (epoch, voters, seconds since when it is known to be decided)."""
        ages = [max(0, now.mono - self._known[roster.epoch]) / NANOSECONDS for roster in self.rosters]
        return tuple([(roster.epoch, roster.voters, age) for roster, age in zip(self.rosters, ages, strict=True)])

    def _differs(self, rosters: tuple[RosterValue, ...]) -> bool:
        own = {roster.epoch: roster for roster in self.rosters}
        return any(own.get(roster.epoch, roster) != roster for roster in rosters)

    def _go_on(self) -> None:
        if self.limit:
            self.memory, self.limit = False, 0

    def _arrive(self, roster: RosterValue) -> None:
        if any(name == self._identity.name and self._is_of_this_disk(boot) for name, boot in roster.joined):
            self.memory = True
            if self.whole is None:
                self.whole = roster.epoch
            if self.lasting is None:
                self.lasting = roster.epoch

    def _is_of_this_disk(self, boot: Boot) -> bool:
        """Whether that was this process, or an earlier one on its disk: all that the name has promised since is on it."""
        own = self._identity.boot
        return boot == own or 0 < self.first <= boot.stamp < own.stamp

    def _keep(self, rosters: tuple[RosterValue, ...]) -> None:
        self.rosters = rosters
        epochs = {roster.epoch for roster in rosters}
        self._known = {epoch: since for epoch, since in self._known.items() if epoch in epochs}
        self._placements = {epoch: placement for epoch, placement in self._placements.items() if epoch in epochs}
        self.settled &= epochs
