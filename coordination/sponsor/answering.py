"""What comes of a client's operation: it is answered at once, or when a query, a call or the other members have answered.

- A write that is asked for twice, under one sequence, is done once: the answers to the last `OUTSTANDING` writes are
  remembered, and an older one is answered "outcome unknown".
- What a client asks for no more is ended here, too; a write that may have been done meanwhile is remembered as unknown.
- Watches send what the client has granted; see `coordination.sponsor.watches`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import cbor2

from coordination.agreed.agreed import Agreed
from coordination.agreed.atomics.atomic import Op
from coordination.agreed.vocabulary.events import Called, CallFailed, Failure
from coordination.arguments.calling import add_op, cas_op, error_of, register_key, set_op
from coordination.arguments.checks import check_names, explained_key
from coordination.errors import BadConfig, MeshError, OutcomeUnknown
from coordination.sponsor.failures import told
from coordination.sponsor.guests import Guest, check_room
from coordination.sponsor.letters import Letters
from coordination.sponsor.messages import ASK_BYTES, KEY_WRITES, OUTSTANDING, WRITES, Answer, Ask
from coordination.sponsor.operations import Operations, check_arguments
from coordination.sponsor.watches import WATCHES, Watches
from crdt.cell import KEY
from crdt.clock import HybridClock, Instant
from crdt.store import Store
from mesh.directives import Act, Directive, Write
from mesh.membership import Membership
from mesh.messaging import Messaging
from mesh.replication import MAX_ACKS, Entrusting, Replication
from mesh.wire import WireError, load

__all__ = ["Answering"]

ARGUMENTS_DEPTH = 6

FIRST_QUERY = 1 << 40
"""Queries of this part are numbered from here, those of the API from 1."""


ATOMIC_ARGUMENTS: dict[str, tuple[tuple[type, ...], ...]] = {
    "atomic_get": ((str,),),
    "atomic_set": ((str,), (bytes,)),
    "atomic_cas": ((str,), (bytes,), (bytes,)),
    "atomic_add": ((str,), (int,)),
}


class Answering:
    """The lower layer of `Gateway`."""

    def __init__(
        self,
        membership: Membership,
        store: Store,
        clock: HybridClock,
        replication: Replication,
        entrusting: Entrusting,
        agreed: Agreed,
        messaging: Messaging,
    ) -> None:
        self._membership = membership
        self._store = store
        self._clock = clock
        self._replication = replication
        self._entrusting = entrusting
        self._inspector = agreed.inspector
        self._caller = agreed.caller
        self._census = agreed.census
        self._reset = agreed.reset
        self.operations = Operations(membership, store, clock, replication)
        self._letters = Letters(messaging)
        self._guests: dict[int, Guest] = {}
        self._queries: dict[int, tuple[Guest, int]] = {}
        """Who waits for a query, and under which sequence."""
        self._written: dict[int, Any] = {}
        """What writes came to that others have yet to acknowledge, by query."""
        self._last_query = FIRST_QUERY
        self._calls: dict[int, tuple[Guest, Ask, str]] = {}
        """Who waits for a call, what was asked, and of which register."""
        self._joined = False
        self._counts: Counter[str] = Counter()
        self._watches = Watches(store, clock, self._writer, self._counts)

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
