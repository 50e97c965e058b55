"""Whatever a peer sends, and however much: bounded (M18), and what comes out of turn changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.directives import Refused
from mesh.membership import JoinFailed, MemberChanged, MemberForgotten, State
from mesh.membership.checks import MAX_CHECKS
from mesh.membership.messages import (
    Ack,
    Confirmed,
    Entry,
    Join,
    Nack,
    News,
    PingRequest,
    Refuse,
    Table,
    Welcome,
    WireBoot,
    entry_of,
)
from mesh.membership.probe import MAX_PROBES
from mesh.membership.relays import MAX_RELAYS
from mesh.membership.rumours import MAX_ACCUSERS
from mesh.wire import encode
from tests.mesh.membership_world import MS, SECOND, Process, World
from tests.mesh.test_membership_lies import LARGEST, SEED, known, said_of, sent, source_of


def armed(process: Process, kind: str) -> int:
    return sum(isinstance(timer, tuple) and timer[0] == kind for timer in process.timers)


def strangers(world: World, count: int) -> list[Entry]:
    stamp = world.processes[0].part.identity.boot.stamp
    return [
        Entry(f"fake{i}", WireBoot(stamp, i.to_bytes(16, "big")), 0, 0, f"10.1.{i // 250}.{i % 250 + 1}:7000", ())
        for i in range(count)
    ]


def test_m18_requests_to_probe_are_bounded() -> None:
    world = World(46)
    made = world.mesh(3)
    world.cut_power(made[2])
    for sequence in range(3 * MAX_RELAYS):
        world.hear(made[0], made[1], PingRequest(sequence, made[2].session))
    assert armed(made[0], "relay") == MAX_RELAYS
    world.run(30 * SECOND)
    assert armed(made[0], "relay") <= 4


def test_m18_poison_of_many_is_checked_a_few_at_a_time() -> None:
    world = World(47)
    made = world.mesh(2)
    for entry in strangers(world, 3 * MAX_CHECKS):
        world.hear(made[0], made[1], News(replace(entry, incarnation=LARGEST), None))
    assert armed(made[0], "check") == MAX_CHECKS
    world.run(30 * SECOND)
    assert armed(made[0], "check") == 0
    assert len(made[0].part.members()) == 2


def test_m18_refusals_start_a_bounded_number_of_probes() -> None:
    world = World(48)
    made = world.mesh(2)
    fakes = [replace(entry, address=f"10.2.0.1:{7000 + i}") for i, entry in enumerate(strangers(world, 200))]
    for entry in fakes:
        world.hear(made[0], made[1], News(entry, None))

    for _ in range(3):
        for entry in fakes:
            world.event(made[0], Refused(entry.address))
    assert armed(made[0], "verdict") == MAX_PROBES


def test_m18_accusers_are_bounded() -> None:
    world = World(49)
    made = world.mesh(6)
    world.cut_power(made[5])
    for i in range(500):
        world.hear(made[0], made[1], News(said_of(made[0], made[5].name, State.SUSPECT), f"liar{i}"))
    told = made[0].part.piggyback("n01", 100_000)
    assert len(told) <= MAX_ACCUSERS + 6


def test_m18_members_are_bounded_and_the_gone_make_room_but_not_the_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.membership.table.MAX_MEMBERS", 20)
    monkeypatch.setattr("mesh.membership.table.MAX_BOOTS", 30)
    world = World(50)
    made = world.mesh(5)
    at = made[0]
    voter, gone = made[3], made[4]
    at.part.pin([voter.name])
    for p in (voter, gone):
        world.kill(p)
    world.run_until(lambda: all(known(at, p.name).state is State.DEAD for p in (voter, gone)), 20 * SECOND)
    for entry in strangers(world, 300):
        world.hear(at, made[1], News(entry, None))
    names = [member.name for member in at.part.members()]
    assert len(names) == 20
    assert {voter.name, "n00", "n01", "n02"} <= set(names)
    assert gone.name not in names
    assert at.part.stats()["members_dropped"] == 300 - 16
    assert at.part.stats()["rumours"] <= 20
    assert any(isinstance(event, MemberForgotten) and event.member.name == gone.name for event in at.events)
    assert world.laws.violations == []


def test_m18_a_joiner_that_finds_no_room_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.membership.table.MAX_MEMBERS", 3)
    world = World(51)
    world.mesh(3)
    late = world.start("late", [SEED])
    world.run(5 * SECOND)
    assert not late.part.admitted

    assert {event.reasons for event in late.events if isinstance(event, JoinFailed)} == {((SEED, "full"),)}


def test_m18_conversations_are_bounded_and_everyone_still_gets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.membership.join.MAX_TALKS", 4)
    world = World(52)
    seed = world.start("n00")
    for i in range(1, 25):
        world.start(f"n{i:02}", [SEED])
    most = 0
    for _ in range(400):
        world.run(50 * MS)
        most = max(most, armed(seed, "talk"))
        if world.converged():
            break
    assert world.converged()
    assert most <= 4
    assert seed.part.stats()["talks_dropped"] > 0


def test_m18_long_gone_members_are_forgotten_in_the_end() -> None:
    world = World(53)
    world.profile = replace(world.profile, forget_after=60 * SECOND)
    made = world.mesh(4)
    made[0].part.pin([made[2].name])
    world.kill(made[2])
    world.stop(made[3])
    world.run(300 * SECOND)
    assert [member.name for member in made[0].part.members()] == ["n00", "n01", made[2].name]
    assert [member.name for member in made[1].part.members()] == ["n00", "n01"]
    assert world.laws.violations == []


def test_what_comes_out_of_turn_is_counted_and_changes_nothing() -> None:
    world = World(54)
    made = world.mesh(3)
    at, other = made[0], made[1]
    before = at.part.members()
    own = entry_of(known(other, other.name))
    for channel in (None, 999):
        for message in (
            Welcome("n01", None),
            Refuse(1, "x"),
            Table((own,)),
            Confirmed(5, other.session),
            Nack(5, True),
            Ack(5, 0),
        ):
            assert list(at.part.on_message(message, source_of(other, channel), world.instant(at))) == []
    assert not sent(
        at.part.on_message(Join(replace(own, boot=WireBoot(1, bytes(16))), True), source_of(other, 998), world.instant(at))
    )
    world.hear(at, other, News(replace(own, name="not a name"), None))
    assert at.part.members() == before
    assert at.part.stats()["news_invalid"] == 1
    assert at.part.stats()["unexpected"] == 7
    assert at.error is None


def test_m19_the_largest_entry_fits_a_datagram_and_is_told() -> None:
    world = World(55)
    tags = tuple((f"k{i}", "v" * 240) for i in range(2))
    made = [world.start("a" * 64, tags=tags), world.start("b" * 64, [SEED], tags=tags)]
    world.run_until(world.converged, 5 * SECOND)
    world.hear(made[0], made[1], News(said_of(made[0], made[1].name, State.DEAD), "c" * 64))
    assert len(encode(News(entry_of(known(made[0], made[1].name)), "c" * 64))) < 1_000
    world.run_until(world.converged, 10 * SECOND)
    assert any(isinstance(event, MemberChanged) and event.member.state is State.DEAD for event in made[0].events)
