"""A lock that was given back is free for whoever tries it next, whatever happens meanwhile; and a ghost is noticed."""

from __future__ import annotations

import pytest

from coordination.agreed.owning.desk import Desk
from coordination.agreed.owning.desks import Desks
from coordination.agreed.owning.owner import Owner
from coordination.agreed.vocabulary.tickets import Asker
from crdt.clock import Instant
from tests.coordination.agreed_world import Changes
from tests.coordination.relay_campaign import Relay, hunt

SEEDS = range(5)
SOAK_SEEDS = range(1_000, 1_500)
WORLDS = [(elastic, durable) for elastic in (False, True) for durable in (False, True)]


class ServesGhosts(Desk):
    """Grants what was asked for before it was given back."""

    __slots__ = ()

    def is_over(self, asker: Asker) -> bool:
        return False


class Haunted(Desks):
    __slots__ = ()

    def open(self, key: str, now: Instant) -> Desk | None:
        desk = super().open(key, now)
        if desk is not None:
            desk.__class__ = ServesGhosts
        return desk


class HauntedOwner(Owner):
    """Its desks are made by `Haunted`."""

    def _load(self) -> None:
        self._desks.__class__ = Haunted
        super()._load()


@pytest.mark.parametrize(("elastic", "durable"), WORLDS)
def test_who_tries_a_lock_that_was_given_back_gets_it(elastic: bool, durable: bool) -> None:
    held = 0
    for seed in SEEDS:
        relay = Relay(seed, elastic=elastic, durable=durable)
        relay.run()
        held += relay.done["held"]
    assert held > 40 * len(SEEDS)


def test_a_ghost_is_noticed() -> None:
    faults: Changes = ((Owner, HauntedOwner),)
    found = hunt(range(40), faults)
    assert found is not None and found[1].startswith("L6"), found


@pytest.mark.soak
@pytest.mark.parametrize(("elastic", "durable"), WORLDS)
def test_five_hundred_relays(elastic: bool, durable: bool) -> None:
    assert hunt(SOAK_SEEDS, elastic=elastic, durable=durable) is None
