"""Leaving for good: what is held is given back, the roster goes on without this peer, and everyone is told that it has left.

In this order. (Who left first would be asked for votes that it does not give; who gave back last would keep its locks closed
until they run out.) A peer that only stops stays on the roster, and is expected back."""

from __future__ import annotations

import logging

import trio

from coordination.agreed.vocabulary.events import Ended, RosterDecided
from coordination.core import Core, LeaseCore
from coordination.locking.holding import let_go
from coordination.patience import RELEASE_SECONDS

__all__ = ["REMOVAL_SECONDS", "give_back", "leave", "stop"]

REMOVAL_SECONDS = 5.0
"""How long it waits for a roster without this peer."""

logger = logging.getLogger("mesh")


async def leave(core: Core) -> bool:
    """See `Peer.leave`."""
    core.driver.check()
    core.dispatch.shut()
    await end_bodies(core, "this peer leaves the mesh")
    await let_go(core)
    gone = await removed(core)
    await close(core)
    return gone


async def stop(core: Core) -> None:
    """What leaving the context of `open_peer` does."""
    await give_back(core, "this peer stops")
    await close(core)


async def give_back(core: LeaseCore, why: str) -> None:
    """Of a peer or thin client whose context is left. Nothing that runs in that context is left by then, but tasks that were
    started elsewhere may be: what they run under a lock ends before the lock is given back."""
    core.dispatch.shut()
    if core.dispatch.requests():
        with trio.CancelScope(shield=True):
            await end_bodies(core, why)
    await let_go(core)


async def close(core: Core) -> None:
    """Stop the node, and tell whoever still waits for anything."""
    await core.driver.stop()
    core.dispatch.close()
    core.joined.set()  # whoever waited for it finds that the peer is closed
    for ending in core.endings:
        ending()


async def end_bodies(core: LeaseCore, why: str) -> None:
    """Cancel what runs under a lock or lease, and let it end: only then may others be granted it."""
    for number, mailbox in core.dispatch.requests():
        mailbox.put(Ended(number, why))
    with trio.move_on_after(RELEASE_SECONDS):
        await core.dispatch.unguarded()


class News:
    """Of a roster."""

    __slots__ = ("_arrived",)

    def __init__(self) -> None:
        self._arrived = trio.Event()

    def on_event(self, event: RosterDecided) -> None:
        self._arrived.set()

    async def wait(self) -> None:
        self._arrived = trio.Event()
        await self._arrived.wait()


async def removed(core: Core) -> bool:
    """Have the roster do without this peer; whether it does."""
    agreed, name = core.assembly.agreed, core.assembly.identity.name

    def named() -> bool:
        roster = agreed.birth.roster
        return roster is not None and name in roster.voters

    roster = agreed.birth.roster
    if roster is not None and roster.elastic:
        electorate = agreed.electorate
        news = News()
        core.dispatch.handle(RosterDecided, news.on_event)
        core.driver.command(electorate, electorate.leave(core.now()))
        with trio.move_on_after(REMOVAL_SECONDS):
            while not electorate.gone:
                await news.wait()
    if not named():
        return True
    assert roster is not None
    others = len(roster.voters) - 1
    why = "it is the last voter" if not others else "no majority let it go in time" if roster.elastic else "the roster is fixed"
    text = "%s leaves, and stays on the roster of voters: %s. Of the other %d, %d are needed for every lock"
    logger.warning(text, name, why, others, roster.majority)
    return False
