"""What one step sends, in as few datagrams as possible, and gossip in the room that is left.

Messages to one receiver leave in the order in which they were sent; a datagram is closed when the next one does not fit. The
last datagram to each receiver is filled: the first part that gossips has half of the room, the others what is left, then the
first again. So neither rumours nor data starve, and no room is wasted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, cast, runtime_checkable

from mesh.contacts import Contact
from mesh.envelope import Encoded

__all__ = ["LAN_DATAGRAM_BYTES", "LOOPBACK_DATAGRAM_BYTES", "Gossip", "Packer", "gossiping"]

LAN_DATAGRAM_BYTES = 1_200
"""A sealed datagram anywhere: below the smallest path MTU of IPv6 (1,280) less headers."""

LOOPBACK_DATAGRAM_BYTES = 1_400


@runtime_checkable
class Gossip(Protocol):
    """A part that has news for whatever room a datagram leaves."""

    def eager(self, to: str) -> bool:
        """Whether it has something to say to this member, if there is room."""

    def piggyback(self, to: str, budget: int) -> Sequence[bytes]: ...


_gossips: dict[type, bool] = {}
"""Of each class of a part: to ask a protocol takes long, and a simulated mesh starts nodes all the time."""


def gossiping(parts: Iterable[object]) -> list[Gossip]:
    """Those that gossip, in their order."""
    found = []
    for part in parts:
        gossips = _gossips.get(type(part))
        if gossips is None:
            gossips = _gossips[type(part)] = isinstance(part, Gossip)
        if gossips:
            found.append(cast(Gossip, part))
    return found


class Packer:
    """Collects one step's messages.

    Parameters
    ----------
    budget: bytes of messages in one datagram.
    gossips: the parts that gossip, in their order.
    most: the bytes of an encoded message, or a bound of them: what fits by that needs no closer look.
    """

    __slots__ = ("_budget", "_gossips", "_most", "_turns", "outgoing")

    def __init__(self, budget: int, gossips: Sequence[Gossip], most: Callable[[Encoded], int] = len) -> None:
        self._budget = budget
        self._most = most
        self._gossips = gossips
        self._turns = [(part, 2 if turn == 0 else 1) for turn, part in enumerate((*gossips, *gossips[:1]))]
        """Who fills, and by what the room is divided for it."""
        self.outgoing: dict[bytes, tuple[Contact, list[Encoded]]] = {}
        """What waits for `take`, by session."""

    def add(self, contact: Contact, encoded: Encoded) -> bool:
        """Whether it fits, and has been taken."""
        if self._most(encoded) > self._budget and len(encoded) > self._budget:
            return False
        outgoing = self.outgoing.get(contact.session)
        if outgoing is None:
            self.outgoing[contact.session] = (contact, [encoded])
        else:
            outgoing[1].append(encoded)
        return True

    def take(self) -> list[tuple[Contact, list[Encoded]]]:
        """What each datagram holds, for whom."""
        packed = []
        for outgoing in self.outgoing.values():
            contact, messages = outgoing
            # Each is asked, also behind one that is eager: it begins a datagram.
            eager = [part for part in self._gossips if part.eager(contact.name)]
            if not eager and (len(messages) == 1 or sum(map(self._most, messages)) <= self._budget):
                packed.append(outgoing)
                continue
            batch: list[Encoded] = []
            room = self._budget
            for encoded in messages:
                size = len(encoded)
                if size > room:
                    packed.append((contact, batch))
                    batch, room = [], self._budget
                batch.append(encoded)
                room -= size
            for part, divisor in self._turns if eager else ():
                if part not in eager:
                    continue
                for encoded in part.piggyback(contact.name, room // divisor):
                    batch.append(encoded)
                    room -= len(encoded)
            packed.append((contact, batch))
        self.outgoing = {}
        return packed
