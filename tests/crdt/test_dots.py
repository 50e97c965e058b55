"""Claims against a plain set of dots (C5, C18)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crdt.dots import NOTHING, DotSet, Summary, digest
from tests.crdt.cells import ACTORS

A, B, C = ACTORS
Dot = tuple[bytes, int]

dots = st.tuples(st.sampled_from(ACTORS), st.integers(1, 9))
claims = st.sets(dots, max_size=20)


def claimed(dots: set[Dot]) -> DotSet:
    made = DotSet()
    for dot in sorted(dots, reverse=True):
        made.claim(*dot)
    return made


def dots_of(summary: Summary) -> set[Dot]:
    vector = {(actor, n) for actor, last in summary.vector for n in range(1, last + 1)}
    extras = {(actor, n) for actor, numbers in summary.extras for n in numbers}
    assert not vector & extras, "what the vector covers is stated twice"
    return vector | extras


@given(st.lists(dots | claims.map(frozenset), max_size=30))
def test_claims_are_a_set_of_dots(steps: list[Dot | frozenset[Dot]]) -> None:
    model: set[Dot] = set()
    own = DotSet()
    for step in steps:
        if isinstance(step, frozenset):
            own.raise_to(claimed(set(step)).summary())
            model |= step
        else:
            assert own.claim(*step) == (step not in model)
            model.add(step)
        assert dots_of(own.summary()) == model
        assert own.digest() == claimed(model).digest()
        for actor in ACTORS:
            numbers = {n for held, n in model if held == actor}
            last = own.last(actor)
            assert numbers >= set(range(1, last + 1))
            assert last + 1 not in numbers
            assert own.extras(actor) == {n for n in numbers if n > last}
            assert all(own.covers(actor, n) == (n in numbers) for n in range(1, 12))
        assert own.gaps() == sorted(actor for actor in ACTORS if own.extras(actor))


@given(claims, claims)
def test_one_covers_all_of_another_if_it_has_every_dot(one: set[Dot], two: set[Dot]) -> None:
    assert claimed(one).covers_all(claimed(two).summary()) == (one >= two)
    assert claimed(one | two).covers_all(claimed(two).summary())


@given(claims, claims)
def test_digests_are_equal_if_and_only_if_claims_are(one: set[Dot], two: set[Dot]) -> None:
    assert (claimed(one).digest() == claimed(two).digest()) == (one == two)
    assert (claimed(one).summary() == claimed(two).summary()) == (one == two)


@given(claims, claims)
def test_raising_to_a_summary_claims_both_and_the_summary_alone_makes_the_same(one: set[Dot], two: set[Dot]) -> None:
    raised = claimed(one)
    raised.raise_to(claimed(two).summary())
    assert raised.summary() == claimed(one | two).summary()
    assert DotSet(claimed(one).summary()).summary() == claimed(one).summary()
    assert DotSet(claimed(one).summary()).digest() == claimed(one).digest() == digest(claimed(one).summary())


def test_a_gap_that_closes_lets_the_vector_rise_over_what_follows() -> None:
    own = DotSet()
    for n in (5, 2, 3):
        own.claim(A, n)
    assert (own.last(A), own.gaps()) == (0, [A])
    own.claim(A, 1)
    assert (own.last(A), own.extras(A), own.gaps()) == (3, {5}, [A])
    own.raise_to(Summary(((A, 4),), ()))
    assert (own.last(A), own.extras(A), own.gaps()) == (5, set(), [])


def test_nothing_is_claimed_at_first_and_numbers_begin_at_one() -> None:
    own = DotSet()
    assert own.summary() == NOTHING
    assert not own.claim(A, 0)
    own.raise_to(Summary(((B, 0),), ((C, (0,)),)))
    assert own.summary() == NOTHING
    assert own.digest() == DotSet().digest()


def test_a_summary_is_what_was_claimed_then() -> None:
    own = DotSet()
    own.claim(A, 1)
    before, hashed = own.summary(), own.digest()
    own.claim(A, 2)
    own.claim(B, 7)
    assert before == Summary(((A, 1),), ())
    assert own.summary() == Summary(((A, 2),), ((B, (7,)),))
    assert own.digest() != hashed
