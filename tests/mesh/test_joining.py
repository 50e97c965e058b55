"""A join that goes on with other sponsors is as good as one with the last of them alone (C16)."""

from __future__ import annotations

from random import Random

from cbor2 import loads
from hypothesis import given, settings
from hypothesis import strategies as st

from crdt.cell import KEY, Cell, cell_of
from crdt.cuts import NO_CUT
from crdt.dots import DotSet
from crdt.store import Store
from crdt.transfer import FIRST, missing, rest
from mesh.replication.joining import Joining, Kept, Resume
from mesh.replication.messages import Chunk, Pull

ACTORS = [bytes([65 + number]) * 16 for number in range(3)]
J = b"J" * 16
LIMIT = 250
"""Bytes of a part: two or three cells."""


def serve(store: Store, ask: object) -> Chunk:
    """What `Exchange` answers, for a sponsor that has forgotten nobody."""
    store.flush()
    if isinstance(ask, Resume):
        part = rest(store, DotSet(ask.snapshot), ask.upto, ask.after, LIMIT, ask.holes)
    else:
        assert isinstance(ask, Pull)
        part = missing(store, DotSet(ask.have), {}, ask.after, LIMIT, everything=True)
    snapshot = store.dots.summary() if ask.after == FIRST else None
    return Chunk(ask.pull, ask.after, snapshot, tuple(part.cells), part.last, part.done, True)


def decoded(chunk: Chunk) -> list[Cell]:
    def frozen(raw: object) -> object:
        return tuple([frozen(item) for item in raw]) if isinstance(raw, list) else raw

    return [cell_of(frozen(loads(data))) for data in chunk.cells if isinstance(data, bytes)]


class Story:
    """Three replicas that write and push to each other, some more than others, and a joiner that some of them serve."""

    joining_class: type[Joining] = Joining

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.stores = [Store(actor) for actor in ACTORS]
        self.stamp = 10
        self.sent = 0

    def write(self, count: int) -> None:
        random = self.random
        for _ in range(count):
            self.stamp += 1
            writer = random.choice(self.stores)
            writer.put(f"k{random.randrange(40):02}", b"%d" % self.stamp if random.random() < 0.8 else None, self.stamp)
            for flushed in writer.flush():
                for other in self.stores:
                    if other is not writer and random.random() < 0.6:
                        other.apply(flushed.cell, self.stamp)

    def sync(self, a: Store, b: Store) -> None:
        """One whole pull."""
        snapshot = b.dots.summary()
        for cell in list(b.cells()):
            a.apply(cell, self.stamp)
        a.raise_to(snapshot)

    def join(self) -> tuple[Store, Store]:
        random, number = self.random, 0
        kept: Kept | None = None
        while True:
            number += 1
            sponsor = random.choice(self.stores)
            joining = self.joining_class(J, "s", sponsor.actor, number, 0, 0, kept)
            lives = random.choice((1, 2, 4, 9, 1_000))
            while lives:
                lives -= 1
                chunk = serve(sponsor, joining.ask())
                if random.random() < 0.1:
                    continue  # lost
                if chunk.snapshot is not None:
                    assert joining.begins(chunk.snapshot, 0, NO_CUT)
                for cell in decoded(chunk):
                    self.sent += 1
                    joining.store.absorb(cell, self.stamp)
                if joining.received(chunk, True, 0):
                    assert joining.transfer.finish(joining.store)
                    return joining.store, sponsor
                if random.random() < 0.3:
                    self.write(random.randrange(4))
                if random.random() < 0.1:
                    self.sync(*random.sample(self.stores, 2))
            kept = joining.kept()

    def check(self, joiner: Store, sponsor: Store) -> None:
        """Whatever it claims it holds, or something higher; and it has nothing that its last sponsor does not claim."""
        sponsor.flush()
        for store in self.stores:
            for cell in store.cells():
                own = joiner.cell(*cell[:2])
                if joiner.dots.covers(cell.actor, cell.n):
                    assert own is not None and own.order >= cell.order, f"{cell} is claimed, and {own} is held"
        for cell in joiner.cells():
            assert sponsor.dots.covers(cell.actor, cell.n), f"{cell} came from a sponsor that has gone"
        self.sync(joiner, sponsor)
        assert {cell[:2]: cell for cell in joiner.cells()} == {cell[:2]: cell for cell in sponsor.cells()}


def told(seed: int, joining_class: type[Joining] = Joining) -> Story:
    story = Story(seed)
    story.joining_class = joining_class
    story.write(60)
    story.check(*story.join())
    return story


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32))
def test_it_holds_what_it_claims_and_nothing_that_only_a_dead_sponsor_had(seed: int) -> None:
    told(seed)


# --- planted faults ----------------------------------------------------------------------------------------------------


class KeepsWhatTheDeadHad(Joining):
    def begins(self, snapshot, round, cut):  # type: ignore[no-untyped-def]
        kept, self._kept = self._kept, None
        try:
            return super().begins(snapshot, round, cut)
        finally:
            self._kept = kept


class ForgetsWhereItDropped(Joining):
    def kept(self) -> Kept | None:
        kept = super().kept()
        return None if kept is None else kept._replace(holes=())


class GoesOnBehind(Joining):
    """As if the next sponsor was the same one: nothing of what has changed up to there is asked for."""

    def received(self, chunk: Chunk, whole: bool, now: int) -> bool:
        done = super().received(chunk, whole, now)
        if chunk.snapshot is not None and self._kept is not None:
            self.transfer.after = max(self.transfer.after, self._kept.upto)
        return done


def found(joining_class: type[Joining]) -> int | None:
    for seed in range(400):
        try:
            told(seed, joining_class)
        except AssertionError:
            return seed
    return None


def test_faults_are_found() -> None:
    for fault in (KeepsWhatTheDeadHad, ForgetsWhereItDropped, GoesOnBehind):
        assert found(fault) is not None, fault


def test_what_came_is_not_sent_again() -> None:
    stores = [Store(actor) for actor in ACTORS]
    for n in range(500):
        stores[0].put(f"k{n:03}", b"1", 10 + n)
        for flushed in stores[0].flush():
            for other in stores[1:]:
                other.apply(flushed.cell, 10 + n)
    sent, kept = 0, None
    for number, sponsor in enumerate([*stores, *stores, stores[0]]):
        joining = Joining(J, "s", sponsor.actor, number, 0, 0, kept)
        for _ in range(40 if number < 6 else 1_000):
            chunk = serve(sponsor, joining.ask())
            sent += len(chunk.cells)
            if chunk.snapshot is not None:
                joining.begins(chunk.snapshot, 0, NO_CUT)
            for cell in decoded(chunk):
                joining.store.absorb(cell, 1_000)
            if joining.received(chunk, True, 0):
                assert joining.transfer.finish(joining.store)
                assert len(joining.store) == 500 == sum(cell.kind == KEY for cell in joining.store.cells())
                assert sent == 500
                return
        kept = joining.kept()
    raise AssertionError("it does not end")
