"""A rumour of a death of which nothing was feared here: the one who is said to be dead is asked first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.membership import LAN, MemberChanged, State
from mesh.membership.member import RANK
from mesh.membership.messages import News, PingRequest, entry_of
from mesh.membership.probe import MAX_PROBES
from tests.mesh.membership_stories import known
from tests.mesh.membership_world import MS, SECOND, Process, World


def said(observer: Process, name: str, state: State) -> News:
    return News(replace(entry_of(known(observer, name)), rank=RANK[state]), None if state is State.DEAD else observer.name)


def states_shown(observer: Process, name: str) -> list[State]:
    return [e.member.state for e in observer.events if isinstance(e, MemberChanged) and e.member.name == name]


def test_who_lives_is_shown_alive_throughout_and_refutes_it_itself() -> None:
    world = World(1)
    made = world.mesh(5)
    hearer, teller, victim = made[0], made[1], made[4]
    world.hear(hearer, teller, said(teller, victim.name, State.DEAD))
    world.run(SECOND)
    assert states_shown(hearer, victim.name) == [State.ALIVE]
    assert hearer.part.stats()["deaths_asked_about"] == 1
    assert victim.part.identity.incarnation == known(hearer, victim.name).incarnation == 1
    assert world.false_deaths == []
    assert world.laws.violations == []


def test_who_was_killed_is_dead_with_the_first_refusal() -> None:
    world = World(2)
    made = world.mesh(5)
    hearer, teller, victim = made[0], made[1], made[4]
    rumour = said(teller, victim.name, State.DEAD)
    victim.alive = False  # so suddenly that no stream has ended yet
    del world.at[victim.address]
    world.hear(hearer, teller, rumour)
    assert known(hearer, victim.name).state is State.ALIVE
    world.run_until(lambda: known(hearer, victim.name).state is State.DEAD, 2 * world.delay[1])


def test_whose_machine_is_silent_is_dead_after_one_probe() -> None:
    world = World(3)
    made = world.mesh(5)
    hearer, teller, victim = made[0], made[1], made[4]
    rumour = said(teller, victim.name, State.DEAD)
    world.cut_power(victim)
    world.hear(hearer, teller, rumour)
    took = world.run_until(lambda: known(hearer, victim.name).state is State.DEAD, LAN.probe_timeout + 20 * MS)
    assert took >= LAN.probe_timeout - 20 * MS


def test_who_cannot_be_reached_directly_is_asked_through_others() -> None:
    world = World(4)
    made = world.mesh(5)
    hearer, teller, victim = made[0], made[1], made[4]
    world.blocked = lambda one, other: {one.name, other.name} == {hearer.name, victim.name}
    world.hear(hearer, teller, said(teller, victim.name, State.DEAD))
    world.run(20 * SECOND)
    assert world.false_deaths == [] and world.converged()


@pytest.mark.parametrize("late", [300, 390, 410, 450, 499])
def test_a_node_that_is_late_in_asking_otherwise_comes_to_its_verdict(late: int) -> None:
    """A little less late than what excuses it: its next question would come after the verdict."""
    world = World(7)
    made = world.mesh(5)
    hearer, teller, victim = made[0], made[1], made[4]
    rumour = said(teller, victim.name, State.DEAD)
    world.cut_power(victim)
    world.hear(hearer, teller, rumour)
    world.run(90 * MS)
    world.pause(hearer, (late - 90) * MS)
    world.run_until(lambda: known(hearer, victim.name).state is State.DEAD, SECOND)
    world.run(10 * SECOND)
    assert world.laws.violations == []


@pytest.mark.parametrize("share", [0.4, 0.6])
def test_who_was_long_feared_for_is_believed_dead_at_once(share: float) -> None:
    world = World(5)
    made = world.mesh(5)
    hearer, teller, victim = made[0], made[1], made[4]
    rumour = said(teller, victim.name, State.DEAD)
    world.cut_power(victim)
    world.hear(hearer, teller, said(teller, victim.name, State.SUSPECT))
    world.run(int(share * LAN.suspicion(5)[0]))
    assert known(hearer, victim.name).state is State.SUSPECT
    world.hear(hearer, teller, rumour)
    assert (known(hearer, victim.name).state is State.DEAD) is (share > 0.5)


def test_a_flood_of_deaths_asks_each_once_at_a_time_and_not_too_many() -> None:
    world = World(6)
    made = world.mesh(5)
    hearer, teller, victim = made[0], made[1], made[4]
    world.blocked = lambda one, other: True
    for _ in range(100):
        world.hear(hearer, teller, said(teller, victim.name, State.DEAD))
    assert hearer.part.stats()["deaths_asked_about"] == 1
    for number in range(2 * MAX_PROBES):
        world.hear(hearer, teller, PingRequest(number, victim.session))
    assert sum(timer[0] == "verdict" for timer in hearer.timers if isinstance(timer, tuple)) <= MAX_PROBES
