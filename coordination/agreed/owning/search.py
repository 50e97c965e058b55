"""The search: what the earlier groups of a register hold of it, if nobody has moved it to the newest roster yet.

A register is moved by its first accept under the newest roster. What that accept may change is the highest value that any of
these report, and whatever any of them calls live binds:

    the newest group       a quorum, by its promises
    each earlier group     so many that are sealed that they share one with any quorum, newest first, as far as the first group
                           in which the register is started

  - Of a group of g with the quorum q, g-q+1 are enough: they only read. Of two one is, so one of two may leave for good.
  - A group in which nobody of so many sealed ones has started the register never decided anything for it, nor will it: so the
    one before it counts, too. (A register is not touched while two rosters pass, and its lease is read as free.)
  - An answer counts for the rosters that its node no longer serves, and of which it remembers everything. (It extends the
    lease after it was read; a restarted one has forgotten it.)
  - Of a group of two, one that remembers by an operator's word alone, `fresh`, is not enough before M has passed. (Said
    wrongly of it, after both had lost the roster: a third one joins, and both grant what somebody holds who is cut off.)
  - After an operator's reset all that are left of a group are asked for a permanent register, and what they know is all that
    there is: the operator's word stands for the others' memory.
  - After `lapse` no lease of an earlier roster is alive, whoever kept it, and leases are not searched for there
    (`Standing.past`). Permanent registers always are."""

from __future__ import annotations

from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.messages import Promise
from coordination.agreed.vocabulary.placement import Group, Remains
from coordination.agreed.vocabulary.succession_messages import Seen

__all__ = ["Past", "Search", "started"]

Past = list[tuple[list[Seen], int]]
"""Of each earlier group that counts: its answers, and how many are enough."""


class Search:
    """One, beside the prepare whose round it belongs to."""

    __slots__ = ("_boots", "_levels", "_seen")

    def __init__(self, levels: list[tuple[int, Group]], boots: BootRecord) -> None:
        self._levels = levels
        self._boots = boots
        self._seen: dict[str, Seen] = {}

    def add(self, seen: Seen) -> None:
        self._seen[seen.name] = seen

    def silent(self) -> list[str]:
        """Whom to ask, or to ask again."""
        names = dict.fromkeys(name for _, group in self._levels for name in group)
        return [name for name in names if name not in self._seen]

    def blank(self) -> list[str]:
        """Of a group that counts: those that have forgotten, if so many have that it will never say enough."""
        for epoch, group in self._levels:
            if isinstance(group, Remains):
                break
            blank = [name for name in group if name in self._seen and self._seen[name].whole > epoch]
            if len(blank) > len(group) - group.witnesses:
                return blank
            if self._told(epoch, group) is None:
                break
        return []

    def past(self) -> Past | None:
        """What counts, or None as long as more has to be heard."""
        found: Past = []
        for epoch, group in self._levels:
            answers = self._told(epoch, group)
            if answers is None:
                return None
            found.append((answers, group.witnesses))
            if any(seen.accepted.epoch >= epoch for seen in answers):
                break
        return found

    def _told(self, epoch: int, group: Group) -> list[Seen] | None:
        """What counts of one group, once it is enough."""
        answers = [seen for name in group if (seen := self._counted(name, epoch)) is not None]
        if isinstance(group, Remains):
            return answers if all(name in self._seen for name in group) else None
        if len(answers) < group.witnesses or (len(group) == 2 and len(answers) == 1 and answers[0].by_word):
            return None
        return answers

    def _counted(self, name: str, epoch: int) -> Seen | None:
        seen = self._seen.get(name)
        if seen is None or not seen.whole <= epoch < seen.epoch or seen.boot < self._boots.of(name):
            return None
        return seen


def started(promises: list[Promise], epoch: int) -> bool:
    """Whether any of a quorum has accepted a value in the newest roster: then nothing before it counts."""
    return any(promise.accepted.epoch >= epoch for promise in promises)
