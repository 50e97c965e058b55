"""The processes of a case: every state of each is kept once, under a number, and every step of each is taken once.

A step is a state's number, the time and an input; its outcome is the number of the next state, the messages that were sent,
and what is worth telling. Messages are numbered, too, with who sends and who receives them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

from mesh.directives import Boot, Message
from tests.coordination.agreed_nodes import EPOCH_MS, MS, Changes
from tests.coordination.exploring.cores import Core, Effect, Identity, Seen, Steady, User, View
from tests.coordination.exploring.freezing import Pool, Shelf, publish
from tests.coordination.exploring.laws import Broken, check_step

__all__ = ["Cast", "Letter", "Outcome"]


class Letter(NamedTuple):
    sender: int
    boot: Boot
    to: int
    message: Message


class Outcome(NamedTuple):
    core: int
    """The number of the state that it leaves behind."""
    sent: tuple[int, ...]
    """Numbers of letters."""
    effects: tuple[Effect, ...]
    broken: str
    """The rule that the step itself breaks, or ``."""


class Cast:
    def __init__(self, names: tuple[str, ...], faults: Changes) -> None:
        self.names = names
        self.faults = faults
        self.shelf = Shelf()
        self._pool: Pool = {}
        for kind in (Identity, Steady, View):
            self.shelf.share(kind)
        self.shelf.share_placements()
        for _, planted in faults:
            publish(planted)
        self.letters: list[Letter] = []
        self.seen: list[Seen] = []
        """Of each state, what the laws look at."""
        self.due: list[int | None] = []
        """Of each state, the true ns of its earliest timer."""
        self.may: list[tuple[str, ...]] = []
        """Of each state, what its user may do."""
        self.taken = 0
        """Steps of real code."""
        self._letters: dict[Letter, int] = {}
        self._index = {name: number for number, name in enumerate(names)}
        self._kept: list[bytes] = []
        self._numbers: dict[Hashable, int] = {}
        self._steps: dict[Hashable, Outcome] = {}

    # --- making -----------------------------------------------------------------------------------------------------------

    def core(self, name: str, now: int, *, rate: int, user: User | None, view: View, tables: bool, process: int) -> Core:
        number = self._index[name]
        identity = Identity(name, Boot((EPOCH_MS + now // MS) << 16 | process, bytes([number + 1, process]) * 8))
        dice = Steady((number + 0.5) / len(self.names))
        return Core(identity, view, dice, rate, user, tables={} if tables else None)

    def put(self, core: Core, now: int) -> int:
        """The number of its state."""
        seen = core.look(now)
        frozen = core.frozen(self._pool)
        known = self._numbers.get(frozen)
        if known is None:
            known = self._numbers[frozen] = len(self._kept)
            self._kept.append(self.shelf.keep(core))
            self.seen.append(seen)
            self.due.append(core.next_due())
            self.may.append(core.user.may() if core.user is not None else ())
        return known

    def get(self, number: int) -> Core:
        core = self.shelf.wake(self._kept[number])
        assert isinstance(core, Core)
        return core

    def letter(self, sender: Core, to: str, message: Message) -> int | None:
        """Its number; None if nobody lives there."""
        index = self._index.get(to)
        if index is None:
            return None
        letter = Letter(self._index[sender.identity.name], sender.identity.boot, index, message)
        known = self._letters.get(letter)
        if known is None:
            known = self._letters[letter] = len(self.letters)
            self.letters.append(letter)
        return known

    # --- steps ------------------------------------------------------------------------------------------------------------

    def deliver(self, number: int, letter: int, now: int) -> Outcome:
        key = (number, letter, now)
        known = self._steps.get(key)
        if known is None:
            sent = self.letters[letter]
            known = self._take(key, lambda core: core.message(self.names[sent.sender], sent.boot, sent.message, now))
        return known

    def fire(self, number: int, now: int) -> Outcome:
        key = (number, -1, now)
        return self._steps.get(key) or self._take(key, lambda core: core.fire(now))

    def command(self, number: int, what: str, now: int) -> Outcome:
        key = (number, what, now)
        return self._steps.get(key) or self._take(key, lambda core: core.command(what, now))

    def propose(self, number: int, voters: tuple[str, ...], now: int) -> Outcome:
        key = (number, voters, now)
        return self._steps.get(key) or self._take(key, lambda core: core.propose(voters, now))

    def other(self, number: int, what: Hashable, now: int, act: Callable[[Core], None]) -> Outcome:
        """A step that is none of the code's own: a crash, a start."""
        key = (number, what, now)
        return self._steps.get(key) or self._take(key, act, own=False)

    def _take(self, key: tuple[int, Hashable, int], act: Callable[[Core], None], *, own: bool = True) -> Outcome:
        number, _, now = key
        self.taken += 1
        core = self.get(number)
        core.out, core.told = [], []
        act(core)
        sent = [letter for to, message in core.out if (letter := self.letter(core, to, message)) is not None]
        told = tuple(core.told)
        core.out, core.told = [], []
        after = self.put(core, now)
        core.dissolve()
        broken = next((text for what, text in told if what == "broken"), "")
        if own and not broken:
            try:
                check_step(self.seen[number], self.seen[after], now)
            except Broken as wrong:
                broken = str(wrong)
        outcome = Outcome(after, tuple(sent), tuple([each for each in told if each[0] in ("granted", "decided")]), broken)
        self._steps[key] = outcome
        return outcome
