"""The caller: what asks for atomic registers, for the API and for any part of a node.

    number = caller.next_call()
    Act(caller, caller.call(number, "atomic/NAME", op, now))      `op` None: read
    ... later, once: Called(number, value, result) or CallFailed(number, why, …)

`Called` and `CallFailed` go to every part that hears them; the number says whose. It is one of this process, never used again.
`cancel` and nothing more is heard. Rules:

  - A register has one request under way; what is asked for meanwhile goes with the next one, all of it together. So sixteen
    tasks cost about as many messages as one.
  - A request that is not answered within 250 ms is sent again, under the same sequence, also to the next in rank.
  - A change is sent only if the register has answered within the last second; else it is read first. So most of those that fail
    have certainly not happened ("no quorum"), also those of a minority that goes on trying; only what had been sent when the
    silence began may have ("outcome unknown"). What was read last is also the version that the request names (see `atomic`),
    also if it is a lower one: after a reset of the roster a register may have gone back. (A request that named more than was
    seen would be served twice once its process is forgotten.) A register that has begun to forget who changed it is
    therefore read before each change.
  - No quorum is said after 2 s in which nobody had q answers, once there is a roster; never because this process slept.
  - A read that was sent along with changes whose outcome is forgotten is asked for again."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable

from coordination.agreed.atomics.atomic import DIFFERS, NOT_INTEGER, Op, OpKind, is_atomic
from coordination.agreed.atomics.calls import OPS_CAP, Call, CallDone, CallRefused, CallWaiting, Refusal
from coordination.agreed.vocabulary.agenda import Agenda
from coordination.agreed.vocabulary.events import Called, CallFailed, Failure, RosterDecided
from coordination.agreed.vocabulary.placement import Group, Placement, placement_of
from coordination.agreed.vocabulary.ports import Identity, RosterSource, View
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Directive, Directives, Emit, Event, Message, Send, Source

__all__ = ["Caller"]

MS = 1_000_000
ANSWER_WITHIN = 250 * MS
SLEPT = 100 * MS
"""A timer that is later than this says that this process did not run."""
UNAVAILABLE_AFTER = 2 * NANOSECONDS
FRESH_FOR = NANOSECONDS
FRESH_IN_A_CROWD = 10 * MS
"""The same for a register that has begun to forget: as good as at once, after its answer."""
LINES_KEPT = 1_024
"""Registers of which the version is remembered, beyond those that are being called."""


class Wish:
    """One call. Its number is 0 once nobody waits for it."""

    __slots__ = ("number", "op")

    def __init__(self, number: int, op: Op | None) -> None:
        self.number = number
        self.op = op


class Request:
    """Wishes that are under way together, under one sequence."""

    __slots__ = ("answered", "attempt", "changes", "due", "missing", "owners", "quorum_at", "reads", "sent_at", "sequence")

    def __init__(self, sequence: int, changes: list[Wish], reads: list[Wish], now: int) -> None:
        self.sequence = sequence
        self.changes = changes
        self.reads = reads
        self.attempt = 0
        self.answered = False
        """Someone has said that it is at work on the last attempt."""
        self.sent_at = 0
        self.due = 0
        """Monotonic ns at which it should be looked at again: later means that this process has slept."""
        self.quorum_at = now
        self.missing: tuple[str, ...] = ()
        self.owners: dict[str, int] = {}
        """When each that acts for the register last said that it is at work (monotonic ns)."""

    def wanted(self) -> bool:
        return any(wish.number for wish in (*self.changes, *self.reads))


class Line:
    """What this process wants of one register, and knows of it."""

    __slots__ = ("forgets", "group", "heard_at", "key", "owner", "queue", "request", "version")

    def __init__(self, key: str, group: Group | None) -> None:
        self.key = key
        self.group = group
        self.owner = ""
        self.queue: deque[Wish] = deque()
        self.request: Request | None = None
        self.version = 0
        self.heard_at: int | None = None
        """When the register last answered; None: never, or not since something went wrong."""
        self.forgets = False

    def fresh(self, now: int) -> bool:
        """Whether a change may be sent without a read before it."""
        limit = FRESH_IN_A_CROWD if self.forgets else FRESH_FOR
        return self.heard_at is not None and now - self.heard_at < limit


class Caller:
    name = "caller"
    messages = (CallDone, CallWaiting, CallRefused)
    hears = (RosterDecided,)

    def __init__(self, identity: Identity, view: View, roster: RosterSource) -> None:
        self._identity = identity
        self._view = view
        self._source = roster
        self._placement: Placement | None = None
        self._last_call = 0
        self._sequence = 0
        self._lines: dict[str, Line] = {}
        self._idle: dict[str, None] = {}
        """Lines on which nothing is wanted, the longest idle first."""
        self._calls: dict[int, Line] = {}
        self._agenda: Agenda[str] = Agenda("call")
        self._counts: Counter[str] = Counter()
        self._handlers: dict[type[Message], Callable[..., None]] = {
            CallDone: self._on_done,
            CallWaiting: self._on_waiting,
            CallRefused: self._on_refused,
        }

    # --- commands -----------------------------------------------------------------------------------------------------

    def next_call(self) -> int:
        self._last_call += 1
        return self._last_call

    def call(self, number: int, key: str, op: Op | None, now: Instant) -> Directives:
        """Change the register `key`, or read it; answered by `Called` or `CallFailed`, once."""
        assert is_atomic(key), key
        out: list[Directive] = []
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(key, self._placement.group(key) if self._placement is not None else None)
        self._idle.pop(key, None)
        self._calls[number] = line
        line.queue.append(Wish(number, op))
        if line.request is None:
            self._launch(line, now, out)
        return out

    def cancel(self, number: int, now: Instant) -> Directives:
        """Stop wanting it. A change that was sent may happen all the same; nothing is kept or repeated for it."""
        out: list[Directive] = []
        line = self._calls.pop(number, None)
        if line is None:
            return out
        request = line.request
        sent = (*request.changes, *request.reads) if request is not None else ()
        for wish in (*line.queue, *sent):
            if wish.number == number:
                wish.number = 0
        line.queue = deque([wish for wish in line.queue if wish.number])
        if request is None:
            self._launch(line, now, out)
        elif not request.wanted() and not (line.queue and not request.changes):
            self._finish(line, now, out)
        return out

    # --- part ---------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        self._load()
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        out: list[Directive] = []
        line = self._lines.get(message.key)  # type: ignore[attr-defined]
        request = line.request if line is not None else None
        if request is None or (message.boot, message.sequence) != (self._identity.boot, request.sequence):  # type: ignore[attr-defined]
            self._counts["late"] += 1
        else:
            self._handlers[type(message)](message, line, request, now, out)
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        for key in self._agenda.take(now.mono):
            line = self._lines.get(key)
            if line is not None and line.request is not None:
                self._again(line, line.request, now, out)
        self._agenda.rearm(out)
        return out

    def on_event(self, event: Event, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(event, RosterDecided):
            self._load()
            for line in list(self._lines.values()):
                if line.request is None and line.queue:
                    self._launch(line, now, out)
        return out

    def stats(self) -> dict[str, int]:
        return {"calls": len(self._calls), **self._counts}

    def _load(self) -> None:
        roster = self._source.roster
        if roster is not None:
            self._placement = placement = placement_of(roster)
            for line in self._lines.values():
                line.group = group = placement.group(line.key)
                if line.owner not in group:
                    line.owner = ""

    # --- asking -------------------------------------------------------------------------------------------------------

    def _launch(self, line: Line, now: Instant, out: list[Directive]) -> None:
        """Send what is wanted, if anything is. No request is under way."""
        if not line.queue:
            self._idle[line.key] = None
            if len(self._idle) > LINES_KEPT:
                oldest = next(iter(self._idle))
                del self._idle[oldest], self._lines[oldest]
            return
        if line.group is None:
            return  # there is no roster yet
        room = OPS_CAP if line.fresh(now.mono) else 0
        changes: list[Wish] = []
        reads: list[Wish] = []
        rest: deque[Wish] = deque()
        for wish in line.queue:
            if wish.op is None:
                reads.append(wish)
            elif len(changes) < room:
                changes.append(wish)
            else:
                rest.append(wish)
        line.queue = rest
        self._sequence += 1
        line.request = Request(self._sequence, changes, reads, now.mono)
        self._send(line, line.request, now, out)

    def _send(self, line: Line, request: Request, now: Instant, out: list[Directive]) -> None:
        group = line.group
        assert group is not None
        if not line.owner:
            line.owner = next((name for name in group if self._view.is_alive(name)), group[0])
        targets = [line.owner]
        if request.attempt and not request.answered:
            # The owner may be dead, whatever the view says: also the next in rank.
            line.owner = group[(group.index(line.owner) + 1) % len(group)]
            if line.owner not in targets:
                targets.append(line.owner)
        request.attempt += 1
        request.answered = False
        request.sent_at = now.mono
        request.due = now.mono + ANSWER_WITHIN
        ask = Call(
            line.key,
            self._identity.name,
            self._identity.boot,
            request.sequence,
            line.version,
            request.attempt,
            bool(request.reads),
            tuple([wish.op for wish in request.changes if wish.op is not None]),
        )
        out.extend(Send(name, ask) for name in targets)
        self._agenda.at(line.key, request.due, out)

    def _again(self, line: Line, request: Request, now: Instant, out: list[Directive]) -> None:
        self._mind_sleep(request, now)
        if now.mono - request.quorum_at >= UNAVAILABLE_AFTER:
            self._unavailable(line, request, now, out)
        else:
            self._send(line, request, now, out)

    @staticmethod
    def _mind_sleep(request: Request, now: Instant) -> None:
        """Time in which this process did not run is nobody's silence."""
        late = now.mono - request.due
        if late > SLEPT:
            request.quorum_at = min(now.mono, request.quorum_at + late)
            request.due = now.mono

    # --- answers ------------------------------------------------------------------------------------------------------

    def _on_waiting(self, answer: CallWaiting, line: Line, request: Request, now: Instant, out: list[Directive]) -> None:
        self._mind_sleep(request, now)
        if answer.quorum_age >= 0:
            request.quorum_at = max(request.quorum_at, now.mono - answer.quorum_age)
        request.missing = answer.missing
        request.answered = True
        if line.group is not None and answer.owner in line.group:
            line.owner = answer.owner
            request.owners[answer.owner] = now.mono

    def _on_done(self, answer: CallDone, line: Line, request: Request, now: Instant, out: list[Directive]) -> None:
        if len(answer.results) != len(request.changes) or (request.reads and answer.value is None):
            self._counts["malformed"] += 1
            return
        line.version = answer.version
        line.forgets = answer.forgets
        line.heard_at = now.mono
        for wish in request.reads:
            self._tell(wish, Called(wish.number, answer.value, answer.epoch), out)
        for wish, result in zip(request.changes, answer.results, strict=True):
            self._tell(wish, _outcome(wish, result, answer.epoch), out)
        self._finish(line, now, out)

    def _on_refused(self, answer: CallRefused, line: Line, request: Request, now: Instant, out: list[Directive]) -> None:
        line.heard_at = None
        if answer.reason == Refusal.MEMORY:
            reason = f"{', '.join(answer.names)} restarted and have no memory of it"
            for wish in (*request.changes, *request.reads, *line.queue):
                self._tell(wish, CallFailed(wish.number, Failure.MEMORY, answer.names, reason), out)
            line.queue.clear()
        else:
            reason = "its outcome is not remembered any more"
            for wish in request.changes:
                self._tell(wish, CallFailed(wish.number, Failure.UNKNOWN, (), reason), out)
            line.queue.extendleft(wish for wish in request.reads if wish.number)
        self._finish(line, now, out)

    def _unavailable(self, line: Line, request: Request, now: Instant, out: list[Directive]) -> None:
        """Everything that is wanted of the register fails: what was not sent as a change has certainly not happened."""
        group = line.group
        assert group is not None
        line.heard_at = None
        names = request.missing or group.silent(request.owners, request.quorum_at)
        reason = f"fewer than {group.quorum} of {len(group)} voters answered for 2 s"
        for wish in request.changes:
            self._tell(wish, CallFailed(wish.number, Failure.UNKNOWN, names, f"it was sent, and then {reason}"), out)
        for wish in (*request.reads, *line.queue):
            self._tell(wish, CallFailed(wish.number, Failure.UNAVAILABLE, names, reason), out)
        line.queue.clear()
        self._finish(line, now, out)

    def _tell(self, wish: Wish, event: Event, out: list[Directive]) -> None:
        if self._calls.pop(wish.number, None) is not None:
            out.append(Emit(event))

    def _finish(self, line: Line, now: Instant, out: list[Directive]) -> None:
        line.request = None
        line.owner = ""
        self._agenda.drop(line.key)
        self._launch(line, now, out)


def _outcome(wish: Wish, result: int | bytes, epoch: int) -> Event:
    """What a result of `coordination.agreed.atomics.atomic` means to who asked for it."""
    if isinstance(result, int):
        kind = wish.op.kind if wish.op is not None else 0
        return Called(wish.number, {OpKind.ADD: result, OpKind.CAS: True}.get(kind), epoch)
    if result == DIFFERS:
        return Called(wish.number, False, epoch)
    if result == NOT_INTEGER:
        return CallFailed(wish.number, Failure.NOT_INTEGER, (), "the register does not hold an integer")
    return CallFailed(wish.number, Failure.TOO_LARGE, (), "the sum would be too large an integer")
