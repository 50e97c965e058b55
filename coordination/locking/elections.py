"""Elections: one leader at a time, whom everyone can ask for and follow.

Whoever leads holds the register `election/NAME`, as a lock. It says so in the key of the same name, bound to its lease and
fenced by its token: so the key is gone everywhere when the leadership ends, also by death, and a late word of an earlier leader
never undoes that of a later one. Those who follow are woken by that key; those who must know now ask the register itself."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from coordination.agreed.vocabulary.modes import EXCLUSIVE
from coordination.arguments.checks import check_key
from coordination.core import LeaseCore
from coordination.keys import Binding, Entry, Fencing
from coordination.locking.holding import Held
from coordination.locking.locks import Acquirable, HoldTerms
from coordination.locking.standing import standing
from coordination.watch import EventKind, WatchEvent

__all__ = ["Changes", "Election", "Keys", "Leader", "Leading", "Observation"]


class Keys(Protocol):
    """The keys of a peer, or of a thin client."""

    def put(
        self, key: str, value: Any, *, ttl: float | None = None, lease: Binding | None = None, fence: Fencing | None = None
    ) -> Awaitable[int]: ...


class Changes(Protocol):
    """A watch of either."""

    async def __aenter__(self) -> Any: ...
    async def __anext__(self) -> WatchEvent: ...
    def close(self) -> None: ...


class Surroundings(Protocol):
    """What an election or a barrier needs beside the register."""

    @property
    def keys(self) -> Keys: ...
    async def entry(self, key: str) -> Entry | None: ...
    def follow(self, *, key: str | None = None, prefix: str | None = None, snapshot: bool = False) -> Changes: ...


@dataclass(frozen=True, slots=True)
class Leader:
    name: str
    """The member, or the thin client as `ID@NODE`."""
    token: int
    """Of its leadership: above that of every earlier one."""
    value: Any
    """What it said of itself in `lead`; None if it said nothing, or if that has not come by yet."""


class Election:
    """`peer.election(name, ttl=10.0)`: stateless and reusable."""

    __slots__ = ("_around", "_claim", "_core", "name", "ttl")

    def __init__(self, core: LeaseCore, around: Surroundings, name: str, ttl: float) -> None:
        self._core = core
        self._around = around
        self._claim = Acquirable(core, "election", name, EXCLUSIVE, HoldTerms(ttl))
        self.name = name
        self.ttl = ttl
        check_key(self.key, "key that the leader of this election writes")

    @property
    def key(self) -> str:
        """Under which a leader says who it is: {"leader": name, "token": token, "value": value}."""
        return f"election/{self.name}"

    def lead(self, value: Any = None) -> Leading:
        """`async with election.lead(value) as held:` waits until this process leads, in order of arrival, and runs its body as
        the leader. The body is cancelled, and `LeaseLost` raised, before anyone else can lead.

        Parameters
        ----------
        value: what the others are to know of the leader, an address for example: plain CBOR.

        Raises (entering)
        ------
        NoQuorum, AlreadyHeld as a lock; BadValue, TooLarge, ClockDrift as a put; Fenced if the key is another lock's.
        """
        return Leading(self._claim, self._around, self.key, self._core.identity.name, value)

    async def leader(self) -> Leader | None:
        """Who leads, as a majority of the voters says at some moment during the call; None if nobody does. A checkpoint. Raises
        `NoQuorum`."""
        found = next(iter(await standing(self._core, self.key)), None)
        if found is None:
            return None
        entry = await self._around.entry(self.key)
        said = entry.value if entry is not None and entry.fence == found.token else None
        return Leader(found.name, found.token, said["value"] if isinstance(said, dict) else None)

    def observe(self) -> Observation:
        """Follow who leads: `async for leader in election.observe()`, or with `async with election.observe() as leaders` to end
        it at a certain place. First who leads now, then every change: a `Leader`, or None while nobody leads.

        Woken by the changes as they arrive here, in the order of the tokens: nobody is told of an earlier leader after a later
        one. Eventually consistent, as keys are: on the minority side of a partition the last leader that was heard of stays.
        A leader that dies is gone within its ttl."""
        return Observation(self._around.follow(key=self.key, snapshot=True))


class Leading:
    """One leadership, or the wait for it."""

    __slots__ = ("_around", "_claim", "_key", "_name", "_value")

    def __init__(self, claim: Acquirable, around: Surroundings, key: str, name: str, value: Any) -> None:
        self._claim = claim
        self._around = around
        self._key = key
        self._name = name
        self._value = value

    async def __aenter__(self) -> Held:
        held = await self._claim.__aenter__()
        try:
            said = {"leader": self._name, "token": held.token, "value": self._value}
            await self._around.keys.put(self._key, said, lease=held, fence=held)
        except BaseException as error:
            await self._claim.leave(type(error), error, error.__traceback__)
            raise
        return held

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        return await self._claim.leave(kind, error, tb)


class Observation:
    """The leaders of one election, one after the other."""

    __slots__ = ("_anew", "_changes", "_entered", "_last", "_told")

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._entered = False
        self._told = False
        self._anew = False
        """A fresh snapshot has begun, and shown nobody yet."""
        self._last: Leader | None = None

    async def __aenter__(self) -> Observation:
        await self._enter()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """End it; nothing more is told."""
        if self._entered:
            self._entered = False
            self._changes.close()

    def __aiter__(self) -> Observation:
        return self

    async def __anext__(self) -> Leader | None:
        """The next one. A checkpoint."""
        if not self._entered:
            if self._told:
                raise StopAsyncIteration
            await self._enter()
        while True:
            event = await self._changes.__anext__()
            leader: Leader | None = None
            match event.kind:
                case EventKind.PUT:
                    said = event.value if isinstance(event.value, dict) else {}
                    leader = Leader(str(said.get("leader")), int(said.get("token") or 0), said.get("value"))
                    self._anew = False
                case EventKind.RESYNC:
                    self._anew = True
                    continue
                case EventKind.FENCED:
                    continue
                case EventKind.SYNCED if self._told and not self._anew:
                    continue
                case EventKind.SYNCED:
                    self._anew = False
            if not self._told or leader != self._last:
                self._told, self._last = True, leader
                return leader

    async def _enter(self) -> None:
        await self._changes.__aenter__()
        self._entered = True
