"""The peer: what a service holds of the mesh that it is part of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import trio

from coordination.agreed.vocabulary.events import Explanation
from coordination.arguments.checks import check_name, check_names, explained_key
from coordination.arguments.tags import TagFilter, check_filter, check_tags, matches
from coordination.arguments.watching import Wanted, check_wanted
from coordination.core import Core
from coordination.counting.atomic import AtomicRegister
from coordination.counting.budgets import Budget, Budgets
from coordination.counting.counters import Counter
from coordination.counting.gauges import Gauge
from coordination.counting.limiters import Limiter, Limiters, Terms
from coordination.keys import KV, Entry
from coordination.leaving import leave
from coordination.locking.barriers import Barrier
from coordination.locking.elections import Election
from coordination.locking.leases import Lease
from coordination.locking.locks import HoldTerms, Lock, RWLock, Semaphore
from coordination.locking.standing import Locked, listed
from coordination.members import MemberHub, MemberWatch
from coordination.messaging import Answers, Messages, Messenger
from coordination.secrets import Secrets
from coordination.sum_watches import CounterWatch, GaugeWatch
from coordination.watch import Hub, KeyWatch
from coordination.watches import Watch, watch
from mesh.membership import Member
from mesh.replication import Synced

__all__ = ["Peer"]


class Around:
    """A peer's keys and watches, as elections and barriers want them."""

    __slots__ = ("_hub", "keys")

    def __init__(self, keys: KV, hub: Hub) -> None:
        self.keys = keys
        self._hub = hub

    async def entry(self, key: str) -> Entry | None:
        return self.keys.entry(key)

    def follow(self, *, key: str | None = None, prefix: str | None = None, snapshot: bool = False) -> KeyWatch:
        wanted = check_wanted(() if key is None else (key,), () if prefix is None else (prefix,))
        return self.of_keys(wanted, snapshot, None)

    def of_keys(self, wanted: Wanted, snapshot: bool, resume: str | None) -> KeyWatch:
        return KeyWatch(self._hub, wanted.feed(snapshot), resume)

    def of_counter(self, name: str, snapshot: bool) -> CounterWatch:
        return CounterWatch(self._hub, name, snapshot)

    def of_gauge(self, name: str, snapshot: bool) -> GaugeWatch:
        return GaugeWatch(self._hub, name, snapshot)


