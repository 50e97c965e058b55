"""Thin clients: the mesh through one sealed stream to any node, for programs that are no members themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any, NoReturn

from coordination.agreed.vocabulary.events import Explanation
from coordination.arguments.checks import check_name, check_names, encode_checked, explained_key
from coordination.arguments.posting import check_broadcast, check_recipient, check_topic
from coordination.arguments.watching import Wanted, check_wanted
from coordination.errors import BadConfig
from coordination.following.journal import parse_token
from coordination.keys import Entry
from coordination.leaving import give_back
from coordination.locking.barriers import Barrier
from coordination.locking.elections import Election
from coordination.locking.leases import Lease
from coordination.locking.locks import HoldTerms, Lock, RWLock, Semaphore
from coordination.locking.standing import Locked, listed
from coordination.opening.driver_seam import DRIVER
from coordination.thin.atomic import ThinAtomicRegister
from coordination.thin.core import ThinAssembly, ThinCore
from coordination.thin.gauges import ThinGauge
from coordination.thin.keys import ThinCounter, ThinKV
from coordination.thin.line import Line
from coordination.thin.secrets import ThinSecrets
from coordination.thin.watch import ThinWatch
from coordination.watches import Watch, watch
from crdt.clock import Instant
from mesh.directives import Boot
from mesh.keyring import Keyring
from mesh.membership import Member, State
from mesh.node import Node
from mesh.shell.resolve import split

__all__ = ["Client", "connect"]

NOT_A_MEMBER = "a thin client has no share of its own to decide by; open a peer (open_peer), or ask the program of its node"


class Around:
    """A client's keys and watches, as elections and barriers want them."""

    __slots__ = ("_core", "keys")

    def __init__(self, keys: ThinKV, core: ThinCore) -> None:
        self.keys = keys
        self._core = core

    async def entry(self, key: str) -> Entry | None:
        return await self.keys.entry(key)

    def follow(self, *, key: str | None = None, prefix: str | None = None, snapshot: bool = False) -> ThinWatch:
        wanted = check_wanted(() if key is None else (key,), () if prefix is None else (prefix,))
        return self.of_keys(wanted, snapshot, None)

    def of_keys(self, wanted: Wanted, snapshot: bool, resume: str | None) -> ThinWatch:
        if resume is not None:
            parse_token(resume)
        kinds = None if wanted.kinds is None else sorted(wanted.kinds)
        return ThinWatch(
            self._core, "follow", wanted.keys, wanted.prefixes, kinds, wanted.history, snapshot, resume
        )  # fmt: skip

    def of_counter(self, name: str, snapshot: bool) -> ThinWatch:
        return ThinWatch(self._core, "follow_counter", name, snapshot)

    def of_gauge(self, name: str, snapshot: bool) -> ThinWatch:
        return ThinWatch(self._core, "follow_gauge", name, snapshot)


