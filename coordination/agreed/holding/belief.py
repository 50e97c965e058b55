"""What one holder believes of one lease, by its own clock alone.

  - A belief counts from *before* the attempt that an answer names was sent, never from the answer. (The answer may
    have been on its way for any time.)
  - It lasts ttl (1 - rho) / (1 + rho): the slowest clock here against the fastest acceptor.
  - A renewal counts once q acceptors have answered: from the q-th newest of the send times that their last answers
    name. An answer counts only if its boot is not older than any that is named.
  - A deadline that has passed, or a release that was issued, is final: whatever comes later is not believed. (The
    group has let go of it.)

Boot-time clock throughout: it goes on while the machine sleeps."""

from __future__ import annotations

from coordination.agreed.vocabulary.roster import RosterValue
from mesh.directives import Boot

__all__ = ["SENT_KEPT", "Belief"]

SENT_KEPT = 64
"""Send times that are remembered, the newest: answers to older attempts are too old anyway."""


class Belief:
    __slots__ = ("_acks", "_final", "_named", "_sent", "deadline", "serial", "term")

    def __init__(self) -> None:
        self.serial = 0
        self.deadline = 0
        """Boot ns; 0 before the first grant."""
        self.term = 0
        self._final = False
        self._sent: dict[int, int] = {}
        self._acks: dict[str, tuple[Boot, tuple[int, int]]] = {}
        """Of each acceptor: its process, and the send time and serial of the newest attempt that it has answered."""
        self._named: dict[str, Boot] = {}

    def sending(self, now: int) -> int:
        """The serial of an attempt that is about to be sent."""
        self.serial += 1
        self._sent[self.serial] = now
        if len(self._sent) > SENT_KEPT:
            del self._sent[next(iter(self._sent))]
        return self.serial

    def sent(self, serial: int) -> int | None:
        return self._sent.get(serial)

    def valid(self, now: int) -> bool:
        if now >= self.deadline:
            if self.deadline:
                self._final = True
            return False
        return not self._final

    def end(self) -> None:
        self._final = True

    def grant(self, serial: int, term: int, roster: RosterValue, now: int) -> bool:
        """A grant that answers `serial` came; whether it is believed (it may be too old)."""
        start = self._sent.get(serial)
        if start is None or self._over(now):
            return False
        return self._extend(start, term, roster, now)

    def renewed(
        self,
        name: str,
        boot: Boot,
        named: dict[str, Boot],
        serial: int,
        ttl: int,
        roster: RosterValue,
        quorum: int,
        now: int,
    ) -> bool:
        """An acceptor answered a renewal; whether the deadline moved."""
        for voter, known in named.items():
            if known > self._named.get(voter, Boot(0, b"")):
                self._named[voter] = known
        start = self._sent.get(serial)
        if start is None or self._over(now):
            return False
        old = self._acks.get(name)
        if old is None or (start, serial) > old[1]:
            self._acks[name] = (boot, (start, serial))
        since, _ = self.confirmed(quorum)
        return since >= 0 and self._extend(since, ttl, roster, now)

    def confirmed(self, quorum: int) -> tuple[int, int]:
        """Send time and serial of the attempt that q acceptors have answered, (-1, 0) for none. Answers of replaced processes
        do not count. (Two attempts may be of one time: the serial alone tells which of them was answered.)"""
        named = self._named
        attempts = [sent for voter, (boot, sent) in self._acks.items() if boot >= named.get(voter, boot)]
        if len(attempts) < quorum:
            return -1, 0
        attempts.sort(reverse=True)
        return attempts[quorum - 1]

    def regroup(self) -> None:
        """Another group keeps the lease from now on. What the old one acknowledged holds, but counts for no quorum of it."""
        self._acks.clear()

    def _over(self, now: int) -> bool:
        if self.deadline and now >= self.deadline:
            self._final = True
        return self._final

    def _extend(self, start: int, term: int, roster: RosterValue, now: int) -> bool:
        deadline = start + roster.believed(term)
        if deadline <= max(self.deadline, now):
            return False
        self.deadline = deadline
        self.term = term
        return True
