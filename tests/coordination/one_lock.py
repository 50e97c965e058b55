"""A world with one lock: how stories begin that are about the messages of a single register."""

from __future__ import annotations

from coordination.agreed.vocabulary.placement import Group, Placement
from mesh.directives import Event
from tests.coordination.agreed_world import MS, Changes, S, Worker, World

__all__ = ["KEY", "group", "held", "live_at", "of", "ready"]

KEY = "lock/x"


def ready(clients: int = 0, thin: int = 0, voters: int = 3, latency: tuple[int, int] = (MS, MS), faults: Changes = ()) -> World:
    world = World(3, voters=voters, clients=clients, thin=thin, latency=latency, faults=faults)
    assert world.run_until(world.founded, 20 * S)
    world.run(S)
    return world


def group(world: World) -> Group:
    parts = world.nodes["n0"].parts
    assert parts is not None and parts.birth.roster is not None
    return Placement(parts.birth.roster).group(KEY)


def of(world: World, kind: type[Event]) -> list[tuple[int, Event]]:
    return [(when, event) for when, _, event in world.log if isinstance(event, kind)]


def held(world: World, name: str, *, ttl: int = 3 * S, kind: str = "lock", renew: bool = True, within: int = S) -> Worker:
    worker = world.acquire(name, KEY, ttl=ttl, kind=kind, renew=renew)
    assert world.run_until(lambda: worker.state == "held", within), worker
    return worker


def live_at(world: World, worker: Worker) -> list[str]:
    """The voters for which the lease of this worker still counts as live."""
    names = []
    for name in group(world):
        node = world.nodes[name]
        register = node.parts.acceptor.register(KEY) if node.parts is not None else None
        for lease in register.leases if register is not None else ():
            if lease.asker[0] == worker.node and lease.token == worker.token:
                assert register is not None
                if register.is_live(lease, world.instant(node).mono):
                    names.append(name)
    return names
