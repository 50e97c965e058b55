"""Who holds what, read from the voters: what a majority has accepted, at some moment during the call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import trio

from coordination.agreed.vocabulary.events import Explanation
from coordination.agreed.vocabulary.registers import split_register
from coordination.arguments.checks import check_prefix
from coordination.core import LeaseCore
from coordination.errors import NoQuorum

__all__ = ["Holding", "Locked", "holdings", "inspected", "listed", "locked", "standing"]

ASK_AGAIN_SECONDS = 0.05
GIVE_UP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Holding:
    """One lease that stands."""

    name: str
    """Who holds it: a member, or a thin client as `ID@NODE`."""
    token: int
    remaining: float
    """Seconds, as far as known: the most that any voter that was heard waits for it. Its holder believes a little less."""
    permits: int
    """0 for one that is alone."""

    @property
    def exclusive(self) -> bool:
        return self.permits == 0


@dataclass(frozen=True, slots=True)
class Locked:
    """A lock, or another register, that somebody holds."""

    kind: str
    """lock, rwlock, semaphore, election, barrier."""
    name: str
    holders: tuple[Holding, ...]


def holdings(rows: Iterable[tuple[str, int, float, int]]) -> tuple[Holding, ...]:
    return tuple([Holding(*row) for row in rows])


def locked(key: str, rows: Iterable[tuple[str, int, float, int]]) -> Locked:
    kind, name = split_register(key)
    return Locked(kind, name, holdings(rows))


async def inspected(core: LeaseCore, key: str) -> Explanation:
    """What a majority agrees on about a register, at some moment after the call.

    If those that answer differ, a change is under way, or was given up half-way: then it is completed, and looked at again."""
    began = trio.current_time()
    while True:
        found = await core.inspect(key, early=True)
        if found.decided:
            return found
        if not found.group or found.abstaining:
            began = trio.current_time()  # there is no roster yet, or a restart is being waited out: no limit of our own
        if trio.current_time() - began > GIVE_UP_SECONDS:
            raise NoQuorum(
                f"who holds {key.replace('/', ' ', 1)!r} is not known", found.missing, "no majority of its voters agrees"
            )
        await trio.sleep(ASK_AGAIN_SECONDS)


async def listed(core: LeaseCore, prefix: str) -> tuple[Locked, ...]:
    """Of `peer.locks`."""
    found = await core.list_locks(check_prefix(prefix))
    if not found.quorum:
        raise NoQuorum("the locks are not known", found.missing, "fewer than a majority of the voters answered for 2 s")
    return tuple([locked(key, holders) for key, holders in found.locks])


async def standing(core: LeaseCore, key: str) -> tuple[Holding, ...]:
    return holdings((await inspected(core, key)).holders)
