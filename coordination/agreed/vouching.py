"""What the other voters of a roster have said to one of them: that it is the newest, and what it has forgotten.

- *Vouching*: a voter that has accepted no successor vouches for its roster. What a majority has vouched for, the asker
  among them, was the newest when they were asked; it counts from the q-th newest of those moments, by the boot-time clock.
  (A machine that slept for an hour takes what it heard before for news.)
- *Memories*: of N voters N-Q+1 others have to tell what they promised and accepted, each by its newest process."""

from __future__ import annotations

from coordination.agreed.boots import BootRecord
from coordination.agreed.roster import RosterValue
from coordination.agreed.succession_messages import EpochOk, MemoryIs

__all__ = ["NEVER", "Memories", "Vouching"]

NEVER = -(1 << 62)
SENT_KEPT = 16


class Vouching:
    __slots__ = ("_sent", "_serial", "_vouched")

    def __init__(self) -> None:
        self._serial = 0
        self._sent: dict[int, int] = {}
        self._vouched: dict[str, int] = {}

    def clear(self) -> None:
        """Another roster is the newest."""
        self._sent.clear()
        self._vouched.clear()

    def asking(self, boot: int) -> int:
        """The serial of a question that is about to be sent."""
        self._serial += 1
        self._sent[self._serial] = boot
        if len(self._sent) > SENT_KEPT:
            del self._sent[next(iter(self._sent))]
        return self._serial

    def answered(self, answer: EpochOk, majority: int) -> int:
        """Boot ns since when a majority is known to have vouched. The own word counts for any time: it is not sealed now."""
        sent = self._sent.get(answer.serial)
        if sent is not None:
            self._vouched[answer.name] = max(sent, self._vouched.get(answer.name, sent))
        since = sorted(self._vouched.values(), reverse=True)
        return since[majority - 2] if len(since) >= majority - 1 else NEVER


class Memories:
    __slots__ = ("_told",)

    def __init__(self) -> None:
        self._told: dict[str, MemoryIs] = {}

    def clear(self) -> None:
        self._told.clear()

    def __contains__(self, name: str) -> bool:
        return name in self._told

    def add(self, answer: MemoryIs, roster: RosterValue, boots: BootRecord) -> list[MemoryIs]:
        """All that count, once they are enough; else nothing."""
        self._told[answer.name] = answer
        told = [each for name, each in self._told.items() if each.boot >= boots.of(name)]
        return told if len(told) > len(roster.voters) - roster.majority else []
