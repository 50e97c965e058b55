"""Voters that have forgotten, and what others tell them of leases: early, complete, and never too much is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from coordination.agreed.owning.round import Round
from coordination.agreed.recalling.reader import Reader
from coordination.agreed.vocabulary.ballot import Ballot
from coordination.agreed.vocabulary.messages import Accept, Live, Prepare, Promise, Reason, Renew, RenewAnswer, RenewItem
from coordination.agreed.vocabulary.placement import Placement
from coordination.agreed.vocabulary.reader_messages import TableIs, TableRow
from coordination.agreed.vocabulary.roster import Parameters
from coordination.agreed.vocabulary.values import FREE, LeaseId, Value
from coordination.agreed.voting.acceptor import Acceptor
from coordination.agreed.voting.keeping import EXPIRED_STAGGER, Expired
from coordination.agreed.voting.lease_memory import LeaseMemory
from crdt.clock import Instant
from mesh.directives import Act, Arm, Boot, Directives, Emit, Send
from tests.coordination.agreed_nodes import Node
from tests.coordination.agreed_world import MS, Changes, S, World
from tests.coordination.reader_hall import KEY, PARAMETERS, SOURCE, TOKEN, TTL, WALL, Hall, at
from tests.coordination.returning_faults import CountsTheReplaced, TakesNoBoots, TakesNoTokens, TeachesNothing


def test_a_voter_that_forgot_votes_once_both_others_have_told() -> None:
    hall = Hall()
    held = hall.round(5)
    assert hall.accept(held, "a", "b") == {"a": 0, "b": 0}
    hall.voters["b"].start(at(1))
    hall.read("b", "a")
    assert not hall.votes("b")
    assert hall.accept(hall.round(6), "b") == {"b": Reason.ABSTAIN}
    hall.read("b", "c")
    assert hall.votes("b")
    assert hall.accept(hall.round(6, boots=hall.boots()), "b", "c") == {"b": Reason.LIVE, "c": 0}, "it was told of the lease"
    register = hall.voters["b"].acceptor.register(KEY)
    assert register is not None
    assert register.accepted == held.message.ballot
    assert register.highest == TOKEN + 5
    assert hall.accept(held, "b") == {"b": 0}, "it holds what it accepted before, and says so again"


def test_five_that_forget_one_after_the_other_are_told_before_they_have_waited() -> None:
    """Each for a lock that somebody uses, and one that nobody has used yet. (The fourth found two that counted: what the others
    had been told counted for nothing any more, once those that had told it were restarted, too. It waited for M.)"""
    world = World(5, voters=5, clients=1, latency=(MS, 2 * MS))
    assert world.run_until(world.founded, 20 * S)
    world.run(S)
    held = world.acquire("n5", "lock/used", ttl=2 * S)
    assert world.run_until(lambda: held.state == "held", S)
    for name in [f"n{number}" for number in range(5)] * 2:
        world.crash(name)
        world.start(name)
        node, began = world.nodes[name], world.now

        def votes(node: Node = node) -> bool:
            parts, now = node.parts, world.instant(node)
            return parts is not None and not any(parts.acceptor.abstaining(key, now) for key in ("lock/used", "lock/new"))

        assert world.run_until(votes, 2 * S), f"{name} waits, {world.now}"
        assert world.now - began < S
        assert held.state == "held"


def test_it_wakes_when_somebody_is_to_be_asked_and_for_nothing_else() -> None:
    """Nobody answers but one, which has forgotten as well. (It woke each 50 ms as long as it abstained.)"""
    hall = Hall()
    hall.voters["b"].start(at(1))
    reader, now, asked = hall.voters["b"].reader, at(1), list[tuple[float, str]]()
    while now.mono < at(8).mono:
        done = [*reader.on_timer("ask", now)]
        asks = [each for each in done if isinstance(each, Send)]
        assert asks, f"woken for nothing after {(now.mono - at(1).mono) / S} s"
        asked += [(round((now.mono - at(1).mono) / S, 3), str(each.to)) for each in asks]
        if asks[0].to == "a":
            forgot = TableIs("a", Boot(2, b"a" * 16), hall.voters["b"].boot, 1, "", False, (), (), "")
            done += reader.on_message(forgot, SOURCE, now)
        armed = [each.at for each in done if isinstance(each, Arm)]
        now = Instant(armed[-1], armed[-1], now.wall)
    assert [after for after, name in asked if name == "c"] == [0, 0.2, 0.6, 1.4, 3.0, 5.0]
    assert [after for after, name in asked if name == "a"] == [0, 0.6, 1.2, 1.8, 2.4, 3.0, 3.6, 4.2, 4.8, 5.4, 6.0, 6.6]


@pytest.mark.parametrize(("count", "needed"), [(2, 1), (3, 2), (4, 2), (5, 3)])
def test_as_many_have_to_tell_as_share_one_with_every_quorum(count: int, needed: int) -> None:
    hall = Hall(count)
    hall.voters["b"].start(at(1))
    others = [name for name in hall.group if name != "b"]
    for told, name in enumerate(others):
        assert hall.votes("b") == (told >= needed)
        hall.read("b", name)
    assert hall.votes("b")
    assert hall.voters["b"].acceptor.lease_memory.firm(at(1))


def test_each_group_is_covered_by_itself() -> None:
    """Of five voters two are down: a register of three that have told is voted on, one whose group they are of is not."""
    hall = Hall(5, parameters=Parameters(R=3, max_ttl=TTL))
    hall.voters["b"].start(at(1))
    hall.read("b", "a", "c")
    placement = Placement(hall.roster)
    groups = {frozenset(placement.group(f"lock/{number}")): f"lock/{number}" for number in range(200)}
    assert hall.votes("b", groups[frozenset("abc")])
    assert not hall.votes("b", groups[frozenset("abd")])
    assert not hall.voters["b"].acceptor.lease_memory.firm(at(1)), "nobody may rely on what it says of those"


def test_who_has_forgotten_tells_nothing_before_it_votes_for_twice_m() -> None:
    hall = Hall()
    hall.voters["b"].start(at(1))
    hall.voters["c"].start(at(1))
    hall.read("b", "a", "c")
    hall.read("c", "a", "b")
    assert not hall.votes("b")
    assert not hall.votes("c")
    assert hall.votes("c", now=at(11.5)), "M has passed"
    hall.voters["b"].start(at(11.5))
    hall.read("b", "a", "c", now=at(11.5))
    assert not hall.votes("b", now=at(11.6))
    hall.read("b", "c", now=at(21.5))
    assert not hall.voters["b"].reader._readings or hall.votes("b", now=at(21.6))


def told_afterwards(changes: Changes = ()) -> None:
    """What the earlier process accepted counts for nothing beside those that know of the later one."""
    hall = Hall(changes=changes)
    old = hall.boots()
    first = hall.round(5, boots=old)
    hall.accept(first, "b")
    hall.voters["b"].start(at(1))
    hall.read("b", "a", "c")
    assert hall.votes("b")
    second = hall.round(6, "c")
    assert hall.accept(second, "b", "c") == {"b": 0, "c": 0}
    assert second.reached()
    hall.accept(first, "a")
    assert not first.reached(), "two leases are granted"


def test_whoever_tells_has_learned_of_the_restart() -> None:
    told_afterwards()
    with pytest.raises(AssertionError, match="two leases"):
        told_afterwards(((Reader, TeachesNothing),))


def told_by_the_replaced(changes: Changes = ()) -> None:
    """a tells b, dies, and reads from the others, before those have heard of b."""
    hall = Hall(5, changes)
    a, b, c, d, e = hall.group
    old = hall.boots()
    first = hall.round(5, a, boots=old)
    hall.accept(first, b)
    hall.voters[b].start(at(1))
    hall.read(b, a)
    hall.voters[a].start(at(1))
    hall.read(a, c, d, e)
    assert hall.votes(a)
    hall.accept(first, a, e)
    assert first.reached(), "nobody of those knows that b has forgotten it"
    hall.read(b, c, d)
    if hall.votes(b):
        second = hall.round(6, c)
        hall.accept(second, b, c, d)
        assert not second.reached(), "two leases are granted"
    hall.read(b, e)
    assert hall.votes(b)
    assert hall.accept(hall.round(7, c), b) == {b: Reason.LIVE}


def test_the_word_of_a_process_that_was_replaced_does_not_count() -> None:
    told_by_the_replaced()
    for changes in (((LeaseMemory, CountsTheReplaced),), ((Reader, TakesNoBoots),)):
        with pytest.raises(AssertionError, match="two leases"):
            told_by_the_replaced(changes)


def tokens(changes: Changes = ()) -> None:
    hall = Hall(changes=changes)
    held = hall.round(9)
    hall.accept(held, "a", "b")
    assert isinstance(held.message, Accept)
    lease = held.message.value.holdings[0].lease
    for name in "ab":
        hall.voters[name].acceptor.drop(KEY, lease, at(1), [])
    hall.voters["b"].start(at(1))
    hall.read("b", "a", "c")
    lower = hall.round(8, "c")
    message = lower.message
    assert isinstance(message, Accept)
    higher = Round(Accept(KEY, message.ballot._replace(counter=20), *_behind(message)), hall.group, 0)
    assert hall.accept(higher, "b", "c") == {"b": Reason.TOKEN, "c": 0}, "a token goes back"


def _behind(message: Accept) -> tuple[tuple[Boot, ...], int, Value, tuple[int, ...], int, tuple[LeaseId, ...]]:
    return message.boots, message.rests, message.value, message.waits, message.granting, message.ends


def test_no_token_goes_back_and_what_was_given_back_is_free() -> None:
    tokens()
    with pytest.raises(AssertionError, match="a token goes back"):
        tokens(((Acceptor, TakesNoTokens),))


def test_a_lease_is_waited_for_as_long_as_by_whoever_waits_longest() -> None:
    hall = Hall(parameters=PARAMETERS)
    held = hall.round(5)
    hall.accept(held, "a", now=at(1))
    assert isinstance(held.message, Accept)
    hall.accept(held, "b", "c", now=at(2))
    hall.voters["b"].start(at(5))
    hall.read("b", "a", "c", now=at(5))
    register = hall.voters["b"].acceptor.register(KEY)
    assert register is not None
    assert register.until() == at(12).mono
    holding = held.message.value.holdings[0]
    item = RenewItem(KEY, holding.lease, 2, TTL, False, held.message.ballot, held.message.value, hall.boots())
    (sent,) = [
        each
        for each in hall.voters["b"].acceptor.on_message(Renew("a", holding.lease.boot, (item,)), SOURCE, at(6))
        if isinstance(each, Send)
    ]
    assert isinstance(sent.message, RenewAnswer)
    assert [result.reason for result in sent.message.results] == [Reason.OK]
    assert register.until() == at(16).mono


def test_a_promise_is_taken_over() -> None:
    hall = Hall()
    ballot = Ballot(1, 30, "c", Boot(1, b"c" * 16))
    for name in "abc":
        assert isinstance(hall.voters[name].acceptor.prepare(Prepare(KEY, ballot, hall.boots()), at(1), []), Promise)
    hall.voters["b"].start(at(1))
    hall.read("b", "a", "c")
    assert hall.accept(hall.round(5), "b") == {"b": Reason.BALLOT}


@pytest.mark.parametrize(
    "wrong",
    [
        {"boots": ()},
        {"epoch": 2},
        {"name": "stranger"},
        {"after": "lock/a"},
        {"asker": Boot(1, b"b" * 16)},
    ],
)
def test_an_answer_that_does_not_fit_counts_for_nothing(wrong: dict[str, object]) -> None:
    hall = Hall()
    b = hall.voters["b"]
    b.start(at(1))
    hall.asks("b", at(1))
    fields = {
        "name": "a",
        "boot": hall.voters["a"].boot,
        "asker": b.boot,
        "epoch": 1,
        "after": "",
        "firm": True,
        "boots": tuple([hall.voters[name].boot for name in hall.roster.voters]),
        "rows": (),
        "following": "",
    }
    list(b.reader.on_message(TableIs(**{**fields, **wrong}), SOURCE, at(1)))  # type: ignore[arg-type]
    hall.read("b", "c")
    assert not hall.votes("b")
    list(b.reader.on_message(TableIs(**fields), SOURCE, at(1)))  # type: ignore[arg-type]
    assert hall.votes("b")


def test_rows_that_no_voter_may_hold_are_counted_and_left() -> None:
    hall = Hall()
    b = hall.voters["b"]
    b.start(at(1))
    lease = LeaseId(1, "x", Boot(1, b""), 1)
    rows: Sequence[TableRow] = (
        TableRow("atomic/a", Ballot(1, 1, "a", Boot(1, b"")), Ballot(1, 1, "a", Boot(1, b"")), FREE, (), (), 0),
        TableRow(
            KEY,
            Ballot(1, 1, "a", Boot(1, b"")),
            Ballot(1, 1, "a", Boot(1, b"")),
            FREE,
            (Live(lease, 1, 1 << 62, False),),
            (),
            0,
        ),
    )
    for row in rows:
        b.acceptor.read_back(row, at(1))
    assert b.acceptor.stats()["malformed"] == 1
    register = b.acceptor.register(KEY)
    assert register is not None
    assert register.until() == at(1).mono + TTL, "no longer than anything may last"


def test_who_has_read_back_a_lease_that_binds_sees_to_its_end() -> None:
    """By the acceptor's own timer, which alone comes up; and by the ones that it sets later."""
    hall = Hall()
    held = hall.round(5)
    assert isinstance(held.message, Accept)
    (holding,) = held.message.value.holdings
    hall.accept(Round(replace(held.message, value=Value((holding._replace(binds=True),), b"")), hall.group, 0), "a", "b")
    b = hall.voters["b"]
    b.start(at(1))
    timers: dict[object, int] = {}

    def perform(directives: Directives, part: object) -> list[object]:
        events: list[object] = []
        for each in directives:
            if isinstance(each, Act):
                events += perform(each.directives, each.part)
            elif isinstance(each, Arm) and part is b.acceptor:
                timers[each.timer] = each.at
            elif isinstance(each, Emit):
                events.append(each.event)
        return events

    for name in ("a", "c"):
        (ask,) = [each for each in hall.asks("b", at(1)) if each.to == name]
        (answer,) = [each for each in hall.voters[name].reader.on_message(ask.message, SOURCE, at(1)) if isinstance(each, Send)]
        perform(b.reader.on_message(answer.message, SOURCE, at(1)), b.reader)
    told: list[object] = []
    while not told:
        assert timers, "nothing comes up any more"
        timer, due = min(timers.items(), key=lambda timer: timer[1])
        assert due <= at(1).mono + TTL + len(hall.group) * EXPIRED_STAGGER
        del timers[timer]
        told = perform(b.acceptor.on_timer(timer, Instant(due, due, WALL)), b.acceptor)
    assert told == [Expired(KEY)]
