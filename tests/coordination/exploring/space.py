"""The search: all that may happen next, from every state, breadth first, each state once.

What may happen:

    deliver   a message that is under way, in any order
    fire      the earliest timer that is due at a process, before or after any message
    do        what a user may do next
    pass      nothing is under way and nothing is due: time goes on to the next timer

and of faults as many of each kind as the bounds allow, at any moment:

    slow      a message is left behind: it arrives at any later time, or never (a lost message is one that never does)
    again     a message that has arrived comes once more
    leap      time goes on at once, past what is under way and due, to where some lease runs out or some holder stops believing
    crash     a process ends, with what was on its way to it; its disk stays
    start     one that crashed comes back
    change    a voter proposes another roster

Each fault is chosen where it shows, not where it may begin, and the states are as many fewer:

- A message that is late within one instant is one that has not arrived yet, and of those there are states anyway. So letters
  are left behind where time passes: as many of those under way as may still be late.
- That a message comes twice is chosen when it comes for the second time. Until then it is remembered that it has come (`COPY`),
  and not beyond the last one that may.
- A delivery that changes nothing for now is no step: the state after it can go on in no way in which the one before cannot,
  except that time may pass. So the letter stays, marked as one that time need not wait for (`STRAY`), and so does one to a
  process that is down. `calm` kinds are not marked.
- Letters that change nothing any more are taken away at once (`spent`): each of them would have every state twice.

`search(reduced=False)` does without all of that; a test compares what the laws are shown.

States that are equal in all that any process may look at, in what is under way, in the time, in the faults that are left and in
what the laws remember are one state. Nothing is hashed away: a state is known by numbers that stand for exactly one content.

Time passes only when nothing is under way but what a fault has left behind, so messages take no time; and the timers of one
process fire in their order. Beside that all interleavings of messages, timers and users are there. `Bounds.calm` narrows them:
while a message of such a kind is under way, nothing else happens."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import combinations, pairwise

from mesh.directives import Message
from tests.coordination.exploring.cast import Cast, Outcome
from tests.coordination.exploring.laws import Broken, check_state
from tests.coordination.exploring.spent import SpentLetters
from tests.coordination.exploring.state import COPY, STRAY, State, letter_of

__all__ = ["KINDS", "Bounds", "Found", "Space"]

SLOW, AGAIN, LEAP, CRASH, START, CHANGE = range(6)
"""Kinds of faults, as they are counted in `State.spent`."""
KINDS = 6


@dataclass(frozen=True)
class Bounds:
    """How many of each fault, and until when."""

    slow: int = 0
    again: int = 0
    leap: int = 0
    crash: int = 0
    change: int = 0
    lasts: int = 0
    """ns from the start after which time does not go on by itself."""
    far: int = 0
    """ns from the start up to which it may leap, and go on from there, if that is more."""
    depth: int = 0
    """Steps; 0: as many as there are."""
    crashes: tuple[str, ...] = ()
    """Who may crash."""
    forgets: bool = True
    """Whether it comes back without its disk."""
    comes_back: bool = True
    rosters: tuple[tuple[str, ...], ...] = ()
    """What may be proposed."""
    proposers: tuple[str, ...] = ()
    calm: tuple[type[Message], ...] = ()


BEYOND = ("crash", "start")
"""Steps that no process lives through."""
Step = tuple[str, int]
"""What happens, and to which letter or process, or until when."""


@dataclass
class Found:
    states: int
    steps: int
    """Of whole states."""
    taken: int
    """Of these, how many ran real code: the others had been taken before, in other company."""
    depth: int
    seconds: float
    """Of processor time."""
    whole: bool
    """Whether the bounds ended it, and nothing else."""
    broken: str = ""
    trace: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.states / self.seconds if self.seconds else 0
        end = "whole" if self.whole else "broken" if self.broken else "cut short"
        return (
            f"{self.states:,} states, {self.steps:,} steps ({self.taken:,} of real code), depth {self.depth}, "
            f"{self.seconds:.1f} s, {rate:,.0f} states/s, {end}"
        )


class Space:
    def __init__(
        self,
        cast: Cast,
        start: State,
        bounds: Bounds,
        *,
        key: str,
        group: tuple[str, ...],
        restart: Callable[[int, int, int], Outcome],
    ) -> None:
        self.cast = cast
        self.start = start
        self.bounds = bounds
        self.key = key
        self.group = group
        self.until = start.now + bounds.lasts
        self.far = start.now + max(bounds.lasts, bounds.far)
        self.eager = False
        """Whether faults are chosen when they may begin, and not when they show; and every delivery counts."""
        self._restart = restart
        self._judged: dict[tuple[tuple[int, ...], int], str] = {}
        self._flights: dict[tuple[tuple[int, ...], int, tuple[int, ...]], tuple[int, ...]] = {}
        self._may_crash = tuple([cast.names.index(name) for name in bounds.crashes])
        self._proposers = tuple([cast.names.index(name) for name in bounds.proposers])

    # --- the search -------------------------------------------------------------------------------------------------------

    def search(self, *, limit: int = 0, seconds: float = 0, reduced: bool = True) -> Found:
        """Until a law is broken, all states have been seen, or so many, or so much time has gone.

        `reduced`: without the letters that change nothing any more (`spent`)."""
        self.eager = not reduced
        gc.disable()  # it would go through all states again and again, and find nothing
        try:
            return self._search(limit, seconds, reduced)
        finally:
            gc.enable()

    def _search(self, limit: int, seconds: float, reduced: bool) -> Found:
        begun = time.process_time()
        self.spent_letters = spent = self._spent_letters() if reduced else None
        start = spent.without(self.start, -1) if spent is not None else self.start
        number_of: dict[State, int] = {start: 0}
        parents = [-1]
        level = [start]
        depth = steps = 0
        number = 0

        def found(whole: bool, broken: str = "", last: int = -1, step: str = "") -> Found:
            took = time.process_time() - begun
            trace = self._trace(list(number_of), parents, last, step) if broken else []
            return Found(len(parents), steps, self.cast.taken, depth, took, whole, broken, trace)

        while level:
            if self.bounds.depth and depth >= self.bounds.depth:
                return found(True)
            after: list[State] = []
            for state in level:
                number = number_of[state]
                for step, reached, wrong in self.following(state):
                    steps += 1
                    broken = wrong
                    following = reached
                    if not broken and spent is not None:
                        if step[0] not in BEYOND:
                            spent.step(state.cores, reached.cores)
                        following = spent.without(reached, number)
                    if not broken and following not in number_of:
                        number_of[following] = len(parents)
                        parents.append(number)
                        after.append(following)
                        broken = self._judge(following)
                    if broken:
                        return found(False, broken, number, self._told(step))
                    while spent is not None and spent.mistaken:
                        for again, parent in spent.correct():
                            if again not in number_of:
                                number_of[again] = len(parents)
                                parents.append(parent)
                                after.append(again)
                if limit and len(parents) >= limit:
                    return found(False)
            if seconds and time.process_time() - begun > seconds:
                return found(False)
            level = after
            depth += 1
        return found(True)

    def _spent_letters(self) -> SpentLetters:
        return SpentLetters(self.cast, passes=self.far > self.start.now, calm=self.bounds.calm)

    def _judge(self, state: State) -> str:
        key = (state.cores, state.now)
        broken = self._judged.get(key)
        if broken is None:
            seen = self.cast.seen
            broken = ""
            try:
                check_state([seen[core] for core in state.cores], state.now, key=self.key, group=self.group)
            except Broken as wrong:
                broken = str(wrong)
            self._judged[key] = broken
        return broken

    # --- what may happen --------------------------------------------------------------------------------------------------

    def following(self, state: State) -> Iterator[tuple[Step, State, str]]:
        cores, flight, now, spent, _, _ = state
        cast, bounds = self.cast, self.bounds
        busy = False
        eager, copies = self.eager, spent[AGAIN] < bounds.again
        last: int | None = None
        calm = self._calm(flight)
        for letter in calm or flight:
            if letter == last:
                continue
            last = letter
            late = letter < 0
            number = letter_of(letter)
            to = cast.letters[number].to
            if not cast.seen[cores[to]].up:
                if eager:
                    yield ("lose", letter), state._replace(flight=self._flight(flight, letter, ())), ""
                continue
            outcome = cast.deliver(cores[to], number, now)
            if not (calm or eager or outcome.core != cores[to] or outcome.sent or outcome.effects or outcome.broken):
                continue
            if letter >= COPY:
                yield self._once_more(state, letter, to, outcome)
                continue
            sent = outcome.sent
            if copies and not late and not eager and flight.count(COPY | number) < bounds.again - spent[AGAIN]:
                sent = (COPY | number, *sent)
            yield self._after(("deliver", letter), state, to, outcome, self._flight(flight, letter, sent), spent)
            if eager and not late and spent[SLOW] < bounds.slow:
                behind = self._flight(flight, letter, (~number,))
                yield ("slow", letter), state._replace(flight=behind, spent=_one(spent, SLOW)), ""
            if eager and not late and copies:
                more = self._flight(flight, letter, (~number, *outcome.sent))
                yield self._after(("again", letter), state, to, outcome, more, _one(spent, AGAIN))
        if calm:
            return
        nearest: int | None = None
        for index, core in enumerate(cores):
            due = cast.due[core]
            if due is not None:
                if due <= now:
                    busy = True
                    outcome = cast.fire(core, now)
                    sent = self._flight(flight, None, outcome.sent)
                    yield self._after(("fire", index), state, index, outcome, sent, spent)
                elif nearest is None or due < nearest:
                    nearest = due
            for what in cast.may[core]:
                if what == "acquire":
                    busy = True  # who is to ask asks at once
                outcome = cast.command(core, what, now)
                sent = self._flight(flight, None, outcome.sent)
                yield self._after((what, index), state, index, outcome, sent, spent)
        if not busy and nearest is not None and nearest <= (self.far if spent[LEAP] else self.until):
            yield from self._pass(state, nearest)
        yield from self._faults(state)

    def _pass(self, state: State, now: int) -> Iterator[tuple[Step, State, str]]:
        """Time goes on; so many letters stay behind as may be late."""
        flight, spent = state.flight, state.spent
        due = [each for each in flight if 0 <= each < STRAY]
        strays = [each ^ STRAY for each in flight if STRAY <= each < COPY]
        stay = [each for each in flight if each < 0 or each >= COPY]
        more = 0 if self.eager else self.bounds.slow - spent[SLOW]
        for count in range(len(due), more + 1):
            for some in set(combinations(strays, count - len(due))):
                behind = tuple(sorted([*stay, *[~each for each in (*due, *some)]]))
                yield ("pass", now), state._replace(now=now, flight=behind, spent=_one(spent, SLOW, count)), ""

    def _faults(self, state: State) -> Iterator[tuple[Step, State, str]]:
        cores, flight, now, spent, _, _ = state
        cast, bounds = self.cast, self.bounds
        if spent[LEAP] < bounds.leap:
            late = tuple(sorted([each if each < 0 or each >= COPY else ~letter_of(each) for each in flight]))
            for moment in self._moments(cores, now):
                yield ("leap", moment), state._replace(now=moment, spent=_one(spent, LEAP), flight=late), ""
        if spent[CRASH] < bounds.crash:
            for index in self._may_crash:
                if cast.seen[cores[index]].up:
                    outcome = cast.other(cores[index], "crash", now, lambda core: core.die())
                    left = tuple([each for each in flight if cast.letters[letter_of(each)].to != index])
                    yield self._after(("crash", index), state, index, outcome, left, _one(spent, CRASH))
        if bounds.comes_back and spent[CRASH] > spent[START]:
            for index in self._may_crash:
                if not cast.seen[cores[index]].up:
                    outcome = self._restart(index, cores[index], now)
                    sent = self._flight(flight, None, outcome.sent)
                    yield self._after(("start", index), state, index, outcome, sent, _one(spent, START))
        if spent[CHANGE] < bounds.change:
            for index in self._proposers:
                if cast.seen[cores[index]].up:
                    for voters in bounds.rosters:
                        outcome = cast.propose(cores[index], voters, now)
                        sent = self._flight(flight, None, outcome.sent)
                        yield self._after(("change", index), state, index, outcome, sent, _one(spent, CHANGE))

    def _once_more(self, state: State, copy: int, to: int, outcome: Outcome) -> tuple[Step, State, str]:
        """A letter that had come comes again. When no more may, none is remembered."""
        spent = _one(state.spent, AGAIN)
        flight = self._flight(state.flight, copy, outcome.sent)
        if spent[AGAIN] == self.bounds.again:
            flight = tuple([each for each in flight if each < COPY])
        return self._after(("again", copy), state, to, outcome, flight, spent)

    def _calm(self, flight: tuple[int, ...]) -> tuple[int, ...]:
        """The first letter of a kind that keeps all else waiting."""
        calm, letters = self.bounds.calm, self.cast.letters
        if calm:
            for letter in flight:
                if 0 <= letter < STRAY and isinstance(letters[letter].message, calm):
                    return (letter,)
        return ()

    def _moments(self, cores: tuple[int, ...], now: int) -> list[int]:
        """Where a leap may end: a lease has just run out somewhere, or is just not over for its holder."""
        moments = set()
        for core in cores:
            seen = self.cast.seen[core]
            for register in seen.accepting:
                moments.update([until for _, _, until in register.leases])
            moments.update([each.until - 1 for each in seen.believing])
            if seen.votes_from:
                moments.add(seen.votes_from)
        return sorted([moment for moment in moments if now < moment <= self.far])

    def _after(
        self, step: Step, state: State, index: int, outcome: Outcome, flight: tuple[int, ...], spent: tuple[int, ...]
    ) -> tuple[Step, State, str]:
        cores, token, rosters, broken = state.cores, state.token, state.rosters, outcome.broken
        if outcome.core != cores[index]:
            cores = (*cores[:index], outcome.core, *cores[index + 1 :])
        for what, value in outcome.effects:
            if what == "granted":
                if value <= token:
                    broken = broken or f"L2: token {value} is granted after {token}"
                token = value
            elif value.epoch > 1:
                epoch = value.epoch - 2
                if epoch < len(rosters):
                    if rosters[epoch] != value.voters:
                        broken = broken or f"L11: {rosters[epoch]} and {value.voters} are both decided"
                elif epoch == len(rosters):
                    rosters = (*rosters, value.voters)
        return step, State(cores, flight, state.now, spent, token, rosters), broken

    def _flight(self, flight: tuple[int, ...], without: int | None, more: tuple[int, ...]) -> tuple[int, ...]:
        if without is None and not more:
            return flight
        key = (flight, without if without is not None else 1 << 62, more)
        known = self._flights.get(key)
        if known is None:
            left = list(flight)
            if without is not None:
                left.remove(without)
            left += more
            left.sort()
            known = self._flights[key] = tuple(left)
        return known

    # --- telling ----------------------------------------------------------------------------------------------------------

    def _trace(self, states: list[State], parents: list[int], last: int, step: str) -> list[str]:
        """How it came to it, step by step."""
        path = []
        while last >= 0:
            path.append(states[last])
            last = parents[last]
        path.reverse()
        lines = []
        for state, following in pairwise(path):
            taken = next(what for what, after, _ in self.following(state) if self._becomes(after, following))
            lines.append(f"{(state.now - self.start.now) / 1e6:10.3f} ms  {self._told(taken)}")
        lines.append(f"{(path[-1].now - self.start.now) / 1e6:10.3f} ms  {step}")
        return lines

    def _becomes(self, after: State, following: State) -> bool:
        """Whether it is that state, but for spent letters and strays."""
        left = Counter([each ^ STRAY if STRAY <= each < COPY else each for each in after.flight])
        left.subtract([each ^ STRAY if STRAY <= each < COPY else each for each in following.flight])
        return after._replace(flight=()) == following._replace(flight=()) and all(count >= 0 for count in left.values())

    def _told(self, step: Step) -> str:
        what, which = step
        names, letters = self.cast.names, self.cast.letters
        if what in ("deliver", "slow", "again", "lose"):
            letter = letters[letter_of(which)]
            late = " (late)" if which < 0 else ""
            return f"{what} {names[letter.sender]} -> {names[letter.to]}{late}: {letter.message}"
        if what in ("pass", "leap"):
            return f"{what} to {(which - self.start.now) / 1e6:.3f} ms"
        return f"{what} at {names[which]}"


def _one(spent: tuple[int, ...], kind: int, more: int = 1) -> tuple[int, ...]:
    return (*spent[:kind], spent[kind] + more, *spent[kind + 1 :])
