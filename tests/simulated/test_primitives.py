"""Counters, gauges, budgets, limiters and watches of whole services under every fault, and that each law is looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import crdt.forgetting
from coordination.counting.gauges import Hold
from coordination.counting.purse import Ledger, Purse
from coordination.counting.rates import SlidingWindow, TokenBucket
from coordination.following.feed import Feed, Told
from coordination.following.tallies import Tally
from crdt.cell import Cell
from crdt.counter import folded
from crdt.store import Store
from simulations.registry import SCENARIOS

PRIMITIVES = SCENARIOS["primitives"]


def test_every_law_holds() -> None:
    seen: Counter[str] = Counter()
    for seed in (96, 108):  # in which keys fall: of a member that was ended, and behind a deletion that was forgotten
        result = PRIMITIVES.run(seed, PRIMITIVES.draw(seed))
        assert result.violation is None, result.violation
        seen.update(result.reached)
    for name in PRIMITIVES.sometimes:
        assert seen[name] > 0, (name, seen)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("first", range(1_000, 1_500, 50))
def test_every_law_holds_over_hundreds_of_seeds(first: int) -> None:
    for seed in range(first, first + 50):
        result = PRIMITIVES.run(seed, PRIMITIVES.draw(seed))
        assert result.violation is None, result.violation


def broken(law: str, seeds: range, *, faults: bool = True) -> None:
    """Some seed finds it."""
    told = []
    for seed in seeds:
        violation = PRIMITIVES.run(seed, PRIMITIVES.draw(seed) if faults else []).violation
        if violation is not None:
            told.append(violation)
            if violation.startswith(law):
                return
    raise AssertionError(f"no {law} in {seeds}: {told}")


def test_c2_an_add_within_a_window_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Store.add_more
    monkeypatch.setattr(Store, "add_more", lambda self, name, n: n == 3 or honest(self, name, n))
    broken("C2", range(3), faults=False)


def test_c13_a_change_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Feed.offer
    monkeypatch.setattr(Feed, "offer", lambda self, change: change.revision % 50 == 0 or honest(self, change))
    broken("C13", range(3))


def test_c2_a_fold_that_changes_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrongly(name: str, fold: Cell | None, slots: Sequence[Cell], tag: int) -> Cell:
        made = folded(name, fold, slots, tag)
        *rest, added, subtracted = made.order
        return made._replace(order=(*rest, added + 1_000, subtracted))  # type: ignore[operator]

    monkeypatch.setattr(crdt.forgetting, "folded", wrongly)
    broken("C2", range(3))


def test_c13_a_change_that_is_told_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Feed.next
    again: dict[int, Told | None] = {}

    def twice(self: Feed, store: Store, stamp: int) -> Told | None:
        before = again.pop(id(self), None)
        told = before or honest(self, store, stamp)
        if before is None and told is not None and told.kind == "delete":
            again[id(self)] = told._replace(kind="put", value=told.old, old=None)
        return told

    monkeypatch.setattr(Feed, "next", twice)
    broken("C13", range(3))


def test_c13_a_stamp_that_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Feed.next

    def earlier(self: Feed, store: Store, stamp: int) -> Told | None:
        told = honest(self, store, stamp)
        return told if told is None or told.revision % 50 else told._replace(stamp=told.stamp >> 1)

    monkeypatch.setattr(Feed, "next", earlier)
    broken("C13", range(3))


def test_c13_a_key_that_falls_and_nobody_is_resynced(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Feed.offer
    monkeypatch.setattr(Feed, "offer", lambda self, change: honest(self, change._replace(fell=False)))
    broken("C13", range(108, 109))


def test_c13_a_gauge_of_which_a_watcher_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Tally.offer
    monkeypatch.setattr(Tally, "offer", lambda self, change: change.kind == "lease_ended" or honest(self, change))
    broken("C15", range(3))


def test_b1_rights_of_a_former_process_that_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Purse._plan

    def fault(self: Purse, ledger: Ledger, request: Any) -> Any:
        holders = {
            name: each for name, each in ledger.holders.items() if name != self._name or each.session == self._session
        }  # fmt: skip
        settled = 0 if ledger.version % 7 == 0 else ledger.settled
        return honest(self, ledger._replace(holders=holders, settled=settled), request)

    monkeypatch.setattr(Purse, "_plan", fault)
    broken("B1", range(3))


def test_b2_a_process_that_takes_the_whole_rate_for_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = TokenBucket.share
    monkeypatch.setattr(
        TokenBucket, "share", lambda self, parts, whole, now, least=0: honest(self, min(parts, 1), 1, now, least)
    )
    broken("B2", range(3))


def test_b2_a_window_that_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted anew with each second."""
    honest = SlidingWindow.take

    def fixed(self: SlidingWindow, n: int, now: int) -> bool:
        if self._past and self._past[0][0] // self._window != now // self._window:
            self._past.clear()
            self._count = 0
        return honest(self, n, now)

    monkeypatch.setattr(SlidingWindow, "take", fixed)
    broken("B2", range(6))


def test_b3_a_share_of_a_gauge_that_is_bound_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import coordination.counting.gauges

    honest: Callable[..., Any] = Hold.__init__

    class Unbound:
        def __init__(self, keys: Any) -> None:
            self._keys = keys

        async def put(self, key: str, value: Any, *, lease: Any = None) -> int:
            return int(await self._keys.put(key, value))

    monkeypatch.setattr(
        Hold, "__init__", lambda self, keys, core, prefix, n, ttl: honest(self, Unbound(keys), core, prefix, n, ttl)
    )
    monkeypatch.setattr(coordination.counting.gauges, "shown", lambda cell: (cell.key, 1, True))
    broken("B3", range(3), faults=False)
