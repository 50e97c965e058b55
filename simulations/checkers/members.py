"""Membership: M1 (nothing goes down), M19 (events are the table), and what everyone must see in the end."""

from __future__ import annotations

from mesh.directives import Event
from mesh.membership import Member, MemberChanged, MemberForgotten, State
from simulations.checkers.base import Checker
from simulations.cluster import Cluster
from simulations.machine.process import Process

__all__ = ["Members"]


class Members(Checker):
    """Folds the events of each process, and compares the fold with its table."""

    hears = (MemberChanged, MemberForgotten)

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster.world)
        self._cluster = cluster
        self._seen: dict[Process, dict[str, Member]] = {}
        self._touched: dict[Process, dict[str, None]] = {}
        self.deaths: list[tuple[int, str, str]] = []
        """(true ns, observer, name) whenever a process that was alive then was declared dead."""

    def published(self, process: Process, event: Event) -> None:
        assert isinstance(event, (MemberChanged, MemberForgotten))
        seen = self._seen.setdefault(process, {})
        member = event.member
        self._touched.setdefault(process, {})[member.name] = None
        if isinstance(event, MemberForgotten):
            seen.pop(member.name, None)
            return
        before = seen.get(member.name)
        if shown(before) != shown(event.previous):
            self.fail("M19", f"{process} was told that {member.name} had been {event.previous}, after {before}")
        if before is not None and member.order <= before.order:
            self.fail("M1", f"{process} went back from {before} to {member}")
        seen[member.name] = member
        peer = self._cluster.peers.get(member.name)
        if peer is None or not peer.process.alive or peer.assembly.identity.boot != member.boot:
            return
        if member.state is State.DEAD:
            self.deaths.append((self.world.now, process.machine, member.name))

    def settled(self, process: Process) -> None:
        touched = self._touched.get(process)
        if touched:
            membership = self._cluster.peers[process.machine].assembly.membership
            for name in touched:
                if shown(membership.get(name)) != shown(self._seen[process].get(name)):
                    self.fail("M19", f"{process} knows {name} otherwise than it told")
            touched.clear()

    def check(self, *, suspects: bool = False) -> None:
        """Everyone that lives sees all others alive, under the boots that they have; the mirrors are equal to the tables."""
        unseen = self._cluster.unseen(suspects=suspects)
        if unseen:
            self.fail("M8", f"not seen as they are: {unseen[:10]}")
        for peer in self._cluster.living():
            mirror = {name: shown(member) for name, member in self._seen.get(peer.process, {}).items()}
            known = {member.name: shown(member) for member in peer.assembly.membership.members()}
            if mirror != known:
                self.fail("M19", f"{peer} told other members than it knows")


def shown(member: Member | None) -> tuple[object, ...] | None:
    """What users see of a member: its incarnation alone is no news to them."""
    return None if member is None else (member.name, member.boot, member.state, member.address, member.tags)
