"""The operator's way out, when so many voters of an elastic roster have forgotten what they promised that nobody can go on.

First a survey, which changes nothing; then, if every condition holds, a reset of the roster to those that take part (see
`succession` for the instance itself). The conditions, each with what it is for:

  - Too few remember: else the others are told by them, and nothing has to be believed.
  - A majority of the *names* on the roster takes part, whether they remember or not. From then on no majority can serve the old
    roster, follow it, or reset it once more without one of them. (Each half of a mesh is reset, and both grant.)
  - Every other name has been given up by the operator, one by one, and does not answer. It need not be dead: it is a minority.
  - Nobody that answers knows a newer roster.

An answer counts only for the process that asked. (The next one of its name counts its queries from 1 as well, and would
take for present who has answered the one before it, and is gone.)

What the operator vouches for is one thing alone: that no later roster, which all that answer have forgotten, is still in use
somewhere else. If one is, both grant until they meet; then the reset counts, for its epoch is the higher one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from coordination.agreed.rosters.succession import Succession
from coordination.agreed.vocabulary.boots import NO_BOOT, BootRecord
from coordination.agreed.vocabulary.events import ResetOver, RosterDecided, Surveyed, Voter
from coordination.agreed.vocabulary.ports import Identity
from coordination.agreed.vocabulary.roster import Joined, RosterValue, reset_epoch
from coordination.agreed.vocabulary.succession_messages import EpochAsk, SurveyAnswer, SurveyAsk
from coordination.agreed.voting.standing import Standing
from crdt.clock import Instant
from mesh.directives import NANOSECONDS, Act, Arm, Directive, Directives, Disarm, Emit, Event, Message, Send, Source

__all__ = ["Reset", "judge", "lost"]

ASK_AGAIN = NANOSECONDS // 4
ANSWER_WITHIN = 2 * NANOSECONDS
EARLY_WITHIN = NANOSECONDS // 4
"""For whoever only explains."""
COMPLETED = "a change of the roster that was under way has been completed instead: look again, and repeat it if need be"
DECIDE_WITHIN = 5 * NANOSECONDS


def judge(survey: Surveyed, without: frozenset[str]) -> str:
    """Why this roster cannot be reset without these; empty if it can."""
    roster = survey.roster
    if roster is None:
        return "this node knows of no roster yet"
    if not roster.elastic:
        return (
            "the roster is fixed, and needs no reset: one node that has it is enough. Start the others again, or new machines "
            "under their names"
        )
    if survey.newer:
        return f"{survey.newer} knows a newer roster, of which this node has just been told: look again"
    here = [each.name for each in survey.voters if each.answered]
    remember = [each.name for each in survey.voters if each.answered and each.memory and not each.sealed]
    if len(remember) > len(roster.voters) - roster.majority:
        return f"no reset is needed: {', '.join(remember)} remember what they promised, and tell the others"
    strangers = without - set(roster.voters)
    if strangers:
        return f"not on the roster: {', '.join(sorted(strangers))}. Its voters are {', '.join(roster.voters)}"
    present = without.intersection(here)
    if present:
        return f"{', '.join(sorted(present))} answers, and cannot be given up: stop it first, or leave it in"
    silent = [name for name in roster.voters if name not in here and name not in without]
    if silent:
        return (
            f"{', '.join(silent)} does not answer: start it (empty will do), or give up each that is gone for good by its name"
        )
    if len(here) < roster.majority:
        return (
            f"only {', '.join(here) or 'nobody'} of {len(roster.voters)} voters answers, and {roster.majority} have to take "
            "part: start more of them, empty will do, under their names"
        )
    return ""


def lost(survey: Surveyed) -> tuple[str, ...]:
    """Who has forgotten, if they are so many that the roster can neither be served nor followed, whoever else comes back."""
    roster = survey.roster
    if roster is None or not roster.elastic:
        return ()
    forgot = tuple([each.name for each in survey.voters if each.answered and not each.memory])
    return forgot if len(forgot) >= roster.majority else ()


class Question:
    __slots__ = ("answers", "began", "newer", "roster", "until", "without")

    def __init__(self, roster: RosterValue, began: int, within: int, without: frozenset[str] | None) -> None:
        self.roster = roster
        self.began = began
        self.until = began + within
        self.without = without
        """None: only a survey."""
        self.answers: dict[str, SurveyAnswer] = {}
        self.newer = ""

    def surveyed(self, query: int) -> Surveyed:
        voters = []
        for name in self.roster.voters:
            answer = self.answers.get(name)
            if answer is None:
                voters.append(Voter(name, False, False, False, 0.0))
            else:
                voters.append(Voter(name, True, answer.memory, answer.sealed, answer.left / NANOSECONDS))
        return Surveyed(query, self.roster, tuple(voters), self.newer)


class Reset:
    name = "reset"
    messages = (SurveyAsk, SurveyAnswer)
    hears = (RosterDecided,)

    def __init__(self, identity: Identity, standing: Standing, succession: Succession, boots: BootRecord) -> None:
        self._identity = identity
        self._standing = standing
        self._succession = succession
        self._boots = boots
        self._questions: dict[int, Question] = {}
        self._pending: dict[int, RosterValue] = {}
        """Resets that were begun, by query."""
        self._counts: Counter[str] = Counter()

    # --- commands ---------------------------------------------------------------------------------------------------------

    def survey(self, query: int, now: Instant) -> Directives:
        """Answered by `Surveyed(query, ...)` once all voters have answered, or enough, or after a quarter of a second."""
        return self._begin(query, now, EARLY_WITHIN, None)

    def reset(self, query: int, without: tuple[str, ...], now: Instant) -> Directives:
        """Answered by `ResetOver(query, ...)`: the roster that has been decided, or why there is none."""
        return self._begin(query, now, ANSWER_WITHIN, frozenset(without))

    def _begin(self, query: int, now: Instant, within: int, without: frozenset[str] | None) -> Directives:
        roster = self._standing.roster
        if roster is None:
            nothing = Surveyed(query, None, (), "")
            return (Emit(nothing) if without is None else Emit(ResetOver(query, judge(nothing, without), None)),)
        self._questions[query] = question = Question(roster, now.mono, within, without)
        return self._ask(query, question, now)

    # --- part -------------------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> Directives:
        return ()

    def on_message(self, message: Message, source: Source, now: Instant) -> Directives:
        if isinstance(message, SurveyAsk):
            return self._answer(message, now)
        assert isinstance(message, SurveyAnswer)
        question = self._questions.get(message.query)
        if question is None or message.name not in question.roster.voters:
            return ()
        if message.asker not in (self._identity.boot, NO_BOOT):
            return ()
        if message.epoch > question.roster.epoch:
            question.newer = message.name
            return (Send(message.name, EpochAsk(self._standing.epoch, 0, self._identity.name)),)
        if message.epoch == question.roster.epoch and message.boot >= self._boots.of(message.name):
            question.answers[message.name] = message
            known = question.without is None and lost(question.surveyed(message.query))
            if known or len(question.answers) == len(question.roster.voters):
                return (Disarm(message.query), *self._conclude(message.query, now))
        return ()

    def on_timer(self, timer: Hashable, now: Instant) -> Directives:
        if not isinstance(timer, int):
            return ()
        question = self._questions.get(timer)
        if question is not None:
            return self._conclude(timer, now) if now.mono >= question.until else self._ask(timer, question, now)
        if timer in self._pending:
            del self._pending[timer]
            return (Emit(ResetOver(timer, "it was begun, and is not decided yet: look again, and repeat it if need be", None)),)
        return ()

    def on_event(self, event: Event, now: Instant) -> Directives:
        out: list[Directive] = []
        if not isinstance(event, RosterDecided):
            return out
        for query, wanted in list(self._pending.items()):
            del self._pending[query]
            roster = self._standing.roster
            why = "" if roster is not None and roster.epoch >= wanted.epoch else COMPLETED
            out += (Disarm(query), Emit(ResetOver(query, why, roster)))
        return out

    def stats(self) -> dict[str, int]:
        return dict(self._counts)

    # --- help -------------------------------------------------------------------------------------------------------------

    def _ask(self, query: int, question: Question, now: Instant) -> Directives:
        ask = SurveyAsk(query, self._identity.name, question.roster.epoch, self._identity.boot)
        again = min(now.mono + ASK_AGAIN, question.until)
        return (*(Send(name, ask) for name in question.roster.voters if name not in question.answers), Arm(query, again))

    def _answer(self, ask: SurveyAsk, now: Instant) -> Directives:
        standing = self._standing
        roster = standing.roster
        if roster is None or self._boots.superseded():
            return ()
        if ask.epoch > roster.epoch:
            return (Send(ask.name, EpochAsk(roster.epoch, 0, self._identity.name)),)
        left = standing.started + roster.abstention - now.mono if standing.whole is None else 0
        memory = standing.memory or not roster.elastic
        sealed = roster.elastic and standing.sealed >= roster.epoch
        identity = self._identity
        own = identity.name, identity.boot
        return (Send(ask.name, SurveyAnswer(ask.query, roster.epoch, *own, memory, sealed, max(0, left), ask.boot)),)

    def _conclude(self, query: int, now: Instant) -> list[Directive]:
        question = self._questions.pop(query)
        survey = question.surveyed(query)
        if question.without is None:
            return [Emit(survey)]
        refusal = judge(survey, question.without)
        if refusal:
            self._counts["refused"] += 1
            return [Emit(ResetOver(query, refusal, None))]
        own, roster = self._identity, question.roster
        epoch = reset_epoch(now.wall, own.boot.session, roster.epoch)
        answers = sorted(question.answers.items())
        joined = tuple([Joined(name, answer.boot) for name, answer in answers])
        wanted = roster._replace(epoch=epoch, voters=tuple([name for name, _ in answers]), joined=joined)
        self._pending[query] = wanted
        self._counts["begun"] += 1
        return [Arm(query, now.mono + DECIDE_WITHIN), Act(self._succession, self._succession.reset(wanted, now))]
