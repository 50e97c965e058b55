"""What a member that is authenticated but wrong may send: nothing raises, and no table grows without limit."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordination.agreed.holding.holder import Holder
from coordination.agreed.owning import desks as desks_module
from coordination.agreed.owning import owner as owner_module
from coordination.agreed.owning.desk import ENDED_REMEMBERED, Desk
from coordination.agreed.owning.owner import Owner
from coordination.agreed.rosters.birth import Birth
from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.birth_messages import BirthAccept, BirthAccepted, BirthPrepare, BirthPromise, Candidate
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.messages import (
    Accept,
    Accepted,
    Acquire,
    Cancel,
    Drop,
    Dropped,
    Grant,
    Prepare,
    Reason,
    Release,
    RenewAnswer,
    RenewResult,
    Waiting,
)
from coordination.agreed.vocabulary.placement import Placement
from coordination.agreed.vocabulary.roster import found
from coordination.agreed.vocabulary.values import LeaseId, Value
from coordination.agreed.voting import keeping as keeping_module
from coordination.agreed.voting.acceptor import Acceptor
from crdt.clock import HybridClock
from mesh.directives import Boot, Directive, Send, Source
from tests.coordination.agreed_world import MS, PARAMETERS, S, Self_
from tests.coordination.test_agreed_rules import (
    BOOTS,
    GROUP,
    ROSTER,
    Known,
    Nobody,
    accept,
    acceptor,
    at,
    ballot,
    holding,
    lease,
    promise,
    renew,
)

SOURCE = Source(b"", "", None, None, None)


def owner() -> Owner:
    me = Self_(GROUP[0], BOOTS[0])
    clock, boots = HybridClock(500), BootRecord(me, Nobody())
    voter = Acceptor(me, Known(), clock, boots)
    voter.start(at(0))
    part = Owner(me, Nobody(), Known(), clock, random.Random(1), boots, voter)
    part.start(at(0))
    return part


def acquire(number: int, key: str = "lock/x", ttl: int = S) -> Acquire:
    return Acquire(key, "h", Boot(1, b"h" * 16), number, 1, True, False, ttl, 0, ())


@pytest.mark.parametrize(
    "wrong",
    [
        {"boots": BOOTS[:1]},
        {"boots": ()},
        {"waits": ()},
        {"waits": (S, S)},
        {"waits": (-1,)},
        {"waits": (PARAMETERS.max_ttl + 1,)},
        {"granting": 1},
        {"granting": -2},
        {"ends": tuple(lease(number) for number in range(200))},
        {"value": Value(tuple(holding(lease(number)) for number in range(100)), b""), "waits": (S,) * 100},
    ],
)
def test_a_malformed_accept_is_counted_and_not_answered(wrong: dict[str, object]) -> None:
    part = acceptor()
    right = {
        "boots": BOOTS,
        "rests": 0b111,
        "value": Value((holding(lease(1)),), b""),
        "waits": (S,),
        "granting": 0,
        "ends": (),
    }
    message = Accept("lock/x", ballot(1), **{**right, **wrong})  # type: ignore[arg-type]
    assert part.accept(message, at(1), []) is None
    assert part.stats()["malformed"] == 1 and part.register("lock/x") is None
    assert isinstance(part.accept(Accept("lock/x", ballot(1), **right), at(1), []), Accepted)  # type: ignore[arg-type]


def test_a_renewal_for_longer_than_max_ttl_extends_nothing() -> None:
    part = acceptor()
    held = holding(lease(1))
    accept(part, ballot(1), held, 0)
    assert renew(part, held, 2, 100, ballot(1), ttl=PARAMETERS.max_ttl + 1) == Reason.OVER
    assert promise(part, 9, 100).leases[0].remaining == 900 * MS
    assert renew(part, held, 2, 100, ballot(1), ttl=PARAMETERS.max_ttl) == Reason.OK


def test_a_release_that_overtakes_its_accept_is_remembered() -> None:
    part = acceptor()
    first = lease(1)
    sends = list(part.on_message(Drop("lock/x", first), SOURCE, at(0)))
    assert any(isinstance(each, Send) and isinstance(each.message, Dropped) for each in sends)
    assert isinstance(accept(part, ballot(1), holding(first), 1), Accepted)
    assert promise(part, 5, 2).leases[0].remaining == 0
    assert isinstance(accept(part, ballot(5), holding(lease(2)), 3), Accepted), "it does not close the lock"


def test_registers_are_bounded_and_those_in_use_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping_module, "REGISTERS_CAP", 3)
    part = acceptor()
    assert isinstance(accept(part, ballot(1), holding(lease(1)), 0), Accepted)
    for number in range(10):
        boots = tuple(Boot(1, name.encode() * 16) for name in Placement(ROSTER).group(f"lock/{number}"))
        part.prepare(Prepare(f"lock/{number}", ballot(1), boots), at(1), [])
        part.on_message(Drop(f"lock/{number}", lease(number)), SOURCE, at(1))
    assert part.stats()["registers"] == 3 and part.stats()["registers_full"] == 16
    assert promise(part, 9, 2).leases[0].remaining > 0
    part.on_timer("until", at(20_000))
    part.on_message(Drop("lock/late", lease(1)), SOURCE, at(20_000))
    assert part.register("lock/late") is not None


def test_an_acceptor_remembers_few_ends() -> None:
    part = acceptor()
    for number in range(100):
        part.on_message(Drop("lock/x", lease(number)), SOURCE, at(1))
    register = part.register("lock/x")
    assert register is not None and len(register.ended) == 8


def test_desks_are_bounded_and_idle_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desks_module, "CAP", 4)
    part = owner()
    for number in range(20):
        part.on_message(Cancel(f"lock/{number}", "h", Boot(1, b"h" * 16), 1), SOURCE, at(number))
    assert part.stats()["desks"] == 4 and part.stats()["desks_full"] == 16, "nothing that is wanted is dropped"
    for number in range(4):
        desk = part.desk(f"lock/{number}")
        assert desk is not None
        desk.cancels.clear()
        desk.round = None
    old = part.desk("lock/0")
    assert old is not None
    counter = old.counter
    part.on_message(acquire(1, "lock/new"), SOURCE, at(30))
    assert part.desk("lock/new") is not None and part.desk("lock/0") is None
    part.on_message(acquire(1, "lock/0"), SOURCE, at(31))
    again = part.desk("lock/0")
    assert again is not None and again.counter > counter, "no ballot of a forgotten desk is used again"


def test_what_is_asked_of_one_register_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_module, "ASKED_CAP", 5)
    part = owner()
    waiting = 0
    for number in range(50):
        sends = part.on_message(acquire(number), SOURCE, at(1))
        waiting += any(isinstance(each, Send) and isinstance(each.message, Waiting) for each in sends)
        part.on_message(Cancel("lock/x", "h", Boot(1, b"h" * 16), 1000 + number), SOURCE, at(1))
        part.on_message(Release("lock/x", lease(number), True), SOURCE, at(1))
        part.recheck([f"{number:x}.1.1.{'00' * 16}.h#lock/x"], at(1))
    desk = part.desk("lock/x")
    assert desk is not None
    assert len(desk.queue) == len(desk.cancels) == len(desk.ends) == len(desk.checks) == 5
    assert len(desk.binding) == 5
    assert part.stats()["queue_full"] == 45 and waiting >= 45, "who finds no place is told that the voters are there"


def test_a_lease_that_ended_elsewhere_does_not_stay_on_the_list_of_what_binds() -> None:
    part = owner()
    desk = part._desks.open("lock/x", at(1))
    assert desk is not None
    desk.binding = {lease(number): None for number in range(1000)}
    out: list[Directive] = []
    part._replies.settle(desk, [holding(lease(3))], out)
    assert list(desk.binding) == [lease(3)] and len(out) == 999, "and each end is told"


def test_unknown_reasons_and_unwanted_grants_fill_no_table() -> None:
    me = Self_("h", Boot(7, b"h" * 16))
    part = Holder(me, Nobody(), Known())
    part.start(at(0))
    part.acquire(part.next_request(), "lock/x", kind="lock", ttl=S, wait=True, renew=True, now=at(0))
    value = Value((holding(lease(1)),), b"")
    part.on_message(Grant("lock/x", lease(1), 1, S, False, ballot(1), value, BOOTS, "b"), SOURCE, at(1))
    for number in range(5000):
        results = (RenewResult("lock/x", 1, 1, 100 + number, ()),)
        part.on_message(RenewAnswer(GROUP[0], BOOTS[0], "h", me.boot, results), SOURCE, at(2))
        ghost = lease(10 + number)
        part.on_message(Grant("lock/y", ghost, 1, S, False, ballot(1), Value((), b""), BOOTS, "b"), SOURCE, at(2))
    assert len(part.stats()) < 20 and part.stats()["leaving"] == 4096
    assert part.stats()["renewal_refused"] == 5000


# --- birth ----------------------------------------------------------------------------------------------------------


class Alone(Nobody):
    def boot(self, name: str) -> Boot | None:
        return None


def founder(name: str = "a", seeds: int = 5) -> Birth:
    part = Birth(
        Self_(name, Boot(1, name.encode() * 16)),
        Alone(),
        random.Random(1),
        expect=3,
        voter=True,
        fresh=False,
        networked=True,
        seeds=seeds,
        parameters=PARAMETERS,
    )
    part.start(at(0))
    return part


def call(name: str, *, founder: bool = True, stamp: int = 1) -> Candidate:
    return Candidate(name, Boot(stamp, name.encode()[:1] * 16), 3 if founder else 1, founder, ZERO, ())


def test_clients_do_not_count_as_founders_that_are_reached() -> None:
    """b and c hold the roster {a, b, c}, and are cut off; a has restarted, and meets d and e, and many clients."""
    part = founder()
    for name in ("d", "e"):
        part.on_message(call(name), SOURCE, at(1))
    for number in range(20):
        part.on_message(call(f"client{number}", founder=False), SOURCE, at(1))
    ask = BirthPrepare(Ballot(1, 1, "d", Boot(1, b"d" * 16)), ("a", "d", "e"))
    assert part.on_message(ask, SOURCE, at(2)) == []
    assert part.stats()["birth_declined"] == 1
    part.on_message(call("b"), SOURCE, at(3))
    assert part.on_message(ask, SOURCE, at(3)) != []


def test_a_founder_is_heard_among_any_number_of_clients() -> None:
    part = founder(seeds=3)
    for number in range(1000):
        part.on_message(call(f"client{number}", founder=False), SOURCE, at(1))
    for name in ("b", "c"):
        part.on_message(call(name), SOURCE, at(1))
    assert {"b", "c"} <= set(part.waiting_for()) and len(part.waiting_for()) <= 257


def test_an_acceptance_of_a_process_that_has_been_replaced_decides_nothing() -> None:
    def decided(newer: int, *, early: bool = False) -> bool:
        part = founder(seeds=3)
        for name in ("b", "c"):
            part.on_message(call(name), SOURCE, at(1))
        sends: list[Directive] = []
        turn = 0
        while not any(isinstance(each, Send) and isinstance(each.message, BirthPrepare) for each in sends) and turn < 60:
            turn += 1
            sends += part.on_timer("call", at(2 + turn * 100))
            for name in ("b", "c"):
                part.on_message(call(name), SOURCE, at(3 + turn * 100))
        asked = [each.message for each in sends if isinstance(each, Send) and isinstance(each.message, BirthPrepare)]
        number = asked[-1].ballot
        roster = found(("a", "b", "c"), PARAMETERS)
        if early:
            part.on_message(call("b", stamp=newer), SOURCE, at(4 + turn * 100))
        sends.clear()
        for name in ("a", "b", "c"):
            boot = Boot(1, name.encode() * 16)
            sends += part.on_message(BirthPromise(number, name, boot, ZERO, None), SOURCE, at(5 + turn * 100))
        assert early != any(isinstance(each, Send) and isinstance(each.message, BirthAccept) for each in sends)
        part.on_message(call("b", stamp=newer), SOURCE, at(6 + turn * 100))
        for name in ("a", "b", "c"):
            part.on_message(BirthAccepted(number, name, Boot(1, name.encode() * 16)), SOURCE, at(7 + turn * 100))
        return part.roster == roster

    assert decided(1)
    assert not decided(2, early=True)
    assert not decided(2), "the new process of b knows nothing of it, and may accept another set"


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["a", "b"]), st.integers(1, 90)), max_size=200))
@settings(max_examples=100, deadline=None)
def test_what_an_owner_remembers_of_ends_is_bounded_and_answers_for_each_request(ends: list[tuple[int, str, int]]) -> None:
    desk = Desk("lock/x", GROUP)
    remembered: list[LeaseId] = []
    for token, name, request in ends:
        ended = LeaseId(token, name, Boot(1, b"s" * 16), request)
        desk.remember_ended([ended])
        remembered = [*[each for each in remembered if each != ended][1 - ENDED_REMEMBERED :], ended]
        assert list(desk.ended) == remembered
        for asker in ((name, Boot(1, b"s" * 16), number) for number in range(1, 91)):
            assert desk.is_over(asker) == any(each.asker == asker for each in remembered)
    boot = Boot(1, b"s" * 16)
    desk.remember_ended([LeaseId(1, "c", boot, 7), LeaseId(2, "c", boot, 7)])
    desk.remember_ended([LeaseId(token, "d", boot, token) for token in range(ENDED_REMEMBERED - 1)])
    assert LeaseId(1, "c", boot, 7) not in desk.ended and desk.is_over(("c", boot, 7)), "another lease answers that request"
    late = LeaseId(1, "c", boot, 1)
    desk.ends[late] = 0
    assert desk.is_over(late.asker)
