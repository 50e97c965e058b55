"""Joining, and who may have a name: reasons of failure, restarts (M3), leaves (M13), two holders (M14), addresses (M17)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from coordination.errors import JOIN_REASONS
from mesh.errors import AddressRefusedError, NameTakenError
from mesh.membership import WAN, Joined, JoinFailed, Member, MemberChanged, State
from mesh.membership.join import TALK
from mesh.membership.messages import News, entry_of
from tests.mesh.membership_world import CONNECT, MS, SECOND, Process, World

HOUR = 3_600 * SECOND
SEED = "10.0.0.1:7000"


def sound(world: World) -> None:
    assert world.laws.violations == []
    assert world.false_deaths == []


def known(observer: Process, name: str) -> Member:
    member = observer.part.get(name)
    assert member is not None
    return member


def failures(process: Process) -> list[dict[str, str]]:
    return [dict(event.reasons) for event in process.events if isinstance(event, JoinFailed)]


# --- joining ---------------------------------------------------------------------------------------------------------


def test_a_founder_without_seeds_is_admitted_at_once() -> None:
    world = World(1)
    founder = world.start("a")
    world.run(1 * MS)
    assert Joined(None) in founder.events


def test_a_joiner_is_admitted_by_its_sponsor_once() -> None:
    world = World(2)
    world.start("a")
    joiner = world.start("b", [SEED], after=SECOND)
    world.run(10 * SECOND)
    assert [event for event in joiner.events if isinstance(event, Joined)] == [Joined("a")]
    assert failures(joiner) == []


def test_nodes_that_share_one_list_of_all_find_each_other() -> None:
    world = World(3)
    seeds = [f"10.0.0.{i}:7000" for i in (1, 2, 3)]
    for i, name in enumerate("abc"):
        world.start(name, seeds, after=i * 500 * MS)
    world.run_until(world.converged, 5 * SECOND)
    world.run_until(lambda: all(p.part.admitted for p in world.living()), 5 * SECOND)
    sound(world)


@pytest.mark.parametrize("seeds", ["one", "all"])
def test_thirty_nodes_that_start_at_one_moment_know_each_other_within_seconds(seeds: str) -> None:
    world = World(30)
    everyone = [f"10.0.0.{i + 1}:7000" for i in range(30)]
    for i in range(30):
        world.start(f"n{i:02}", everyone if seeds == "all" else everyone[:1] if i else [])
    took = world.run_until(world.converged, 5 * SECOND)
    assert took < 3 * SECOND
    world.run(20 * SECOND)
    assert all(sum(isinstance(event, Joined) for event in p.events) == 1 for p in world.processes)
    sound(world)


def test_nobody_hears_of_a_newcomer_before_it_is_admitted() -> None:
    """The sponsor asks the holder of its name first; what it hears meanwhile must not pass for a member's word."""
    world = World(4)
    made = world.mesh(3)
    holder = made[2]
    world.cut_power(holder)
    world.run(100 * MS)
    again = world.start(holder.name, [SEED])
    other = world.start("new", [again.address], after=200 * MS)
    world.run(1_000 * MS)
    assert not again.part.admitted
    assert all(known(p, holder.name).boot == holder.part.identity.boot for p in made[:2])
    assert other.part.get(holder.name) is None
    world.run_until(world.converged, 20 * SECOND)
    sound(world)


# --- why joining failed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["refused", "silent", "unanswered", "unresolved"])
def test_a_failed_dial_is_reported_as_what_it_was(reason: str) -> None:
    world = World(5)
    seed = "mesh.example:7000" if reason == "unresolved" else "10.0.0.9:7000"
    world.failing[seed] = reason
    alone = world.start("b", [seed])
    world.run(20 * SECOND)
    assert len(failures(alone)) >= 4
    assert all(failed == {seed: reason} for failed in failures(alone))
    assert reason in JOIN_REASONS
    assert not alone.part.admitted


def test_a_dark_machine_is_silent_and_a_node_knows_itself() -> None:
    world = World(6)
    dark = world.start("a")
    world.run(SECOND)
    world.cut_power(dark)
    alone = world.start("b", [dark.address, "10.0.0.2:7000", "10.0.0.3:7000"])
    world.run(2 * CONNECT)
    assert failures(alone)[-1] == {dark.address: "silent", "10.0.0.2:7000": "itself", "10.0.0.3:7000": "refused"}


