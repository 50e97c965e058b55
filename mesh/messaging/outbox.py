"""Letters to one process: repeated until they are answered, and taken once.

    sender      numbers its letters to a process in turn; repeats each until its receipt comes, the process is no more, or
                `PATIENCE` has passed. Every letter says `least`, the lowest number that the sender has not finished with, and
                none is sent `SPAN` or more above it.
    receiver    answers each letter with what came of it, and remembers that for every number from `least` on: of a letter that
                comes again the answer is repeated, and the letter is not taken again. A number below `least` is an old copy.

So a receiver remembers at most `SPAN` outcomes of a sender, whatever is lost, repeated or overtaken, and a letter is taken at
most once. Without `least` it would have to remember for ever, or forget by time, and a copy from before a long pause would be
new. (The sliding window of TCP and of every link protocol before it; at most once as in Birrell and Nelson, 1984.)

What was sent and never answered may have been taken, or not: the sender is told just that."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace

from mesh.messaging.messages import Letter, Outcome, Question, Reply

__all__ = ["FLYING", "MAX_WAITING", "PATIENCE", "SPAN", "Arrivals", "Numbered", "Outbox", "Pending"]

MS = 1_000_000

FLYING = 64
"""Letters to one process that are sent and not answered; more wait their turn."""

SPAN = 256
"""Numbers of one sender that a receiver remembers at the most."""

MAX_WAITING = 8_192
"""Letters to one process that wait their turn; more are refused at once."""

PATIENCE = 30_000 * MS
"""After so long without an answer from a process that is not known to be dead (it may be of a version that knows no letters), a
letter is given up."""

FIRST_AGAIN = 20 * MS
"""The soonest repetition; of what needs a stream `FIRST_LARGE`. Each further one waits twice as long, up to `LAST_AGAIN`."""
FIRST_LARGE = 500 * MS
LAST_AGAIN = 1_000 * MS
LARGE_BYTES = 1_000

FULL_AGAIN = 20 * MS
"""A reply that found its asker with no room is sent again so much later."""

Numbered = Letter | Question | Reply


@dataclass(slots=True)
class Pending:
    """A letter that is not finished."""

    ref: int
    """The caller's."""
    message: Numbered
    until: int
    """When it is given up."""
    again: int = 0
    """When it is sent (again); 0 while it has not been sent."""
    pause: int = 0


@dataclass(slots=True)
class Outbox:
    """One receiver's. The caller sends what `due` gives it."""

    name: str
    session: bytes
    last: int
    """The last number that was given; the first is above any that this process has given before, should it have forgotten."""
    _pending: dict[int, Pending] = field(default_factory=dict)
    """By number, in order: those flying, then those waiting."""
    _waiting: deque[int] = field(default_factory=deque)
    _flying: dict[int, None] = field(default_factory=dict)

    def post(self, ref: int, message: Numbered, until: int) -> int:
        """Take a letter on; its number, or 0 if there are too many."""
        if len(self._waiting) >= MAX_WAITING:
            return 0
        self.last += 1
        self._pending[self.last] = Pending(ref, replace(message, number=self.last), until)
        self._waiting.append(self.last)
        return self.last

    @property
    def least(self) -> int:
        return next(iter(self._pending), self.last + 1)

    def due(self, now: int, rtt: int) -> list[Numbered]:
        """What is to be sent now."""
        sent: list[Numbered] = []
        for number in self._flying:
            pending = self._pending[number]
            if pending.again <= now:
                sent.append(self._sent(pending, now, rtt))
        while self._waiting and len(self._flying) < FLYING and self._waiting[0] < self.least + SPAN:
            number = self._waiting.popleft()
            self._flying[number] = None
            sent.append(self._sent(self._pending[number], now, rtt))
        return sent

    def _sent(self, pending: Pending, now: int, rtt: int) -> Numbered:
        if pending.pause:
            pending.pause = min(2 * pending.pause, LAST_AGAIN)
        else:
            first = FIRST_LARGE if len(pending.message.body) > LARGE_BYTES else FIRST_AGAIN
            pending.pause = min(max(first, 4 * rtt), LAST_AGAIN)
        pending.again = now + pending.pause
        return replace(pending.message, least=self.least)

    def expired(self, now: int) -> list[Pending]:
        """What is given up now."""
        late = [number for number, pending in self._pending.items() if pending.until <= now]
        return [self._finish(number) for number in late]

    def next_due(self) -> int | None:
        """When `due` or `expired` has something again."""
        if not self._pending:
            return None
        times = [min(self._pending[number].again, self._pending[number].until) for number in self._flying]
        if not times:
            return min(pending.until for pending in self._pending.values())
        return min(times)

    def answered(self, number: int, outcome: Outcome, now: int) -> Pending | None:
        """The letter that a receipt finishes; None if it is none of now, or is to be sent again."""
        if number not in self._flying:
            return None
        pending = self._pending[number]
        if outcome is Outcome.FULL and isinstance(pending.message, Reply):
            pending.again, pending.pause = now + FULL_AGAIN, 0
            return None
        return self._finish(number)

    def cancel(self, ref: int) -> bool:
        """Send this no more; whether it was pending."""
        for number, pending in self._pending.items():
            if pending.ref == ref:
                self._finish(number)
                return True
        return False

    def drop(self, number: int) -> bool:
        """As `cancel`, by number."""
        if number not in self._pending:
            return False
        self._finish(number)
        return True

    def close(self) -> list[Pending]:
        """The process is no more: all that is not finished."""
        return [self._finish(number) for number in list(self._pending)]

    def _finish(self, number: int) -> Pending:
        if number in self._flying:
            del self._flying[number]
        else:
            self._waiting.remove(number)
        return self._pending.pop(number)

    def __len__(self) -> int:
        return len(self._pending)


@dataclass(slots=True)
class Arrivals:
    """What came of one sender's letters."""

    least: int = 0
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def heard(self, message: Numbered) -> bool:
        """Take note of what the sender has finished with; whether this one is of now."""
        if message.least > self.least:
            self.least = message.least
            self.outcomes = {number: outcome for number, outcome in self.outcomes.items() if number >= self.least}
        return self.least <= message.number < self.least + SPAN

    def note(self, message: Numbered, outcome: Outcome) -> None:
        """What came of it; of a reply for which there was no room nothing did."""
        if not (outcome is Outcome.FULL and isinstance(message, Reply)):
            self.outcomes[message.number] = outcome
