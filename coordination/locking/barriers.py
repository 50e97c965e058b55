"""Barriers: a number of parties begin together, and end together, though some of them may die.

The presence of each party is a lease in one register, `barrier/NAME`. The grant that completes the round shuts the register:
from then on nobody comes in until the last of that round has left. Both are decided by a majority, so all parties go by the
same round, whoever dies when. Each also puts a key bound to its lease; that only wakes the others to look at the register.

After the double barrier of ZooKeeper and Curator."""

from __future__ import annotations

from types import TracebackType

import trio

from coordination.agreed.vocabulary.modes import HOLDINGS_CAP, Mode
from coordination.arguments.checks import check_key, check_permits
from coordination.core import LeaseCore
from coordination.errors import BadValue, NotHolding
from coordination.locking.elections import Changes, Surroundings
from coordination.locking.holding import Held
from coordination.locking.locks import Acquirable, HoldTerms
from coordination.locking.standing import inspected

__all__ = ["Barrier"]

LOOK_AGAIN_SECONDS = 1.0
"""Without being woken: what wakes may be lost with its writer."""


class Barrier:
    """`peer.barrier(name, parties, ttl=10.0)`, to be used by one task at a time:

        async with peer.barrier("step", parties=3) as held:     # goes on when three are there
            ...                                                 # all three are at work
        # goes on when all three have left

    - **Entering** waits until `parties` of them are there at one moment, as a majority of the voters sees it; then all of these
      go on, also if some of them die before they have noticed. A party that dies while it waits counts until its ttl has
      passed, and no longer. One whose presence cannot be proven while it waits gets `LeaseLost`, and is not counted for
      another round by itself.
    - **The body** runs as under a lock: it is cancelled, and `LeaseLost` raised, if this party's presence can be proven no
      longer; the others count it as having left from then on.
    - **Leaving** waits until every party of the round has left, or has died and its ttl has passed. A body that ends with an
      error, or is cancelled, leaves without waiting.
    - **The next round** begins when the last of one has left: who comes meanwhile waits, in order of arrival, and so does who
      comes when `parties` others are there.

    All name the same number of parties; who names another one gets `LimitDiffers`. At most 64."""

    __slots__ = ("_around", "_claim", "_core", "_round", "_user", "name", "parties")

    def __init__(self, core: LeaseCore, around: Surroundings, name: str, parties: int, ttl: float) -> None:
        check_permits(parties, 1, name)
        if parties > HOLDINGS_CAP:
            raise BadValue(f"{parties} parties of {name!r} are too many: at most {HOLDINGS_CAP}")
        self._core = core
        self._around = around
        self._claim = Acquirable(core, "barrier", name, Mode(1, parties, together=True), HoldTerms(ttl))
        check_key(f"{self._claim.key}/{1 << 64}", "key that a party of this barrier writes")
        self._user: trio.lowlevel.Task | None = None
        """The task that has entered it, or is about to, until it has left."""
        self._round: frozenset[int] = frozenset()
        self.name = name
        self.parties = parties

    async def __aenter__(self) -> Held:
        """Wait for the others. A checkpoint.

        Raises
        ------
        NoQuorum, AlreadyHeld, LimitDiffers as a semaphore; LeaseLost: its own presence ended while it waited; NotHolding:
        another task has entered this very object, or is about to.
        """
        if self._user is not None:
            raise NotHolding(f"the barrier {self.name!r} is in use: make another with peer.barrier()")
        self._user = trio.lowlevel.current_task()
        try:
            return await self._enter()
        except BaseException:
            self._user = None
            raise

    async def _enter(self) -> Held:
        held = await self._claim.__aenter__()
        try:
            changes = self._around.follow(prefix=f"{self._claim.key}/")
            await changes.__aenter__()
            try:
                await self._around.keys.put(f"{self._claim.key}/{held.token}", self._core.identity.name, lease=held)
                while not await self._complete(held):
                    await woken(changes)
            finally:
                changes.close()
        except BaseException as error:
            await self._claim.leave(type(error), error, error.__traceback__)
            raise
        return held

    async def _complete(self, held: Held) -> bool:
        found = await inspected(self._core, self._claim.key)
        tokens = frozenset([token for _, token, _, _ in found.holders])
        if not found.shut or held.token not in tokens:
            return False
        self._round = tokens
        return True

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        """Leave, and wait for the others. A checkpoint. Raises `LeaseLost`, `NoQuorum`."""
        if self._user is not trio.lowlevel.current_task():
            raise NotHolding(f"{self.name!r} is left by another task than the one that entered it")
        try:
            return await self._leave(kind, error, tb)
        finally:
            self._user = None

    async def _leave(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> bool:
        if error is not None:
            return await self._claim.leave(kind, error, tb)
        changes = self._around.follow(prefix=f"{self._claim.key}/")
        try:
            await changes.__aenter__()
        except BaseException as problem:
            await self._claim.leave(type(problem), problem, problem.__traceback__)
            raise
        try:
            await self._claim.leave(None, None, None)
            while not await self._over():
                await woken(changes)
        finally:
            changes.close()
        return False

    async def _over(self) -> bool:
        found = await inspected(self._core, self._claim.key)
        return not found.shut or self._round.isdisjoint([token for _, token, _, _ in found.holders])


async def woken(changes: Changes) -> None:
    """Wait until it is worth looking again."""
    with trio.move_on_after(LOOK_AGAIN_SECONDS):
        await changes.__anext__()
