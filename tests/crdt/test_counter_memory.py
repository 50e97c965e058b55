"""C4: what a counter takes does not depend on how often its writers were restarted."""

from __future__ import annotations

import pytest

from crdt.cell import COUNTER, FOLD
from crdt.clock import COUNTER_BITS
from crdt.cuts import NO_CUT, Cut, End, Opening, Report, make_cut
from crdt.forgetting import apply_cut
from crdt.store import Store

EACH = 5
"""Restarts between two cuts."""


def restarted(times: int) -> tuple[Store, Cut]:
    """A replica that has heard of so many processes, one after the other, each of which added to a counter and is gone."""
    keeper, cut = Store(bytes(16)), NO_CUT
    ended: list[bytes] = []
    stamp = 1 << COUNTER_BITS
    for number in range(1, times + 12 * EACH + 1):
        stamp += 1 << COUNTER_BITS
        if number <= times:
            actor = number.to_bytes(16, "big")
            process = Store(actor)
            process.add("orders", number, stamp)
            (written,) = process.flush()
            keeper.apply(written.cell, stamp)
            ended.append(actor)
        if number % EACH:
            continue
        keeper.flush()
        gone = {each.actor for each in cut.retired}
        opening = Opening(cut.round + 1, 1, tuple([End(actor, False) for actor in ended if actor not in gone]), (keeper.actor,))
        report = Report(keeper.actor, keeper.dots.summary(), keeper.dots.last(keeper.actor), stamp)
        made = make_cut(cut, opening, {keeper.actor: report})
        assert made is not None
        cut = made
        apply_cut(keeper, cut, stamp, 0)
        ended = [actor for actor in ended if any(end.actor == actor for end in cut.ended)]
    return keeper, cut


@pytest.mark.parametrize("times", [10, 100, 1_000])
def test_the_memory_of_a_counter_after_a_thousand_restarts_is_that_after_ten(times: int) -> None:
    keeper, cut = restarted(times)
    assert keeper.counter("orders") == times * (times + 1) // 2, "folding changes no value"
    kinds = [cell.kind for cell in keeper.cells()]
    assert kinds.count(COUNTER) == 0 and kinds.count(FOLD) == 1, "one cell, however many have written"
    assert len(keeper.dots.summary().vector) == 0, "nor is any of them in the vector"
    assert len(cut.retired) <= 512
    assert len(keeper._by_actor) <= 1, "nor has any an index of its cells"
