"""Tokens rise, or the checker says so."""

from __future__ import annotations

import pytest

from simulations.checkers import Tokens, Violation
from simulations.cluster import Cluster
from simulations.locking import Locks
from simulations.world import MS, SECOND, World


def test_l2_tokens_rise_by_lock() -> None:
    tokens = Tokens(World(1))
    tokens.granted("a", 5, "n0")
    tokens.granted("b", 3, "n1")
    tokens.granted("a", 6, "n1")
    for token in (6, 4):
        with pytest.raises(Violation, match=r"^L2"):
            tokens.granted("a", token, "n2")


def test_l5_a_resource_takes_no_lower_token_and_no_equal_one_of_another() -> None:
    tokens = Tokens(World(1))
    tokens.written("file", 5, "n0")
    tokens.written("file", 5, "n0")
    tokens.written("other", 2, "n1")
    tokens.written("file", 7, "n1")
    with pytest.raises(Violation, match=r"^L5.*n2.*under token 7.*n1"):
        tokens.written("file", 7, "n2")
    with pytest.raises(Violation, match=r"^L5"):
        tokens.written("file", 5, "n0")


def test_tokens_of_locks_see_every_grant() -> None:
    world = World(1)
    cluster = Cluster(world, 3)
    cluster.form()
    locks = Locks(cluster)
    tokens = Tokens.of(locks)
    claim = locks.acquire(cluster.peers["n0"], "lock/a")
    assert world.run_until(lambda: claim.state == "held", SECOND, MS) is not None
    with pytest.raises(Violation, match=r"^L2"):
        tokens.granted("lock/a", claim.token, "n1")
