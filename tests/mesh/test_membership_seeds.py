"""Every invariant of membership over many seeds: 30 here, 500 in `make soak`; and a planted fault for each, which they find.

laws     M1 M2 M5 M6 M7 M19   watched after every step, under everything at once (`test_membership_chaos.live_through`)
stories  all the others       `membership_stories`, in which the laws are watched, too"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mesh.membership import Member, Profile, State
from mesh.membership.hearing import Hearing
from mesh.membership.join import Joiner
from mesh.membership.member import RANK
from mesh.membership.messages import _member_of
from mesh.membership.registry import Registry
from mesh.membership.suspicion import Suspicion
from tests.mesh import test_membership_faults as faults
from tests.mesh.membership_stories import STORIES, WEEK, m8_costs_nothing_to_wait, m8_partition
from tests.mesh.membership_world import SECOND
from tests.mesh.test_membership_chaos import live_through

SEEDS = range(30)
HOUR = 3_600 * SECOND
SOAK_SEEDS = range(500)

Plant = Callable[[pytest.MonkeyPatch], None]


def laws(seed: int, seconds: int) -> None:
    world = live_through(seed, seconds)
    world.run_until(world.converged, 60 * SECOND)
    assert world.laws.violations == []


@pytest.mark.parametrize("first", range(0, len(SEEDS), 10))
def test_the_laws_hold_under_everything(first: int) -> None:
    for seed in SEEDS[first : first + 10]:
        laws(seed, 40)


@pytest.mark.parametrize("invariant", STORIES)
def test_the_story_comes_true(invariant: str) -> None:
    for seed in SEEDS:
        STORIES[invariant](seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_laws_hold_under_everything_over_many_seeds() -> None:
    for seed in SOAK_SEEDS:
        laws(seed, 120)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("invariant", STORIES)
def test_the_story_comes_true_over_many_seeds(invariant: str) -> None:
    for seed in SOAK_SEEDS:
        STORIES[invariant](seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2))
def test_m8_a_partition_of_a_week_heals_by_itself(seed: int) -> None:
    m8_partition(seed, WEEK)


@pytest.mark.parametrize("lasts", [HOUR, pytest.param(WEEK, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_m8_to_wait_for_the_end_of_a_partition_costs_the_same_for_ever(lasts: int) -> None:
    m8_costs_nothing_to_wait(1, lasts)


def test_dialling_without_measure_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Profile, "redial_after", lambda self, members: self.redial_first)
    with pytest.raises(AssertionError):
        m8_costs_nothing_to_wait(1, HOUR)


def test_a_memory_that_grows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses of the dead are kept for each time that they were dialled."""
    whole = Joiner.on_down

    def on_down(self: Joiner, address: str, reason: str) -> None:
        self._itself[f"{address} {len(self._itself)}"] = None
        whole(self, address, reason)

    monkeypatch.setattr(Joiner, "on_down", on_down)
    with pytest.raises(AssertionError, match="grown"):
        m8_costs_nothing_to_wait(1, HOUR)


# --- each finds its fault --------------------------------------------------------------------------------------------


def any_rumour_is_plausible(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hearing, "_plausible", lambda self, news, now: True)


def windows_last_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Suspicion, "deadline", lambda self: self.started + 2 * self.longest)


def alive_outranks_left(patch: pytest.MonkeyPatch) -> None:
    def order(m: Member) -> tuple[object, ...]:
        return (m.boot, m.incarnation, -1 if m.state is State.LEFT else RANK[m.state], m.address, m.tags)

    patch.setattr(Member, "order", property(order))


def who_gives_way_says_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Registry, "give_way", lambda self, other: None)


def any_address_will_do(patch: pytest.MonkeyPatch) -> None:
    _member_of.cache_clear()  # it remembers what it has refused
    patch.setattr("mesh.membership.messages.is_reachable", lambda address: True)


def rumoured_deaths_are_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hearing, "_surprising", lambda self, news, source, now: False)


def requests_without_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("mesh.membership.relays.MAX_RELAYS", 1 << 30)


def checks_without_bound(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("mesh.membership.checks.MAX_CHECKS", 1 << 30)


PLANTED: list[tuple[str, Plant]] = [
    ("M3", faults.boots_do_not_count),
    ("M4", any_rumour_is_plausible),
    ("M8", faults.the_dead_are_not_dialled),
    ("M9", faults.nobody_is_asked_otherwise),
    ("M10", faults.pauses_are_no_excuse),
    ("M11", windows_last_twice),
    ("M12", faults.timers_follow_the_wall_clock),
    ("M13", alive_outranks_left),
    ("M14", faults.holders_outbid_each_other),
    ("M14", who_gives_way_says_nothing),
    ("M15", faults.anyone_may_ack),
    ("M15", faults.anyone_may_confirm),
    ("M16", faults.the_ring_is_a_die),
    ("M17", any_address_will_do),
    ("M18", requests_without_bound),
    ("M18", checks_without_bound),
    ("M20", rumoured_deaths_are_believed),
]


@pytest.mark.parametrize(("invariant", "plant"), PLANTED)
def test_a_story_finds_its_planted_fault(monkeypatch: pytest.MonkeyPatch, invariant: str, plant: Plant) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        for seed in SEEDS:
            STORIES[invariant](seed)


def test_who_missed_a_death_is_told_by_whom_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every telling of it went to the dead or was lost, and who missed it doubts itself."""
    STORIES["M11"](69)
    monkeypatch.setattr("mesh.membership.relays.Relays._tell_of_death", lambda self, relay: None)
    with pytest.raises(AssertionError, match="not within the bound"):
        STORIES["M11"](69)


def test_every_invariant_has_its_watcher_and_its_fault() -> None:
    watched = {"M1", "M2", "M5", "M6", "M7", "M19"}
    assert watched | set(STORIES) == {f"M{number}" for number in range(1, 21)}
    assert {invariant for invariant, _ in PLANTED} == set(STORIES)
