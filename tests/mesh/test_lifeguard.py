"""Each part of Lifeguard, and what this project adds to it: a story that it decides, and the same story with the part broken.

What all of them are good for together is measured in `simulations.lifeguard`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from mesh.directives import Dial, Message, Refused, Write
from mesh.membership import LAN, PROFILES, WAN, Profile, State
from mesh.membership.health import Health
from mesh.membership.member import RANK
from mesh.membership.membership import Membership
from mesh.membership.messages import News, Ping, PingRequest, entry_of
from mesh.membership.probe import Probe, Prober
from mesh.membership.relays import Relays
from mesh.membership.ring import Ring
from mesh.membership.rtt import RoundTrips
from mesh.membership.suspicion import Suspicion
from tests.mesh import test_membership_scenarios as scenarios
from tests.mesh.membership_world import MS, SECOND, Process, World
from tests.mesh.test_membership_order import member, ring_of

Plant = Callable[[pytest.MonkeyPatch], None]

DOCUMENT = Path(__file__).parents[2] / "docs" / "membership.md"


# --- the stories -----------------------------------------------------------------------------------------------------


def health(p: Process) -> int:
    return p.part.stats()["health"]


def one_is_deaf() -> None:
    """Who hears nothing slows down, and convicts nobody meanwhile; when it hears again it is soon as quick as the others."""
    world = World(1)
    made = world.mesh(8)
    deaf = made[3]
    world.blocked = lambda sender, receiver: receiver is deaf
    world.run(40 * SECOND)
    assert health(deaf) == world.profile.health_worst
    late = [at for (name, _), times in world.pings.items() if name == deaf.name for at in times if at > world.now - 20 * SECOND]
    assert len(late) < 10
    assert [death for death in world.false_deaths if death[1] == deaf.name] == []
    world.blocked = lambda sender, receiver: False
    world.run_until(lambda: world.converged() and health(deaf) == 0, 60 * SECOND)


def dark_target(profile: Profile) -> None:
    """A member dies in silence before anyone has measured the way to it. Its helpers say that they hear nothing either, in
    time: whoever asked stays in perfect health."""
    world = World(2, profile=profile)
    made = world.mesh(8)
    world.run(2 * profile.suspicion(8)[1])
    assert {health(p) for p in made} == {0}
    for p in made:
        p.part._prober.trips.forget(made[5].session)
    world.cut_power(made[5])

    def known() -> bool:
        assert {health(p) for p in world.living()} == {0}
        return world.known_as(made[5].name, State.DEAD)

    world.run_until(known, 2 * profile.suspicion(8)[1], step=50 * MS)


def accused_at_one() -> None:
    """A member is suspect at one other alone, which does not even gossip it: the next datagram tells the accused."""
    world = World(3, profile=replace(LAN, exchange_interval=1 << 60))
    made = world.mesh(8)
    world.run(300 * SECOND)  # the first exchanges follow each other quickly
    entry = made[0].part.get(made[6].name)
    assert entry is not None
    world.hear(made[0], made[1], News(replace(entry_of(entry), rank=RANK[State.SUSPECT]), made[1].name))
    made[0].part._rumours.forget(made[6].name)
    world.run(60 * SECOND)
    assert world.false_deaths == []
    assert made[6].part.identity.incarnation == 1


def one_lost_ack() -> None:
    """Round trips are 20 ms at the most; helpers are asked as soon as an ack is overdue by that measure."""
    world = World(4)
    made = world.mesh(6)
    world.run(60 * SECOND)
    sent: dict[int, int] = {}
    waited: list[int] = []

    def tap(sender: Process, session: bytes, message: Message) -> None:
        if sender is made[0] and isinstance(message, Ping) and session == made[4].session:
            sent[message.sequence] = world.now
        elif sender is made[0] and isinstance(message, PingRequest) and message.sequence in sent:
            waited.append(world.now - sent[message.sequence])

    world.tap = tap
    world.muted = lambda sender, receiver: sender is made[0] and receiver is made[4]
    world.run(30 * SECOND)
    assert waited and max(waited) == LAN.probe_timeout_floor


def an_answer_to_the_second_ping() -> None:
    """An evidence probe asks twice, by one number: its answer is no measure of the way."""
    world = World(5, delay=(5 * MS, 5 * MS))
    made = world.mesh(4)
    world.run(30 * SECOND)
    assert made[0].part.rtt(made[2].name) == 10 * MS
    world.blocked = lambda sender, receiver: sender is made[0]
    world.failing[made[2].address] = "silent"
    world.event(made[0], Refused(made[2].address))
    world.run(60 * MS)
    world.blocked = lambda sender, receiver: False
    world.run(SECOND)
    assert made[0].part.rtt(made[2].name) == 10 * MS


def all_see_a_silent_death() -> None:
    """Each accuser of its own shortens the window: far from the longest one."""
    world = World(6)
    made = world.mesh(12)
    world.run(30 * SECOND)
    world.cut_power(made[7])
    shortest, longest, _ = world.profile.suspicion(12)
    took = world.run_until(lambda: world.known_as(made[7].name, State.DEAD), longest)
    assert shortest <= took < longest // 2


def newcomers_come_at_random() -> None:
    first = []
    for seed in range(100):
        table, ring = ring_of(20, Random(seed))
        ring.next()
        table.apply(member("late"), 0)
        ring.add("late")
        turns = [met.name for met in (ring.next() for _ in range(40)) if met is not None]
        first.append(turns.index("late"))
    assert min(first) < 4
    assert sum(first) / len(first) < 14


def refuting_is_a_symptom() -> None:
    world = World(7)
    made = world.mesh(4)
    entry = made[0].part.get(made[2].name)
    assert entry is not None
    world.hear(made[2], made[1], News(replace(entry_of(entry), rank=RANK[State.SUSPECT]), made[1].name))
    assert health(made[2]) == 1


STORIES = [
    one_is_deaf,
    lambda: dark_target(LAN),
    lambda: dark_target(WAN),
    accused_at_one,
    one_lost_ack,
    an_answer_to_the_second_ping,
    all_see_a_silent_death,
    newcomers_come_at_random,
    refuting_is_a_symptom,
]


@pytest.mark.parametrize("story", STORIES)
def test_lifeguard_holds(story: Callable[[], None]) -> None:
    story()


# --- the same without each part --------------------------------------------------------------------------------------


def nobody_doubts_itself(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Health, "multiplier", property(lambda self: 1))


def no_nacks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Relays, "_answer", lambda self, relay, refused: setattr(relay, "answered", True))


def nacks_after_the_timeout(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Profile, "nack_after", property(lambda self: self.probe_timeout * 8 // 10))


def no_buddies(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Membership, "_accused", lambda self, name: None)


def one_timeout_for_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RoundTrips, "timeout", lambda self, session, floor, ceiling: ceiling)


def any_ack_is_a_measure(patch: pytest.MonkeyPatch) -> None:
    whole = Prober._ask_again

    def ask_again(self: Prober, probe: object) -> None:
        whole(self, probe)  # type: ignore[arg-type]
        probe.asked_again = 0  # type: ignore[attr-defined]

    patch.setattr(Prober, "_ask_again", ask_again)


def confirmations_change_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Suspicion, "deadline", lambda self: self.started + self.longest)


def newcomers_go_last(patch: pytest.MonkeyPatch) -> None:
    def add(self: Ring, name: str) -> None:
        self._names.append(name)

    patch.setattr(Ring, "add", add)


def refuting_costs_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Health, "worsen", lambda self, by=1: None)


def streams_are_not_tried(patch: pytest.MonkeyPatch) -> None:
    whole = Prober._ask_otherwise

    def ask_otherwise(self: Prober, probe: Probe) -> None:
        whole(self, probe)
        probe.on_line = False
        if not isinstance(self._actions.directives.pop(), Dial | Write):
            raise TypeError("streams are not what is tried last")

    patch.setattr(Prober, "_ask_otherwise", ask_otherwise)


@pytest.mark.parametrize(
    ("plant", "story"),
    [
        (nobody_doubts_itself, one_is_deaf),
        (no_nacks, lambda: dark_target(LAN)),
        (nacks_after_the_timeout, lambda: dark_target(WAN)),
        (no_buddies, accused_at_one),
        (one_timeout_for_all, one_lost_ack),
        (any_ack_is_a_measure, an_answer_to_the_second_ping),
        (confirmations_change_nothing, all_see_a_silent_death),
        (newcomers_go_last, newcomers_come_at_random),
        (refuting_costs_nothing, refuting_is_a_symptom),
        (streams_are_not_tried, scenarios.test_m9_where_datagrams_are_blocked_streams_keep_members_alive),
    ],
)
def test_without_its_part_the_story_fails(monkeypatch: pytest.MonkeyPatch, plant: Plant, story: Callable[[], None]) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        story()


# --- the constants ---------------------------------------------------------------------------------------------------


def worked(profile: Profile, members: int) -> str:
    """One line of the table in docs/membership.md."""
    shortest, longest, _ = profile.suspicion(members)
    cells = [
        f"{members:,}",
        f"{1.582 * profile.probe_interval / SECOND:.1f}",
        f"{(2 * members - 1) * profile.probe_interval / SECOND:,.0f}",
        f"{shortest / SECOND:.1f}",
        f"{longest / SECOND:.1f}",
        str(profile.transmissions(members)),
        f"{profile.exchange_after(members) / SECOND:g}",
        f"{profile.redial_after(members) / SECOND:g}",
    ]
    return f"| `{profile.name}` | " + " | ".join(cells) + " |"


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
@pytest.mark.parametrize("members", [3, 30, 1_000])
def test_the_documents_worked_numbers_are_those_of_the_profiles(profile: Profile, members: int) -> None:
    assert worked(profile, members) in DOCUMENT.read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"probe_timeout": LAN.probe_interval},
        {"probe_timeout_floor": LAN.probe_timeout},
        {"suspicion_floor": LAN.probe_interval},
        {"health_worst": -1},
        {"confirmations": 0},
    ],
)
def test_constants_that_defeat_each_other_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"or more|needs"):
        replace(LAN, **changes)  # type: ignore[arg-type]


if __name__ == "__main__":
    for profile in PROFILES.values():
        for members in (3, 30, 1_000):
            print(worked(profile, members))
