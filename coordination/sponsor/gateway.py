"""What a sponsor does for thin clients: it answers their operations, and relays between their holders and the voters.

  - A client is one stream. Who it is, its session has proven; to the voters it is `ID@SPONSOR`, ID being half the session.
  - The sponsor reads what a client's holder says only to see that it speaks in its own name; what comes for that holder
    it passes on unread. It keeps nothing of it, so the end of the stream frees nothing: the lease runs out, or was given
    back. (A lease that ended with the stream would be believed by a client that still runs.)
  - A write that is asked for twice, under one sequence, is done once: the answers to the last `OUTSTANDING` writes are
    remembered, and an older one is answered "outcome unknown".
  - Watches send what the client has granted; see `coordination.sponsor.watches`.

Everything is bounded, and what is refused or dropped is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

import cbor2

from coordination.agreed.agreed import Agreed
from coordination.agreed.atomics.atomic import Op
from coordination.agreed.rosters.reset import lost
from coordination.agreed.vocabulary.events import (
    Called,
    CallFailed,
    Explained,
    Failure,
    Listed,
    ResetOver,
    RosterDecided,
    Surveyed,
)
from coordination.agreed.vocabulary.messages import Acquire, Cancel, Drop, Mend, Release, Renew
from coordination.agreed.vocabulary.roster import RosterValue
from coordination.arguments.calling import add_op, cas_op, error_of, new_voters, register_key, set_op
from coordination.arguments.checks import check_names, explained_key
from coordination.errors import BadConfig, MeshError, OutcomeUnknown
from coordination.sponsor.failures import told
from coordination.sponsor.guests import Guest, check_room
from coordination.sponsor.letters import Letters
from coordination.sponsor.messages import (
    ASK_BYTES,
    KEY_WRITES,
    OUTSTANDING,
    WRITES,
    Answer,
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
from coordination.sponsor.operations import Operations, check_arguments
from coordination.sponsor.watches import WATCHES, Watches
from crdt.cell import KEY
from crdt.clock import HybridClock, Instant
from crdt.store import Store
from mesh.directives import (
    Act,
    Boot,
    ChannelDown,
    Close,
    Directive,
    Directives,
    Event,
    Message,
    Send,
    Source,
    Write,
)
from mesh.membership import Identity, Joined, MemberChanged, MemberForgotten, Membership
from mesh.messaging import Messaging, Posted
from mesh.relay import Relayed
from mesh.replication import MAX_ACKS, Acknowledged, Changed, Entrusting, Replication, Synced
from mesh.wire import WireError, decode, load

__all__ = ["MAX_CLIENTS", "Gateway"]

MAX_CLIENTS = 256
"""Half of the streams that the shell accepts."""

ARGUMENTS_DEPTH = 6

FIRST_QUERY = 1 << 40
"""Queries of this part are numbered from here, those of the API from 1."""


ATOMIC_ARGUMENTS: dict[str, tuple[tuple[type, ...], ...]] = {
    "atomic_get": ((str,),),
    "atomic_set": ((str,), (bytes,)),
    "atomic_cas": ((str,), (bytes,), (bytes,)),
    "atomic_add": ((str,), (int,)),
}


class Gateway:
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
        self._identity = identity
        self._membership = membership
        self._store = store
        self._clock = clock
        self._replication = replication
        self._entrusting = entrusting
        self._birth = agreed.birth
        self._inspector = agreed.inspector
        self._caller = agreed.caller
        self._census = agreed.census
        self._reset = agreed.reset
        self.operations = Operations(membership, store, clock, replication)
        self._letters = Letters(messaging)
        self._guests: dict[int, Guest] = {}
        self._by_id: dict[str, Guest] = {}
        self._queries: dict[int, tuple[Guest, int]] = {}
        """Who waits for a query, and under which sequence."""
        self._written: dict[int, Any] = {}
        """What writes came to that others have yet to acknowledge, by query."""
        self._last_query = FIRST_QUERY
        self._calls: dict[int, tuple[Guest, Ask, str]] = {}
        """Who waits for a call, what was asked, and of which register."""
        self._joined = False
        self._voters = Voters(None, ())
        self._counts: Counter[str] = Counter()
        self._watches = Watches(store, clock, self._writer, self._counts)

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

    # --- operations --------------------------------------------------------------------------------------------------

    def _ask(self, guest: Guest, ask: Ask, now: Instant, out: list[Directive]) -> None:
        sequence = ask.sequence
        known = guest.answers.get(sequence)
        if known is not None:
            self._counts["repeated_writes"] += 1
            out.append(Write(guest.channel, known))
            return
        if sequence in guest.pending or sequence in guest.calls or self._letters.waits(guest, sequence):
            return
        try:
            if ask.operation in WRITES and sequence <= guest.forgotten:
                raise OutcomeUnknown("the write is asked for again, and too old to be remembered: read before writing again")
            arguments = read_arguments(ask.arguments)
            match ask.operation:
                case "explain" | "standing" | "locks" | "synced" | "forgotten" | "reset_roster":
                    self._query(guest, ask, arguments, now, out)
                    return
                case "atomic_get" | "atomic_set" | "atomic_cas" | "atomic_add":
                    self._call(guest, ask, arguments, now, out)
                    return
                case "acked":
                    self._acked(guest, ask, arguments, now, out)
                    return
                case "send":
                    check_room(guest, self._letters.count(guest))
                    self._letters.send(guest, sequence, arguments, now, out)
                    return
                case "broadcast":
                    self._letters.broadcast(arguments, now, out)
                    result = None
                case "watch" | "follow" | "follow_counter" | "follow_gauge":
                    result = self._watches.begin(guest, ask.operation, arguments, now)
                case _:
                    result = self.operations.run(ask.operation, arguments, now, out)
        except MeshError as error:
            answer = Answer(sequence, *told(error))
        else:
            answer = Answer(sequence, "", cbor2.dumps(result))
        self._answer(guest, answer, out, remember=ask.operation in WRITES)
        if ask.operation in WATCHES:
            self._watches.tell_all(self._guests.values(), now, out)

    def _answer(self, guest: Guest, answer: Answer, out: list[Directive], *, remember: bool) -> None:
        if remember:
            self._remember(guest, answer)
        out.append(Write(guest.channel, answer))

    @staticmethod
    def _remember(guest: Guest, answer: Answer) -> None:
        if answer.sequence > guest.forgotten:
            guest.answers[answer.sequence] = answer
            if len(guest.answers) > OUTSTANDING:
                oldest = next(iter(guest.answers))
                del guest.answers[oldest]
                guest.forgotten = max(guest.forgotten, oldest)

    def _query(self, guest: Guest, ask: Ask, arguments: tuple[Any, ...], now: Instant, out: list[Directive]) -> None:
        """Answered later."""
        check_room(guest)
        if ask.operation == "synced":
            check_arguments("synced", (), arguments)
            guest.pending[ask.sequence] = 0
            if self._joined:
                self._sync(guest, ask.sequence, now, out)
            return
        if ask.operation == "forgotten":
            check_arguments("forgotten", (), arguments)
            query = self._new_query(guest, ask.sequence)
            out.append(Act(self._reset, self._reset.survey(query, now)))
            return
        if ask.operation == "reset_roster":
            check_arguments("reset_roster", ((tuple,),), arguments)
            without = check_names(arguments[0])
            query = self._new_query(guest, ask.sequence)
            out.append(Act(self._reset, self._reset.reset(query, without, now)))
            return
        check_arguments(ask.operation, ((str,),), arguments)
        query = self._new_query(guest, ask.sequence)
        if ask.operation == "locks":
            out.append(Act(self._census, self._census.count(query, arguments[0], now)))
            return
        register = explained_key(arguments[0])
        out.append(Act(self._inspector, self._inspector.explain(query, register, now, early=ask.operation == "standing")))

    def _acked(self, guest: Guest, ask: Ask, arguments: tuple[Any, ...], now: Instant, out: list[Directive]) -> None:
        """A write of keys that is answered once others have it."""
        check_room(guest)
        check_arguments("acked", ((int,), (str,), (tuple,)), arguments)
        need, operation, rest = arguments
        if operation not in KEY_WRITES or not 0 <= need <= MAX_ACKS:
            raise BadConfig(f"{operation!r} with acks={need} is nothing that this node knows: it is older than this client")
        result = self.operations.run(operation, rest, now, out)
        keys = self.operations.written()
        if not keys:
            self._answer(guest, Answer(ask.sequence, "", cbor2.dumps(result)), out, remember=True)
            return
        query = self._new_query(guest, ask.sequence)
        self._written[query] = result
        begun = self._entrusting.begin(query, [(KEY, key) for key in keys], need, now)
        out.append(Act(self._entrusting, begun))

    def _call(self, guest: Guest, ask: Ask, arguments: tuple[Any, ...], now: Instant, out: list[Directive]) -> None:
        """An atomic register's operation: answered once a majority has confirmed it."""
        check_room(guest)
        check_arguments(ask.operation, ATOMIC_ARGUMENTS[ask.operation], arguments)
        name, *rest = arguments
        key = register_key(name)
        op: Op | None = None
        match ask.operation:
            case "atomic_set":
                op = set_op(*rest)
            case "atomic_cas":
                op = cas_op(*rest)
            case "atomic_add":
                op = add_op(rest[0], name)
        number = self._caller.next_call()
        guest.calls[ask.sequence] = number
        self._calls[number] = (guest, ask, name)
        out.append(Act(self._caller, self._caller.call(number, key, op, now)))

    def _called(self, guest: Guest, ask: Ask, name: str, event: Called | CallFailed, out: list[Directive]) -> None:
        del guest.calls[ask.sequence]
        if isinstance(event, Called):
            answer = Answer(ask.sequence, "", cbor2.dumps(event.outcome))
        else:
            answer = Answer(ask.sequence, *told(error_of(event, name)))
        self._answer(guest, answer, out, remember=ask.operation in WRITES)

    def _sync(self, guest: Guest, sequence: int, now: Instant, out: list[Directive]) -> None:
        query = self._new_query(guest, sequence)
        out.append(Act(self._replication, self._replication.begin_sync(query, now)))

    def _new_query(self, guest: Guest, sequence: int) -> int:
        self._last_query += 1
        guest.pending[sequence] = self._last_query
        self._queries[self._last_query] = (guest, sequence)
        return self._last_query

    def _conclude(self, query: int, result: Any, out: list[Directive], *, remember: bool = False) -> None:
        waiting = self._queries.pop(query, None)
        if waiting is not None:
            guest, sequence = waiting
            del guest.pending[sequence]
            failed = told(result) if isinstance(result, MeshError) else None
            answer = Answer(sequence, *(failed or ("", cbor2.dumps(result))))
            self._answer(guest, answer, out, remember=remember)

    def _unasked(self, guest: Guest, sequence: int, now: Instant, out: list[Directive]) -> None:
        if self._letters.waits(guest, sequence):
            self._letters.give_up(guest, sequence, now, out)
            unknown = OutcomeUnknown("the message may have been taken: it was given up before its receiver had answered")
            self._remember(guest, Answer(sequence, *told(unknown)))
            return
        call = guest.calls.pop(sequence, 0)
        if call:
            _, ask, name = self._calls.pop(call)
            out.append(Act(self._caller, self._caller.cancel(call, now)))
            if ask.operation in WRITES:
                # It may have been sent: if it is asked for again, it is not done again.
                given_up = error_of(CallFailed(call, Failure.UNKNOWN, (), "it was given up"), name)
                self._remember(guest, Answer(sequence, *told(given_up)))
            return
        query = guest.pending.pop(sequence, 0)
        if query:
            del self._queries[query]
            self._replication.end_sync(query)
            if query in self._written:
                del self._written[query]
                self._entrusting.end(query)
                unknown = OutcomeUnknown("the write stands, but how many others have it was not waited for")
                self._remember(guest, Answer(sequence, *told(unknown)))

    def _writer(self, actor: bytes) -> str | None:
        member = self._membership.by_session(actor)
        return None if member is None else member.name


def read_arguments(data: bytes) -> tuple[Any, ...]:
    """The arguments of an `Ask`. Raises `BadConfig` for what are none."""
    try:
        arguments = load(data, ASK_BYTES, ARGUMENTS_DEPTH)
    except WireError as problem:
        raise BadConfig(f"the arguments cannot be read: {problem}") from None
    if type(arguments) is not tuple:
        raise BadConfig("the arguments are no array: client and node are of different versions")
    return arguments


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