def test_a_seed_that_leads_back_here_is_itself_and_a_host_name_is_asked_again() -> None:
    world = World(7)
    world.failing = {"127.0.0.1:7000": "itself", "mesh.example:7000": "itself"}
    alone = world.start("b", ["127.0.0.1:7000", "mesh.example:7000"])
    world.run(3 * SECOND)
    assert failures(alone)[-1] == {"127.0.0.1:7000": "itself", "mesh.example:7000": "itself"}
    world.start("a", address="mesh.example:7000")
    del world.failing["mesh.example:7000"]
    world.run_until(lambda: alone.part.admitted, 15 * SECOND)


@pytest.mark.parametrize(("end", "reason"), [("closed", "unwelcomed"), ("reset", "reset")])
def test_a_sponsor_that_dies_while_it_asks_is_reported_by_how_its_stream_ended(end: str, reason: str) -> None:
    world = World(8)
    made = world.mesh(2)
    world.cut_power(made[1])
    joiner = world.start(made[1].name, [SEED])
    world.run(200 * MS)
    world.kill(made[0], end)
    world.run(100 * MS)
    assert failures(joiner) == [{SEED: reason}]
    assert reason in JOIN_REASONS


def test_a_sponsor_that_says_nothing_has_not_welcomed() -> None:
    world = World(9)
    world.start("a")
    joiner = world.start("b", [SEED], after=SECOND)
    world.run(SECOND)
    world.muffled = lambda sender, receiver: sender.name == "a"
    world.run(TALK + 2 * SECOND)
    assert failures(joiner)[-1] in ({SEED: "unwelcomed"}, {SEED: "silent"})
    assert {"unwelcomed", "silent"} <= set(JOIN_REASONS)
    world.muffled = lambda sender, receiver: False
    world.run_until(world.converged, 20 * SECOND)


def test_every_address_has_its_own_reason_and_the_search_goes_on() -> None:
    world = World(10)
    seeds = ["10.0.0.9:7000", "10.0.0.1:7000", "no.example:7000"]
    world.failing["no.example:7000"] = "unresolved"
    alone = world.start("b", seeds)
    world.run(3 * SECOND)
    assert failures(alone)[0] == {"10.0.0.9:7000": "refused", "10.0.0.1:7000": "itself", "no.example:7000": "unresolved"}
    assert len(failures(alone)) >= 2
    world.start("a", [], address="10.0.0.9:7000")
    world.run_until(world.converged, 15 * SECOND)
    told = len(failures(alone))
    world.run(30 * SECOND)
    assert len(failures(alone)) == told


def test_m17_an_address_that_nobody_can_reach_is_refused() -> None:
    world = World(11)
    world.start("a")
    wild = world.start("b", [SEED], address="0.0.0.0:7000", after=SECOND)
    world.run(5 * SECOND)
    assert isinstance(wild.error, AddressRefusedError)
    assert "0.0.0.0:7000" in str(wild.error)


