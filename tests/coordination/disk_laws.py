"""Laws of durable voters, looked at from outside: what was told, against what is on the disks.

D1  what a voter with a whole disk has told (promise, accepted ballot, highest token, ends, that a lease is live) it still
    knows after any restart
D2  a grant rests on the disks of a quorum at the moment at which it is told
D3  a voter whose disk was emptied or damaged gives no vote until it has abstained for M in one process, or so many others of
    the register's group have told it what they keep as share one with every quorum; but for one that took part in a birth
    by an operator's word that no lock of this mesh is alive
D4  a voter whose disk is whole does not abstain"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coordination.agreed.atomics.atomic import is_atomic
from coordination.agreed.vocabulary.ballot import ZERO, Ballot
from coordination.agreed.vocabulary.messages import Accepted, Dropped, Grant, Promise, Reason, Rejected, RenewAnswer, Voted
from coordination.agreed.vocabulary.placement import Placement
from coordination.agreed.vocabulary.values import LeaseId
from coordination.agreed.voting.voter_memory import REGISTER
from mesh.directives import Message

if TYPE_CHECKING:
    from tests.coordination.agreed_ground import Ground
    from tests.coordination.agreed_nodes import Node

__all__ = ["DiskLaws"]

S = 1_000_000_000
FORGOTTEN_AFTER = 5 * S
"""Less than 2 M of the world's parameters: a free register may be forgotten after that."""
SLACK_PERCENT = 97
"""Of a ttl, what any clock within 1 % waits at the least."""


@dataclass
class Told:
    at: int = 0
    promised: Ballot = ZERO
    accepted: Ballot = ZERO
    highest: int = 0
    ended: dict[LeaseId, None] = field(default_factory=dict)
    live: dict[LeaseId, int] = field(default_factory=dict)
    """Until when, in true time, it has to count as live."""


