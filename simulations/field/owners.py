"""Locks that are granted by who believes to be their owner."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from simulations.checkers import Exclusion, RecordedLocks
from simulations.cluster import Build, SimPeer
from simulations.faults import Fault, Partition
from simulations.field.stage import Stage, build
from simulations.locking import Claim, Locks
from simulations.running import Scenario
from simulations.world import MS, SECOND, World

__all__ = ["DOUBLE_GRANT", "double_grant"]

DURATION = 25 * SECOND
APART = 15 * SECOND


def double_grant(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """Five voters part into two and three, and on both sides somebody wants the same lock, again and again, until each side has
    called the other dead and sees an owner of its own. Only the majority may grant it; the minority says promptly that it
    cannot, and can again once it is healed."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make, expect=nodes)
    locks = Locks(stage.cluster)
    Exclusion(locks)
    history = RecordedLocks(locks)
    key = f"lock/{stage.dice.randrange(8)}"
    with stage.moment():
        if stage.dice.random() < 0.5:  # somebody holds it when they part
            stage.held(locks, stage.dice.choice(stage.cluster.names), key, ttl=2 * SECOND)
        minority = stage.dice.sample(stage.cluster.names, (nodes - 1) // 2)
        majority = [name for name in stage.cluster.names if name not in minority]
        stage.faults.set([Partition(0, APART, tuple(minority))])
        stage.world.run(MS)
        end = stage.world.now + APART - SECOND
        claims: dict[str, Claim] = {}
        while stage.world.now < end:
            for name in (minority[0], majority[0]):
                _ask(stage, locks, claims, name, key)
            owners = [_owner(stage, stage.peer(name), key) for name in (minority[0], majority[0])]
            stage.reached["two_owners"] += owners[0] != owners[1]
            stage.world.run(250 * MS)
            stage.reached["told_no_quorum"] += claims[minority[0]].state == "unavailable"
            stage.reached["granted_by_majority"] += claims[majority[0]].state == "held"
        for claim in claims.values():
            if claim.state in ("asking", "held") and claim.peer.process.running:
                locks.cancel(claim)
    stage.finish()
    for peer in stage.cluster.living():
        for claim in list(locks.of(peer.process).values()):
            locks.cancel(claim)
    stage.world.run(stage.cluster.parameters.max_ttl)
    for peer in stage.cluster.living():
        claim = locks.acquire(peer, key, ttl=SECOND)
        stage.must("L9", f"{claim} is granted after healing", _is_held(claim), 6 * SECOND)
        locks.cancel(claim)
    history.check()
    return stage.done()


def _ask(stage: Stage, locks: Locks, claims: dict[str, Claim], name: str, key: str) -> None:
    """Want it as long as one does not hold it; hold it for a while."""
    peer, claim = stage.peer(name), claims.get(name)
    if claim is None or claim.state not in ("asking", "held", "leaving"):
        claims[name] = locks.acquire(peer, key, ttl=2 * SECOND)
    elif claim.state == "held" and stage.dice.random() < 0.2:
        locks.release(claim)


def _owner(stage: Stage, peer: SimPeer, key: str) -> str | None:
    """Whom this node takes for the owner: the first of the group that it sees alive."""
    return next((name for name in stage.group(key) if peer.assembly.membership.is_alive(name)), None)


def _is_held(claim: Claim) -> Callable[[], bool]:
    return lambda: claim.state == "held"


DOUBLE_GRANT = Scenario(
    "double-grant",
    "Hazelcast 3.8, Olric: in a partition each side saw an owner of its own, and both granted one lock; L1, L9",
    double_grant, nodes=5, fewest=3, duration=DURATION, profile="calm",
    sometimes=("two_owners", "told_no_quorum", "granted_by_majority"),
)  # fmt: skip
