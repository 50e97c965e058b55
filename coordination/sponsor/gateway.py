"""What a sponsor does for thin clients: it answers their operations, and relays between their holders and the voters.

  - A client is one stream. Who it is, its session has proven; to the voters it is `ID@SPONSOR`, ID being half the session.
  - The sponsor reads what a client's holder says only to see that it speaks in its own name; what comes for that holder
    it passes on unread. It keeps nothing of it, so the end of the stream frees nothing: the lease runs out, or was given
    back. (A lease that ended with the stream would be believed by a client that still runs.)
  - What a client asks for is answered by `coordination.sponsor.answering`.

Everything is bounded, and what is refused or dropped is counted."""

from __future__ import annotations

from collections.abc import Hashable

from coordination.agreed.agreed import Agreed
from coordination.agreed.rosters.reset import lost
from coordination.agreed.vocabulary.events import Called, CallFailed, Explained, Listed, ResetOver, RosterDecided, Surveyed
from coordination.agreed.vocabulary.messages import Acquire, Cancel, Drop, Mend, Release, Renew
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.arguments.calling import new_voters
from coordination.errors import MeshError
from coordination.sponsor.answering import Answering
from coordination.sponsor.guests import Guest
from coordination.sponsor.messages import (
    Ask,
    ClientHello,
    ClientRefused,
    ClientWelcome,
    Forward,
    Taken,
    Unasked,
    Unwatch,
    Voters,
)
from crdt.clock import HybridClock, Instant
from crdt.store import Store
from mesh.directives import Boot, ChannelDown, Close, Directive, Directives, Event, Message, Send, Source, Write
from mesh.membership import Identity, Joined, MemberChanged, MemberForgotten, Membership
from mesh.messaging import Messaging, Posted
from mesh.relay import Relayed
from mesh.replication import Acknowledged, Changed, Entrusting, Replication, Synced
from mesh.wire import WireError, decode

__all__ = ["MAX_CLIENTS", "Gateway"]

MAX_CLIENTS = 256
"""Half of the streams that the shell accepts."""


