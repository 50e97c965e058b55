"""The window of counters: each once, against a model that remembers every counter ever taken."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.replay import WIDTH, ReplayWindow

COUNTERS = st.one_of(
    st.integers(0, 50), st.integers(WIDTH - 20, WIDTH + 20), st.integers(0, 3 * WIDTH), st.integers(0, (1 << 64) - 1)
)


@given(st.lists(COUNTERS, max_size=80), st.sampled_from([0, 5, WIDTH, 10 * WIDTH]))
def test_each_counter_is_taken_once_and_none_from_below_the_window(counters: list[int], start: int) -> None:
    window = ReplayWindow(start)
    taken: set[int] = set()
    highest = start
    for counter in counters:
        expected = counter > start and counter not in taken and counter > highest - WIDTH
        assert window.take(counter) == expected, (counter, highest)
        if expected:
            taken.add(counter)
            highest = max(highest, counter)
        assert window.highest == highest


def test_frames_may_overtake_each_other_within_the_width() -> None:
    window = ReplayWindow()
    assert window.take(WIDTH)
    assert all(window.take(counter) for counter in range(WIDTH - 1, 0, -1))
    assert not any(window.take(counter) for counter in range(WIDTH + 1))
    assert window.take(WIDTH + 1) and window.take(10 * WIDTH)
    assert not window.take(9 * WIDTH) and window.take(9 * WIDTH + 1)


def test_it_stays_small() -> None:
    window = ReplayWindow()
    window.take((1 << 64) - 1)
    assert window._seen.bit_length() <= WIDTH


@given(st.lists(COUNTERS, max_size=40), COUNTERS, st.lists(COUNTERS, max_size=40))
def test_closing_refuses_everything_up_to_there_and_nothing_else(before: list[int], close: int, after: list[int]) -> None:
    window, other = ReplayWindow(), ReplayWindow()
    for counter in before:
        assert window.take(counter) == other.take(counter)
    highest = window.highest
    window.close(close)
    assert window.highest == max(highest, close)
    taken = set(before)
    for counter in after:
        expected = counter > close and counter not in taken and counter > window.highest - WIDTH
        assert window.take(counter) == expected
        taken.add(counter)