class Client:
    """A program's way into a mesh. Made by `connect`; every object it gives belongs to it and ends with it.

    It is a `Peer` whose reads are awaited: the sponsoring node answers them from its replica, and writes what is written.
    Locks and leases are the client's own: it believes in them by its own clock, from before it asked, and the node relays."""

    def __init__(self, core: ThinCore) -> None:
        self._core = core
        self.kv = ThinKV(core)
        """The keys."""

    @property
    def name(self) -> str:
        """`ID@NODE`: how the voters name this client as a holder."""
        return self._core.identity.name

    @property
    def node(self) -> str:
        """The name of the node that acts for this client."""
        return self._core.sponsor

    @property
    def address(self) -> str:
        """The address, of those given to `connect`, at which it was reached."""
        return self._core.address

    def lock(
        self,
        name: str,
        *,
        ttl: float = 10.0,
        lock_delay: float = 0.0,
        max_hold: float | None = None,
        lease: Lease | None = None,
    ) -> Lock:
        """A lock of the mesh, as `Peer.lock`. If the node goes away the body runs on until the lock's deadline, and raises
        `LeaseLost` then."""
        return Lock(self._core, name, HoldTerms(ttl, lock_delay, max_hold, lease))

    def rwlock(
        self,
        name: str,
        *,
        ttl: float = 10.0,
        lock_delay: float = 0.0,
        max_hold: float | None = None,
        lease: Lease | None = None,
    ) -> RWLock:
        """A read-write lock, as `Peer.rwlock`."""
        return RWLock(self._core, name, HoldTerms(ttl, lock_delay, max_hold, lease))

    def semaphore(
        self,
        name: str,
        limit: int,
        permits: int = 1,
        *,
        ttl: float = 10.0,
        lock_delay: float = 0.0,
        max_hold: float | None = None,
        lease: Lease | None = None,
    ) -> Semaphore:
        """A semaphore, as `Peer.semaphore`."""
        return Semaphore(self._core, name, limit, permits, HoldTerms(ttl, lock_delay, max_hold, lease))

    def election(self, name: str, *, ttl: float = 10.0) -> Election:
        """An election, as `Peer.election`."""
        return Election(self._core, Around(self.kv, self._core), name, ttl)

    def barrier(self, name: str, parties: int, *, ttl: float = 10.0) -> Barrier:
        """A double barrier, as `Peer.barrier`."""
        return Barrier(self._core, Around(self.kv, self._core), name, parties, ttl)

    async def locks(self, prefix: str = "") -> tuple[Locked, ...]:
        """Every lock that somebody holds and whose name begins with `prefix`, as `Peer.locks`. A checkpoint."""
        return await listed(self._core, prefix)

    def lease(self, *, ttl: float = 10.0) -> Lease:
        """A life to bind keys to, as `Peer.lease`."""
        return Lease(self._core, ttl)

    def counter(self, name: str) -> ThinCounter:
        """A replicated counter. Raises `BadKey`."""
        return ThinCounter(self._core, name)

    def gauge(self, name: str) -> ThinGauge:
        """A sum over those who live, as `Peer.gauge`. Raises `BadKey`."""
        return ThinGauge(self._core, self.kv, name)

    def budget(self, name: str, limit: int | None = None, *, chunk: int | None = None) -> NoReturn:
        """There are none for thin clients: what is spent locally a member holds. Raises `BadConfig`."""
        raise BadConfig(f"the budget {name!r}: {NOT_A_MEMBER}")

    def limiter(self, name: str, **terms: Any) -> NoReturn:
        """There are none for thin clients: each share is a member's. Raises `BadConfig`."""
        raise BadConfig(f"the limiter {name!r}: {NOT_A_MEMBER}")

    def atomic(self, name: str) -> ThinAtomicRegister:
        """An atomic register, as `Peer.atomic`. Raises `BadKey`."""
        return ThinAtomicRegister(self._core, name)

    def watch(
        self,
        *,
        key: str | None = None,
        prefix: str | None = None,
        keys: Collection[str] | None = None,
        prefixes: Collection[str] | None = None,
        counter: str | None = None,
        gauge: str | None = None,
        lock: str | None = None,
        election: str | None = None,
        snapshot: bool = False,
        kinds: Iterable[str] | None = None,
        history: int | None = None,
        resume: str | None = None,
    ) -> Watch:
        """Follow keys, a counter, a gauge, a lock or an election, as `Peer.watch`: what the node is told. A token is good at
        that node. Raises BadKey, BadValue."""
        return watch(
            self._core,
            Around(self.kv, self._core),
            key=key,
            prefix=prefix,
            keys=keys,
            prefixes=prefixes,
            counter=counter,
            gauge=gauge,
            lock=lock,
            election=election,
            snapshot=snapshot,
            kinds=kinds,
            history=history,
            resume=resume,
        )

    async def members(self) -> tuple[Member, ...]:
        """Everyone that the node knows, itself included, by name. A checkpoint."""
        members: list[Member] = []
        more = True
        while more:
            page, more = await self._core.ask("members", members[-1].name if members else None)
            for name, boot, incarnation, state, address, tags in page:
                members.append(Member(name, Boot(*boot), incarnation, State(state), address, tags))
        return tuple(members)

    async def synced(self) -> None:
        """Wait until the node has joined, and has what others had at a moment after the call. A checkpoint."""
        await self._core.ask("synced")

    async def explain(self, key: str) -> Explanation:
        """Who keeps a lock or register, who holds it and waits for it, who is silent and who abstains, as `Peer.explain`. A
        checkpoint."""
        return await self._core.inspect(explained_key(key), early=False)

    async def reset_roster(self, without: Iterable[str] = ()) -> tuple[str, ...]:
        """As `Peer.reset_roster`, by the node. A checkpoint."""
        return tuple(await self._core.ask("reset_roster", check_names(without)))

    async def end_member(self, name: str) -> None:
        """As `Peer.end_member`, by the node. A checkpoint. Raises `BadConfig`."""
        await self._core.ask("end_member", check_name(name))

    async def ask_to_leave(self) -> None:
        """Ask the node, a `mesh node` or one whose program listens (`Peer.asked_to_leave`), to leave the mesh for good; returns
        when it has closed the stream. A checkpoint, without limit of its own. Raises `BadConfig` if it does not listen."""
        await self._core.ask("leave")
        await self._core.parted()

    async def send(self, to: str, topic: str, value: Any) -> None:
        """Send a value to one member's subscribers to a topic, as `Peer.send`; it goes in the name of the node. A checkpoint;
        if it is cancelled, or the stream ends (`OutcomeUnknown`), it may or may not be taken."""
        await self._core.ask("send", check_recipient(to), check_topic(topic), encode_checked(value))

    async def broadcast(self, topic: str, value: Any) -> None:
        """Tell everyone who subscribes to a topic, as `Peer.broadcast`; it goes in the name of the node. A checkpoint."""
        await self._core.ask("broadcast", topic, check_broadcast(check_topic(topic), value))

    def subscribe(self, topic: str, *, limit: int = 1024) -> NoReturn:
        """Only a peer reads messages. Raises `BadConfig`."""
        raise BadConfig(
            "a thin client reads no messages, for who sends one is told that a subscriber has it in hand, and a client's node "
            "cannot know that: open a peer (`open_peer`, with voter=False), or watch keys"
        )

    def request(self, to: str | Mapping[str, str], topic: str, value: Any, *, timeout: float = 5.0) -> NoReturn:
        """Only a peer asks. Raises `BadConfig`."""
        raise BadConfig(
            "a thin client asks nobody, for answers come to a member: open a peer (`open_peer`, with voter=False), or call "
            "`send` and read the answer under a key"
        )

    @property
    def secrets(self) -> ThinSecrets:
        """The mesh's secrets, as `Peer.secrets`."""
        return ThinSecrets(self._core)

    async def stats(self) -> dict[str, int]:
        """Every count and drop of the node, by `part.count`. A checkpoint."""
        return dict(await self._core.ask("stats"))


