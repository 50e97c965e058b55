"""The acceptor's and the holder's rules one by one, on the objects themselves."""

from __future__ import annotations

from coordination.agreed.holding.belief import Belief
from coordination.agreed.owning.round import Round
from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.boots import BootRecord
from coordination.agreed.vocabulary.messages import (
    Accept,
    Accepted,
    Prepare,
    Promise,
    Reason,
    Rejected,
    Renew,
    RenewAnswer,
    RenewItem,
)
from coordination.agreed.vocabulary.placement import Placement
from coordination.agreed.vocabulary.roster import RosterValue, found
from coordination.agreed.vocabulary.tickets import Queue, Ticket
from coordination.agreed.vocabulary.values import FREE, Holding, LeaseId, Value
from coordination.agreed.voting.acceptor import Acceptor
from crdt.clock import HybridClock, Instant
from mesh.directives import Boot, Directive, Send, Source
from tests.coordination.agreed_world import MS, PARAMETERS, S, Self_

ROSTER = found(("a", "b", "c"), PARAMETERS)
GROUP = Placement(ROSTER).group("lock/x")
BOOTS = tuple(Boot(1, name.encode() * 16) for name in GROUP)
WALL = 1_700_000_000_000


class Known:
    roster: RosterValue | None = ROSTER
    until: int | None = None

    def abstaining_until(self, now: Instant) -> int | None:
        return self.until if self.until is not None and now.mono < self.until else None


class Nobody:
    def is_alive(self, name: str) -> bool:
        return True

    def boot(self, name: str) -> Boot | None:
        return BOOTS[GROUP.index(name)]

    def names_alive(self) -> list[str]:
        return list(GROUP)


def at(ms: int) -> Instant:
    return Instant(ms * MS, ms * MS, WALL + ms)


def token(ms: int = 0) -> int:
    return (WALL + ms) << 16


def acceptor(source: Known | None = None) -> Acceptor:
    me = Self_("a", BOOTS[GROUP.index("a")])
    part = Acceptor(me, source or Known(), HybridClock(500), BootRecord(me, Nobody()))
    part.start(at(0))
    return part


def ballot(counter: int, name: str = "b") -> Ballot:
    return Ballot(1, counter, name, BOOTS[GROUP.index(name)])


def lease(number: int, name: str = "h", ms: int = 0) -> LeaseId:
    return LeaseId(token(ms) + number, name, Boot(7, b"h" * 16), number)


def holding(identity: LeaseId, serial: int = 1, ttl: int = S) -> Holding:
    return Holding(identity, serial, ttl, ttl, False)


def accept(
    part: Acceptor,
    at_ballot: Ballot,
    held: Holding | None,
    ms: int,
    *,
    wait: int = S,
    granting: bool = True,
    ends: tuple[LeaseId, ...] = (),
    boots: tuple[Boot, ...] = BOOTS,
    rests: int = 0,
    value: Value | None = None,
    waits: tuple[int, ...] = (),
) -> Accepted | Rejected | None:
    if value is None:
        value = Value((held,), b"") if held is not None else FREE
        waits = (wait,) if held is not None else ()
    message = Accept("lock/x", at_ballot, boots, rests, value, waits, 0 if held and granting else -1, ends)
    return part.accept(message, at(ms), [])


def promise(part: Acceptor, counter: int, ms: int, name: str = "b") -> Promise:
    answer = part.prepare(Prepare("lock/x", ballot(counter, name), BOOTS), at(ms), [])
    assert isinstance(answer, Promise)
    return answer


def renew(
    part: Acceptor, held: Holding, serial: int, ms: int, at_ballot: Ballot, ttl: int = S, value: Value | None = None
) -> int:
    quoted = value if value is not None else Value((held,), b"")
    item = RenewItem("lock/x", held.lease, serial, ttl, False, at_ballot, quoted, BOOTS)
    message = Renew(held.lease.name, held.lease.boot, (item,))
    sends: list[Directive] = list(part.on_message(message, Source(b"", "", None, None, None), at(ms)))
    answer = next(each.message for each in sends if isinstance(each, Send) and isinstance(each.message, RenewAnswer))
    return answer.results[0].reason


def reason(answer: object) -> int:
    assert isinstance(answer, Rejected), answer
    return answer.reason


def test_a_promise_refuses_lower_ballots_and_an_accept_promises_the_next() -> None:
    part = acceptor()
    promise(part, 5, 1)
    assert reason(accept(part, ballot(4), None, 2)) == Reason.BALLOT
    assert isinstance(accept(part, ballot(5), None, 2), Accepted)
    answer = part.prepare(Prepare("lock/x", ballot(5, "c"), BOOTS), at(3), [])
    assert reason(answer) == Reason.BALLOT, "the same proposer's next one is promised"
    assert isinstance(accept(part, ballot(6), None, 4), Accepted)


