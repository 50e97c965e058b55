"""The timer heap: order, moving, forgetting, and no growth from re-arming."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.timers import STALE_SLACK, Timers


def drain(timers: Timers, now: int) -> list[tuple[int, object]]:
    fired = []
    while (due := timers.pop(now)) is not None:
        fired.append(due)
    return fired


def test_equal_times_fire_in_the_order_of_arming() -> None:
    timers = Timers()
    for name in ("c", "a", "b"):
        timers.arm(0, name, 5)
    assert drain(timers, 4) == []
    assert drain(timers, 5) == [(0, "c"), (0, "a"), (0, "b")]


def test_moving_later_silences_the_earlier_arming() -> None:
    timers = Timers()
    timers.arm(0, "probe", 5)
    timers.arm(0, "probe", 9)
    assert timers.due() == 9
    assert drain(timers, 8) == []
    assert drain(timers, 9) == [(0, "probe")]


def test_the_same_timer_of_two_owners_is_two_timers() -> None:
    timers = Timers()
    timers.arm(0, "tick", 5)
    timers.arm(1, "tick", 6)
    timers.disarm(0, "tick")
    assert drain(timers, 10) == [(1, "tick")]


def test_rearming_for_ever_does_not_grow_the_heap() -> None:
    timers = Timers()
    for at in range(10_000):
        timers.arm(0, "renew", 10_000 - at)
    assert len(timers._heap) <= STALE_SLACK + 3
    assert drain(timers, 10_000) == [(0, "renew")]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 20))), max_size=60))
def test_against_a_dictionary(steps: list[tuple[str, int | None]]) -> None:
    """Fires exactly what a plain dictionary of armed timers holds, by time."""
    timers, model = Timers(), dict[str, int]()
    for name, at in steps:
        if at is None:
            timers.disarm(0, name)
            model.pop(name, None)
        else:
            timers.arm(0, name, at)
            model[name] = at
    assert timers.due() == (min(model.values()) if model else None)
    fired = [str(name) for _, name in drain(timers, 20)]
    assert sorted(fired) == sorted(model)
    assert [model[name] for name in fired] == sorted(model.values())
