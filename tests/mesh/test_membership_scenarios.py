"""Stories of a mesh's life, told by membership parts alone in a small world: deaths, pauses, partitions, bad links."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from mesh.directives import Boot
from mesh.membership import Joined, Member, MemberChanged, State
from mesh.membership.messages import News, entry_of
from tests.mesh.membership_world import MS, SECOND, Process, World

HOUR = 3_600 * SECOND
DAY_MS = 86_400_000


def sound(world: World) -> None:
    assert world.laws.violations == []
    assert world.false_deaths == []


def known(observer: Process, name: str) -> Member:
    member = observer.part.get(name)
    assert member is not None
    return member


def total(world: World, count: str) -> int:
    return sum(p.part.stats().get(count, 0) for p in world.living())


@pytest.mark.parametrize(("count", "loss"), [(2, 0.0), (5, 0.2), (20, 0.1), (30, 0.0)])
def test_n_nodes_find_each_other(count: int, loss: float) -> None:
    world = World(count, loss=loss)
    made = world.mesh(count)
    world.run(30 * SECOND)
    assert world.converged()
    assert all(sum(isinstance(event, Joined) for event in p.events) == 1 for p in made)
    sound(world)


def test_an_idle_mesh_says_two_datagrams_a_node_and_second() -> None:
    """One ping and one ack, whatever the number of members."""
    for count in (3, 30):
        world = World(count)
        world.mesh(count)
        world.run(30 * SECOND)
        before = world.datagrams
        world.run(60 * SECOND)
        assert (world.datagrams - before) / 60 / count == pytest.approx(2, abs=0.1)


# --- deaths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 10, 30])
@pytest.mark.parametrize("seed", range(4))
def test_a_kill_is_known_to_all_by_evidence(count: int, seed: int) -> None:
    """Its machine refuses: two members' word for that is enough, and no suspicion has to run out."""
    world = World(100 * count + seed)
    made = world.mesh(count)
    world.run(20 * SECOND)
    victim = made[seed % count]
    world.kill(victim)
    took = world.run_until(lambda: world.known_as(victim.name, State.DEAD), 6 * SECOND)
    assert took < world.profile.suspicion(count)[0] + world.profile.probe_interval
    world.run(60 * SECOND)
    assert total(world, "deaths_by_evidence") >= 1
    assert total(world, "deaths_by_suspicion") == 0
    sound(world)


@pytest.mark.parametrize("count", [2, 5, 12])
def test_a_silent_death_is_known_by_suspicion(count: int) -> None:
    """A machine that lost power refuses nothing: only time tells."""
    world = World(count, loss=0.05)
    victim = world.mesh(count)[0]
    world.cut_power(victim)
    took = world.run_until(lambda: world.known_as(victim.name, State.DEAD), 60 * SECOND)
    assert took >= world.profile.suspicion(count)[0]
    assert total(world, "deaths_by_evidence") == 0
    assert total(world, "deaths_by_suspicion") >= 1
    sound(world)


@pytest.mark.parametrize("count", [3, 8])
@pytest.mark.parametrize("deaf", [False, True])
def test_refusals_that_one_member_alone_sees_are_no_verdict(count: int, deaf: bool) -> None:
    """A firewall between two of them refuses; the others reach both, and say so if the asker can hear them."""
    world = World(count)
    made = world.mesh(count)
    world.refusing = lambda sender, receiver: sender is made[0] and receiver is made[1]
    world.muted = lambda sender, receiver: deaf and receiver is made[0]
    world.run(60 * SECOND)
    assert total(world, "deaths_by_evidence") == 0
    assert world.laws.violations == []
    if not deaf:
        assert known(made[0], made[1].name).state is State.ALIVE
        assert world.false_deaths == []


def test_refusals_of_all_but_one_are_no_verdict_while_that_one_reaches_it() -> None:
    """Every member but one is refused, by a firewall; each has that one among its helpers, whose ack counts for more."""
    world = World(26)
    made = world.mesh(4)
    world.refusing = lambda sender, receiver: receiver is made[1] and sender is not made[2]
    world.run(120 * SECOND)
    assert total(world, "deaths_by_evidence") == 0
    sound(world)