def test_a_live_identity_is_kept_unless_its_holder_ended_it() -> None:
    part = acceptor()
    first, second = lease(1), lease(2, ms=400)
    assert isinstance(accept(part, ballot(1), holding(first), 0), Accepted)
    assert reason(accept(part, ballot(2), holding(second), 900)) == Reason.LIVE
    assert isinstance(accept(part, ballot(2), holding(second), 950, ends=(first,)), Accepted)
    assert reason(accept(part, ballot(3), holding(lease(3, ms=1900)), 1949)) == Reason.LIVE
    assert isinstance(accept(part, ballot(3), holding(lease(3, ms=1900)), 1951), Accepted)


def test_accepting_the_same_serial_again_never_moves_until() -> None:
    part = acceptor()
    held = holding(lease(1, ms=400))
    for turn in range(10):
        assert isinstance(accept(part, ballot(1 + 2 * turn), held, turn * 90, granting=False), Accepted)
    assert promise(part, 100, 990).leases[0].remaining == 10 * MS
    assert isinstance(accept(part, ballot(100), holding(lease(1, ms=400), serial=2), 991), Accepted)
    assert promise(part, 102, 992).leases[0].remaining == 999 * MS


def test_a_newcomer_waits_what_remains_elsewhere() -> None:
    part = acceptor()
    assert isinstance(accept(part, ballot(1), holding(lease(1)), 500, wait=300 * MS, granting=False), Accepted)
    assert promise(part, 5, 700).leases[0].remaining == 100 * MS


def test_a_renewal_extends_whatever_is_promised_but_not_what_has_expired_or_ended() -> None:
    part = acceptor()
    held = holding(lease(1))
    accept(part, ballot(1), held, 0)
    promise(part, 50, 500, "c")
    assert renew(part, held, 2, 600, ballot(1)) == Reason.OK
    assert promise(part, 60, 700).leases[0].remaining == 900 * MS
    assert renew(part, held, 2, 1000, ballot(1)) == Reason.OK
    assert promise(part, 70, 1000).leases[0].remaining == 600 * MS, "an old serial extends nothing"
    assert renew(part, held, 3, 1601, ballot(1)) == Reason.OVER
    other = acceptor()
    accept(other, ballot(1), held, 0)
    other.drop("lock/x", held.lease, at(10), [])
    assert renew(other, held, 2, 20, ballot(1)) == Reason.OVER
    assert promise(other, 9, 30).leases[0].remaining == 0


def test_a_renewal_of_a_stranger_is_an_accept() -> None:
    part = acceptor()
    held = holding(lease(1))
    promise(part, 9, 0, "c")
    assert renew(part, held, 2, 10, ballot(1)) == Reason.BALLOT
    assert renew(part, held, 2, 10, ballot(9, "c")) == Reason.OK
    assert promise(part, 20, 10).value == Value((held,), b"")
    assert renew(part, holding(lease(2)), 2, 20, ballot(30)) == Reason.LIVE


def test_the_token_window() -> None:
    part = acceptor()
    late = 1000
    assert reason(accept(part, ballot(1), holding(lease(1, ms=late - 751)), late)) == Reason.TOKEN
    assert reason(accept(part, ballot(1), holding(lease(1, ms=late + 501)), late)) == Reason.TOKEN
    first = lease(1, ms=late)
    assert isinstance(accept(part, ballot(1), holding(first), late), Accepted)
    accept(part, ballot(2), None, late, ends=(first,))
    assert reason(accept(part, ballot(3), holding(lease(0, ms=late)), late)) == Reason.TOKEN, "below the highest"
    assert isinstance(accept(part, ballot(3), holding(lease(0, ms=late)), late, granting=False), Accepted)


def test_a_token_that_is_known_is_taken_over_whatever_the_own_clock_says() -> None:
    part = acceptor()
    wild = 3_600_000
    message = Accept("lock/x", ballot(1), BOOTS, 0, FREE, (), -1, (), floor=token(wild))
    assert isinstance(part.accept(message, at(1), []), Accepted)
    assert reason(accept(part, ballot(2), holding(lease(0, ms=wild)), 2)) == Reason.TOKEN, "it is not lost"
    assert isinstance(accept(part, ballot(2), holding(lease(1, ms=wild)), 2), Accepted), "and keeps nobody out"


