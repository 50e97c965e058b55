"""Who subscribes to what on this node, and what they have not read yet.

A subscription holds a bounded number of messages and bytes. What comes when it is full is not taken: it is counted, its
sender is told (`Outcome.FULL`), and the reader finds with the next message how many it has missed. Nothing ever waits for a
reader."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from mesh.messaging.messages import Outcome

__all__ = ["MAX_BYTES", "MAX_SUBSCRIPTIONS", "Inbox", "Incoming", "Subscription"]

MAX_BYTES = 16 << 20
"""Of one subscription's unread messages: sixteen of the largest."""

MAX_SUBSCRIPTIONS = 4_096
OVERHEAD = 200
"""Bytes that an unread message costs beside its topic and body."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that somebody here is to read."""

    sender: str
    session: bytes
    topic: str
    body: bytes
    broadcast: bool = False
    question: int = 0
    """If it wants replies, the number by which they name it."""
    until: int = 0
    """Monotonic ns from which nobody waits for replies any more."""


@dataclass(slots=True, eq=False)
class Subscription:
    """One reader's messages, in the order in which they came."""

    number: int
    topic: str
    limit: int
    unread: deque[Incoming] = field(default_factory=deque)
    unread_bytes: int = 0
    missed: int = 0
    """Since the reader took the last one."""

    def offer(self, incoming: Incoming) -> bool:
        """Whether there was room."""
        size = len(incoming.body) + OVERHEAD
        if len(self.unread) >= self.limit or self.unread_bytes + size > MAX_BYTES:
            self.missed += 1
            return False
        self.unread.append(incoming)
        self.unread_bytes += size
        return True

    def take(self) -> tuple[Incoming, int] | None:
        """The next one, and how many were missed since the last."""
        if not self.unread:
            return None
        incoming = self.unread.popleft()
        self.unread_bytes -= len(incoming.body) + OVERHEAD
        missed, self.missed = self.missed, 0
        return incoming, missed


class Inbox:
    __slots__ = ("_by_topic", "_last", "counts")

    def __init__(self, counts: Counter[str]) -> None:
        self._by_topic: dict[str, list[Subscription]] = {}
        self._last = 0
        self.counts = counts

    def subscribe(self, topic: str, limit: int) -> Subscription | None:
        """None if there are too many."""
        if len(self) >= MAX_SUBSCRIPTIONS:
            return None
        self._last += 1
        subscription = Subscription(self._last, topic, limit)
        self._by_topic.setdefault(topic, []).append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """What it has not read is dropped; idempotent."""
        of_topic = self._by_topic.get(subscription.topic, [])
        if subscription in of_topic:
            of_topic.remove(subscription)
            self.counts["unread"] += len(subscription.unread)
            subscription.unread.clear()
            subscription.unread_bytes = 0
            if not of_topic:
                del self._by_topic[subscription.topic]

    def offer(self, incoming: Incoming) -> tuple[Outcome, list[Subscription]]:
        """Hand it to everyone who subscribes; who has taken it."""
        subscriptions = self._by_topic.get(incoming.topic)
        if not subscriptions:
            return Outcome.NOBODY, []
        took = [subscription for subscription in subscriptions if subscription.offer(incoming)]
        self.counts["missed"] += len(subscriptions) - len(took)
        return (Outcome.TAKEN if took else Outcome.FULL), took

    def __len__(self) -> int:
        return sum([len(of_topic) for of_topic in self._by_topic.values()])

    def unread(self) -> int:
        return sum([len(each.unread) for of_topic in self._by_topic.values() for each in of_topic])