@asynccontextmanager
async def connect(*addresses: str, secret: str | bytes | None = None) -> AsyncIterator[Client]:
    """A thin client of the first of these nodes that answers; each is given 3 s.

    Entering and leaving are checkpoints. What is held when the context is left is given back, as by a peer that stops.

    Parameters
    ----------
    addresses: `host:port` of one or more nodes, host names allowed.
    secret: the mesh's; none only for a mesh without one, on loopback.

    Raises
    ------
    BadConfig: no address, one that is none, or a secret that is too short.
    Unreachable: no node welcomed the client; `reasons` says of each why.
    """
    if not addresses:
        raise BadConfig("connect to at least one address: connect('127.0.0.1:7946')")
    for address in addresses:
        try:
            split(address)
        except (AttributeError, TypeError, ValueError):
            raise BadConfig(f"the address {address!r} is none: write host:port, an IPv6 host in brackets") from None
    try:
        keyring = Keyring([secret]) if secret is not None else Keyring.without_secret()
    except ValueError as problem:
        raise BadConfig(str(problem)) from None

    def make(address: str, *, session: bytes, entropy: Callable[[int], bytes], random: Random, now: Instant) -> ThinAssembly:
        line = Line(session)
        return ThinAssembly(Node(line.identity, keyring, entropy, [line]), line)

    async with DRIVER.get()(make, bind=None, advertise=None) as (driver, assembly):
        core = ThinCore(assembly, driver)
        await core.reach(addresses)
        try:
            yield Client(core)
        finally:
            await give_back(core, "this client is closed")