def test_abstention_and_boots() -> None:
    source = Known()
    source.until = 3000 * MS
    part = acceptor(source)
    assert reason(part.prepare(Prepare("lock/x", ballot(1), BOOTS), at(1), [])) == Reason.ABSTAIN
    assert reason(accept(part, ballot(1), None, 1)) == Reason.ABSTAIN
    assert renew(part, holding(lease(1)), 2, 10, ballot(1)) == Reason.ABSTAIN
    assert isinstance(accept(part, ballot(1), None, 3000), Accepted)
    own = GROUP.index("a")
    older = tuple(Boot(0, b"") if index == own else boot for index, boot in enumerate(BOOTS))
    assert reason(accept(part, ballot(2), None, 3001, boots=older, rests=1 << own)) == Reason.BOOT
    newer = tuple(Boot(9, b"n" * 16) if index == own else boot for index, boot in enumerate(BOOTS))
    assert accept(part, ballot(2), None, 3002, boots=newer) is None, "replaced: it answers nothing"
    assert accept(part, ballot(2), None, 3003) is None


def test_a_free_register_is_forgotten_after_two_m() -> None:
    part = acceptor()
    first = lease(1)
    accept(part, ballot(1), holding(first), 0)
    accept(part, ballot(2), None, 10, ends=(first,))
    part.on_timer("until", at(6100))
    assert part.register("lock/x") is None
    accept(part, ballot(3), holding(lease(2, ms=6100), ttl=3 * S), 6100, wait=3 * S)
    part.on_timer("until", at(12200))
    assert part.register("lock/x") is not None


def test_a_quorum_counts_no_answer_that_is_older_than_a_named_boot() -> None:
    round_ = Round(Prepare("lock/x", ballot(1), BOOTS), GROUP, 0)

    def answer(index: int, boot: Boot, boots: tuple[Boot, ...] = ()) -> Promise:
        return Promise("lock/x", ballot(1), GROUP[index], boot, boots, ZERO, FREE, (), (), 0, 0)

    newer = Boot(9, b"n" * 16)
    round_.add(answer(0, BOOTS[0]))
    assert not round_.reached()
    round_.add(answer(1, BOOTS[1], (newer, BOOTS[1], BOOTS[2])))
    assert not round_.reached(), "the first answer is of a process that has been replaced"
    round_.add(answer(0, newer))
    assert round_.reached()
    boots, rests = round_.grounds()
    assert boots[:2] == (newer, BOOTS[1]) and rests == 0b11


def test_belief_counts_from_the_sending_and_never_comes_back() -> None:
    belief = Belief()
    serial = belief.sending(100 * MS)
    assert belief.grant(serial, S, ROSTER, 400 * MS)
    assert belief.deadline == 100 * MS + S * 990 // 1010
    assert belief.valid(belief.deadline - 1) and not belief.valid(belief.deadline)
    again = belief.sending(belief.deadline - 5)
    for voter, boot in zip(GROUP, BOOTS, strict=True):
        assert not belief.renewed(voter, boot, {}, again, S, ROSTER, 2, belief.deadline + 1)
    assert not belief.valid(belief.deadline - 1), "a deadline that has passed is final"


def test_belief_needs_q_acknowledgements_and_counts_from_the_qth_newest() -> None:
    belief = Belief()
    assert belief.grant(belief.sending(0), S, ROSTER, 1)
    first, second = belief.sending(300 * MS), belief.sending(600 * MS)
    assert not belief.renewed("a", BOOTS[0], {}, second, S, ROSTER, 2, 610 * MS)
    assert belief.renewed("b", BOOTS[1], {}, first, S, ROSTER, 2, 620 * MS)
    assert belief.deadline == 300 * MS + ROSTER.believed(S)
    assert not belief.renewed("c", BOOTS[2], {"a": Boot(99, b"")}, first, S, ROSTER, 2, 630 * MS)
    belief.end()
    assert not belief.valid(631 * MS)
    assert not belief.renewed("c", BOOTS[2], {}, second, S, ROSTER, 2, 640 * MS)


def test_the_queue_skips_the_dead_and_takes_in_the_old_by_age() -> None:
    queue = Queue()

    def ticket(number: int, now: int, age: int = 0) -> Ticket:
        return Ticket(("h", Boot(1, b""), number), 1, S, wait=True, binds=False, now=now, age=age)

    queue.add(ticket(1, 1000 * MS))
    queue.add(ticket(2, 1010 * MS))
    queue.add(ticket(3, 1020 * MS, age=500 * MS))
    assert [each.asker[2] for each in queue.all()] == [3, 1, 2]
    oldest = queue.first_fresh(1020 * MS)
    assert oldest is not None and oldest.asker[2] == 3
    second = queue.get(("h", Boot(1, b""), 2))
    assert second is not None
    second.refreshed = 1300 * MS
    fresh = queue.first_fresh(1300 * MS)
    assert fresh is second, "one that does not refresh is passed over"
    queue.forget_stale(9000 * MS)
    assert len(queue) == 0
