"""Several stores under arbitrary steps (C5, C6, C12, C15, C17, C18), and broken rules that the same checks catch."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from crdt.cell import KEY, Cell, expiry_of, put_of
from crdt.clock import Stamp
from crdt.dots import DotSet, Summary
from crdt.store import Place, Store
from crdt.transfer import Slice, Transfer
from tests.crdt.replicas import COUNTERS, EVERYTHING, FENCED, KEYS, LEASES, TIMED, Broken, World, campaign, step

STEPS = 200
SEEDS = 60


@pytest.mark.parametrize("block", range(4))
def test_random_steps_break_no_rule_and_everything_converges(block: int) -> None:
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        campaign(World(3 + seed % 2), seed, STEPS)


def test_two_meshes_that_never_met_merge_both_ways() -> None:
    for seed in range(20):
        random, world = Random(seed), World(4)
        for pair in ((0, 1), (2, 3)):
            for at in pair:
                for key in KEYS:
                    world.put(at, key, random.randbytes(2))
                world.add(at, COUNTERS[0], 5)
            for _ in range(2):
                world.exchange(*pair)
                world.exchange(*reversed(pair))
        world.settle()


def test_the_steps_reach_what_they_are_meant_to_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[object] = set()
    finish, touch, check_return = Transfer.finish, Store.apply_touch, World.check_return

    def spy_finish(self: Transfer, store: Store) -> bool:
        claimed = finish(self, store)
        seen.add(("finish", claimed))
        return claimed

    def spy_touch(self: Store, cell: Cell, stamp: Stamp) -> bool | None:
        applied = touch(self, cell, stamp)
        seen.add(("touch", applied))
        return applied

    def spy_return(self: World, replica: object, cell: Cell) -> None:
        if (cell.key, put_of(cell)) in replica.expired:  # type: ignore[attr-defined]
            seen.add("revived")
        check_return(self, replica, cell)  # type: ignore[arg-type]

    monkeypatch.setattr(Transfer, "finish", spy_finish)
    monkeypatch.setattr(Store, "apply_touch", spy_touch)
    monkeypatch.setattr(World, "check_return", spy_return)
    for seed in range(4 * SEEDS):
        campaign(World(3 + seed % 2), seed, STEPS)
        if len(seen) == 6:
            break
    assert seen == {("finish", True), ("finish", False), ("touch", True), ("touch", False), ("touch", None), "revived"}


# --- any steps that Hypothesis thinks of ---------------------------------------------------------------------------

at = st.integers(0, 2)
keys = st.sampled_from(KEYS)
bodies = st.binary(max_size=2)
ttls = st.sampled_from((1_000, 2_000, 4_000))


class Stores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(3)

    @rule(at=at, key=keys, body=st.none() | bodies)
    def put(self, at: int, key: str, body: bytes | None) -> None:
        self.world.put(at, key, body)

    @rule(at=at, key=st.sampled_from(TIMED), body=bodies, ttl=ttls)
    def put_for_a_time(self, at: int, key: str, body: bytes, ttl: int) -> None:
        self.world.put(at, key, body, ttl_ms=ttl)

    @rule(at=at, key=keys, body=bodies, lease=st.sampled_from(LEASES))
    def put_bound(self, at: int, key: str, body: bytes, lease: str) -> None:
        self.world.put(at, key, body, bound=lease)

    @rule(at=at, fence=st.integers(0, 2), body=bodies)
    def put_fenced(self, at: int, fence: int, body: bytes) -> None:
        self.world.put(at, FENCED, body, fence=fence)

    @rule(at=at, key=st.sampled_from(TIMED), ttl=ttls)
    def touch(self, at: int, key: str, ttl: int) -> None:
        self.world.touch(at, key, ttl)

    @rule(at=at, counter=st.sampled_from(COUNTERS), amount=st.integers(-5, 5))
    def add(self, at: int, counter: str, amount: int) -> None:
        self.world.add(at, counter, amount)

    @rule(at=at, lease=st.sampled_from(LEASES))
    def end_lease(self, at: int, lease: str) -> None:
        self.world.end_lease(at, lease)

    @rule(at=at, ms=st.sampled_from((1, 400, 1_100)))
    def pass_time(self, at: int, ms: int) -> None:
        self.world.advance(ms)
        self.world.expire(at)

    @rule(at=at, alone=st.booleans(), lost=st.booleans())
    def flush(self, at: int, alone: bool, lost: bool) -> None:
        self.world.flush(at, alone, lost)

    @rule(at=at, to=at, key=keys)
    def forward(self, at: int, to: int, key: str) -> None:
        self.world.forward(at, to, KEY, key)

    @precondition(lambda self: self.world.bag)
    @rule(data=st.data(), keep=st.booleans())
    def deliver(self, data: st.DataObject, keep: bool) -> None:
        self.world.deliver(data.draw(st.integers(0, len(self.world.bag) - 1)), keep)

    @rule(at=at, sender=at)
    def begin(self, at: int, sender: int) -> None:
        self.world.begin(at, sender)

    @rule(
        at=at,
        limit=st.sampled_from((1, 100, EVERYTHING)),
        lost=st.booleans(),
        masked=st.none() | st.tuples(at, st.integers(1, 9)),
    )
    def slice(self, at: int, limit: int, lost: bool, masked: tuple[int, int] | None) -> None:
        masks = {} if masked is None else {self.world.replicas[masked[0]].store.actor: masked[1]}
        self.world.slice(at, limit, masks, lost)

    # Several steps in a row, which alone would seldom follow each other.

    @rule(at=at, key=st.sampled_from(TIMED), body=bodies, ttl=ttls, more=ttls, lost=st.booleans())
    def put_and_touch(self, at: int, key: str, body: bytes, ttl: int, more: int, lost: bool) -> None:
        self.world.put(at, key, body, ttl_ms=ttl)
        self.world.flush(at, lost=lost)
        self.world.touch(at, key, ttl + more)
        self.world.flush(at, alone=True)

    @rule(at=at, key=st.sampled_from(TIMED), body=bodies)
    def put_and_expire(self, at: int, key: str, body: bytes) -> None:
        self.world.put(at, key, body, ttl_ms=1_000)
        self.world.flush(at)
        for _ in range(len(self.world.replicas)):
            self.world.deliver(-1, keep=True)
            self.world.bag.insert(0, self.world.bag.pop())
        self.world.advance(1_500)
        for replica in range(len(self.world.replicas)):
            self.world.expire(replica)

    @rule(
        at=at,
        sender=at,
        limits=st.lists(st.sampled_from((1, 100, EVERYTHING)), min_size=1, max_size=8),
        masked=st.none() | st.integers(1, 9),
    )
    def pull(self, at: int, sender: int, limits: list[int], masked: int | None) -> None:
        self.world.begin(at, sender)
        masks = {} if masked is None else {self.world.replicas[sender].store.actor: masked}
        for limit in limits:
            self.world.slice(at, limit, masks)

    @invariant()
    def rules_hold(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.settle()


TestStores = Stores.TestCase
TestStores.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


# --- broken rules --------------------------------------------------------------------------------------------------


class RaisedAtTheFirstSlice(World):
    """The snapshot is claimed when it is learnt, not when its transfer has ended."""

    def slice(self, at: int, limit: int = EVERYTHING, masks: dict[bytes, int] | None = None, lost: bool = False) -> bool | None:
        running = self.replicas[at].running
        claimed = super().slice(at, limit, masks, lost)
        if running is not None and running.transfer.snapshot is not None and running.transfer.clean:
            self.replicas[at].store.raise_to(running.transfer.snapshot)
        return claimed


class RaisedByIntervals(World):
    """Each slice raises the vector over the numbers between the cells that it brought."""

    def merge(self, replica: object, cell: Cell) -> None:
        super().merge(replica, cell)  # type: ignore[arg-type]
        replica.store.raise_to(Summary(((cell.actor, cell.n),), ()))  # type: ignore[attr-defined]


class ClaimedThoughMasked(World):
    """A transfer that left cells out is claimed as a whole."""

    def new_transfer(self, store: Store) -> Transfer:
        return Unclean(store.dots.summary())


class Unclean(Transfer):
    def received(self, last: Place, complete: bool) -> None:
        super().received(last, True)


class LeavesOut(World):
    """A slice passes over the first cell that is lacking."""

    def missing(self, store: Store, known: DotSet, masks: dict[bytes, int], after: Place, limit: int) -> Slice:
        part = super().missing(store, known, masks, after, limit)
        return part._replace(cells=part.cells[1:])


class ClaimsTouches(Store):
    """A touch of a put that is not here is claimed."""

    def apply_touch(self, touch: Cell, stamp: Stamp) -> bool | None:
        applied = super().apply_touch(touch, stamp)
        if applied is None:
            self.dots.claim(touch.actor, touch.n)
        return applied


class ClaimsAnyPrevious(Store):
    """With a cell its writer's dot before is claimed, whatever its key was."""

    def claim_previous(self, cell: Cell, previous: int) -> None:
        super().claim_previous(cell, cell.n - 1)


