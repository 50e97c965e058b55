"""Probing in another member's stead.

A helper asks the target at once, passes its ack on whenever it comes while the request is remembered, and says `Nack`
when the ack is overdue, so that the asker can tell a silent target from its own deafness. If the operating system
refuses the datagram, the nack says so at once: that is a second member's evidence.

Who asks about a process that is known here to be dead has missed the news: if the target is silent to this node, too, it is
told beside the nack. (Where many die at once most of what is told goes to the dead; whom it all missed, and who doubts itself
as so few answer, would wait out its own suspicion, stretched three times.)"""

from __future__ import annotations

from dataclasses import dataclass

from mesh.directives import Address, Source
from mesh.membership.actions import Actions
from mesh.membership.messages import Confirmed, Nack, News, Ping, PingRequest, entry_of
from mesh.membership.profile import Profile
from mesh.membership.table import Table

__all__ = ["MAX_RELAYS", "Relays"]

MAX_RELAYS = 256
"""Requests that are remembered at once; more are answered by silence."""


@dataclass(slots=True)
class Relay:
    asker: bytes
    sequence: int
    """The asker's."""
    target: bytes
    address: Address
    answered: bool = False


class Relays:
    __slots__ = ("_actions", "_profile", "_relays", "_table")

    def __init__(self, table: Table, profile: Profile, actions: Actions) -> None:
        self._table = table
        self._profile = profile
        self._actions = actions
        self._relays: dict[int, Relay] = {}

    def on_request(self, request: PingRequest, source: Source, sequence: int, now: int) -> None:
        """`sequence` is a fresh one of this node's own."""
        target = self._table.by_session(request.target)
        if target is None:
            self._actions.send(source.session, Nack(request.sequence, False))
            return
        if len(self._relays) >= MAX_RELAYS:
            self._actions.count("relays_dropped")
            return
        self._relays[sequence] = Relay(source.session, request.sequence, request.target, target.address)
        self._actions.send(request.target, Ping(sequence, request.target))
        self._actions.arm(("relay", sequence), now + self._profile.nack_after)

    def on_timer(self, sequence: int, now: int) -> None:
        relay = self._relays[sequence]
        if relay.answered:
            del self._relays[sequence]
            return
        self._answer(relay, refused=False)
        self._tell_of_death(relay)
        self._actions.arm(("relay", sequence), now + 2 * self._profile.probe_interval)

    def on_ack(self, sequence: int, source: Source) -> bool:
        """Whether the ack was for a relay."""
        relay = self._relays.get(sequence)
        if relay is None or relay.target != source.session:
            return False
        del self._relays[sequence]
        self._actions.disarm(("relay", sequence))
        self._actions.send(relay.asker, Confirmed(relay.sequence, relay.target))
        return True

    def on_refused(self, address: Address) -> bool:
        """Whether the refusal came of a relay: then the asker leads the confirmation, and this node starts none."""
        found = False
        for relay in self._relays.values():
            if relay.address == address:
                found = True
                if not relay.answered:
                    self._answer(relay, refused=True)
        return found

    def clear(self) -> None:
        """After a pause: what was overdue says nothing of the targets."""
        for sequence in self._relays:
            self._actions.disarm(("relay", sequence))
        self._relays.clear()

    def _answer(self, relay: Relay, refused: bool) -> None:
        relay.answered = True
        self._actions.send(relay.asker, Nack(relay.sequence, refused))

    def _tell_of_death(self, relay: Relay) -> None:
        target = self._table.by_session(relay.target)
        if target is not None and not target.reachable:
            self._actions.count("told_better")
            self._actions.send(relay.asker, News(entry_of(target), None))
