"""Questions that this node has asked, and what has come of each.

A question goes to one or many members, as a letter to each. A member may answer several times, and says with which answer it
ends; one that refuses, has no subscriber, or is no more, ends too, and why is kept. What has not been read is bounded: a
reply that finds no room is repeated by its sender until there is, or the time is over."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from mesh.messaging.events import Fate
from mesh.messaging.messages import Outcome, Reply

__all__ = ["MAX_ASKED", "MAX_UNREAD", "MAX_UNREAD_BYTES", "Answer", "Asked", "Questions"]

MAX_ASKED = 1_024
"""Members of one question."""

MAX_UNREAD = 1_024
MAX_UNREAD_BYTES = 16 << 20
"""Replies to one question, and their bytes, that are not read yet."""

SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Answer:
    member: str
    body: bytes


@dataclass(slots=True)
class Asked:
    """One question."""

    ref: int
    waiting: dict[str, None]
    """Members that have not ended."""
    unread: deque[Answer] = field(default_factory=deque)
    unread_bytes: int = 0
    answered: dict[str, None] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Who ended without an answer, and why."""
    letters: list[tuple[bytes, int]] = field(default_factory=list)
    """Session and number of each letter."""
    over: bool = False

    def take(self) -> Answer | None:
        if not self.unread:
            return None
        answer = self.unread.popleft()
        self.unread_bytes -= len(answer.body)
        return answer

    def end(self, member: str, why: str = "") -> None:
        if member in self.waiting:
            del self.waiting[member]
            if why or member not in self.answered:
                self.missing[member] = why or "no answer"
            self.over = self.over or not self.waiting

    def expire(self) -> None:
        """The time is over."""
        for member in list(self.waiting):
            self.end(member, SILENT)
        self.over = True


WHY = {
    Fate.NOBODY: "nobody subscribes there",
    Fate.FULL: "its subscriber does not read",
    Fate.ABSENT: "not there",
    Fate.UNKNOWN: "gone",
    Fate.BUSY: "too many messages to it wait",
}


class Questions:
    """Those that are open, by reference and by letter."""

    __slots__ = ("_asked", "_letters")

    def __init__(self) -> None:
        self._asked: dict[int, Asked] = {}
        self._letters: dict[tuple[bytes, int], tuple[Asked, str]] = {}

    def open(self, ref: int, members: tuple[str, ...]) -> Asked:
        asked = self._asked[ref] = Asked(ref, dict.fromkeys(members), over=not members)
        return asked

    def sent(self, asked: Asked, member: str, session: bytes, number: int) -> None:
        """The letter to this member has that number."""
        asked.letters.append((session, number))
        self._letters[session, number] = (asked, member)

    def get(self, ref: int) -> Asked | None:
        return self._asked.get(ref)

    def close(self, ref: int) -> None:
        """Nobody waits for replies any more; idempotent."""
        asked = self._asked.pop(ref, None)
        if asked is not None:
            for letter in asked.letters:
                self._letters.pop(letter, None)

    def of_letter(self, session: bytes, number: int) -> tuple[Asked, str] | None:
        """The question that a letter carried, and to whom."""
        return self._letters.get((session, number))

    def of_session(self, session: bytes) -> list[tuple[Asked, str]]:
        """The questions that wait for a process."""
        return [
            (asked, member)
            for (asked_of, _), (asked, member) in self._letters.items()
            if asked_of == session and member in asked.waiting
        ]

    def on_reply(self, reply: Reply, session: bytes) -> tuple[Outcome, Asked | None]:
        found = self._letters.get((session, reply.question))
        if found is None:
            return Outcome.NOBODY, None
        asked, member = found
        if member not in asked.waiting:
            return Outcome.NOBODY, None
        if reply.why:
            asked.end(member, reply.why)
            return Outcome.TAKEN, asked
        if len(asked.unread) >= MAX_UNREAD or asked.unread_bytes + len(reply.body) > MAX_UNREAD_BYTES:
            return Outcome.FULL, None
        asked.unread.append(Answer(member, reply.body))
        asked.unread_bytes += len(reply.body)
        asked.answered[member] = None
        if reply.last:
            asked.end(member)
        return Outcome.TAKEN, asked

    def __len__(self) -> int:
        return len(self._asked)
