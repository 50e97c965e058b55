"""The messages that thin clients send through their sponsor, in whose name they go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from coordination.arguments.posting import check_broadcast_bytes, check_topic, undelivered
from coordination.sponsor.failures import told
from coordination.sponsor.messages import Answer
from coordination.sponsor.operations import check_arguments, check_body
from crdt.clock import Instant
from mesh.directives import Act, Directive
from mesh.messaging import Messaging, Posted

__all__ = ["Letters"]

Remembered = Callable[[Answer], None]
"""Keeps the answer to a write of one client, and sends it."""


class Letters:
    """Who waits for what came of which letter, by reference; `owner` is the client."""

    __slots__ = ("_messaging", "_waiting")

    def __init__(self, messaging: Messaging) -> None:
        self._messaging = messaging
        self._waiting: dict[int, tuple[object, int, str, str]] = {}

    def send(self, owner: object, sequence: int, arguments: Sequence[Any], now: Instant, out: list[Directive]) -> None:
        """Answered later. Raises `BadConfig`, `BadKey`, `BadValue`, `TooLarge`."""
        check_arguments("send", ((str,), (str,), (bytes,)), arguments)
        to, topic, body = arguments
        check_topic(topic)
        check_body(body)
        ref = self._messaging.next_ref()
        self._waiting[ref] = (owner, sequence, to, topic)
        out.append(Act(self._messaging, self._messaging.send(ref, to, topic, body, now)))

    def broadcast(self, arguments: Sequence[Any], now: Instant, out: list[Directive]) -> None:
        """Raises `BadConfig`, `BadKey`, `BadValue`, `TooLarge`."""
        check_arguments("broadcast", ((str,), (bytes,)), arguments)
        topic, body = arguments
        check_broadcast_bytes(check_topic(topic), check_body(body))
        out.append(Act(self._messaging, self._messaging.broadcast(topic, body, now)))

    def waits(self, owner: object, sequence: int) -> bool:
        return any(each[:2] == (owner, sequence) for each in self._waiting.values())

    def posted(self, event: Posted) -> tuple[Any, Answer] | None:
        """The client that waited for this, and its answer; None if it was none's."""
        waiting = self._waiting.pop(event.ref, None)
        if waiting is None:
            return None
        owner, sequence, to, topic = waiting
        error = undelivered(event.fate, to, topic)
        return owner, Answer(sequence, "", b"\xf6") if error is None else Answer(sequence, *told(error))

    def give_up(self, owner: object, sequence: int | None, now: Instant, out: list[Directive]) -> None:
        """Nobody waits for it any more; of all of a client's, without a sequence."""
        for ref, (of, number, _, _) in list(self._waiting.items()):
            if of is owner and sequence in (None, number):
                del self._waiting[ref]
                out.append(Act(self._messaging, self._messaging.cancel(ref, now)))

    def count(self, owner: object) -> int:
        return sum([of is owner for of, *_ in self._waiting.values()])
