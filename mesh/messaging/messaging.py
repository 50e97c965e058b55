"""What services say to each other, as one part of the node.

This file composes: it sends what the outboxes and the broadcasts decide, hands what comes to the inbox and the questions, and
keeps the timers. The rules stand in `outbox` (letters are taken at most once, and their sender is told what came of them),
`broadcasts`, `inbox` and `questions`.

Only members are listened to. A letter is meant for one process, the newest of its name when it was posted: its successor would
not know what the earlier one had taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from random import Random

from crdt.clock import HybridClock, Instant
from mesh.directives import Arm, Directive, Directives, Disarm, Emit, Event, Message, Send, Source
from mesh.membership import Identity, MemberChanged, MemberForgotten, Membership
from mesh.messaging.broadcasts import REPAIR, ROUND, Broadcasts, slice_start
from mesh.messaging.events import Arrived, Fate, Posted, Progress
from mesh.messaging.inbox import Inbox, Incoming, Subscription
from mesh.messaging.messages import (
    NAMES,
    Broadcast,
    Item,
    ItemName,
    Known,
    Letter,
    Outcome,
    Question,
    Receipt,
    Recent,
    Reply,
    Wanted,
)
from mesh.messaging.outbox import PATIENCE, Arrivals, Numbered, Outbox, Pending
from mesh.messaging.questions import WHY, Asked, Questions

__all__ = ["BROADCAST_BYTES", "Messaging"]

MS = 1_000_000

BROADCAST_BYTES = 900
"""Topic and body of one broadcast together: with names and seals it fits the smallest datagram."""

FATES = {Outcome.TAKEN: Fate.TAKEN, Outcome.NOBODY: Fate.NOBODY, Outcome.FULL: Fate.FULL}


@dataclass(frozen=True, slots=True)
class Others:
    """Names alive without this node's."""

    names: Sequence[str] = ()
    seen: Sequence[str] = ()