def test_where_only_one_of_two_is_left_its_own_refusals_are_enough() -> None:
    world = World(27)
    made = world.mesh(2)
    world.run(10 * SECOND)
    world.kill(made[0])
    assert world.run_until(lambda: world.known_as(made[0].name, State.DEAD), 3 * SECOND) < 2 * SECOND


@pytest.mark.parametrize("power", [False, True])
def test_m11_half_of_the_nodes_die_at_once(power: bool) -> None:
    world = World(11)
    made = world.mesh(16)
    for victim in made[::2]:
        if power:
            world.cut_power(victim)
        else:
            world.kill(victim)
    longest = world.profile.suspicion(16)[1]
    world.run_until(lambda: all(world.known_as(p.name, State.DEAD) for p in made[::2]), 2 * longest)
    sound(world)


# --- pauses and clocks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [5, 12, 20, 30])
@pytest.mark.parametrize("seed", range(3))
def test_m10_a_pause_accuses_nobody_wrongly(seconds: int, seed: int) -> None:
    """The sleeper itself may be found dead meanwhile, but it declares nobody dead, and is back at once."""
    world = World(seed)
    made = world.mesh(8)
    sleeper, suspected = made[seed], made[7]
    accusation = News(replace(entry_of(known(sleeper, suspected.name)), rank=1), "n06")
    world.hear(sleeper, made[6], accusation)  # a suspicion that will have run out when the sleeper wakes
    world.pause(sleeper, seconds * SECOND)
    world.run(seconds * SECOND)
    world.run_until(world.converged, 10 * SECOND)
    world.run(60 * SECOND)
    assert world.converged()
    assert [death for death in world.false_deaths if death[2] != sleeper.name] == []
    assert sleeper.part.stats()["late_rounds"] >= 1
    assert world.laws.violations == []


def test_m10_everyone_paused_at_once_accuses_nobody() -> None:
    world = World(28)
    for p in world.mesh(6):
        world.pause(p, 20 * SECOND)
    world.run(120 * SECOND)
    assert world.converged()
    sound(world)


def test_who_is_always_late_judges_in_the_end() -> None:
    """Each of its timers is late for ever: it is excused three times, and then finds a dead member dead all the same."""
    world = World(29)
    made = world.mesh(4)
    late, victim = made[0], made[3]
    for p in made[1:3]:
        world.kill(p)
    world.cut_power(victim)

    def stall() -> None:
        world.pause(late, 900 * MS)
        world.later(1_000 * MS, stall)

    stall()
    world.run_until(lambda: known(late, victim.name).state is State.DEAD, 600 * SECOND)
    assert late.part.stats()["health"] > 0


def test_who_was_away_doubts_itself_at_first() -> None:
    world = World(32)
    made = world.mesh(3)
    world.run(10 * SECOND)
    assert made[0].part.stats()["health"] == 0
    world.pause(made[0], 3 * SECOND)
    world.run(3 * SECOND + 1)
    assert made[0].part.stats()["health"] >= 1
    world.run(20 * SECOND)
    assert made[0].part.stats()["health"] == 0


def test_m12_a_jump_of_the_wall_clock_changes_no_verdict() -> None:
    world = World(20)
    made = world.mesh(5)
    made[1].wall_offset = DAY_MS
    made[2].wall_offset = -DAY_MS
    world.run(120 * SECOND)
    assert world.converged()
    sound(world)
    newcomer = world.start("new", ["10.0.0.1:7000"])
    world.run_until(world.converged, 10 * SECOND)
    world.kill(newcomer)
    world.run_until(lambda: world.known_as("new", State.DEAD), 10 * SECOND)
    sound(world)