class Gateway(Answering):
    name = "gateway"
    messages: tuple[type[Message], ...] = (ClientHello, Ask, Unasked, Forward, Taken, Unwatch, Relayed)
    hears = (
        ChannelDown,
        RosterDecided,
        MemberChanged,
        MemberForgotten,
        Joined,
        Explained,
        Listed,
        ResetOver,
        Surveyed,
        Synced,
        Acknowledged,
        Changed,
        Called,
        CallFailed,
        Posted,
    )

    def __init__(
        self,
        identity: Identity,
        membership: Membership,
        store: Store,
        clock: HybridClock,
        replication: Replication,
        entrusting: Entrusting,
        agreed: Agreed,
        messaging: Messaging,
    ) -> None:
        super().__init__(membership, store, clock, replication, entrusting, agreed, messaging)
        self._identity = identity
        self._birth = agreed.birth
        self._by_id: dict[str, Guest] = {}
        self._voters = Voters(None, ())

    # --- part --------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(message, Relayed):
            self._relay(message, source, out)
            return out
        guest = self._guests.get(source.channel) if source.channel is not None else None
        if isinstance(message, ClientHello):
            self._welcome(source, now, out)
        elif guest is None:
            self._counts["strangers"] += 1
        else:
            match message:
                case Ask():
                    self._ask(guest, message, now, out)
                case Unasked(sequence):
                    self._unasked(guest, sequence, now, out)
                case Forward():
                    self._forward(guest, message, out)
                case Taken(watch, batches):
                    self._watches.taken(guest, watch, batches, now, out)
                case Unwatch(watch):
                    self._watches.end(guest, watch)
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        return ()

    def on_event(self, event: Event, now: Instant) -> Directives:
        out: list[Directive] = []
        match event:
            case Changed(changes, counters):
                if self._watches.changed(changes, counters):
                    self._watches.tell_all(self._guests.values(), now, out)
            case ChannelDown(channel):
                self._forget(channel, now, out)
            case MemberChanged() | MemberForgotten() | RosterDecided():
                self._note_voters(out)
            case Explained(query, explanation):
                explanation = explanation.beside(self.operations.forgets(now))
                self._conclude(query, [getattr(explanation, name) for name in explanation.__slots__], out)
            case Posted():
                posted = self._letters.posted(event)
                if posted is not None:
                    self._answer(*posted, out, remember=True)
            case Called(call) | CallFailed(call):
                if call in self._calls:
                    self._called(*self._calls.pop(call), event, out)
            case Listed(query, locks, missing, quorum):
                self._conclude(query, [locks, missing, quorum], out)
            case Surveyed(query):
                self._conclude(query, lost(event), out)
            case ResetOver(query):
                try:
                    self._conclude(query, new_voters(event), out)
                except MeshError as error:
                    self._conclude(query, error, out)
            case Synced(query):
                self._conclude(query, None, out)
            case Acknowledged(query):
                self._conclude(query, self._written.pop(query, None), out, remember=True)
            case Joined():
                self._joined = True
                for guest in self._guests.values():
                    for sequence in [sequence for sequence, query in guest.pending.items() if not query]:
                        self._sync(guest, sequence, now, out)
        return out

    def stats(self) -> dict[str, int]:
        watches = sum([len(guest.watches) for guest in self._guests.values()])
        return {"clients": len(self._guests), "watches": watches, "queries": len(self._queries), **self._counts}

    # --- who is there ------------------------------------------------------------------------------------------------

    def _welcome(self, source: Source, now: Instant, out: list[Directive]) -> None:
        channel = source.channel
        if channel is None or channel in self._guests:
            self._counts["strangers"] += 1
            return
        identifier = source.session[:8].hex()
        former = self._by_id.get(identifier)
        if former is not None and former.boot.session == source.session:
            out.append(Close(former.channel))  # it has dialled anew
            self._forget(former.channel, now, out)
        elif former is not None or len(self._guests) >= MAX_CLIENTS:
            self._counts["refused_clients"] += 1
            out += (Write(channel, ClientRefused(f"has {len(self._guests)} clients already: use another")), Close(channel))
            return
        boot = Boot(self._clock.tick(now), source.session)
        guest = Guest(channel, identifier, f"{identifier}@{self._identity.name}", boot)
        self._guests[channel] = self._by_id[identifier] = guest
        self._counts["welcomed_clients"] += 1
        out += (Write(channel, self._voters), Write(channel, ClientWelcome(guest.name, self._identity.name, boot)))

    def _forget(self, channel: int, now: Instant, out: list[Directive]) -> None:
        guest = self._guests.pop(channel, None)
        if guest is None:
            return
        del self._by_id[guest.id]
        self._letters.give_up(guest, None, now, out)
        for sequence in (*guest.pending, *guest.calls):
            self._unasked(guest, sequence, now, out)
        for watch in list(guest.watches):
            self._watches.end(guest, watch)

    def _note_voters(self, out: list[Directive]) -> None:
        """The roster, or who of it is alive, may have changed: whoever asks for leases is told."""
        roster = self._birth.roster
        silent = tuple([name for name in roster.voters if not self._membership.is_alive(name)]) if roster is not None else ()
        voters = Voters(roster, silent)
        if voters != self._voters:
            self._voters = voters
            out.extend(Write(channel, voters) for channel in self._guests)

    # --- holders -----------------------------------------------------------------------------------------------------

    def _forward(self, guest: Guest, message: Forward, out: list[Directive]) -> None:
        try:
            said = decode(message.payload)
        except WireError:
            said = None
        if said is None or not is_of_holder(said, guest) or not is_voter(message.to, self._birth.roster):
            self._counts["refused_forwards"] += 1
            return
        out.append(Send(message.to, said))

    def _relay(self, message: Relayed, source: Source, out: list[Directive]) -> None:
        guest = self._by_id.get(message.client)
        if guest is None or source.name is None:
            self._counts["unknown_clients"] += 1
            return
        out.append(Write(guest.channel, message))


def is_voter(name: str, roster: RosterValue | None) -> bool:
    return roster is not None and name in roster.voters


def is_of_holder(said: Message, guest: Guest) -> bool:
    """Whether a holder says such a thing, and this client's says it in its own name."""
    match said:
        case Acquire(name=name, boot=boot) | Cancel(name=name, boot=boot) | Renew(name=name, boot=boot):
            return (name, boot) == (guest.name, guest.boot)
        case Release(lease=lease) | Drop(lease=lease):
            return (lease.name, lease.boot) == (guest.name, guest.boot)
        case Mend():
            return True
    return False