class Messaging:
    name = "messaging"
    messages: tuple[type[Message], ...] = (Letter, Question, Reply, Receipt, Broadcast, Recent, Wanted, Known)
    hears = (MemberChanged, MemberForgotten)

    def __init__(self, identity: Identity, membership: Membership, clock: HybridClock, random: Random) -> None:
        self._identity = identity
        self._membership = membership
        self._clock = clock
        self._random = random
        self.counts: Counter[str] = Counter()
        self.inbox = Inbox(self.counts)
        self._broadcasts = Broadcasts(clock, random, self.counts)
        self._questions = Questions()
        self._outboxes: dict[bytes, Outbox] = {}
        self._arrivals: dict[bytes, Arrivals] = {}
        self._refs: dict[int, bytes] = {}
        """Which outbox a letter is in."""
        self._others = Others()
        self._started = 0
        """Broadcasts from before are not for this process."""
        self._last = 0
        self._armed: set[Hashable] = set()

    # --- commands ----------------------------------------------------------------------------------------------------

    def next_ref(self) -> int:
        """A number for a letter or a question of this node."""
        self._last += 1
        return self._last

    def subscribe(self, topic: str, limit: int) -> Subscription | None:
        """None if there are too many."""
        return self.inbox.subscribe(topic, limit)

    def send(self, ref: int, to: str, topic: str, body: bytes, now: Instant) -> Directives:
        """A letter to one member. `Posted` follows."""
        out: list[Directive] = []
        self._post_or_tell(ref, to, Letter(0, 0, topic, body), now.mono + PATIENCE, now, out)
        return out

    def reply(self, ref: int, to: Incoming, body: bytes, last: bool, why: str, now: Instant) -> Directives:
        """A reply to a question. `Posted` follows; `nobody` says that the asker waits no more."""
        out: list[Directive] = []
        message = Reply(0, 0, to.question, last, why, body)
        if now.mono >= to.until:
            out.append(Emit(Posted(ref, Fate.NOBODY)))
        else:
            self._post_or_tell(ref, to.session, message, to.until, now, out)
        return out

    def cancel(self, ref: int, now: Instant) -> Directives:
        """Nobody waits for `Posted` any more: the letter is not sent again."""
        outbox = self._outboxes.get(self._refs.pop(ref, b""))
        out: list[Directive] = []
        if outbox is not None and outbox.cancel(ref):
            self._pump(outbox, now, out)
        return out

    def ask(self, ref: int, to: Sequence[str], topic: str, body: bytes, patience: int, now: Instant) -> Directives:
        """A question to these members, for `patience` ns. `Progress` follows, until `asked(ref)` is over."""
        out: list[Directive] = []
        asked = self._questions.open(ref, tuple(to))
        question = Question(0, 0, topic, body, max(1, patience // MS))
        for name in asked.waiting.copy():
            letter = self.next_ref()
            refused = self._post(letter, name, question, now.mono + min(patience, PATIENCE), now, out, asked)
            if refused is not None:
                asked.end(name, WHY[refused])
        out.append(Arm(("question", ref), now.mono + patience))
        if asked.over:
            out.append(Emit(Progress(ref)))
        return out

    def asked(self, ref: int) -> Asked | None:
        """What has come of a question so far."""
        return self._questions.get(ref)

    def unask(self, ref: int, now: Instant) -> Directives:
        """Nobody reads its replies any more."""
        out: list[Directive] = []
        asked = self._questions.get(ref)
        if asked is not None:
            self._questions.close(ref)
            out.append(Disarm(("question", ref)))
            for session, number in asked.letters:
                outbox = self._outboxes.get(session)
                if outbox is not None and outbox.drop(number):
                    self._pump(outbox, now, out)
        return out

    def broadcast(self, topic: str, body: bytes, now: Instant) -> Directives:
        """Tell everyone, this node's own subscribers too."""
        item = Item(ItemName(self._clock.tick(now), self._identity.boot.session), self._identity.name, topic, body)
        self.counts["broadcasts"] += 1
        out: list[Directive] = []
        self._hear([item], None, now, out)
        return out

    # --- part --------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        self._started = slice_start(self._clock.read(now))
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        if source.name is None:
            self.counts["strangers"] += 1
            return ()
        out: list[Directive] = []
        match message:
            case Letter() | Question() | Reply():
                self._on_numbered(message, source, source.name, now, out)
            case Receipt(number, outcome):
                self._on_receipt(source.session, number, outcome, now, out)
            case Broadcast(items):
                self._hear(items, source.name, now, out)
            case Recent(since, slices):
                for number in self._broadcasts.differing(since, slices, self._started, now):
                    out.append(Send(source.session, Known(number, self._broadcasts.names(number))))
            case Known(number, names):
                lacking, wanted = self._broadcasts.compare(number, names, self._started, now)
                out.extend([Send(source.session, Broadcast((item,))) for item in lacking])
                for first in range(0, len(wanted), NAMES):
                    out.append(Send(source.session, Wanted(tuple(wanted[first : first + NAMES]))))
                self.counts["repaired"] += len(lacking) + len(wanted)
            case Wanted(names):
                for which in names:
                    item = self._broadcasts.get(which)
                    if item is not None:
                        out.append(Send(source.session, Broadcast((item,))))
        return out

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        out: list[Directive] = []
        match timer:
            case ("letters", bytes(session)):
                outbox = self._outboxes.get(session)
                if outbox is not None:
                    for pending in outbox.expired(now.mono):
                        self._finished(outbox, pending, Fate.UNKNOWN if pending.again else Fate.ABSENT, out)
                    self._pump(outbox, now, out)
            case ("question", int(ref)):
                asked = self._questions.get(ref)
                if asked is not None:
                    asked.expire()
                    out.append(Emit(Progress(ref)))
            case ("round",):
                self._armed.discard(timer)
                self._tell(self._broadcasts.round(self._names()), out)
                if self._broadcasts.telling:
                    self._arm(timer, now.mono + ROUND, out)
            case ("repair",):
                self._armed.discard(timer)
                self._repair(now, out)
        return out

    def on_event(self, event: Event, now: Instant) -> Directives:
        out: list[Directive] = []
        if isinstance(event, MemberForgotten):
            self._forget(event.member.boot.session, out)
        elif isinstance(event, MemberChanged):
            member, previous = event.member, event.previous
            if previous is not None and previous.boot.session != member.boot.session:
                self._forget(previous.boot.session, out)
            if not member.reachable:
                self._gone(member.boot.session, out)
        return out

    def stats(self) -> dict[str, int]:
        return {
            "subscriptions": len(self.inbox),
            "unread": self.inbox.unread(),
            "pending": sum([len(outbox) for outbox in self._outboxes.values()]),
            "questions": len(self._questions),
            "recent": len(self._broadcasts),
            **{f"total_{name}" if name == "unread" else name: count for name, count in sorted(self.counts.items())},
        }

    # --- letters -----------------------------------------------------------------------------------------------------

    def _post_or_tell(
        self, ref: int, to: str | bytes, message: Numbered, until: int, now: Instant, out: list[Directive]
    ) -> None:
        refused = self._post(ref, to, message, until, now, out)
        if refused is not None:
            out.append(Emit(Posted(ref, refused)))

    def _post(
        self,
        ref: int,
        to: str | bytes,
        message: Numbered,
        until: int,
        now: Instant,
        out: list[Directive],
        asked: Asked | None = None,
    ) -> Fate | None:
        """Take a letter on, or say why not."""
        member = self._membership.get(to) if isinstance(to, str) else self._membership.by_session(to)
        if member is None or not member.reachable:
            return Fate.ABSENT
        session = member.boot.session
        outbox = self._outboxes.get(session)
        if outbox is None:
            outbox = self._outboxes[session] = Outbox(member.name, session, max(0, now.mono))
        number = outbox.post(ref, message, until)
        if not number:
            return Fate.BUSY
        self._refs[ref] = session
        if asked is not None:
            self._questions.sent(asked, member.name, session, number)
        self._pump(outbox, now, out)
        return None

    def _pump(self, outbox: Outbox, now: Instant, out: list[Directive]) -> None:
        """Send what is due, and come back for the rest."""
        for message in outbox.due(now.mono, self._membership.rtt(outbox.name)):
            self.counts["sent"] += 1
            out.append(Send(outbox.session, message))
        due = outbox.next_due()
        if due is not None:
            out.append(Arm(("letters", outbox.session), due))
        else:
            out.append(Disarm(("letters", outbox.session)))

    def _on_receipt(self, session: bytes, number: int, outcome: Outcome, now: Instant, out: list[Directive]) -> None:
        outbox = self._outboxes.get(session)
        pending = None if outbox is None else outbox.answered(number, outcome, now.mono)
        if outbox is not None:
            if pending is not None:
                self._finished(outbox, pending, FATES[outcome], out)
            self._pump(outbox, now, out)

    def _finished(self, outbox: Outbox, pending: Pending, fate: Fate, out: list[Directive]) -> None:
        self._refs.pop(pending.ref, None)
        if isinstance(pending.message, Question):
            found = self._questions.of_letter(outbox.session, pending.message.number)
            if found is not None and fate is not Fate.TAKEN:
                asked, member = found
                asked.end(member, WHY[fate])
                out.append(Emit(Progress(asked.ref)))
        else:
            out.append(Emit(Posted(pending.ref, fate)))

    def _forget(self, session: bytes, out: list[Directive]) -> None:
        """The process is no more, and its name is another's or nobody's."""
        self._gone(session, out)
        self._outboxes.pop(session, None)
        self._arrivals.pop(session, None)

    def _gone(self, session: bytes, out: list[Directive]) -> None:
        """The process is no more, as far as is known here. It may come back, and must find its numbers then."""
        outbox = self._outboxes.get(session)
        if outbox is not None:
            for pending in outbox.close():
                self._finished(outbox, pending, Fate.UNKNOWN if pending.again else Fate.ABSENT, out)
            out.append(Disarm(("letters", session)))
        for asked, member in self._questions.of_session(session):
            asked.end(member, WHY[Fate.UNKNOWN])
            out.append(Emit(Progress(asked.ref)))

    def _on_numbered(self, message: Numbered, source: Source, sender: str, now: Instant, out: list[Directive]) -> None:
        arrivals = self._arrivals.get(source.session)
        if arrivals is None:
            arrivals = self._arrivals[source.session] = Arrivals()
        if not arrivals.heard(message):
            self.counts["stale"] += 1
            return
        outcome = arrivals.outcomes.get(message.number)
        if outcome is not None:
            self.counts["repeated_letters"] += 1
        else:
            outcome = self._taken(message, source.session, sender, now, out)
            arrivals.note(message, outcome)
        out.append(Send(source.session, Receipt(message.number, outcome)))

    def _taken(self, message: Numbered, session: bytes, sender: str, now: Instant, out: list[Directive]) -> Outcome:
        if isinstance(message, Reply):
            outcome, asked = self._questions.on_reply(message, session)
            if asked is not None:
                out.append(Emit(Progress(asked.ref)))
            return outcome
        if isinstance(message, Question):
            until = now.mono + message.patience_ms * MS
            incoming = Incoming(sender, session, message.topic, message.body, question=message.number, until=until)
        else:
            incoming = Incoming(sender, session, message.topic, message.body)
        outcome, took = self.inbox.offer(incoming)
        if took:
            out.append(Emit(Arrived(tuple([subscription.number for subscription in took]))))
        return outcome

    # --- broadcasts --------------------------------------------------------------------------------------------------

    def _hear(self, items: Sequence[Item], source: str | None, now: Instant, out: list[Directive]) -> None:
        others = self._names()
        told: dict[str, list[Item]] = {}
        for item in items:
            which = item.which
            if source is not None:
                self._broadcasts.knows(which, source)
                if not self._broadcasts.acceptable(which, self._started, now):
                    continue
                self.counts["heard"] += 1
            self._broadcasts.take(item, source, len(others) + 1, now)
            _, took = self.inbox.offer(Incoming(item.sender, which.origin, item.topic, item.body, broadcast=True))
            if took:
                out.append(Emit(Arrived(tuple([subscription.number for subscription in took]))))
            for name, first in self._broadcasts.first(which, others).items():
                told.setdefault(name, []).extend(first)
        self._tell(told, out)
        if self._broadcasts.telling:
            self._arm(("round",), now.mono + ROUND, out)
        if len(self._broadcasts):
            self._arm(("repair",), now.mono + REPAIR // 2 + self._random.randrange(REPAIR), out)

    def _tell(self, told: dict[str, list[Item]], out: list[Directive]) -> None:
        for name, items in told.items():
            self.counts["tellings"] += len(items)
            out.extend([Send(name, Broadcast((item,))) for item in items])  # the node packs them

    def _repair(self, now: Instant, out: list[Directive]) -> None:
        since, slices = self._broadcasts.recent(self._started, now)
        if not len(self._broadcasts):
            return
        others = self._names()
        if others and slices:
            out.append(Send(self._random.choice(others), Recent(since, slices)))
        self._arm(("repair",), now.mono + REPAIR // 2 + self._random.randrange(REPAIR), out)

    def _arm(self, timer: Hashable, at: int, out: list[Directive]) -> None:
        if timer not in self._armed:
            self._armed.add(timer)
            out.append(Arm(timer, at))

    def _names(self) -> Sequence[str]:
        """The others alive, by name."""
        seen = self._membership.names_alive()
        if seen is not self._others.seen:
            own = self._identity.name
            self._others = Others([name for name in seen if name != own], seen)
        return self._others.names
