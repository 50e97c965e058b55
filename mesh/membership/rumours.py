"""The rumours that this node still tells, and how often it has told each.

Rules: what has been told least goes first, so that fresh news never queues behind old (Das et al., SWIM, section 4.1);
newer news on a subject replaces the older at once; a rumour is dropped after ceil(lambda x log10(N+1)) tellings.
Accusations of one subject by distinct accusers are told side by side, for each of them shortens the suspicion
elsewhere.

Tiers are insertion-ordered dictionaries by number of tellings: to fill a datagram costs what is put in."""

from __future__ import annotations

from mesh.membership.member import Member, supersedes
from mesh.membership.messages import News, entry_of
from mesh.wire import encode

__all__ = ["MAX_ACCUSERS", "MAX_SUBJECTS", "Rumours"]

MAX_SUBJECTS = 4_096
"""Subjects at once; beyond it the most told goes first."""

MAX_ACCUSERS = 4
"""Accusations told of one subject at once: the first, and three that confirm it."""

LEAST_BYTES = 48
"""No rumour is smaller: a datagram with less room is full."""

LOOKAHEAD = 32
"""Rumours that are looked at, and found too large for the room left, before a datagram counts as full."""

Key = tuple[str, str | None]


class Rumours:
    __slots__ = ("_aboard", "_full", "_tiers", "replaced", "subjects")

    def __init__(self) -> None:
        self._tiers: list[dict[Key, bytes]] = [{}]
        self.subjects: dict[str, tuple[Member, dict[str | None, int]]] = {}
        """By name: the news, and of each accuser how often it was told. For others to see whether there is any."""
        self._aboard: dict[Key, bytes] = {}
        """What the last call chose."""
        self._full = False
        """It left something out for want of room."""
        self.replaced = 0

    def __len__(self) -> int:
        return len(self.subjects)

    def concern_others(self, name: str) -> bool:
        """Whether any is of another member than this one."""
        return len(self.subjects) > (name in self.subjects)

    def tell(self, member: Member, accuser: str | None = None) -> None:
        """Begin to tell this, instead of anything older on the subject."""
        known = self.subjects.get(member.name)
        if known is not None:
            if supersedes(known[0], member):
                return
            if supersedes(member, known[0]):
                self.forget(member.name)
                self.replaced += 1
                known = None
            elif accuser in known[1] or len(known[1]) >= MAX_ACCUSERS:
                return
        if known is None:
            if len(self.subjects) >= MAX_SUBJECTS:
                self._drop_most_told()
            known = self.subjects[member.name] = (member, {})
        known[1][accuser] = 0
        self._tiers[0][member.name, accuser] = encode(News(entry_of(member), accuser))

    def forget(self, subject: str) -> None:
        known = self.subjects.pop(subject, None)
        if known is not None:
            for accuser, tier in known[1].items():
                del self._tiers[tier][subject, accuser]

    def fill(self, room: int, tellings: int, receiver: str, more: bool = False) -> list[bytes]:
        """Encoded rumours of at most `room` bytes for one receiver; each counts as told once more. With `more`, the datagram is
        the one of the last call: nothing rides on it twice.

        What the receiver itself would be told of itself is left out: only accusations concern it, and they are told to
        it by other means."""
        if more and not self._full:
            return []
        chosen: list[tuple[int, Key, bytes]] = []
        aboard = self._aboard if more else {}
        misses = 0
        self._full = False
        for tier, rumours in enumerate(self._tiers):
            for key, encoded in rumours.items():
                if room < LEAST_BYTES or misses > LOOKAHEAD:
                    self._full = True
                    break
                if len(encoded) > room:
                    self._full = True
                    misses += 1
                    continue
                if key[0] == receiver or aboard.get(key) is encoded:
                    misses += 1
                    continue
                room -= len(encoded)
                chosen.append((tier, key, encoded))
        self._aboard = {**aboard, **{key: encoded for _, key, encoded in chosen}}
        for tier, key, encoded in chosen:
            del self._tiers[tier][key]
            accusers = self.subjects[key[0]][1]
            if tier + 1 >= tellings:
                del accusers[key[1]]
                if not accusers:
                    del self.subjects[key[0]]
                continue
            if tier + 1 == len(self._tiers):
                self._tiers.append({})
            accusers[key[1]] = tier + 1
            self._tiers[tier + 1][key] = encoded
        return [encoded for _, _, encoded in chosen]

    def _drop_most_told(self) -> None:
        for rumours in reversed(self._tiers):
            for subject, _ in rumours:
                self.forget(subject)
                return