# --- partitions and links --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("count", [4, 8])
def test_m8_a_partition_of_an_hour_heals_by_itself(restarts: bool, count: int) -> None:
    world = World(8)
    made = world.mesh(count)
    side = {p.session: i % 2 for i, p in enumerate(made)}
    world.blocked = lambda one, other: side[one.session] != side[other.session]
    world.run(HOUR)
    for p in made:
        others = [q for q in made if side[q.session] != side[p.session]]
        assert all(known(p, q.name).state is State.DEAD for q in others)
    if restarts:
        for i, p in enumerate(made):
            world.kill(p)
            world.run(1 * SECOND)
            again = world.start(p.name, [f"10.0.0.{j + 1}:7000" for j in range(2)], address=p.address)
            side[again.session] = i % 2
            world.run(1 * SECOND)
        world.run(60 * SECOND)
    world.blocked = lambda one, other: False
    before = len(world.false_deaths)
    took = world.run_until(world.converged, 60 * SECOND)
    assert took < 3 * world.profile.redial_last
    world.run(120 * SECOND)
    assert world.converged()
    assert world.false_deaths[before:] == []  # nobody believes the other half, that its own half were dead
    assert world.laws.violations == []


@pytest.mark.parametrize("seconds", [1, 10, 100])
def test_m8_short_partitions_heal_too(seconds: int) -> None:
    world = World(seconds)
    made = world.mesh(7)
    half = {p.session for p in made[:3]}
    world.blocked = lambda one, other: (one.session in half) != (other.session in half)
    world.run(seconds * SECOND)
    world.blocked = lambda one, other: False
    world.run_until(world.converged, 30 * SECOND)
    world.run(60 * SECOND)
    assert world.converged()
    assert world.laws.violations == []
    if seconds == 1:
        assert world.false_deaths == []


def test_m8_a_partition_beyond_every_memory_heals() -> None:
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
    assert world.laws.violations == []


def test_who_left_is_never_dialled_and_who_died_is_at_a_bounded_rate() -> None:
    world = World(30)
    made = world.mesh(3)
    world.stop(made[1])
    world.kill(made[2])
    world.run(60 * SECOND)
    before = dict(world.dials)
    world.run(600 * SECOND)
    assert world.dials.get(("n00", made[1].address), 0) - before.get(("n00", made[1].address), 0) <= 80  # it is a seed
    dead = world.dials[("n00", made[2].address)] - before[("n00", made[2].address)]
    assert 30 <= dead <= 80


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("streams", [False, True])
def test_m9_bad_links_are_no_death_while_a_third_can_reach(both: bool, streams: bool) -> None:
    """One node does not reach another (or neither reaches the other), by datagrams or not at all."""
    world = World(18)
    made = world.mesh(6)
    one, other = made[0], made[2]
    cut = {(one.name, other.name), (other.name, one.name)} if both else {(one.name, other.name)}
    bad = lambda sender, receiver: (sender.name, receiver.name) in cut  # noqa: E731
    if streams:
        world.blocked = bad
    else:
        world.muted = bad
    world.run(300 * SECOND)
    sound(world)
    assert world.converged()
    assert not any(isinstance(e, MemberChanged) and e.member.state is State.SUSPECT for p in made for e in p.events)


def test_m9_where_datagrams_are_blocked_streams_keep_members_alive() -> None:
    world = World(19)
    made = world.mesh(3)
    world.muted = lambda sender, receiver: made[2] in (sender, receiver)
    world.run(120 * SECOND)
    sound(world)
    assert total(world, "probes_saved_by_stream") > 0


@pytest.mark.parametrize("loss", [0.1, 0.3])
def test_loss_is_no_death(loss: float) -> None:
    world = World(31, loss=loss)
    world.mesh(10)
    world.run(300 * SECOND)
    sound(world)


# --- the rest --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [5, 12])
def test_m16_everyone_is_probed_within_2n_1_periods(count: int) -> None:
    world = World(count)
    made = world.mesh(count)
    settled = world.now
    world.run(10 * count * SECOND)
    bound = (2 * count - 1) * world.profile.probe_interval
    for p in made:
        for q in made:
            if p is not q:
                times = [settled, *(at for at in world.pings[p.name, q.name] if at >= settled), world.now]
                assert max(b - a for a, b in pairwise(times)) <= bound


def test_tags_reach_all() -> None:
    world = World(21, loss=0.2)
    made = world.mesh(6)
    world.command(made[0], made[0].part.set_tags((("role", "api"),), world.instant(made[0])))
    world.run_until(lambda: all(known(p, made[0].name).tags == (("role", "api"),) for p in made), 60 * SECOND)
    with pytest.raises(ValueError, match="512"):
        made[0].part.set_tags((("k", "v" * 600),), world.instant(made[0]))
    sound(world)


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
