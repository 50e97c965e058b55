"""Which leases may stand beside each other, and whose turn it is: the rule and the queue by themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordination.agreed.vocabulary.modes import EXCLUSIVE, HOLDINGS_CAP, SHARED, Mode, compatible, differs, fills, fits
from coordination.agreed.vocabulary.tickets import Queue, Ticket
from coordination.agreed.vocabulary.values import Holding, LeaseId, Value
from mesh.directives import Boot
from tests.coordination.agreed_checks import clash
from tests.coordination.agreed_world import S, Worker

TWO = Mode(2, 3)
ONE = Mode(1, 3)

modes = st.one_of(
    st.just(EXCLUSIVE),
    st.just(SHARED),
    st.builds(lambda limit, permits: Mode(min(limit, permits), limit), *[st.integers(1, 4)] * 2),
)


@given(st.lists(modes, max_size=8))
def test_whatever_is_granted_one_after_the_other_may_stand_together(asked: list[Mode]) -> None:
    value = Value((), b"")
    for number, mode in enumerate(asked):
        alive = value.holdings
        if differs(value, alive, mode) or not fits(value, alive, mode):
            continue
        new = Holding(LeaseId(number, "h", Boot(1, b""), number), 1, S, S, False, mode.permits)
        value = Value((*alive, new), b"", mode.limit, fills(alive, mode))
        assert compatible(value), value
        granted = [asked[each.lease.request] for each in value.holdings]
        parties = [Worker("n", mode=mode) for mode in granted]
        assert not clash(parties), "the checkers' own rule says the same"


def test_the_checkers_rule_knows_what_is_wrong() -> None:
    def parties(*asked: Mode) -> list[Worker]:
        return [Worker("n", mode=mode) for mode in asked]

    assert not clash(parties(SHARED, SHARED, SHARED)) and not clash(parties(TWO, ONE)) and not clash(parties(EXCLUSIVE))
    assert "alone" in clash(parties(SHARED, EXCLUSIVE))
    assert "4 permits of 3" in clash(parties(TWO, TWO))
    assert "limits" in clash(parties(ONE, Mode(1, 4)))


def ticket(number: int, mode: Mode, now: int = 0, *, wait: bool = True) -> Ticket:
    return Ticket(("h", Boot(1, b""), number), 1, S, wait=wait, binds=False, now=now, age=0, mode=mode)


def queued(*asked: Mode, wait: bool = True) -> Queue:
    queue = Queue()
    for number, mode in enumerate(asked):
        queue.add(ticket(number, mode, wait=wait))
    return queue


def standing(*granted: Mode, limit: int = 0) -> Value:
    holdings = [
        Holding(LeaseId(number, "x", Boot(1, b""), number), 1, S, S, False, mode.permits) for number, mode in enumerate(granted)
    ]
    return Value(tuple(holdings), b"", limit)


@pytest.mark.parametrize(
    ("value", "asked", "turn"),
    [
        (standing(), (EXCLUSIVE, SHARED), 0),
        (standing(SHARED), (SHARED, EXCLUSIVE), 0),
        (standing(SHARED), (EXCLUSIVE, SHARED), None),
        (standing(EXCLUSIVE), (SHARED, SHARED), None),
        (standing(TWO, limit=3), (ONE,), 0),
        (standing(TWO, limit=3), (TWO, ONE), None),
        (standing(TWO, ONE, limit=3), (ONE,), None),
        (standing(TWO, limit=3), (Mode(1, 4), ONE), 1),
        (standing(ONE, limit=3)._replace(shut=True), (ONE,), None),
    ],
)
def test_whose_turn_it_is(value: Value, asked: tuple[Mode, ...], turn: int | None) -> None:
    found = queued(*asked).next_for(value, value.holdings, 1)
    assert (found.asker[2] if found is not None else None) == turn


def test_who_would_rather_not_wait_holds_back_nobody() -> None:
    queue = queued(EXCLUSIVE, wait=False)
    queue.add(ticket(7, SHARED))
    value = standing(SHARED)
    found = queue.next_for(value, value.holdings, 1)
    assert found is not None and found.asker[2] == 7


def test_a_full_register_takes_no_more() -> None:
    value = standing(*[SHARED] * HOLDINGS_CAP)
    assert not fits(value, value.holdings, SHARED)


def test_who_names_another_limit_is_found_at_once_and_forgotten_when_gone() -> None:
    queue = queued(ONE, ONE)
    value = standing(ONE, limit=3)
    assert queue.mistaken(value, value.holdings) == []
    queue.add(ticket(9, Mode(1, 5)))
    assert [each.asker[2] for each in queue.mistaken(value, value.holdings)] == [9]
    assert queue.mistaken(Value((), b""), ()) == [], "the first use sets the limit"
    queue.remove(("h", Boot(1, b""), 9))
    assert queue.mistaken(value, value.holdings) == []
