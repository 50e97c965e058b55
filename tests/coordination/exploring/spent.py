"""Letters that change nothing any more: the answer that comes when all has been decided, and most of what is said twice.

As long as such a letter is under way, every state is there twice, with it and without it. So it is taken away as soon as its
delivery would leave its receiver as it is, send nothing and tell nothing; and it is seen to that this stays so: for every
state of the receiver that the search ever comes to after that one, and every time at which it is met, the delivery is tried.
Where it does change something after all, every state that it had been taken away from is looked at once more, with it.

Why nothing is missed: let a history of the full space deliver letters later that have been taken away here. Without these
deliveries it is a history of the smaller space, step by step: up to the first of them the receiver is in a state that the
search has been to, where the letter was tried and changed nothing; so the rest of the history goes on as without it. A crash
takes what is on its way to a process, so what comes after does not count as one of its later states. (That a letter under way
keeps time from passing is no difference: it could have been delivered. A fault that befalls it might as well not have been.)

The later states of a process are all that follow in any company, which is more than what may follow in one: some letters are
kept that could go."""

from __future__ import annotations

from mesh.directives import Message
from tests.coordination.exploring.cast import Cast
from tests.coordination.exploring.state import STRAY, State, letter_of

__all__ = ["SpentLetters"]

MISTAKES = 4
"""A letter that was taken for spent wrongly so often is kept from then on."""


class SpentLetters:
    def __init__(self, cast: Cast, *, passes: bool, calm: tuple[type[Message], ...]) -> None:
        self.cast = cast
        self.passes = passes
        """Whether time may go on at all: else nobody asks which letters keep it."""
        self.calm = calm
        self.taken = 0
        self.corrected = 0
        self.mistaken: list[tuple[int, int]] = []
        """(state of a process, letter) where one was taken that changes something later."""
        self._spent: dict[int, set[int]] = {}
        """Of each state of a process the letters that must change nothing there."""
        self._times: dict[int, set[int]] = {}
        self._after: dict[int, set[int]] = {}
        self._before: dict[int, set[int]] = {}
        self._kept: set[tuple[int, int]] = set()
        self._mistakes: dict[int, int] = {}
        self._from: dict[tuple[int, int], dict[State, int]] = {}
        """Where a letter was taken, and the state of whole from which, with the number of the one before."""

    def without(self, state: State, number: int) -> State:
        """The state without its spent letters; it was come to from the one of that number."""
        cores, now, letters = state.cores, state.now, self.cast.letters
        for core in cores:
            times = self._times.setdefault(core, set())
            if now not in times:
                times.add(now)
                for letter in self._spent.get(core, ()):
                    self._try(core, letter, now)
        gone: list[int] = []
        strays: list[int] = []
        for each in state.flight:
            letter = letter_of(each)
            core = cores[letters[letter].to]
            if not self.cast.seen[core].up:
                strays.append(each)
            elif self._nothing(core, letter, now):
                kept = self._mistakes.get(letter, 0) >= MISTAKES or (core, letter) in self._kept
                (strays if kept else gone).append(each)
        strays = [each for each in strays if self._may_stray(each)]
        if not gone and not strays:
            return state
        left = list(state.flight)
        for each in gone:
            left.remove(each)
            letter = letter_of(each)
            core = cores[letters[letter].to]
            self._from.setdefault((core, letter), {}).setdefault(state, number)
            self._add(core, letter)
        for each in strays:
            left[left.index(each)] = STRAY | each
        self.taken += len(gone)
        return state._replace(flight=tuple(sorted(left)))

    def step(self, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        """A process has gone from one state to another."""
        for old, new in zip(before, after, strict=True):
            if old != new:
                following = self._after.setdefault(old, set())
                if new not in following:
                    following.add(new)
                    self._before.setdefault(new, set()).add(old)
                    for letter in tuple(self._spent.get(old, ())):
                        self._add(new, letter)

    def correct(self) -> list[tuple[State, int]]:
        """The states from which a letter should not have been taken, with it, and the number of the one before each."""
        todo: dict[State, int] = {}
        while self.mistaken:
            core, letter = self.mistaken.pop()
            self._mistakes[letter] = self._mistakes.get(letter, 0) + 1
            earlier = [core]
            known = {core}
            for each in earlier:
                self._kept.add((each, letter))
                self._spent.get(each, set()).discard(letter)
                todo.update(self._from.pop((each, letter), {}))
                for other in self._before.get(each, ()):
                    if other not in known:
                        known.add(other)
                        earlier.append(other)
        self.corrected += len(todo)
        return [(self.without(state, number), number) for state, number in todo.items()]

    # --- trying -----------------------------------------------------------------------------------------------------------

    def _nothing(self, core: int, letter: int, now: int) -> bool:
        outcome = self.cast.deliver(core, letter, now)
        return outcome.core == core and not outcome.sent and not outcome.effects and not outcome.broken

    def _may_stray(self, each: int) -> bool:
        return self.passes and 0 <= each < STRAY and not isinstance(self.cast.letters[each].message, self.calm)

    def _try(self, core: int, letter: int, now: int) -> None:
        if not self._nothing(core, letter, now):
            self.mistaken.append((core, letter))

    def _add(self, core: int, letter: int) -> None:
        """It changes nothing here, nor in any state that follows."""
        todo = [core]
        for each in todo:
            spent = self._spent.setdefault(each, set())
            if letter not in spent:
                spent.add(letter)
                for now in self._times.get(each, ()):
                    self._try(each, letter, now)
                todo += self._after.get(each, ())