# --- M3: restarts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known_dead", [False, True])
@pytest.mark.parametrize("wall_offset", [0, -HOUR // MS])
def test_m3_a_restart_under_the_same_name_is_alive_everywhere(known_dead: bool, wall_offset: int) -> None:
    world = World(12)
    made = world.mesh(6)
    victim = made[3]
    world.kill(victim)
    if known_dead:
        world.run_until(lambda: world.known_as(victim.name, State.DEAD), 10 * SECOND)
    again = world.start(victim.name, [SEED], address=victim.address, wall_offset=wall_offset)
    took = world.run_until(world.converged, 10 * SECOND)
    assert took < 2 * SECOND
    assert again.part.identity.boot > victim.part.identity.boot
    world.run(60 * SECOND)
    assert world.converged()
    sound(world)


@pytest.mark.parametrize("count", [3, 12, 30])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_m3_dead_at_100_is_in_flight_while_the_name_restarts(count: int, elsewhere: bool) -> None:
    """Only the seed knows that it is dead at 100; the others have restarted, and the rumour reaches each of them, and the
    newcomer, before, while and after it joins (memberlist#311)."""
    world = World(100 + count)
    made = world.mesh(count)
    seed, victim = made[0], made[-1]
    victim.part.identity.incarnation = 99
    world.command(victim, victim.part.set_tags((("a", "b"),), world.instant(victim)))
    world.run_until(lambda: all(known(p, victim.name).incarnation == 100 for p in made), 10 * SECOND)
    world.kill(victim)
    world.run_until(lambda: world.known_as(victim.name, State.DEAD), 15 * SECOND)
    rumour = News(entry_of(known(seed, victim.name)), None)
    assert (rumour.subject.incarnation, rumour.subject.rank) == (100, 2)
    fresh = []
    for p in made[1:-1]:
        world.kill(p)
        fresh.append(world.start(p.name, [SEED], address=p.address))
    again = world.start(victim.name, [SEED], address=None if elsewhere else victim.address, after=300 * MS)

    def rumours() -> None:
        for p in world.living():
            world.hear(p, seed, rumour)

    for after in range(0, 5_000, 100):
        world.later(after * MS, rumours)
    world.run(300 * MS)
    took = world.run_until(world.converged, 20 * SECOND)
    assert took < world.profile.suspicion(count)[1]
    assert took < 3 * SECOND
    world.run(60 * SECOND)
    assert world.converged()
    assert again.error is None
    sound(world)


def test_m3_a_restart_at_another_address_waits_until_the_old_is_proven_gone() -> None:
    world = World(13)
    made = world.mesh(4)
    world.kill(made[2])
    again = world.start(made[2].name, [SEED])
    world.run_until(world.converged, 5 * SECOND)
    assert again.error is None
    sound(world)


def test_m3_where_probes_take_long_the_name_of_a_dark_machine_is_given_away_all_the_same() -> None:
    world = World(21, profile=WAN)
    made = world.mesh(3)
    world.cut_power(made[2])
    again = world.start(made[2].name, [SEED])
    world.run_until(lambda: again.part.admitted, 10 * SECOND)
    assert again.error is None


# --- M13: leaving ----------------------------------------------------------------------------------------------------


def test_m13_a_leave_is_left_and_an_alive_from_before_never_revives_it() -> None:
    world = World(17, loss=0.1)
    made = world.mesh(8)
    leaver = made[5]
    alive = News(entry_of(known(leaver, leaver.name)), None)
    world.stop(leaver)
    world.run_until(lambda: world.known_as(leaver.name, State.LEFT), 5 * SECOND)
    for p in made[:4]:
        world.hear(p, leaver, alive)
    world.run(120 * SECOND)
    assert world.known_as(leaver.name, State.LEFT)
    sound(world)
    again = world.start(leaver.name, [SEED])
    world.run_until(world.converged, 5 * SECOND)
    assert again.error is None
    assert again.part.identity.boot > leaver.part.identity.boot
    sound(world)


def test_m13_a_leave_outranks_suspicion_and_death_and_a_refutation_that_was_planned() -> None:
    world = World(18)
    made = world.mesh(5)
    leaver, teller = made[3], made[4]
    entry = entry_of(known(leaver, leaver.name))
    world.hear(leaver, teller, News(replace(entry, rank=1), "n00"))  # refuted at once
    assert leaver.part.identity.incarnation == 1
    accusation = News(replace(entry, rank=1, incarnation=1), "n00")
    world.hear(leaver, teller, accusation)  # to be refuted a round later
    for p in made[:2]:
        world.hear(p, leaver, News(entry_of(known(leaver, leaver.name)), None))
        world.hear(p, teller, accusation)
        assert known(p, leaver.name).state is State.SUSPECT
    world.stop(leaver)
    world.run_until(lambda: world.known_as(leaver.name, State.LEFT), 5 * SECOND)
    for p in made[:3]:
        world.hear(p, teller, News(replace(entry, rank=2, incarnation=1), None))
    world.run(60 * SECOND)
    assert world.known_as(leaver.name, State.LEFT)
    assert leaver.part.identity.incarnation == 1
    sound(world)


def test_m13_a_leave_that_nobody_hears_is_a_death() -> None:
    world = World(19)
    made = world.mesh(4)
    leaver = made[2]
    world.muted = lambda sender, receiver: sender is leaver
    world.stop(leaver)
    world.run_until(lambda: world.known_as(leaver.name, State.DEAD), 15 * SECOND)
    again = world.start(leaver.name, [SEED], address=leaver.address)
    world.run_until(world.converged, 5 * SECOND)
    assert again.error is None
    sound(world)


def test_m13_who_has_left_says_and_does_nothing_more() -> None:
    world = World(20)
    made = world.mesh(3)
    leaver = made[1]
    world.command(leaver, leaver.part.leave(world.instant(leaver)))
    world.run(SECOND)
    sent = world.datagrams
    assert leaver.timers == {}
    assert list(leaver.part.set_tags((("k", "v"),), world.instant(leaver))) == []
    assert list(leaver.part.leave(world.instant(leaver))) == []
    world.hear(leaver, made[0], News(replace(entry_of(known(made[0], leaver.name)), rank=2), None))
    assert world.datagrams == sent
    world.run(30 * SECOND)
    assert known(leaver, leaver.name).state is State.LEFT
    assert world.known_as(leaver.name, State.LEFT)


def test_m13_a_newcomer_that_gives_up_says_no_farewell_in_a_name_that_another_may_hold() -> None:
    world = World(22)
    made = world.mesh(3)
    holder = made[2]
    world.blocked = lambda one, other: holder in (one, other)
    thief = world.start(holder.name, [SEED], wall_offset=60_000)
    world.start("new", [thief.address], after=100 * MS)  # which tells the thief of everyone
    world.run(1_000 * MS)
    assert not thief.part.admitted
    assert len(thief.part.names_alive()) > 1
    said: list[object] = []
    world.tap = lambda sender, session, message: said.append(message) if sender is thief else None
    world.stop(thief)
    assert said == []
    world.blocked = lambda one, other: False
    world.run(30 * SECOND)
    assert holder.error is None
    assert all(known(p, holder.name).boot == holder.part.identity.boot for p in made)


# --- M14: two holders of one name ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_m14_a_name_that_answers_elsewhere_is_refused(seed: int) -> None:
    world = World(seed, loss=0.3)
    made = world.mesh(4)
    thief = world.start(made[2].name, [SEED], wall_offset=seed * HOUR // MS)
    world.run(10 * SECOND)
    assert isinstance(thief.error, NameTakenError)
    assert made[2].address in str(thief.error)
    assert made[2].error is None
    assert not any(isinstance(event, Joined) for event in thief.events)
    world.run_until(world.converged, 10 * SECOND)
    assert all(known(p, made[2].name).boot == made[2].part.identity.boot for p in made)


def test_m14_the_sponsor_refuses_its_own_name() -> None:
    world = World(15)
    world.start("a", [])
    thief = world.start("a", [SEED], after=SECOND)
    world.run(5 * SECOND)
    assert isinstance(thief.error, NameTakenError)


def test_m14_of_two_newcomers_of_one_name_the_elder_keeps_it() -> None:
    world = World(16)
    seeds = ["10.0.0.1:7000", "10.0.0.2:7000", "10.0.0.3:7000"]
    younger = world.start("a", seeds, wall_offset=50)
    elder = world.start("a", seeds)
    other = world.start("b", seeds)
    world.run(20 * SECOND)
    assert isinstance(younger.error, NameTakenError)
    assert elder.error is None and elder.part.admitted
    assert known(other, "a").boot == elder.part.identity.boot


@pytest.mark.parametrize("seed", range(4))
def test_m14_two_holders_in_a_partition_end_as_one(seed: int) -> None:
    """One deterministic winner, one change in third nodes, no flapping."""
    world = World(seed)
    made = world.mesh(6)
    first = made[4]
    apart = {first.session, made[5].session}
    world.blocked = lambda one, other: (one.session in apart) != (other.session in apart)
    world.run(60 * SECOND)
    second = world.start(first.name, [SEED])
    world.run(30 * SECOND)
    assert second.error is None and first.error is None
    marks = {p.name: len(p.events) for p in world.living()}
    world.blocked = lambda one, other: False
    world.run_until(lambda: first.error is not None, 60 * SECOND)
    world.run_until(world.converged, 20 * SECOND)
    world.run(60 * SECOND)
    assert isinstance(first.error, NameTakenError)
    assert second.address in str(first.error)
    assert second.error is None
    for p in (*made[:4], made[5]):
        since = [e.member for e in p.events[marks[p.name] :] if isinstance(e, MemberChanged) and e.member.name == first.name]
        assert len(since) == (1 if p is made[5] else 0), p.name
        assert known(p, first.name).boot == second.part.identity.boot
    assert world.laws.violations == []
