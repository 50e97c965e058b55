"""Stories of a mesh's life, told by membership parts alone in a small world."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.directives import Boot
from mesh.errors import NameTakenError
from mesh.membership import Joined, JoinFailed, MemberChanged, State
from mesh.membership.messages import News, WireBoot, entry_of
from tests.mesh.membership_world import MS, SECOND, Process, World

HOUR = 3_600 * SECOND


def sound(world: World, false_deaths: int = 0) -> None:
    assert world.violations == []
    assert len(world.false_deaths) <= false_deaths, world.false_deaths


@pytest.mark.parametrize(("count", "loss"), [(2, 0.0), (5, 0.2), (20, 0.1), (30, 0.0)])
def test_n_nodes_find_each_other(count: int, loss: float) -> None:
    world = World(count, loss=loss)
    made = world.mesh(count)
    world.run(30 * SECOND)
    assert world.converged()
    assert all(sum(isinstance(event, Joined) for event in p.events) == 1 for p in made)
    sound(world)


def test_a_founder_without_seeds_is_admitted_at_once() -> None:
    world = World(1)
    founder = world.start("a")
    world.run(1 * MS)
    assert Joined(None) in founder.events


def test_nodes_that_share_one_list_of_all_find_each_other() -> None:
    world = World(3)
    seeds = [f"10.0.0.{i}:7000" for i in (1, 2, 3)]
    for i, name in enumerate("abc"):
        world.start(name, seeds, after=i * 500 * MS)
    world.run_until(world.converged, 5 * SECOND)
    world.run_until(lambda: all(p.part.admitted for p in world.living()), 5 * SECOND)
    sound(world)


def test_a_joiner_without_a_reachable_seed_says_why_and_goes_on() -> None:
    world = World(4)
    alone = world.start("b", ["10.0.0.9:7000", "10.0.0.1:7000"])
    world.run(3 * SECOND)
    failures = [event for event in alone.events if isinstance(event, JoinFailed)]
    assert dict(failures[0].reasons) == {"10.0.0.9:7000": "refused", "10.0.0.1:7000": "itself"}
    assert len(failures) >= 2
    world.start("a", [], address="10.0.0.9:7000")
    world.run_until(world.converged, 15 * SECOND)


def test_a_silent_seed_is_reported_as_silent() -> None:
    world = World(5)
    world.start("a", [])
    world.blocked = lambda one, other: True
    alone = world.start("b", ["10.0.0.1:7000"])
    world.run(10 * SECOND)
    failures = [event for event in alone.events if isinstance(event, JoinFailed)]
    assert failures
    assert set(failures[-1].reasons) == {("10.0.0.1:7000", "silent")}


@pytest.mark.parametrize("count", [2, 3, 10, 30])
def test_a_kill_is_known_to_all_by_evidence(count: int) -> None:
    world = World(count)
    victim = world.mesh(count)[-1]
    world.kill(victim)
    took = world.run_until(lambda: world.known_as(victim.name, State.DEAD), 4 * SECOND)
    assert took < 4 * SECOND
    world.run(60 * SECOND)
    assert sum(p.part.stats().get("deaths_by_evidence", 0) for p in world.living()) >= 1
    sound(world)


@pytest.mark.parametrize("count", [2, 5, 12])
def test_a_silent_death_is_known_by_suspicion(count: int) -> None:
    """No refusals: a machine that lost power."""
    world = World(count, loss=0.05)
    victim = world.mesh(count)[0]
    world.cut_power(victim)
    world.run_until(lambda: world.known_as(victim.name, State.DEAD), 60 * SECOND)
    assert sum(p.part.stats().get("deaths_by_evidence", 0) for p in world.living()) == 0
    sound(world)


def test_half_of_the_nodes_die_at_once() -> None:
    world = World(11)
    made = world.mesh(16)
    for victim in made[::2]:
        world.kill(victim)
    world.run_until(lambda: all(world.known_as(p.name, State.DEAD) for p in made[::2]), 60 * SECOND)
    sound(world)


@pytest.mark.parametrize("seed", range(6))
def test_a_pause_accuses_nobody(seed: int) -> None:
    world = World(seed)
    made = world.mesh(8)
    sleeper = made[seed % 8]
    world.pause(sleeper, (5, 20, 30)[seed % 3] * SECOND)
    world.run(120 * SECOND)
    assert world.converged()
    wrongly = [(observer, subject) for _, observer, subject in world.false_deaths if subject != sleeper.name]
    assert wrongly == []
    assert world.violations == []


@pytest.mark.parametrize("restarts", [False, True])
def test_a_partition_of_an_hour_heals_by_itself(restarts: bool) -> None:
    world = World(8)
    made = world.mesh(8)
    world.watched = False
    side = {p.session: i % 2 for i, p in enumerate(made)}
    world.blocked = lambda one, other: side[one.session] != side[other.session]
    world.run(HOUR)
    for p in made:
        others = [q for q in made if side[q.session] != side[p.session]]
        assert all(p.part.get(q.name).state is State.DEAD for q in others)  # type: ignore[union-attr]
    if restarts:
        for i, p in enumerate(made):
            world.kill(p)
            world.run(1 * SECOND)
            again = world.start(p.name, [f"10.0.0.{j + 1}:7000" for j in range(2)], address=p.address)
            side[again.session] = i % 2
            world.run(1 * SECOND)
        world.run(60 * SECOND)
    world.blocked = lambda one, other: False
    world.run_until(world.converged, 60 * SECOND)
    world.watched = True
    world.run(120 * SECOND)
    assert world.converged()
    assert world.violations == []


def test_a_partition_beyond_every_memory_heals() -> None:
    """Both halves have forgotten each other, and neither has the other for a seed."""
    world = World(9)
    world.profile = replace(world.profile, forget_after=120 * SECOND)
    common = world.start("s", [])
    left, right = world.start("l", ["10.0.0.1:7000"], after=SECOND), world.start("r", ["10.0.0.1:7000"], after=SECOND)
    world.run_until(world.converged, 10 * SECOND)
    world.stop(common)
    world.run(10 * SECOND)
    world.blocked = lambda one, other: True
    world.run(600 * SECOND)
    assert [m.name for m in left.part.members()] == ["l"]
    assert [m.name for m in right.part.members()] == ["r"]
    world.blocked = lambda one, other: False
    world.run_until(world.converged, 60 * SECOND)


@pytest.mark.parametrize("known_dead", [False, True])
@pytest.mark.parametrize("wall_offset", [0, -HOUR // MS])
def test_a_restart_under_the_same_name_is_alive_everywhere(known_dead: bool, wall_offset: int) -> None:
    world = World(12)
    made = world.mesh(6)
    victim = made[3]
    world.kill(victim)
    if known_dead:
        world.run_until(lambda: world.known_as(victim.name, State.DEAD), 10 * SECOND)
    again = world.start(victim.name, ["10.0.0.1:7000"], address=victim.address, wall_offset=wall_offset)
    took = world.run_until(world.converged, 10 * SECOND)
    assert took < 2 * SECOND
    assert again.part.identity.boot > victim.part.identity.boot
    world.run(60 * SECOND)
    assert world.converged()
    sound(world)


def test_a_restart_at_another_address_waits_until_the_old_is_proven_gone() -> None:
    world = World(13)
    made = world.mesh(4)
    world.kill(made[2])
    again = world.start(made[2].name, ["10.0.0.1:7000"])
    world.run_until(world.converged, 5 * SECOND)
    assert again.error is None
    sound(world)


def test_a_name_that_answers_elsewhere_is_refused() -> None:
    world = World(14, loss=0.3)
    made = world.mesh(4)
    thief = world.start(made[2].name, ["10.0.0.1:7000"])
    world.run(10 * SECOND)
    assert isinstance(thief.error, NameTakenError)
    assert made[2].address in str(thief.error)
    assert made[2].error is None
    world.run_until(world.converged, 10 * SECOND)
    assert all(p.part.get(made[2].name).boot == made[2].part.identity.boot for p in made)  # type: ignore[union-attr]


def test_the_sponsor_refuses_its_own_name() -> None:
    world = World(15)
    world.start("a", [])
    thief = world.start("a", ["10.0.0.1:7000"], after=SECOND)
    world.run(5 * SECOND)
    assert isinstance(thief.error, NameTakenError)


def test_two_holders_in_a_partition_end_as_one() -> None:
    """One deterministic winner, one change in third nodes, no flapping."""
    world = World(16)
    made = world.mesh(5)
    first = made[4]
    apart = {first.session}
    world.blocked = lambda one, other: (one.session in apart) != (other.session in apart)
    world.run(60 * SECOND)
    second = world.start(first.name, ["10.0.0.1:7000"])
    world.run(30 * SECOND)
    assert second.error is None
    world.blocked = lambda one, other: False
    world.run_until(lambda: first.error is not None, 60 * SECOND)
    assert isinstance(first.error, NameTakenError)
    world.run(60 * SECOND)
    assert second.error is None
    assert world.converged()
    for p in made[:4]:
        shown = [
            (e.member.boot, e.member.state) for e in p.events if isinstance(e, MemberChanged) and e.member.name == first.name
        ]
        boots = [boot for boot, _ in shown]
        assert boots == sorted(boots)
        assert boots[-1] == second.part.identity.boot


def test_a_leave_is_left_and_is_never_revived() -> None:
    world = World(17, loss=0.1)
    made = world.mesh(8)
    leaver = made[5]
    world.stop(leaver)
    world.run_until(lambda: world.known_as(leaver.name, State.LEFT), 5 * SECOND)
    late = News(replace(entry_of(leaver.part.get(leaver.name)), rank=0), None)  # type: ignore[arg-type]
    world.command(made[0], ())
    source_step = world._deliver(made[0], made[1], [__import__("mesh.wire", fromlist=["encode"]).encode(late)], None)
    world.command(made[0], source_step)
    world.run(120 * SECOND)
    assert world.known_as(leaver.name, State.LEFT)
    sound(world)
    again = world.start(leaver.name, ["10.0.0.1:7000"])
    world.run_until(world.converged, 5 * SECOND)
    assert again.error is None


def test_one_way_links_are_no_death_while_a_third_can_reach() -> None:
    world = World(18)
    made = world.mesh(6)
    deaf = made[2]
    world.muted = lambda sender, receiver: sender is made[0] and receiver is deaf
    world.run(300 * SECOND)
    sound(world)
    assert world.converged()


def test_where_datagrams_are_blocked_streams_keep_members_alive() -> None:
    world = World(19)
    made = world.mesh(3)
    world.muted = lambda sender, receiver: made[2] in (sender, receiver)
    world.run(120 * SECOND)
    sound(world)
    assert sum(p.part.stats().get("probes_saved_by_stream", 0) for p in made) > 0


def test_a_jump_of_the_wall_clock_changes_no_verdict() -> None:
    world = World(20)
    made = world.mesh(5)
    made[1].wall_offset = 86_400_000
    made[2].wall_offset = -86_400_000
    world.run(120 * SECOND)
    assert world.converged()
    sound(world)


def test_tags_reach_all() -> None:
    world = World(21, loss=0.2)
    made = world.mesh(6)
    world.command(made[0], made[0].part.set_tags((("role", "api"),), world.instant(made[0])))
    world.run_until(
        lambda: all(p.part.get(made[0].name).tags == (("role", "api"),) for p in made),  # type: ignore[union-attr]
        60 * SECOND,
    )
    with pytest.raises(ValueError, match="512"):
        made[0].part.set_tags((("k", "v" * 600),), world.instant(made[0]))


def hear(world: World, at: Process, teller: Process, news: News) -> None:
    world._input(at, lambda: at.part.on_message(news, _source(teller), world.instant(at)))


def _source(process: Process):  # type: ignore[no-untyped-def]
    from mesh.directives import Source

    return Source(process.session, process.address, process.name, process.part.identity.boot, None)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize("poison", ["incarnation", "boot"])
def test_poison_is_checked_with_the_subject(rank: int, poison: str) -> None:
    world = World(22)
    made = world.mesh(5)
    victim, teller = made[3], made[4]
    entry = replace(entry_of(victim.part.get(victim.name)), rank=rank)  # type: ignore[arg-type]
    if poison == "incarnation":
        entry = replace(entry, incarnation=(1 << 64) - 1)
    else:
        entry = replace(entry, boot=WireBoot((1 << 64) - 1, bytes(16)))
    for p in (*made[:3], victim):
        hear(world, p, teller, News(entry, None))
    world.run(60 * SECOND)
    assert victim.error is None
    assert world.converged()
    sound(world)
    world.kill(victim)
    again = world.start(victim.name, ["10.0.0.1:7000"], address=victim.address)
    world.run_until(world.converged, 10 * SECOND)
    assert again.part.identity.boot.stamp < 1 << 63


def test_a_member_that_missed_thousands_of_bumps_believes_the_subject() -> None:
    world = World(23)
    made = world.mesh(3)
    subject = made[0]
    world.watched = False
    subject.part.identity.incarnation = 5_000
    world.command(subject, subject.part.set_tags((("k", "v"),), world.instant(subject)))
    world.run_until(lambda: all(p.part.get(subject.name).incarnation > 5_000 for p in made), 30 * SECOND)  # type: ignore[union-attr]
    assert world.false_deaths == []


def test_an_accusation_is_refuted() -> None:
    world = World(24)
    made = world.mesh(5)
    victim = made[2]
    entry = replace(entry_of(victim.part.get(victim.name)), rank=2)  # type: ignore[arg-type]
    hear(world, made[0], made[1], News(entry, None))
    assert made[0].part.get(victim.name).state is State.DEAD  # type: ignore[union-attr]
    world.run_until(world.converged, 5 * SECOND)
    assert victim.part.identity.incarnation == 1
    world.run(30 * SECOND)
    assert world.converged()
    assert victim.part.identity.incarnation == 1


def test_the_same_seed_gives_the_same_history() -> None:
    def history() -> list[str]:
        world = World(25, loss=0.2)
        made = world.mesh(6)
        world.kill(made[1])
        world.pause(made[2], 5 * SECOND)
        world.run(60 * SECOND)
        return [repr(event) for p in made for event in p.events]

    assert history() == history()


def test_boots_order_by_stamp_then_session() -> None:
    assert Boot(1, b"b" * 16) > Boot(1, b"a" * 16) < Boot(2, bytes(16))
