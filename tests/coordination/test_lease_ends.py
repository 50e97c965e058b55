"""C19: what is bound to a lease of which nobody knows any more is ended, piece by piece."""

from __future__ import annotations

import os
from random import Random

from coordination.agreed.vocabulary.events import LeaseOver
from coordination.agreed.vocabulary.values import LeaseId, lease_text
from coordination.assembly import Assembly, Settings, build
from coordination.lease_ends import ASKED_AT_ONCE
from crdt.clock import Instant
from mesh.directives import Boot
from mesh.outputs import Publish

S = 1_000_000_000


def moment(seconds: float) -> Instant:
    return at(round(seconds * S))


def at(ns: int) -> Instant:
    return Instant(ns, ns, 1_700_000_000_000 + ns // 1_000_000)


def lone_node() -> Assembly:
    return build(
        Settings("a", "", networked=False), session=os.urandom(16), entropy=os.urandom, random=Random(1), now=moment(0)
    )


def live(assembly: Assembly, until: float) -> list[str]:
    """Let time pass; the leases that were told to be over."""
    over = []
    while (due := assembly.node.due()) is not None and due <= until * S:
        assembly.node.on_due(at(due))
        over += [o.event.lease_id for o in assembly.node.take() if isinstance(o, Publish) and isinstance(o.event, LeaseOver)]
    return over


def test_bound_keys_of_leases_that_no_register_knows_go_within_a_few_periods() -> None:
    assembly = lone_node()
    assembly.node.start(moment(0))
    count = 2 * ASKED_AT_ONCE + 10
    for number in range(count):
        lease = lease_text(f"lease/ghost.{number}", LeaseId(5, "ghost", Boot(1, bytes(16)), number))
        _, directives = assembly.replication.put(f"k{number}", b"\x01", moment(0.001), bound=lease)
        assembly.node.command(assembly.replication, directives, moment(0.001))
    assembly.node.take()
    assert len(assembly.store.visible_leases()) == count
    first = live(assembly, 15.5)
    assert len(set(first)) == ASKED_AT_ONCE
    rest = live(assembly, 31)
    assert len({*first, *rest}) == count
    assert assembly.store.visible_leases() == []
    assert assembly.store.peek("k0") is None


def test_a_lease_that_is_held_is_left_alone() -> None:
    assembly = lone_node()
    node, holder = assembly.node, assembly.agreed.holder
    node.start(moment(0))
    request = holder.next_request()
    node.command(
        holder,
        holder.acquire(request, "lease/l", kind="lease", ttl=10 * S, wait=True, renew=True, now=moment(0.1)),
        moment(0.1),
    )
    _, directives = assembly.replication.put("k", b"\x01", moment(0.2), bound=holder.lease_id(request))
    node.command(assembly.replication, directives, moment(0.2))
    assert live(assembly, 60) == []
    assert assembly.store.peek("k") is not None
    node.command(holder, holder.release(request, moment(60.1)), moment(60.1))
    assert assembly.store.peek("k") is None