class ClaimsSkipped(Store):
    """A cell of a key that carries a fence is skipped, and its dot claimed."""

    def apply(self, cell: Cell, stamp: Stamp) -> bool | None:
        own = self._keys.get(cell.key) if cell.kind == KEY else None
        if own is not None and cell.order[0] > own.order[0]:  # type: ignore[operator]
            return self.dots.claim(cell.actor, cell.n)
        return super().apply(cell, stamp)


class ShowsExpired(Store):
    """A value that has expired is taken again from a late copy, and shown."""

    def apply(self, cell: Cell, stamp: Stamp) -> bool | None:
        own = self.cell(cell.kind, cell.key)
        if own is not None and own.hash and cell.body is not None and put_of(own) == put_of(cell):
            self._place(own, own._replace(body=cell.body, hash=b""), 0)
        return super().apply(cell, stamp)


class KeepsExpired(Store):
    """Values that have expired are shown on."""

    def expire(self, stamp: Stamp, limit: int = 0) -> None:
        pass


class ExpiresInSilence(Store):
    """Expired values are dropped, but nobody is told."""

    def expire(self, stamp: Stamp, limit: int = 1 << 62) -> None:
        told = len(self._changes)
        super().expire(stamp, limit)
        del self._changes[told:]


class LongestLife(Store):
    """The end of a key's life is a maximum of its own: of two puts the longer life counts, whichever is higher."""

    def _join(self, cell: Cell, stamp: Stamp) -> None:
        own = self._keys.get(cell.key) if cell.kind == KEY else None
        if own is not None and put_of(cell) > put_of(own) and 0 < expiry_of(cell) < expiry_of(own):
            cell = cell._replace(order=(*put_of(cell), expiry_of(own), *cell.order[4:]))
        super()._join(cell, stamp)


