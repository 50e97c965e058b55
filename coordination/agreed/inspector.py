"""Explain one register: every voter of its group is asked what it keeps, and whoever is silent is named. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from coordination.agreed.acceptor import Acceptor
from coordination.agreed.atomic import is_atomic
from coordination.agreed.ballot import ZERO, Ballot
from coordination.agreed.birth import Birth
from coordination.agreed.events import Explained, Explanation
from coordination.agreed.messages import ExplainAnswer, ExplainAsk
from coordination.agreed.owner import Owner
from coordination.agreed.placement import Placement
from coordination.agreed.ports import Identity, View
from coordination.agreed.values import FREE
from coordination.agreed.voter_memory import VoterMemory
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Arm, Directive, Directives, Disarm, Emit, Event, Message, Send, Source

__all__ = ["Inspector"]

ANSWER_WITHIN = NANOSECONDS // 2
QUEUE_SHOWN = 16


class Question:
    __slots__ = ("answers", "group", "key")

    def __init__(self, key: str, group: tuple[str, ...]) -> None:
        self.key = key
        self.group = group
        self.answers: dict[str, ExplainAnswer] = {}


class Inspector:
    name = "inspector"
    messages = (ExplainAsk, ExplainAnswer)
    hears: tuple[type[Event], ...] = ()

    def __init__(
        self,
        identity: Identity,
        view: View,
        birth: Birth,
        acceptor: Acceptor,
        owner: Owner,
        memory: VoterMemory | None = None,
    ) -> None:
        self._identity = identity
        self._view = view
        self._birth = birth
        self._acceptor = acceptor
        self._owner = owner
        self._memory = memory
        self._questions: dict[int, Question] = {}
        self._counts: Counter[str] = Counter()

    def explain(self, query: int, key: str, now: Instant) -> Directives:
        """Answered by `Explained(query, ...)` once all of the group answered, or after 0.5 s."""
        roster = self._birth.roster
        if roster is None:
            waiting = self._birth.waiting_for()
            note = f"there is no roster yet; known founders: {', '.join(waiting)}"
            return (Emit(Explained(query, Explanation(key, (), None, None, None, None, (), (), (), (), note))),)
        group = Placement(roster).group(key)
        self._questions[query] = Question(key, group)
        ask = ExplainAsk(query, self._identity.name, key)
        return (*(Send(name, ask) for name in group), Arm(query, now.mono + ANSWER_WITHIN))

    def start(self, now: Instant) -> Directives:
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        if isinstance(message, ExplainAsk):
            return (Send(message.name, self._answer(message, now)),)
        if isinstance(message, ExplainAnswer):
            question = self._questions.get(message.query)
            if question is not None and message.voter in question.group and message.key == question.key:
                question.answers[message.voter] = message
                if len(question.answers) == len(question.group):
                    return (Disarm(message.query), *self._conclude(message.query))
        return ()

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        return self._conclude(timer) if isinstance(timer, int) and timer in self._questions else ()

    def on_event(self, event: Event, now: Instant) -> Directives:
        return ()

    def stats(self) -> dict[str, int]:
        return dict(self._counts)

    def _answer(self, ask: ExplainAsk, now: Instant) -> ExplainAnswer:
        register = self._acceptor.register(ask.key)
        desk = self._owner.desk(ask.key)
        queue: tuple[str, ...] = ()
        trouble = self._memory.trouble(now.mono) if self._memory is not None else ""
        notes = [f"does not vote: {trouble}"] if trouble else []
        if desk is not None:
            queue = tuple([ticket.asker[0] for ticket in desk.queue.all()][:QUEUE_SHOWN])
            if desk.round is not None and desk.round.refusals:
                reasons = [f"{name} refused ({refusal.reason})" for name, refusal in desk.round.refusals.items()]
                notes.append(", ".join(reasons))
            queue += tuple([waiting.call.name for waiting in desk.calls.all()][:QUEUE_SHOWN])
        promised = accepted = ZERO
        value = FREE
        live = []
        if register is not None:
            promised, accepted, value = register.promised, register.accepted, register.value
            live = register.live(now.mono)
        until = self._birth.abstaining_until(now)
        left = max(0, until - now.mono) if until is not None else 0
        if is_atomic(ask.key):
            left = 0  # no matter of time: it votes once it has read the register back
            if not self._acceptor.atomic.remembers(ask.key):
                notes.append("has no memory of it")
        note = "; ".join(notes)
        return ExplainAnswer(ask.query, ask.key, self._identity.name, promised, accepted, value, tuple(live), left, queue, note)

    def _conclude(self, query: int) -> list[Directive]:
        question = self._questions.pop(query)
        answers = [question.answers[name] for name in question.group if name in question.answers]
        best = max(answers, key=lambda answer: answer.accepted, default=None)
        owner = next((name for name in question.group if self._view.is_alive(name)), None)
        holder = token = remaining = None
        if best is not None and best.value.holdings:
            lease = best.value.holdings[0].lease
            left = max([live.remaining for answer in answers for live in answer.leases if live.lease == lease], default=0)
            if left:
                holder, token, remaining = lease.name, lease.token, left / NANOSECONDS
        queue = max((answer.queue for answer in answers), key=len, default=())
        explanation = Explanation(
            question.key,
            tuple(question.group),
            owner,
            holder,
            token,
            remaining,
            tuple((answer.voter, _text(answer.promised), _text(answer.accepted)) for answer in answers),
            queue,
            tuple((answer.voter, answer.abstaining / NANOSECONDS) for answer in answers if answer.abstaining),
            tuple(name for name in question.group if name not in question.answers),
            "; ".join(f"{answer.voter}: {answer.note}" for answer in answers if answer.note),
        )
        return [Emit(Explained(query, explanation))]


def _text(ballot: Ballot) -> str:
    return f"{ballot.epoch}.{ballot.counter} by {ballot.name}" if ballot.counter else "none"