class DiskLaws:
    """One for a world with disks; raises what `fail` makes of a broken law."""

    def __init__(self, world: Ground) -> None:
        self.world = world
        self.told: dict[str, dict[str, Told]] = {}
        self.emptied: dict[str, int] = {}
        """When the disk of a voter was last emptied or damaged."""
        self.checked = 0
        """How many registers were compared after a restart."""
        self.quorums = 0

    def fail(self, law: str, what: str) -> None:
        from tests.coordination.agreed_nodes import Violation

        raise Violation(f"{law}: {what}, at {self.world.now}, seed {self.world.seed}")

    # --- what happens ---------------------------------------------------------------------------------------------

    def lost(self, name: str) -> None:
        """The disk of a voter was emptied or damaged."""
        self.told.pop(name, None)
        self.emptied[name] = self.world.now

    def sent(self, node: Node, message: Message) -> None:
        """A node has sent this, to another one or to itself."""
        if isinstance(message, Promise | Accepted | Voted):
            told = self._telling(node, message.key)
            told.promised = max(told.promised, message.ballot)
            if not isinstance(message, Promise):
                told.promised = max(told.promised, message.ballot.next())
                told.accepted = max(told.accepted, message.ballot)
                self._accepted(node, message, told)
            else:
                told.highest = max(told.highest, message.highest)
                told.accepted = max(told.accepted, message.accepted)
                told.ended.update(dict.fromkeys(message.ended))
        elif isinstance(message, Dropped):
            self._telling(node, message.key, vote=False).ended[message.lease] = None  # a voter that abstains may note an end
        elif isinstance(message, RenewAnswer):
            self._renewed(node, message)
        elif isinstance(message, Grant):
            self.granted(message)
        elif isinstance(message, Rejected) and message.reason == Reason.ABSTAIN and node.name not in self.emptied:
            self.fail("D4", f"{node.name} abstains, and its disk is whole")

    def started(self, node: Node) -> None:
        """A process of this node has begun, from its disk."""
        assert node.parts is not None
        for key, told in self.told.get(node.name, {}).items():
            if self.world.now - told.at > FORGOTTEN_AFTER:
                continue
            self.checked += 1
            register = node.parts.acceptor.register(key)
            if register is None:
                self.fail("D1", f"{node.name} knows nothing of {key}")
                return
            for what, then, now in (
                ("promise", told.promised, register.promised),
                ("accepted ballot", told.accepted, register.accepted),
                ("highest token", told.highest, register.highest),
            ):
                if now < then:  # type: ignore[operator]
                    self.fail("D1", f"{node.name} told of {key} the {what} {then}, and now knows {now}")
            for lease in told.ended:
                if lease in register.leases and lease not in register.ended:
                    self.fail("D1", f"{node.name} has forgotten that {lease} of {key} was given back")
            mono = self.world.instant(node).mono
            for lease, until in told.live.items():
                kept = lease in register.leases and lease not in register.ended
                if until > self.world.now and kept and not register.is_live(lease, mono):
                    self.fail("D1", f"{node.name} takes {lease} of {key} for dead, {until - self.world.now} ns too soon")

    # --- help -----------------------------------------------------------------------------------------------------

    def _telling(self, node: Node, key: str, *, vote: bool = True) -> Told:
        """What this voter has told of a register. If it is a vote, it must not be of one that abstains."""
        emptied = self.emptied.get(node.name) if vote else None
        if emptied is not None:
            whole = node.parts is not None and node.parts.recall.stats().get("complete")
            by_word = node.parts is not None and node.parts.succession._standing.by_word
            if self.world.now - node.up_at < 2 * S and not whole and not by_word and not self._told(node, key):
                self.fail("D3", f"{node.name} votes without memory")
            if whole and not (by_word and self.world.voters > 2) and self.world.now - emptied < 2 * S:
                self.fail("D3", f"{node.name} calls a memory complete that was emptied a moment ago")
        tales = self.told.setdefault(node.name, {})
        told = tales.setdefault(key, Told())
        if self.world.now - told.at > FORGOTTEN_AFTER and not is_atomic(key):
            told = tales[key] = Told()  # it may have been forgotten since, and begun anew
        told.at = self.world.now
        return told

    @staticmethod
    def _told(node: Node, key: str) -> bool:
        if node.parts is None or (roster := node.parts.birth.roster) is None:
            return False
        group = Placement(roster).group(key)
        told = node.parts.acceptor.lease_memory._told
        return not is_atomic(key) and sum(1 for name in group if name in told) >= group.witnesses

    def _accepted(self, node: Node, message: Accepted | Voted, told: Told) -> None:
        assert node.parts is not None
        register = node.parts.acceptor.register(message.key)
        if register is None or register.accepted != message.ballot:
            return
        for holding in register.value.holdings:
            told.highest = max(told.highest, holding.lease.token)

    def _renewed(self, node: Node, message: RenewAnswer) -> None:
        assert node.parts is not None
        for result in message.results:
            register = node.parts.acceptor.register(result.key)
            if result.reason != Reason.OK or register is None:
                continue
            asker = (message.holder, message.holder_boot, result.request)
            told = self._telling(node, result.key)
            for holding in register.value.holdings:
                if holding.lease.asker == asker:
                    worth = holding.ttl * SLACK_PERCENT // 100
                    sent = register.leases[holding.lease].until - self.world.instant(node).mono
                    told.live[holding.lease] = self.world.now + min(worth, sent * SLACK_PERCENT // 100)

    def granted(self, grant: Grant) -> None:
        """It is told, or was learned. Those who have it on disk, or something that came after it."""
        nodes = self.world.nodes
        holders = []
        for name, node in nodes.items():
            data = node.disk.row("register", grant.key.encode()) if node.disk is not None else None
            if data is not None and REGISTER.read(data).accepted >= grant.ballot:
                holders.append(name)
        quorum = self._quorum(grant)
        lately = any(self.world.now - at < 2 * S for at in self.emptied.values())
        self.quorums += 1
        if len(holders) < quorum and not lately:
            self.fail("D2", f"{grant.lease} is granted, and on the disks of {holders} alone")

    def _quorum(self, grant: Grant) -> int:
        return min(self.world.voters, 5) // 2 + 1
