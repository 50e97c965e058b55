"""Keys in order, against a sorted list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crdt.keys import FEW, SortedKeys

keys = st.text("abü\U0001f600", max_size=4)


@given(st.lists(st.lists(keys, max_size=2 * FEW) | st.tuples(keys, st.integers(0, 5), st.booleans()), max_size=12))
def test_keys_come_in_order_from_any_place(steps: list[list[str] | tuple[str, int, bool]]) -> None:
    own, model = SortedKeys(), set[str]()
    for step in steps:
        if isinstance(step, list):
            for key in step:
                if key not in model:
                    own.add(key)
                    model.add(key)
        else:
            place, count, inclusive = step
            expected = [key for key in sorted(model) if key > place or (inclusive and key == place)]
            assert own.after(place, count, inclusive=inclusive) == expected[:count]
        assert len(own) == len(model)


def test_a_walk_survives_keys_that_come_between_and_behind() -> None:
    own = SortedKeys()
    for n in range(0, 100, 2):
        own.add(f"{n:03}")
    seen, last = [], ""
    while found := own.after(last, 10):
        seen += found
        last = found[-1]
        if last < "099":
            own.add(f"{int(last) + 1:03}")
            own.add(f"{int(last) - 1:03}")
    assert seen == sorted(set(seen))
    assert set(seen) >= {f"{n:03}" for n in range(0, 100, 2)}
    assert "019" in seen, "added ahead of the walk"
    assert "017" not in seen, "added behind it"
