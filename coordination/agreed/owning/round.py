"""One round of a proposal: a prepare or an accept, sent to a group, and its answers.

- A round is reached when q answers count. An answer counts only if its boot is not older than any boot of that voter
  named in the request or in another answer. (Beside its replacement, an older process of one name makes two quorums
  that do not meet.)
- A repeated message is the same message: acceptors answer it again.
- Whoever refused may still answer (an end that it had missed was told to it); with more than R - q refusals the round is
  hopeless, and with one refusal for good reason it is not worth waiting for those that are silent.
- A ballot serves one value: a round that was refused or ran out of time is never tried again with another value."""

from __future__ import annotations

from coordination.agreed.vocabulary.messages import Accept, Accepted, Prepare, Promise, Reason, Rejected
from coordination.agreed.vocabulary.placement import Group
from mesh.directives import Boot

__all__ = ["NO_VOTE", "Answer", "Round"]

Answer = Promise | Accepted | Rejected

NO_VOTE = (Reason.ABSTAIN, Reason.MEMORY)
"""Reasons of those that take no part at present: they have seen nothing that a round could have missed."""


class Round:
    __slots__ = ("_named", "answers", "group", "message", "refusals", "resent", "spared", "started")

    def __init__(self, message: Prepare | Accept, group: Group, now: int) -> None:
        self.message = message
        self.group = group
        self.started = now
        self.resent = 0
        self.spared: tuple[str, ...] = ()
        """Those of the group that it has not been sent to yet."""
        self.answers: dict[str, Promise | Accepted] = {}
        self.refusals: dict[str, Rejected] = {}
        self._named: list[Boot] = list(message.boots)

    def add(self, answer: Answer) -> bool:
        """Take an answer in; False for one that belongs to another round or to nobody of the group."""
        if answer.ballot != self.message.ballot or answer.name not in self.group:
            return False
        if isinstance(answer, Rejected):
            if answer.name not in self.answers:
                self.refusals[answer.name] = answer
        elif isinstance(answer, Promise) != isinstance(self.message, Prepare):
            return False
        else:
            self.refusals.pop(answer.name, None)
            self.answers[answer.name] = answer
        for index, boot in enumerate(answer.boots):
            if index < len(self._named) and boot > self._named[index]:
                self._named[index] = boot
        return True

    def counted(self) -> list[Promise | Accepted]:
        """The answers that make a quorum, in the group's order."""
        answers = self.answers
        return [
            answers[name]
            for name, named in zip(self.group, self._named, strict=True)
            if name in answers and answers[name].boot >= named
        ]

    def reached(self) -> bool:
        quorum = self.group.quorum
        return len(self.answers) >= quorum and len(self.counted()) >= quorum

    def votes(self, name: str) -> bool:
        """Whether one has accepted it, and knows of no newer process of those that learn by that what is granted or ended. (An
        older one would take it for a quorum, in which of its own name the newer one counts.)"""
        answer = self.answers.get(name)
        if answer is None or not answer.boots:
            return answer is not None
        message, known = self.message, dict(zip(self.group, answer.boots, strict=False))
        assert isinstance(message, Accept), "who promises does not vote"
        leases = message.ends if message.granting < 0 else (*message.ends, message.value.holdings[message.granting].lease)
        return all(known.get(lease.name, lease.boot) <= lease.boot for lease in leases)

    def hopeless(self) -> bool:
        return len(self.refusals) > len(self.group) - self.group.quorum

    def refused(self) -> bool:
        """Whether anyone that votes has refused: then the next round starts with a prepare."""
        return any(refusal.reason not in NO_VOTE for refusal in self.refusals.values())

    def overtaken(self) -> bool:
        """Whether someone has promised to a higher ballot."""
        ballot = self.message.ballot
        return any(each.reason == Reason.BALLOT and each.promised > ballot for each in self.refusals.values())

    def grounds(self) -> tuple[tuple[Boot, ...], int]:
        """The boots that an accept resting on this round names, and which of them it rests on."""
        boots = list(self._named)
        rests = 0
        for index, name in enumerate(self.group):
            answer = self.answers.get(name)
            if answer is not None and answer.boot >= boots[index]:
                boots[index] = answer.boot
                rests |= 1 << index
        return tuple(boots), rests

    def silent(self) -> list[str]:
        return [name for name in self.group if name not in self.answers and name not in self.refusals]
