"""Budgets on paper: any number of purses and a register whose answers may be late, lost, or never come. Nothing is ever spent
that there is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from coordination.counting.purse import CompareAndSet, Entry, Ledger, Outcome, Purse, Read, Request, Want, read_ledger

LIMIT = 40


@dataclass(eq=False)
class Holder:
    """A process: its purse, and the call that it waits for."""

    purse: Purse
    call: Read | CompareAndSet | None = None
    dead: bool = False


@dataclass
class Paper:
    """Three names, whose processes come and go, and one register."""

    seed: int
    chunk: int | None = None
    crashes: bool = True
    doubts: bool = True
    value: Any = None
    late: list[CompareAndSet] = field(default_factory=list)
    """Changes whose callers were told that nothing is known of them: they may be made yet."""
    holders: dict[str, Holder] = field(default_factory=dict)
    taken: int = 0
    """What users have, and never more than the limit."""
    lost: int = 0
    """Rights that died with their holders, at the most."""
    sessions: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.dice = Random(self.seed)
        for name in ("a", "b", "c"):
            self.start(name)

    def start(self, name: str) -> None:
        self.sessions += 1
        self.holders[name] = Holder(Purse(LIMIT, name, f"s{self.sessions}", self.chunk, lambda: 3))

    # --- the register ------------------------------------------------------------------------------------------------

    def apply(self, call: Read | CompareAndSet) -> Any:
        if isinstance(call, Read):
            return self.value
        if self.value != call.old:
            return False
        self.value = call.new
        ledger = read_ledger(self.value)
        assert ledger is not None and ledger.free >= 0
        return True

    def answer(self, holder: Holder) -> None:
        """What came of the call of a holder: everything that may happen to one."""
        call, holder.call = holder.call, None
        assert call is not None
        fate = self.dice.random()
        if fate < 0.7 or not self.doubts:
            told = self.apply(call)
            holder.purse.was_read(told) if isinstance(call, Read) else holder.purse.was_set(told)
        elif fate < 0.8:
            holder.purse.failed(Exception("no quorum"), unknown=False)
        else:
            if fate < 0.9:
                self.apply(call)
            elif isinstance(call, CompareAndSet):
                self.late.append(call)
            holder.purse.failed(Exception("lost"), unknown=isinstance(call, CompareAndSet))
        self.drive(holder)

    def drive(self, holder: Holder, *, prefetch: bool = False) -> None:
        if holder.call is None:
            holder.call = holder.purse.next(prefetch=prefetch)

    # --- users -------------------------------------------------------------------------------------------------------

    def spend(self, holder: Holder, n: int) -> None:
        if not holder.purse.waiting and holder.purse.spend(n):
            self.took(n)
            self.drive(holder, prefetch=holder.purse.low)
            return
        holder.purse.ask(Request(Want.SPEND, n, lambda request: self.spent(holder, request)))
        self.drive(holder)

    def spent(self, holder: Holder, request: Request) -> None:
        self.count(request)
        if request.outcome is Outcome.DONE:
            if holder.dead:
                raise AssertionError("a dead process has no users")
            self.took(request.n)

    def took(self, n: int) -> None:
        self.taken += n
        assert self.taken <= LIMIT, f"seed {self.seed}: {self.taken} of {LIMIT} are taken"

    def refund(self, holder: Holder, n: int) -> None:
        n = min(n, self.taken)
        if not n:
            return
        self.taken -= n  # who gives back does not use it any more
        if holder.purse.refund(n):
            return

        def ended(request: Request) -> None:
            self.count(request)
            if request.outcome in (Outcome.REFUSED, Outcome.FAILED):
                self.took(n)  # it certainly did not happen
            elif request.outcome is Outcome.UNKNOWN:
                self.lost += n

        holder.purse.ask(Request(Want.REFUND, n, ended))
        self.drive(holder)

    def count(self, request: Request) -> None:
        assert request.outcome is not None
        name = f"{request.want.value} {request.outcome.value}"
        self.outcomes[name] = self.outcomes.get(name, 0) + 1

    def crash(self, name: str) -> None:
        holder = self.holders[name]
        holder.dead = True
        purse = holder.purse
        if isinstance(holder.call, CompareAndSet):
            self.late.append(holder.call)
        self.lost += LIMIT  # how many is not known from outside
        for request in list(purse._requests):
            if request.want is Want.REFUND:
                self.lost += request.n
        self.start(name)

    # --- running -----------------------------------------------------------------------------------------------------

    def step(self) -> None:
        dice = self.dice
        name = dice.choice(list(self.holders))
        holder, choice, n = self.holders[name], dice.random(), dice.choice((1, 1, 1, 2, 5, 17))
        if choice < 0.35:
            if holder.call is not None:
                self.answer(holder)
        elif choice < 0.65:
            self.spend(holder, n)
        elif choice < 0.8:
            self.refund(holder, n)
        elif choice < 0.84:
            holder.purse.ask(Request(Want.GIVE_BACK))
            self.drive(holder)
        elif choice < 0.9 and self.late:
            self.apply(self.late.pop(dice.randrange(len(self.late))))
        elif choice < 0.91 and self.crashes:
            self.crash(name)

    def settle(self) -> Ledger:
        """Everything is answered, and everyone gives back."""
        self.doubts = False
        for _ in range(3):
            for holder in self.holders.values():
                holder.purse.ask(Request(Want.GIVE_BACK))
                self.drive(holder)
                for _ in range(100):
                    if holder.call is None:
                        break
                    self.answer(holder)
                assert holder.call is None and not holder.purse.waiting
                assert (holder.purse.rights, holder.purse.used, holder.purse.held) == (0, 0, 0)
        ledger = read_ledger(self.value) if self.value is not None else Ledger(0, LIMIT, 0, {})
        assert ledger is not None
        return ledger


def campaign(seeds: range, *, until: Callable[[Paper], object] = lambda paper: None, **options: Any) -> dict[str, int]:
    seen: dict[str, int] = {}
    for seed in seeds:
        paper = Paper(seed, **options)
        for _ in range(250):
            paper.step()
        ledger = paper.settle()
        in_hand = ledger.settled + sum(entry.rights for entry in ledger.holders.values())
        assert paper.taken <= in_hand <= paper.taken + paper.lost, f"seed {seed}"
        until(paper)
        for name, count in paper.outcomes.items():
            seen[name] = seen.get(name, 0) + count
    return seen


@pytest.mark.parametrize("chunk", [None, 0, 3])
def test_nothing_is_ever_overspent_whatever_happens_to_calls_and_processes(chunk: int | None) -> None:
    seen = campaign(range(80), chunk=chunk)
    assert min(seen[name] for name in ("spend done", "spend exhausted", "spend failed", "refund done", "refund unknown")) > 10


@pytest.mark.parametrize("chunk", [None, 0, 3])
def test_without_crashes_every_right_comes_back(chunk: int | None) -> None:
    seen = campaign(range(60), chunk=chunk, crashes=False)
    assert seen["spend done"] > 200


@pytest.mark.soak
@pytest.mark.parametrize("first", range(10_000, 30_000, 2_000))
def test_nothing_is_ever_overspent_over_many_seeds(first: int) -> None:
    campaign(range(first, first + 2_000))


def test_a_good_register_gives_everything_and_no_more() -> None:
    paper = Paper(1, doubts=False, crashes=False)
    for holder in paper.holders.values():
        for _ in range(LIMIT):
            paper.spend(holder, 1)
            for _ in range(20):
                if holder.call is not None:
                    paper.answer(holder)
        holder.purse.ask(Request(Want.GIVE_BACK))
        paper.drive(holder)
        while holder.call is not None:
            paper.answer(holder)
    assert paper.taken == LIMIT
    assert paper.settle().free == 0


def test_what_a_former_process_of_a_name_had_counts_as_spent() -> None:
    paper = Paper(2, doubts=False)
    paper.spend(paper.holders["a"], 1)
    while paper.holders["a"].call is not None:
        paper.answer(paper.holders["a"])
    held = paper.holders["a"].purse.rights
    assert held > 0
    paper.crash("a")
    ledger = paper.settle()
    assert ledger.free == LIMIT - 1 - held
    paper.spend(paper.holders["a"], 1)  # whoever asks next under that name settles them
    assert paper.settle().settled == 1 + held + 1


def test_resizing_and_other_limits() -> None:
    purse, other, value = Purse(10, "a", "s1"), Purse(None, "b", "s2"), None
    ended: list[Request] = []

    def run(who: Purse, want: Want, n: int) -> Outcome | None:
        nonlocal value
        request = Request(want, n, ended.append)
        who.ask(request)
        while (call := who.next()) is not None:
            if isinstance(call, Read):
                who.was_read(value)
            else:
                assert call.old == value
                value = call.new
                who.was_set(True)
        return request.outcome

    assert run(other, Want.SPEND, 1) is Outcome.NO_BUDGET
    assert run(purse, Want.SPEND, 4) is Outcome.DONE
    assert run(other, Want.SPEND, 1) is Outcome.DONE
    assert run(other, Want.RESIZE, 4) is Outcome.REFUSED
    assert run(other, Want.RESIZE, 50) is Outcome.DONE
    assert run(other, Want.SPEND, 40) is Outcome.DONE
    assert run(purse, Want.LOOK, 0) is Outcome.OTHER_LIMIT
    assert ended[-1].ledger is not None and ended[-1].ledger.limit == 50
    value = "something else"
    assert run(other, Want.LOOK, 0) is Outcome.FOREIGN


@pytest.mark.parametrize(
    "value",
    [None, 5, [], [1, 2, 3], [1, 10, -1, {}], [1, 10, 11, {}], [1, 10, 2, []], [1, 10, 2, {"a": ["s", 9, 1]}],
     [1, 10, 2, {"a": ["s", -1, 1]}], [1, 10, 2, {"a": [7, 1, 1]}], [True, 10, 2, {}]],
)  # fmt: skip
def test_what_is_no_ledger(value: Any) -> None:
    assert read_ledger(value) is None


def test_a_ledger_and_its_value() -> None:
    ledger = Ledger(3, 10, 2, {"a": Entry("s", 5, 2)})
    assert read_ledger(ledger.plain()) == ledger and ledger.free == 3


# --- planted faults ----------------------------------------------------------------------------------------------------


def planted(monkeypatch: pytest.MonkeyPatch, name: str, fault: Callable[..., Any]) -> None:
    monkeypatch.setattr(Purse, name, fault)
    with pytest.raises(AssertionError):
        campaign(range(400))


def test_a_purse_that_spends_what_it_gives_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Purse._set

    def fault(self: Purse, change: Any) -> CompareAndSet:
        rights = self.rights
        answer = honest(self, change)
        self.rights, self.held = rights, 0
        return answer

    planted(monkeypatch, "_set", fault)


def test_a_purse_that_takes_a_doubtful_change_for_unmade_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Purse.failed
    planted(monkeypatch, "failed", lambda self, error, *, unknown: honest(self, error, unknown=False))


def test_a_purse_that_takes_a_doubtful_change_for_made_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Purse.failed

    def fault(self: Purse, error: Exception, *, unknown: bool) -> None:
        if unknown and self._trying is not None:
            self.was_set(True)
        else:
            honest(self, error, unknown=unknown)

    planted(monkeypatch, "failed", fault)


def test_a_restart_that_takes_back_what_its_former_process_held_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Purse._plan

    def fault(self: Purse, ledger: Ledger, request: Request | None) -> Any:
        holders = {
            name: entry for name, entry in ledger.holders.items() if name != self._name or entry.session == self._session
        }
        return honest(self, ledger._replace(holders=holders), request)

    planted(monkeypatch, "_plan", fault)


def test_a_purse_that_cannot_tell_its_attempts_apart_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Purse._plan

    def fault(self: Purse, ledger: Ledger, request: Request | None) -> Any:
        change = honest(self, ledger, request)
        self._attempt = 1
        return change

    planted(monkeypatch, "_plan", fault)
