"""A whole node, put together: the one place that knows every part.

The Trio shell and the simulated world build the same node from the same settings; they differ in the clock readings, the
entropy and the random choices that they hand in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from coordination.agreed.agreed import Agreed, build_agreed
from coordination.agreed.vocabulary.roster import DEFAULT_PARAMETERS, Parameters
from coordination.agreed.voting.voter_memory import VoterMemory
from coordination.lease_ends import LeaseEnds
from coordination.rights import Rights
from coordination.rounds import Rounds
from coordination.sponsor.gateway import Gateway
from crdt.clock import HybridClock, Instant
from crdt.store import Store
from mesh.directives import Act, Address, Boot, Part
from mesh.envelope import Envelope, Sealed
from mesh.keyring import Keyring
from mesh.membership import LAN, Identity, Membership, Profile, Tags
from mesh.membership.identity import is_reachable
from mesh.memory import Memory
from mesh.messaging import Messaging
from mesh.node import Node
from mesh.packing import LAN_DATAGRAM_BYTES, LOOPBACK_DATAGRAM_BYTES
from mesh.replication import Entrusting, Keeper, Mending, Replication
from mesh.replication.burden import LIMIT
from mesh.replication.standing import Standing
from mesh.rotation import Rotation
from mesh.seal import Seal

__all__ = ["Assembly", "Settings", "build"]

MS = 1_000_000
SECOND = 1_000 * MS


@dataclass(frozen=True, slots=True)
class Settings:
    """What a node is started with, checked already."""

    name: str
    address: Address
    """Where the others reach it."""
    seeds: tuple[Address, ...] = ()
    """Host names allowed; the own address may be among them."""
    secrets: tuple[bytes | str, ...] = ()
    """The keyring, the primary first; none only on loopback."""
    expect: int = 1
    voter: bool = True
    fresh: bool = False
    networked: bool = True
    profile: Profile = LAN
    tags: Tags = ()
    parameters: Parameters = DEFAULT_PARAMETERS
    max_fading: int = LIMIT
    """Keys that may wait to be forgotten while no cut is made."""


class Others:
    """The view of the members without this node."""

    __slots__ = ("_membership", "_names", "_own", "_seen")

    def __init__(self, membership: Membership, own: str) -> None:
        self._membership = membership
        self._own = own
        self._seen: Sequence[str] = ()
        self._names: tuple[str, ...] = ()

    def names_alive(self) -> Sequence[str]:
        seen = self._membership.names_alive()
        if seen is not self._seen:
            self._seen = seen
            self._names = tuple([name for name in seen if name != self._own])
        return self._names

    def session(self, name: str) -> bytes | None:
        boot = self._membership.boot(name)
        return None if boot is None else boot.session


@dataclass(frozen=True, slots=True)
class Assembly:
    """The node, and the parts that commands and reads are addressed to."""

    settings: Settings
    node: Node
    identity: Identity
    clock: HybridClock
    store: Store
    membership: Membership
    replication: Replication
    messaging: Messaging
    rotation: Rotation
    entrusting: Entrusting
    agreed: Agreed
    gateway: Gateway
    rights: Rights
    rounds: Rounds
    keyring: Keyring

    def forgets(self, now: Instant) -> str:
        """Why the mesh forgets nothing, if it does not."""
        still = self.replication.still(now)
        if not still:
            return ""
        return f"no cut has been made for {still // SECOND} s, so nothing is forgotten: {self.rounds.stillness().why}"


def possible_founders(settings: Settings) -> int:
    """How many distinct addresses could found: the seeds and the own one; 0 without seeds.

    A seed that is a host name, with the own port, may be the own one. Of two founders it is taken for it, if no other seed is.
    (They would wait for a third, for ever; more than two bear one that seems silent.)"""
    if not settings.seeds:
        return 0
    found = {*settings.seeds, settings.address}
    own_port = settings.address.rpartition(":")[2]
    named = any(seed.rpartition(":")[2] == own_port and not is_reachable(seed) for seed in settings.seeds)
    return len(found) - (settings.expect == 2 and settings.address not in settings.seeds and named)


def build(
    settings: Settings,
    *,
    session: bytes,
    entropy: Callable[[int], bytes],
    random: Random,
    now: Instant,
    memory: Memory | None = None,
    envelope: Callable[[Seal], Envelope] = Sealed,
) -> Assembly:
    """A node that has not started.

    Parameters
    ----------
    session: 16 random bytes of this process, never used before.
    entropy: random bytes for salts and nonces.
    random: for protocol choices.
    now: the moment of the start; it dates the boot.
    memory: what the node remembers over restarts; without one it remembers nothing, and a voter that restarts abstains.
    envelope: as for `mesh.node.Node`.
    """
    keyring = Keyring(settings.secrets) if settings.secrets else Keyring.without_secret()
    clock = HybridClock(settings.parameters.max_drift // MS)
    # Only the boot must be above what was: a wall clock that was wrong then must not drag this one.
    stamp = max(clock.tick(now), 0 if memory is None else VoterMemory(memory).boot() + 1)
    identity = Identity(settings.name, Boot(stamp, session), settings.address, settings.tags)
    membership = Membership(identity, settings.seeds, random, clock, settings.profile)
    store = Store(session)

    def name_of(actor: bytes) -> str | None:
        member = membership.by_session(actor)
        return member.name if member is not None and member.reachable else None

    others = Others(membership, settings.name)
    keeper = None
    if memory is not None:
        keeper = Keeper(store, clock, memory)
        keeper.read(now)
    slack_ms = (settings.parameters.max_ttl + 2 * settings.parameters.max_drift) // MS
    kept = 0 if keeper is None else keeper.round
    standing = Standing(store, clock, random, others.names_alive, slack_ms, kept)
    replication = Replication(store, clock, random, others, name_of, standing, keeper, settings.max_fading)
    messaging = Messaging(identity, membership, clock, random)
    rotation = Rotation(identity, membership, keyring, clock, random, memory)
    agreed = build_agreed(
        identity,
        membership,
        clock,
        random,
        expect=settings.expect,
        voter=settings.voter,
        fresh=settings.fresh,
        networked=settings.networked,
        seeds=possible_founders(settings),
        parameters=settings.parameters,
        memory=memory,
    )

    def voters() -> tuple[str, ...] | None:
        roster = agreed.birth.roster
        return None if roster is None else roster.voters

    entrusting = Entrusting(settings.name, replication, others, voters, random)
    rounds = Rounds(settings.name, replication, agreed.caller, others, membership)
    rights = Rights()
    gateway = Gateway(identity, membership, store, clock, replication, entrusting, agreed, messaging)
    parts: list[Part] = [
        membership,
        replication,
        messaging,
        rotation,
        entrusting,
        Mending(replication),
        *agreed,
        LeaseEnds(replication, agreed.owner, membership),
        gateway,
        rights,
        rounds,
    ]
    loopback = settings.address.startswith(("127.", "[::1]"))
    node = Node(
        identity,
        keyring,
        entropy,
        parts,
        LOOPBACK_DATAGRAM_BYTES if loopback else LAN_DATAGRAM_BYTES,
        memory,
        envelope,
    )
    gateway.operations.stats = node.stats
    gateway.operations.rotation = rotation
    gateway.operations.stillness = rounds.stillness
    gateway.operations.end_member = lambda name, now: Act(rounds, rounds.give_up(name, now))
    assembly = Assembly(
        settings,
        node,
        identity,
        clock,
        store,
        membership,
        replication,
        messaging,
        rotation,
        entrusting,
        agreed,
        gateway,
        rights,
        rounds,
        keyring,
    )
    gateway.operations.forgets = assembly.forgets
    return assembly
