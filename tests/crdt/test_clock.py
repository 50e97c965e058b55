"""The hybrid logical clock (C10)."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.clock import COUNTER_BITS, SAMPLES, SLEW_LIMIT_MS, HybridClock, Instant, Stamp, make_stamp, stamp_ms

MS = 1_000_000
START = 1_700_000_000_000
HOUR = 3_600_000


def at(boot_ms: float, wall: int) -> Instant:
    return Instant(0, round(boot_ms * MS), wall)


def steady(boot_ms: int, ahead: int = 0) -> Instant:
    """A wall that runs with the boot clock."""
    return at(boot_ms, START + boot_ms + ahead)


# --- causality and monotony under anything -------------------------------------------------------------------------


@dataclass
class Node:
    clock: HybridClock = field(default_factory=HybridClock)
    boot: int = 0
    wall_ahead: int = 0
    floor: Stamp = -1
    """The highest that this node ticked or merged."""
    seen: Stamp = -1
    """The highest that it read."""


steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(("tick", "read", "send", "receive", "jump", "sample")),
        st.integers(0, 400 * MS),
        st.integers(-90_000, 90_000) | st.integers(-120, 120),
    ),
    max_size=60,
)


@given(steps)
def test_an_event_is_above_all_that_it_may_depend_on(steps: list[tuple[int, str, int, int]]) -> None:
    nodes = [Node() for _ in range(3)]
    sent: list[Stamp] = []
    for index, what, elapsed, number in steps:
        node = nodes[index]
        node.boot += elapsed
        now = Instant(0, node.boot, START + node.boot // MS + node.wall_ahead)
        match what:
            case "tick" | "send":
                stamp = node.clock.tick(now)
                assert stamp > node.floor
                assert stamp >= node.seen
                node.floor = stamp
                if what == "send":
                    sent.append(stamp)
            case "read":
                stamp = node.clock.read(now)
                assert stamp >= max(node.floor, node.seen)
                node.seen = stamp
            case "receive" if sent:
                stamp = sent[number % len(sent)]
                before = node.clock.read(now)
                if node.clock.merge(stamp, now):
                    node.floor = max(node.floor, stamp)
                else:
                    assert stamp_ms(stamp) > node.clock.physical_ms(now) + node.clock.max_drift_ms
                    assert node.clock.read(now) == before
            case "jump":
                node.wall_ahead += number
            case "sample":
                node.clock.sample(f"n{number % 3}", number)


@given(
    st.tuples(*[st.integers(-250, 250)] * 3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 30)), max_size=60),
)
def test_stamps_stay_between_the_slowest_and_the_fastest_wall(
    skews: tuple[int, ...], messages: list[tuple[int, int, int]]
) -> None:
    clocks = [HybridClock(500) for _ in skews]
    true = 0
    for sender, receiver, elapsed in messages:
        true += elapsed
        stamp = clocks[sender].tick(steady(true, skews[sender]))
        assert skews[sender] <= stamp_ms(stamp) - START - true <= max(skews)
        assert clocks[receiver].merge(stamp, steady(true, skews[receiver]))


@given(st.lists(st.tuples(st.integers(0, 300 * MS), st.integers(-SLEW_LIMIT_MS, SLEW_LIMIT_MS)), max_size=80))
def test_what_is_read_never_goes_back_while_the_clock_is_slewed(steps: list[tuple[int, int]]) -> None:
    clock, boot, last = HybridClock(), 0, 0
    for elapsed, ahead in steps:
        boot += elapsed
        stamp = clock.read(Instant(0, boot, START + boot // MS + ahead))
        assert stamp >= last
        last = stamp


def test_a_slew_by_one_ms_within_one_ms_does_not_take_back_what_was_read() -> None:
    clock = HybridClock()
    clock.read(at(0, START))
    clock.read(at(0.5, START))
    before = clock.read(at(200.4, START + 195))
    assert clock.physical_ms(at(200.5, START + 195)) == START + 199  # slewed back, just now
    assert clock.read(at(200.5, START + 195)) >= before


def test_ticks_within_one_ms_count_and_a_full_counter_carries_into_the_ms() -> None:
    clock, now = HybridClock(), at(0, START)
    assert clock.tick(now) == make_stamp(START)
    assert clock.tick(now) == make_stamp(START, 1)
    clock.raise_floor(make_stamp(START, (1 << COUNTER_BITS) - 1))
    assert clock.tick(now) == make_stamp(START + 1)
    assert clock.tick(at(5, START + 5)) == make_stamp(START + 5)


def test_reading_consumes_nothing() -> None:
    clock, now = HybridClock(), at(0, START)
    assert clock.read(now) == clock.read(now) == make_stamp(START)
    first = clock.tick(now)
    assert clock.read(now) == first
    assert clock.tick(now) == first + 1


def test_a_floor_of_an_earlier_run_holds_though_the_wall_was_set_back() -> None:
    clock = HybridClock()
    clock.raise_floor(make_stamp(START, 7))
    clock.raise_floor(make_stamp(START - HOUR))
    assert clock.tick(at(0, START - HOUR)) == make_stamp(START, 8)


# --- drift ---------------------------------------------------------------------------------------------------------


def test_a_stamp_is_merged_up_to_max_drift_ahead_and_not_beyond() -> None:
    clock, now = HybridClock(500), at(0, START)
    assert not clock.merge(make_stamp(START + 501), now)
    assert clock.tick(now) == make_stamp(START)
    assert clock.merge(make_stamp(START + 500, 65_535), now)
    assert clock.tick(now) == make_stamp(START + 501)
    assert clock.merge(make_stamp(START), now)
    assert clock.tick(now) == make_stamp(START + 501, 1)


def test_followed_stamps_carry_no_further_than_the_drift() -> None:
    """Two clocks that follow each other do not drive one another forward."""
    one, two, now = HybridClock(500), HybridClock(500), at(0, START)
    for _ in range(1_000):
        assert two.merge(one.tick(now), now)
        assert one.merge(two.tick(now), now)
    assert stamp_ms(one.tick(now)) == START


# --- slewing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [SLEW_LIMIT_MS, -SLEW_LIMIT_MS])
def test_a_small_difference_is_slewed_at_five_ms_a_second_until_it_is_gone(ahead: int) -> None:
    clock = HybridClock()
    clock.read(steady(0))
    last = 0
    for boot in range(0, 1_001, 10):
        last = clock.physical_ms(steady(boot, ahead)) - START - boot
    assert abs(last) == 5
    assert last * ahead > 0
    for boot in range(1_000, 12_001, 10):
        last = clock.physical_ms(steady(boot, ahead)) - START - boot
    assert last == ahead


def test_a_larger_step_is_not_slewed() -> None:
    clock = HybridClock()
    clock.read(steady(0))
    for boot in range(0, 100_000, 500):
        assert clock.physical_ms(steady(boot, SLEW_LIMIT_MS + 1)) == START + boot


def test_time_spent_in_agreement_is_no_credit_for_a_fast_slew() -> None:
    clock = HybridClock()
    clock.read(steady(0))
    clock.read(steady(1_000_000))
    assert clock.physical_ms(steady(1_000_100, 50)) == START + 1_000_100


# --- steps of the wall ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_is_adopted_when_peers_say_that_this_node_was_off(step: int) -> None:
    clock = HybridClock()
    before = clock.tick(steady(0))
    clock.sample("a", step + 3)
    clock.sample("b", step - 4)
    assert clock.check() is not None
    assert clock.physical_ms(steady(1_000, step)) == START + 1_000 + step
    assert clock.offset() is None, "offsets were measured against the time before the step"
    after = clock.tick(steady(1_001, step))
    assert after > before
    assert clock.tick(steady(2_000, step)) > after


@pytest.mark.parametrize("step", [HOUR, -HOUR])
@pytest.mark.parametrize("offsets", [{}, {"a": HOUR}, {"a": 2.0, "b": -3.0}, {"a": 0.0, "b": 0.0, "c": float(HOUR)}])
def test_a_step_that_peers_do_not_confirm_moves_nothing(step: int, offsets: dict[str, float]) -> None:
    clock = HybridClock()
    clock.tick(steady(0))
    for peer, offset in offsets.items():
        clock.sample(peer, offset)
    assert clock.physical_ms(steady(1_000, step)) == START + 1_000
    assert stamp_ms(clock.tick(steady(1_000, step))) == START + 1_000


def test_after_an_adopted_step_back_nothing_that_was_read_is_gone_back_behind() -> None:
    clock = HybridClock()
    clock.tick(steady(0))
    before = clock.read(steady(10_000))
    for peer in "ab":
        clock.sample(peer, -HOUR)
    assert clock.read(steady(10_001, -HOUR)) >= before
    assert clock.tick(steady(10_002, -HOUR)) > before


# --- what peers say ------------------------------------------------------------------------------------------------


def test_the_offset_is_the_median_of_at_least_two_peers() -> None:
    clock = HybridClock(500)
    assert clock.offset() is None
    clock.sample("a", 900)
    assert clock.offset() is None
    assert clock.check() is None
    clock.sample("b", 10)
    clock.sample("c", 20)
    assert clock.offset() == 20
    clock.sample("c", -4)
    assert clock.offset() == 10
    clock.forget("a")
    assert clock.offset() == 3


@pytest.mark.parametrize(("offset", "refused"), [(250.0, None), (-250.0, None), (250.5, 250.5), (-251.0, -251.0)])
def test_writes_are_refused_beyond_half_of_max_drift(offset: float, refused: float | None) -> None:
    clock = HybridClock(500)
    clock.sample("a", offset)
    clock.sample("b", offset)
    assert clock.check() == refused


def test_only_the_peers_heard_last_are_remembered() -> None:
    clock = HybridClock()
    for n in range(SAMPLES):
        clock.sample(f"old{n}", 1_000)
    clock.sample("old0", 1_000)
    for n in range(SAMPLES - 1):
        clock.sample(f"new{n}", 0)
    assert clock.offset() == 0
    clock.forget("new0")
    for n in range(1, SAMPLES - 1):
        clock.forget(f"new{n}")
    assert clock.offset() is None, "the one that was heard again stayed, alone"


def test_the_median_follows_every_sample_and_departure() -> None:
    clock = HybridClock()
    for peer, offset in (("a", 10.0), ("b", 20.0), ("c", 90.0)):
        clock.sample(peer, offset)
        clock.offset()
    assert clock.offset() == 20.0
    clock.sample("b", 80.0)
    assert clock.offset() == 80.0
    clock.forget("a")
    assert clock.offset() == 85.0
    clock.forget("b")
    assert clock.offset() is None
