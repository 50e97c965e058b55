"""When keys come up, against a plain dictionary; and that touches do not pile up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crdt.expiry import Expiries

keys = st.sampled_from("abcde")
steps = st.lists(st.tuples(st.just("set"), keys, st.integers(1, 60)) | st.tuples(st.just("pass"), keys, st.integers(0, 15)))


@given(steps)
def test_every_key_comes_up_when_it_is_due_and_once(steps: list[tuple[str, str, int]]) -> None:
    expiries, model, now = Expiries(), dict[str, int](), 0
    for what, key, number in steps:
        if what == "set":
            model[key] = now + number
            expiries.schedule(key, now + number)
        else:
            now += number
            expired = []
            while (due := expiries.pop(now)) is not None:
                if due in model and model[due] > now:
                    expiries.schedule(due, model[due])
                else:
                    expired.append(due)
            assert sorted(expired) == sorted(key for key, expiry in model.items() if expiry <= now)
            model = {key: expiry for key, expiry in model.items() if expiry > now}
        following = expiries.next()
        assert (following is None) <= (not model)
        assert following is None or following <= min(model.values(), default=following)
        assert len(expiries) == len(model)


def test_a_key_that_is_touched_again_and_again_keeps_one_entry() -> None:
    expiries = Expiries()
    for n in range(10_000):
        expiries.schedule("k", 100 + n)
    assert (len(expiries), len(expiries._heap)) == (1, 1)
    assert expiries.pop(99) is None
    assert expiries.pop(100) == "k"
    assert expiries.pop(100_000) is None


def test_a_key_whose_life_is_cut_again_and_again_keeps_a_bounded_number_of_entries() -> None:
    expiries = Expiries()
    for n in range(10_000):
        expiries.schedule("k", 20_000 - n)
        assert len(expiries._heap) < 100
    assert expiries.next() == expiries._heap[0][0] == 10_001
    assert expiries.pop(10_001) == "k"
    assert expiries.pop(100_000) is None
    assert expiries.next() is None
