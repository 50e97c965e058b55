"""Keys that outlive the lease which they are bound to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from simulations.cluster import Build
from simulations.faults import Fault
from simulations.field.stage import GONE, Stage, build
from simulations.locking import Locks
from simulations.running import Scenario
from simulations.world import MS, SECOND, World

__all__ = ["ZOMBIE_LEASE", "zombie_lease"]

DURATION = 20 * SECOND
TTL = 2 * SECOND
KEY = "workers/1"
BOUND = 20 * SECOND
"""Within which it must be gone: the ttl, an abstention, a period of asking, and the time that membership needs."""


def zombie_lease(
    seed: int, plan: Sequence[Fault], nodes: int, seen: Callable[[World], object], *, make: Build = build
) -> Mapping[str, int]:
    """A key is bound to a lease. Its holder dies; or it and the owner of the lease die together; or every voter starts again
    without memory as well, so that no register knows of the lease, and nobody is left who could say that it has ended. The key
    must go in any case, everywhere; and not before its holder died."""
    stage = Stage(seed, plan, nodes, seen, duration=DURATION, make=make)
    locks = Locks(stage.cluster)
    how = ("holder", "holder_and_owner", "holder_and_all_voters")[seed % 3]
    voters = stage.cluster.names[: stage.cluster.expect]
    bound = False
    with stage.moment():
        holder = stage.dice.choice([name for name in stage.cluster.names if name not in voters])
        claim = stage.held(locks, holder, f"lease/{holder}", ttl=TTL, kind="lease")
        claim.peer.put(KEY, "active", bound=claim.peer.assembly.agreed.holder.lease_id(claim.request))
        stage.until(lambda: stage.all_show(KEY, "active"), 3 * SECOND)
        stage.world.run(2 * stage.cluster.parameters.max_ttl + stage.dice.randrange(1_000) * MS)
        bound = stage.all_show(KEY, "active")
        if stage.quiet and not bound:
            stage.fail("C19", f"{KEY} is gone while its lease is held")
        _end(stage, how, claim.key, holder)
        if bound and any(stage.shown(peer, KEY) == "active" for peer in stage.cluster.living()):
            stage.reached[f"outlived_{how}"] += 1
        if stage.quiet:
            stage.must("C19", f"{KEY} is gone everywhere", lambda: stage.all_show(KEY, GONE), BOUND, count="gone_ms")
    stage.heal()
    stage.boot_all()
    if bound:
        stage.must("C19", f"{KEY} is gone everywhere", lambda: stage.all_show(KEY, GONE), BOUND)
    stage.finish()
    if bound and not stage.all_show(KEY, GONE):
        stage.fail("C19", f"{KEY} is back")
    return stage.done()


def _end(stage: Stage, how: str, lease: str, holder: str) -> None:
    stage.world.kill(holder, wipe=True)
    if how == "holder_and_owner":
        owner = next((name for name in stage.group(lease) if stage.world.machines[name].process is not None), None)
        if owner is not None:
            stage.world.kill(owner, wipe=True)
    elif how == "holder_and_all_voters":
        for name in stage.cluster.names[: stage.cluster.expect]:
            stage.restart(name)


ZOMBIE_LEASE = Scenario(
    "zombie-lease",
    "etcd before lease checkpoints: each change of leader gave the leases of the dead their whole life again; C19",
    zombie_lease, nodes=5, fewest=4, duration=DURATION, profile="calm",
    sometimes=("outlived_holder", "outlived_holder_and_owner", "outlived_holder_and_all_voters"),
)  # fmt: skip