class ShowsBound(Store):
    """What is bound to a lease is shown if it arrives after the lease's end."""

    def _place(self, old: Cell | None, cell: Cell, stamp: Stamp) -> None:
        bound, self._ended = self._ended, {}
        try:
            super()._place(old, cell, stamp)
        finally:
            self._ended = bound


Faulty = Callable[[int], World]


def of(store: type[Store]) -> Faulty:
    return lambda replicas: World(replicas, store=store)


CLAIMED = "a dot is claimed"
RETURNED = "an expired value is shown again"
SHOWN = "changes folded are not what is visible"
FAULTS: dict[str, tuple[Faulty, str]] = {
    "raised at the first slice": (RaisedAtTheFirstSlice, CLAIMED),
    "raised by intervals": (RaisedByIntervals, CLAIMED),
    "claimed though masked": (ClaimedThoughMasked, CLAIMED),
    "cells left out": (LeavesOut, CLAIMED),
    "a previous dot of any key": (of(ClaimsAnyPrevious), CLAIMED),
    "touches claimed": (of(ClaimsTouches), CLAIMED),
    "skipped cells claimed": (of(ClaimsSkipped), CLAIMED),
    "expired shown again": (of(ShowsExpired), RETURNED),
    "expired kept": (of(KeepsExpired), SHOWN),
    "expiry not told": (of(ExpiresInSilence), SHOWN),
    "bound shown": (of(ShowsBound), SHOWN),
    "the longest life": (of(LongestLife), "equal digests"),
}
WITHIN = 200
"""Seeds after which the checks must have failed."""


@pytest.mark.parametrize("name", FAULTS)
def test_a_broken_rule_is_found(name: str) -> None:
    fault, message = FAULTS[name]
    with pytest.raises(Broken, match=message):
        for seed in range(WITHIN):
            campaign(fault(3), seed, STEPS)


@pytest.mark.parametrize("name", FAULTS)
def test_steps_that_hypothesis_thinks_of_find_it_as_well(name: str) -> None:
    fault, _ = FAULTS[name]

    class Broke(Stores):
        def __init__(self) -> None:
            super().__init__()
            self.world = fault(3)

    search = settings(
        max_examples=300, stateful_step_count=40, deadline=None, database=None, derandomize=True, phases=(Phase.generate,)
    )
    with pytest.raises(Broken):  # which check says so first depends on the steps
        run_state_machine_as_test(Broke, settings=search)


def test_a_step_alone_finds_a_broken_claim() -> None:
    """Before anything has converged: a false claim must be seen at the step that makes it."""
    world, random = RaisedAtTheFirstSlice(3), Random(1)
    with pytest.raises(Broken, match="claimed"):
        for _ in range(5_000):
            step(world, random)