class Peer:
    """One process's part in a mesh. Made by `open_peer`; every object it gives belongs to it and ends with it."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._hub = Hub(core)
        self._member_hub = MemberHub(core)
        self._messenger = Messenger(core)
        self._budgets = Budgets(core)
        self._limiters = Limiters(core)
        self.kv = KV(core)
        """The keys."""
        self.secrets = Secrets(core)
        """The mesh's secrets: `list`, `add`, `use`, `remove`."""

    # --- who is there ------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """This peer's name in the mesh."""
        return self._core.assembly.identity.name

    @property
    def address(self) -> str:
        """`host:port` at which the others reach it; empty without a network."""
        return self._core.assembly.identity.address

    @property
    def members(self) -> tuple[Member, ...]:
        """Everyone known, this peer included, by name: `name`, `address`, `state`, `tags`, `boot`. Local."""
        return self._core.assembly.membership.members()

    def find(self, tags: TagFilter | None = None) -> tuple[Member, ...]:
        """The members alive or suspect that have these tags, by name, this peer included. Local.

        Parameters
        ----------
        tags: each key must be there with this value; None as the value: with any.

        Raises
        ------
        BadConfig: they are no such filter.
        """
        wanted = check_filter(tags)
        return tuple([member for member in self.members if member.reachable and matches(member, wanted)])

    @property
    def tags(self) -> dict[str, str]:
        """This peer's own tags. Local."""
        return dict(self._core.assembly.identity.tags)

    async def set_tags(self, tags: Mapping[str, str]) -> None:
        """Replace this peer's tags: `await peer.set_tags({**peer.tags, "load": "high"})`. A checkpoint.

        They are part of its entry in everyone's table and spread as news of it does, the newest winning everywhere. They are
        for what changes now and then; what changes often belongs under a key. They end with this process.

        Raises
        ------
        BadConfig: more than 64 of them or than 512 bytes together, a key above 64 or a value above 256 characters, or no text.
        """
        pairs = check_tags(tags)
        await self._core.turn()
        membership = self._core.assembly.membership
        self._core.driver.check()
        self._core.driver.command(membership, membership.set_tags(pairs, self._core.now()))

    def watch_members(self, *, tags: TagFilter | None = None, snapshot: bool = False) -> MemberWatch:
        """Follow the members: who joins, is suspected, dies, leaves, comes back, or changes its tags.

        Parameters
        ----------
        tags: only members that have these (as for `find`); one that ceases to is shown once more, as `unmatched`.
        snapshot: begin with everyone who is known, then a `synced` event.

        Raises
        ------
        BadConfig: the tags are no filter.
        """
        return MemberWatch(self._member_hub, check_filter(tags), snapshot)

    # --- messages ----------------------------------------------------------------------------------------------------

    def subscribe(self, topic: str, *, limit: int = 1024) -> Messages:
        """Read what is sent to this peer on a topic (text of 1 to 256 bytes), or to everyone; every subscriber reads it all.

        Parameters
        ----------
        limit: unread messages at the most (and 16 MiB). What comes when it is full is not taken, and its sender is told.

        Raises
        ------
        BadKey, TooLarge: the topic. BadConfig: the limit.
        """
        return Messages(self._messenger, topic, limit)

    async def send(self, to: str, topic: str, value: Any) -> None:
        """Send a value (plain CBOR, at most 1 MiB encoded) to one member's subscribers to a topic, at most once; this returns
        when one of them has it in hand. Messages that one task sends one after the other arrive in that order.

        A checkpoint; without limit of its own while the member is alive and answers. Cancelled, it is not sent again.

        Parameters
        ----------
        to: a member's name, also the own one. What is meant is the process that has the name now.

        Raises
        ------
        NotDelivered: nobody subscribes there, who does has no room, or there is no such member alive (`why`); nobody has it.
        OutcomeUnknown: the member was gone, or did not answer for 30 s, after it had been sent. BadKey, BadValue, TooLarge.
        """
        await self._messenger.send(to, topic, value)

    async def broadcast(self, topic: str, value: Any) -> None:
        """Tell everyone who subscribes to a topic, on this peer too, at most once each: by gossip, in some milliseconds, and
        again for half a minute to whom it did not reach. Nobody answers. A process that starts later is not told. Topic and
        value are at most 900 bytes encoded. A checkpoint; it does not wait for the others.

        Raises
        ------
        TooLarge: put the value under a key, and broadcast the key. BadKey, BadValue, ClockDrift.
        """
        await self._messenger.broadcast(topic, value)

    def request(self, to: str | TagFilter, topic: str, value: Any, *, timeout: float = 5.0) -> Answers:
        """Ask one member, or all that have some tags, and read the answers as they come:

            async with peer.request({"role": "db"}, "status", None, timeout=2) as answers:
                async for answer in answers:
                    answer.member, answer.value

        Parameters
        ----------
        to: a member's name, or tags as for `find` ({} asks everyone); at most 1,024 members.
        timeout: seconds for which answers are waited for.

        Raises
        ------
        BadKey, BadValue, BadConfig, TooLarge
        """
        return Answers(self._messenger, to, topic, value, timeout)

    # --- coordination ------------------------------------------------------------------------------------------------

    def lock(
        self,
        name: str,
        *,
        ttl: float = 10.0,
        lock_delay: float = 0.0,
        max_hold: float | None = None,
        lease: Lease | None = None,
    ) -> Lock:
        """A lock of the mesh; nothing is asked for yet.

        Parameters
        ----------
        ttl: seconds after which it is free again if this process dies; 0.5 to the mesh's max_ttl.
        lock_delay: seconds for which nobody else is granted it after it has run out unreleased, so that what its holder had
            under way may arrive or fail (after Consul); with the ttl at most the mesh's max_ttl. A release frees it at once.
        max_hold: seconds after which the body of an `async with` is cancelled and the lock given back (`LeaseLost`); a `Held`
            from `acquire` counts as lost then, and is yours to release.
        lease: it ends no later than this one, which is held: its body is cancelled then, and a `Held` from `acquire`, which is
            renewed as long as the lease is, is given back.

        Raises
        ------
        BadKey, BadTTL; BadConfig: `lease` is none, or another peer's.
        """
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
        """A read-write lock: `async with rwlock.read()` beside other readers, `async with rwlock.write()` alone. Parameters and
        errors as for `lock`."""
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
        """A semaphore of `limit` permits, of which each acquire takes `permits`. The rest as for `lock`.

        Raises
        ------
        BadKey, BadTTL; BadValue: no positive integers, or more permits than there are. `LimitDiffers` when it is acquired.
        """
        return Semaphore(self._core, name, limit, permits, HoldTerms(ttl, lock_delay, max_hold, lease))

    def election(self, name: str, *, ttl: float = 10.0) -> Election:
        """An election: `async with election.lead(value)`, `await election.leader()`, `election.observe()`. Raises BadKey,
        BadTTL."""
        return Election(self._core, Around(self.kv, self._hub), name, ttl)

    def barrier(self, name: str, parties: int, *, ttl: float = 10.0) -> Barrier:
        """A double barrier for so many parties: see `Barrier`. `ttl`: seconds for which a party that has died still counts.
        Raises BadKey, BadTTL, BadValue."""
        return Barrier(self._core, Around(self.kv, self._hub), name, parties, ttl)

    async def locks(self, prefix: str = "") -> tuple[Locked, ...]:
        """Every lock, read-write lock, semaphore, election and barrier that somebody holds and whose name begins with `prefix`,
        as the voters know them; for looking, not for deciding. A checkpoint; waits 2 s for silent voters at the most. Raises
        `NoQuorum` if fewer than a majority of all voters answer."""
        return await listed(self._core, prefix)

    def lease(self, *, ttl: float = 10.0) -> Lease:
        """A life to bind keys to; nothing is asked for yet. `ttl` as for `lock`. Raises `BadTTL`."""
        return Lease(self._core, ttl)

    def counter(self, name: str) -> Counter:
        """A replicated counter. Raises `BadKey`."""
        return Counter(self._core, name)

    def gauge(self, name: str) -> Gauge:
        """A sum over those who live: `async with peer.gauge("workers").hold(1):`. What a process that dies has held falls away
        within its ttl. Raises `BadKey`."""
        return Gauge(self._core, self.kv, name)

    def budget(self, name: str, limit: int | None = None, *, chunk: int | None = None) -> Budget:
        """So much of something, of which nobody ever spends more than there is: `await peer.budget("seats", 100).spend(1)`.
        Nothing is asked for yet.

        Parameters
        ----------
        limit: how much there is; the first use creates the budget with it. Without it: whatever the budget has.
        chunk: how many rights this peer holds in advance, at most, to spend them without asking. By default half of its share
            of what is free. What it holds when it crashes counts as spent; with 0 nothing does, and each `spend` asks.

        Raises
        ------
        BadKey, BadValue; LimitDiffers: it was named with another limit before, here; elsewhere, when it is used.
        """
        return self._budgets.get(name, limit, chunk)

    def limiter(
        self,
        name: str,
        *,
        rate: float | None = None,
        burst: int | None = None,
        limit: int | None = None,
        window: float | None = None,
        mode: str = "strict",
        ttl: float = 10.0,
    ) -> Limiter:
        """A rate limit over the whole mesh: `await limiter.acquire()`, `await limiter.try_acquire()`, or `@limiter` on an async
        function. Nothing is asked for yet. How much each mode may admit: `coordination.counting.limiters`, docs/limiters.md.

        Parameters
        ----------
        rate, burst: a token bucket: so many requests a second, and so many at once (by default as many as in a second).
        limit, window: instead: so many requests in any `window` seconds.
        mode: "strict" never admits more, also in a partition, and needs a majority of the voters now and then; "fast" asks
            nobody and may admit more while the members do not see each other.
        ttl: seconds, of strict: within this time after a process died or fell idle others have its share.

        Raises
        ------
        BadKey, BadTTL; BadValue: no such terms or mode, or others than this process uses already under that name.
        """
        return self._limiters.get(name, Terms.of(name, rate, burst, limit, window), mode, ttl)

    def atomic(self, name: str) -> AtomicRegister:
        """An atomic register: one value that everyone agrees on at every moment. Nothing is asked for yet. Raises `BadKey`."""
        return AtomicRegister(self._core, name)

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
        """Follow keys, a counter, a gauge, a lock or an election, by the same events: `async with peer.watch(…) as changes`.

        Parameters
        ----------
        key, keys: one key, or several.
        prefix, prefixes: all keys under it ("" for all), or under any of these. `keys` and `prefixes` go together.
        counter, gauge: what it stands at, whenever that changes.
        lock: who holds a lock (or `rwlock/…`, `semaphore/…`, `barrier/…`): its voters are asked twice a second.
        election: who leads; woken by the change, as for keys.
        snapshot: begin with what is there, as puts, then a `synced` event.
        kinds: only events of these kinds ("put", "delete", …), beside `synced` and `resync`. Of keys only.
        history: every change, not only the last of each key, as long as no more than so many wait. Of keys only.
        resume: the `token` of an earlier watch of the same things, to go on behind the last event that it told. Of keys only.

        A reader that is slow sees the last state of each key; one that has more than 65,536 of them (or `history`) in line is
        told `resync`, and begins anew with a snapshot. A reader never holds anything up.

        Raises
        ------
        BadKey: none of these, several, or what is no key. BadValue: the kinds, history or token are none.
        """
        return watch(
            self._core,
            Around(self.kv, self._hub),
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

    # --- the mesh as a whole -----------------------------------------------------------------------------------------

    async def synced(self) -> None:
        """Wait for the join, then until this replica has everything that a sponsor and two more members (or all there are)
        had at a moment after the call. Ends under continuous writes. A checkpoint; without limit of its own."""
        await self._core.joined.wait()
        replication = self._core.assembly.replication
        query, mailbox = self._core.dispatch.sync()
        try:
            with mailbox.expecting(Synced) as waiting:
                self._core.driver.command(replication, replication.begin_sync(query, self._core.now()))
                await waiting.outcome()
        finally:
            self._core.dispatch.asked(query)
            replication.end_sync(query)

    async def explain(self, key: str) -> Explanation:
        """Who keeps a lock (`jobs/nightly`) or another register (`rwlock/…`, `semaphore/…`, `election/…`, `barrier/…`,
        `lease/…`, `atomic/…`, `budget/…`, `limiter/…`), who holds it and waits for it, who is silent and who abstains. A lock
        whose name begins like a kind: `lock/rwlock/…`. A checkpoint; waits half a second for silent voters at the most.

        Raises
        ------
        BadKey
        """
        return await self._core.inspect(explained_key(key), early=False)

    async def reset_roster(self, without: Iterable[str] = ()) -> tuple[str, ...]:
        """An operator's way out, when so many voters of an elastic mesh restarted without memory that no lock is ever granted
        again (`explain` says so): those that answer become the roster, and their old leases run out first.

        A majority of the voters' names has to take part, with or without memory: a new machine under a lost one's name will do.
        Every other name is given up here. What is vouched for by the caller: no later roster, which all that answer have
        forgotten, is still in use elsewhere. If one is, both grant until they meet, and then this one counts.

        Parameters
        ----------
        without: names of voters that are given up.

        Returns
        -------
        The new voters. A checkpoint; takes 2 to 7 s.

        Raises
        ------
        ResetRefused: it is not needed, or what has to be done first. BadConfig: names that are none.
        """
        return await self._core.reset_roster(check_names(without))

    async def end_member(self, name: str) -> None:
        """An operator's word that a member which is dead will not come back: the mesh stops keeping what it might lack within
        seconds, and not after ten minutes. If it does come back, it joins anew and brings back what nobody has seen. A
        checkpoint.

        Raises
        ------
        BadConfig: there is no such member, or it is alive.
        """
        check_name(name)
        await trio.lowlevel.checkpoint()
        self._core.end_member(name)

    async def leave(self) -> bool:
        """Leave the mesh for good, where leaving the context of `open_peer` is a stop: one that is expected back.

        What is held is given back: bodies under a lock are cancelled (`LeaseLost`) and have a second to end, and so has the
        release. Then an elastic roster is asked to go on without this peer, for 5 s at the most; of two voters one may leave,
        the last one stays. At last everyone is told that it has left, and every call, also those that wait, raises `Closed`;
        watches end.

        A checkpoint. If it is cancelled before the end, the peer goes on without new locks, and may be told to leave again.

        Returns
        -------
        Whether the roster does without this peer. If not (it is fixed, no majority answered, or this is its last voter) the
        others count with its vote for ever, and the log says so.

        Raises
        ------
        Closed: it has left already.
        """
        return await leave(self._core)

    async def asked_to_leave(self) -> None:
        """Wait until an operator asks this peer to leave (`mesh leave`), who is refused while nobody waits here: to leave is
        for the program to do, with `leave`. `mesh node` does. A checkpoint. Raises `Closed` if the peer has ended."""
        operations = self._core.assembly.gateway.operations
        asked = trio.Event()
        self._core.driver.check()
        operations.leave = asked.set
        self._core.endings.append(asked.set)
        try:
            await asked.wait()
            self._core.driver.check()
        finally:
            operations.leave = None
            self._core.endings.remove(asked.set)

    def stats(self) -> dict[str, int]:
        """Every count and drop of this peer, by `part.name`. Local."""
        return {**self._core.assembly.node.stats(), **self._core.driver.stats(), **self._hub.stats()}
